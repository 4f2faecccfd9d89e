"""What tests of the operator wait for, as questions about an object."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from doorbuster_operator.conditions import Condition, by_type
from doorbuster_operator.sale import model

Holds = Callable[[Mapping[str, Any]], bool]


def phase_is(*phases: str) -> Holds:
    """One of these phases."""
    return lambda found: found.get("status", {}).get("phase") in phases


def told(found: Mapping[str, Any], kind: str) -> Condition | None:
    """The condition of a type."""
    status = msgspec.convert(found.get("status", {}), model.Status)
    return by_type(status.conditions).get(kind)


def reason_is(kind: str, reason: str) -> Holds:
    """A condition with this reason."""

    def holds(found: Mapping[str, Any]) -> bool:
        part = told(found, kind)
        return part is not None and part.reason == reason

    return holds


def line_of(found: Mapping[str, Any]) -> model.Timeline:
    """The timeline that the status shows."""
    return msgspec.convert(found["status"], model.Status).timeline
