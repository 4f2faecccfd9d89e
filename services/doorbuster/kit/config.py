"""Configuration: a frozen dataclass per service, read once from the environment."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

C = TypeVar("C")


class ConfigError(Exception):
    """A setting is missing or cannot be parsed; the message names it, never its value."""


def setting(
    name: str,
    parse: Callable[[str], Any] = str,
    default: Any = dataclasses.MISSING,
    *,
    secret: bool = False,
) -> Any:
    """Declare a dataclass field that is read from the environment variable ``name``."""
    metadata = {"env": name, "parse": parse}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata, repr=not secret)
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


def load(config_type: type[C], environ: Mapping[str, str] | None = None) -> C:
    """Build ``config_type`` from the environment.

    An empty variable counts as absent. Raises ConfigError with every problem at once.
    """
    source = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in dataclasses.fields(config_type):  # type: ignore[arg-type]  # a dataclass by contract
        name = field.metadata["env"]
        raw = source.get(name, "")
        if raw == "":
            if field.default is dataclasses.MISSING:
                problems.append(f"{name} is not set")
            continue
        try:
            values[field.name] = field.metadata["parse"](raw)
        except (ValueError, TypeError, KeyError):
            problems.append(f"{name} cannot be read as {field.metadata['parse'].__name__}")
    if problems:
        raise ConfigError("; ".join(problems))
    return config_type(**values)


def comma_list(raw: str) -> tuple[str, ...]:
    """Parse ``a, b`` to ``("a", "b")``."""
    return tuple(part.strip() for part in raw.split(",") if part.strip())


def boolean(raw: str) -> bool:
    """Parse true/false/1/0/yes/no."""
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
        raw.lower()
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessConfig:
    """Where a service listens and how it logs."""

    host: str = setting("DOORBUSTER_HOST", default="127.0.0.1")
    port: int = setting("DOORBUSTER_PORT", int, default=8080)
    admin_port: int = setting("DOORBUSTER_ADMIN_PORT", int, default=9090)
    log_level: str = setting("DOORBUSTER_LOG_LEVEL", default="INFO")
    drain_seconds: float = setting("DOORBUSTER_DRAIN_SECONDS", float, default=8.0)
    failpoints: str = setting("DOORBUSTER_FAILPOINTS", default="")
