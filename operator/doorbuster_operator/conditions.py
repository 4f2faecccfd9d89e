"""Conditions and notices: how the operator tells people and programs what it sees (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

Truth = Literal["True", "False", "Unknown"]
MAX_MESSAGE = 500


class Condition(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """One condition of a status, as Kubernetes conventions shape it."""

    type: str
    status: Truth
    reason: str
    message: str
    observed_generation: int | None = None
    last_transition_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A Kubernetes Event to be; the same ``key`` of the same object is only ever told once."""

    reason: str
    message: str
    key: str
    is_warning: bool = False


def condition(kind: str, status: Truth | bool, reason: str, message: str) -> Condition:
    """Return a condition that is not stamped yet; a boolean becomes True or False."""
    if isinstance(status, bool):
        status = "True" if status else "False"
    return Condition(type=kind, status=status, reason=reason, message=message[:MAX_MESSAGE])


def stamp(
    fresh: Iterable[Condition], before: Iterable[Condition], *, generation: int, now: datetime
) -> list[Condition]:
    """Return ``fresh`` with generation and transition times; an unchanged status keeps its time."""
    known = {old.type: old for old in before}
    stamped = []
    for new in fresh:
        old = known.get(new.type)
        kept = old.last_transition_time if old is not None and old.status == new.status else None
        stamped.append(
            msgspec.structs.replace(
                new, observed_generation=generation, last_transition_time=kept or whole_second(now)
            )
        )
    return stamped


def by_type(conditions: Iterable[Condition]) -> dict[str, Condition]:
    """Return the conditions by their type."""
    return {each.type: each for each in conditions}


def whole_second(moment: datetime) -> datetime:
    """Return the moment without fractions of a second, as Kubernetes writes times."""
    return moment.replace(microsecond=0)


def rfc3339(moment: datetime) -> str:
    """Return a UTC time with ``Z``, in milliseconds where it has any."""
    spec = "milliseconds" if moment.microsecond >= 1000 else "seconds"
    return moment.isoformat(timespec=spec).replace("+00:00", "Z")
