"""Which faults are switched on: latency, declines, errors, lost replies, sudden death."""

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from .cards import Conduct

Operation = Literal[
    "any",
    "method",
    "create",
    "retrieve",
    "list",
    "confirm",
    "capture",
    "cancel",
    "refund",
]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]


class Fault(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """A fault for the next ``count`` calls of one operation."""

    count: Count
    on: Operation = "any"


class FailFault(Fault, frozen=True, kw_only=True):
    """Answer an error; ``saved`` keeps it under the idempotency key, ``acted`` does the work first."""

    status: Literal[429, 500, 502, 503] = 500
    saved: bool = False
    acted: bool = False


F = TypeVar("F", bound=Fault)


class DeclineFault(Fault, frozen=True, kw_only=True):
    """Whatever the card, decline it so."""

    on: Operation = "confirm"
    conduct: Conduct = "generic_decline"


class CrashFault(Fault, frozen=True, kw_only=True):
    """End the process at once, before or after the work is committed; the reply is never sent."""

    when: Literal["before", "after"] = "after"


class Behaviour(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``PUT /admin/behaviour``: the whole of it; what is absent is switched off."""

    delay_millis: Annotated[int, Meta(ge=0, le=120_000)] = 0
    delay_on: Operation = "any"
    fail_next: FailFault | None = None
    drop_reply_next: Fault | None = None
    decline_next: DeclineFault | None = None
    crash_next: CrashFault | None = None


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong with one call."""

    delay_seconds: float = 0.0
    fail: FailFault | None = None
    drop_reply: bool = False
    decline: Conduct | None = None
    crash: Literal["before", "after"] | None = None


def take(behaviour: Behaviour, operation: Operation) -> tuple[Behaviour, Faults]:
    """Return the faults of this call, and the behaviour with their counts lowered."""
    fail = _due(behaviour.fail_next, operation)
    drop = _due(behaviour.drop_reply_next, operation)
    decline = _due(behaviour.decline_next, operation)
    crash = _due(behaviour.crash_next, operation)
    is_slow = behaviour.delay_on in ("any", operation)
    faults = Faults(
        delay_seconds=behaviour.delay_millis / 1000 if is_slow else 0.0,
        fail=fail,
        drop_reply=drop is not None,
        decline=None if decline is None else decline.conduct,
        crash=None if crash is None else crash.when,
    )
    left = msgspec.structs.replace(
        behaviour,
        fail_next=_less(behaviour.fail_next, fail),
        drop_reply_next=_less(behaviour.drop_reply_next, drop),
        decline_next=_less(behaviour.decline_next, decline),
        crash_next=_less(behaviour.crash_next, crash),
    )
    return left, faults


def _due(fault: F | None, operation: Operation) -> F | None:
    if fault is None or fault.count == 0 or fault.on not in ("any", operation):
        return None
    return fault


def _less(fault: F | None, taken: F | None) -> F | None:
    if fault is None or taken is None:
        return fault
    return msgspec.structs.replace(fault, count=fault.count - 1) if fault.count > 1 else None
