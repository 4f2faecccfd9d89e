"""Every part that there is, found by listing, and what has to come before what."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Mapping
from functools import cache

from . import servers
from .errors import StackError
from .part import Part
from .services import service_parts
from .surroundings import surrounding_parts

# What a flash sale needs, with Kubernetes and letters; the everyday shop around it is not asked.
SALE_PARTS = (
    *("nginx", "gateway", "user", "checkout", "inventory", "payment", "order", "notification"),
    *("psp", "operator"),
)


@cache
def all_parts() -> Mapping[str, Part]:
    """Name -> part: one for each class ``…Server`` under ``servers/``, then what this project is."""
    found: dict[str, Part] = {}
    for module_info in pkgutil.iter_modules(servers.__path__):
        module = importlib.import_module(f"{servers.__name__}.{module_info.name}")
        for name, kind in vars(module).items():
            if (
                name.endswith("Server")
                and inspect.isclass(kind)
                and issubclass(kind, Part)
                and not inspect.isabstract(kind)
                and kind.__module__ == module.__name__
            ):
                part = kind()
                found[part.name] = part
    for part in (*service_parts(), *surrounding_parts()):
        found[part.name] = part
    return found


def closure(names: Iterable[str], parts: Mapping[str, Part]) -> tuple[str, ...]:
    """The named parts and all that they require, each after what it requires.

    Raises:
        StackError: a name is unknown, or parts require each other in a circle.
    """
    ordered: list[str] = []
    underway: set[str] = set()

    def visit(name: str) -> None:
        if name in ordered:
            return
        if name not in parts:
            raise StackError(
                f"there is no part called {name!r}", hint=f"known: {', '.join(parts)}"
            )
        if name in underway:
            raise StackError(f"{name} requires itself in a circle")
        underway.add(name)
        for required in parts[name].requires:
            visit(required)
        underway.discard(name)
        ordered.append(name)

    for name in names:
        visit(name)
    return tuple(ordered)


def expand(names: Iterable[str], parts: Mapping[str, Part]) -> tuple[str, ...]:
    """Names as people give them: ``checkout`` means ``checkout-0`` and ``checkout-1``."""
    found: list[str] = []
    for name in names:
        copies = [part for part in parts if re.fullmatch(rf"{re.escape(name)}-\d+", part)]
        found += copies if name not in parts and copies else [name]
    return tuple(found)


def dependents(names: Iterable[str], parts: Mapping[str, Part]) -> dict[str, tuple[str, ...]]:
    """For each name those of ``names`` that require it directly (they stop before it does)."""
    chosen = tuple(names)
    return {
        name: tuple(other for other in chosen if name in parts[other].requires) for name in chosen
    }
