"""How to mutate each property and where to see that the system follows; what there is to mutate says the schema."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from doorbuster_operator.testing.cluster import RefusedByServerError

from .stage import IgnoredError, Stage, until

Look = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a mutation: ``words`` of a refusal, or where it was seen and the seconds there and back."""

    seen_in: str = ""
    there_seconds: float = 0.0
    back_seconds: float = 0.0
    words: str = ""


Mutation = Callable[[Stage], Awaitable[Verdict]]
MUTATIONS: dict[str, Mutation] = {}


def mutates(path: str) -> Callable[[Mutation], Mutation]:
    """Enter a mutation for a property as :func:`schema.properties` names it."""

    def enter(mutation: Mutation) -> Mutation:
        MUTATIONS[path] = mutation
        return mutation

    return enter


async def swing(
    stage: Stage,
    kind: str,
    name: str,
    *,
    there: Mapping[str, Any],
    back: Mapping[str, Any],
    look: Look,
    values: tuple[Any, Any],
    seen_in: str,
) -> Verdict:
    """Change a spec there and back; ``values`` are what is seen before (and after) and in between."""
    before, between = values
    await until(look, lambda seen: seen == before, f"{seen_in} before")
    await stage.change(kind, name, there)
    went = await until(look, lambda seen: seen == between, f"{seen_in} shall be {between}")
    await stage.change(kind, name, back)
    came = await until(look, lambda seen: seen == before, f"{seen_in} shall be {before} again")
    return Verdict(seen_in=seen_in, there_seconds=went, back_seconds=came)


async def refusal(
    stage: Stage, kind: str, name: str, change: Mapping[str, Any], look: Look
) -> str:
    """Try a change that must be refused; returns the API server's words. Raises IgnoredError."""
    before = await look()
    try:
        await stage.change(kind, name, change)
    except RefusedByServerError as error:
        if await look() != before:
            raise IgnoredError("it was refused, and something changed all the same") from error
        return str(error).partition(": ")[2] or str(error)
    raise IgnoredError(f"{dict(change)} was taken, and should have been refused")
