"""What of a sale is worth an Event: the edges between what was told last and what is now (pure)."""

from datetime import timedelta

from doorbuster.contracts import control
from doorbuster_operator.conditions import Condition, Notice, by_type

from .facts import Seen
from .health import was_suspended
from .model import FlashSale, Phase, Timeline


def edges(
    sale: FlashSale,
    seen: Seen,
    phase: Phase,
    timeline: Timeline,
    fresh: tuple[Condition, ...],
) -> tuple[Notice, ...]:
    """Return what is worth an Event: edges between the last status and now."""
    return (
        *_timeline_notices(sale, seen, timeline),
        *_phase_notices(sale, seen, phase),
        *_condition_notices(sale, seen, phase, by_type(fresh)),
    )


def _timeline_notices(sale: FlashSale, seen: Seen, timeline: Timeline) -> list[Notice]:
    known = sale.status.timeline
    told = []
    if known.armed_time is None and timeline.armed_time is not None:
        text = "The gate is armed: the sale opens by itself from now on."
        told.append(Notice(reason="GateArmed", message=text, key="armed"))
    if known.open_time is None and timeline.open_time is not None:
        late = timeline.open_time - sale.spec.open_time
        if late > timedelta(0):
            text = f"The sale opened {late.total_seconds():.1f} s late."
            told.append(
                Notice(reason="SaleOpenedLate", message=text, key="opened", is_warning=True)
            )
        else:
            told.append(
                Notice(reason="SaleOpened", message="The sale opened on time.", key="opened")
            )
    if known.settle_time is None and timeline.settle_time is not None and seen.gate is not None:
        sold = sum(item.sold for item in seen.gate.items)
        units = sum(item.allocated for item in seen.gate.items)
        text = f"{sold} of {units} units were sold; every payment has its fate."
        told.append(Notice(reason="SaleSettled", message=text, key="settled"))
    return told


def _phase_notices(sale: FlashSale, seen: Seen, phase: Phase) -> list[Notice]:
    before = sale.status.phase
    if before is phase:
        return []
    epoch = max((item.epoch for item in seen.gate.items), default=0) if seen.gate else 0
    if phase is Phase.SOLD_OUT:
        return [
            Notice(reason="SaleSoldOut", message="Every unit is paid.", key=f"soldout-{epoch}")
        ]
    if phase is Phase.OPEN and before is Phase.SOLD_OUT:
        return [
            Notice(
                reason="SaleReopened", message="There are units again.", key=f"reopened-{epoch}"
            )
        ]
    if phase is Phase.CLOSED:
        return [Notice(reason="SaleClosed", message="Nothing is sold any more.", key="closed")]
    if phase is Phase.CANCELLED:
        is_wanted = sale.spec.desired_state == "Cancelled" or sale.is_deleting
        reason = "SaleCancelled" if is_wanted else "OpeningMissed"
        text = "The sale ended before it opened."
        return [Notice(reason=reason, message=text, key="cancelled", is_warning=not is_wanted)]
    return []


def _condition_notices(
    sale: FlashSale, seen: Seen, phase: Phase, fresh: dict[str, Condition]
) -> list[Notice]:
    before = by_type(sale.status.conditions)
    told = []

    def turned(kind: str, status: str) -> bool:
        old = before.get(kind)
        return fresh[kind].status == status and (old is None or old.status != status)

    generation = sale.generation
    if turned("Accepted", "False"):
        part = fresh["Accepted"]
        key = f"refused-{generation}-{part.reason}"
        told.append(Notice(reason="SaleRefused", message=part.message, key=key, is_warning=True))
    if turned("PoolsBound", "True") and fresh["Accepted"].status == "True":
        text = "The sale is accepted and its stock is bound."
        told.append(Notice(reason="SaleAccepted", message=text, key=f"accepted-{generation}"))
    if turned("ClockSynchronized", "False"):
        text = fresh["ClockSynchronized"].message
        told.append(Notice(reason="ClockSkewDetected", message=text, key="skew", is_warning=True))
    if seen.gate is not None and phase in {Phase.WARMING, Phase.OPEN, Phase.SOLD_OUT}:
        told += _gate_notices(sale, seen.gate, before, fresh)
    return told


def _gate_notices(
    sale: FlashSale,
    gate: control.SaleState,
    before: dict[str, Condition],
    fresh: dict[str, Condition],
) -> list[Notice]:
    told = []
    epoch = max((item.epoch for item in gate.items), default=0)
    old, new = before.get("Armed"), fresh["Armed"]
    if old is not None and old.status == "True" and new.reason == "GateLost":
        key = f"lost-{epoch}"
        told.append(Notice(reason="GateLost", message=new.message, key=key, is_warning=True))
    if old is not None and old.reason == "GateLost" and new.status == "True":
        text = "The permits are loaded again."
        told.append(Notice(reason="GateRestored", message=text, key=f"restored-{epoch}"))
    suspended = fresh["Open"].reason == "Suspended"
    if suspended and not was_suspended(sale):
        text = "Nobody can hold new units; holds stay payable."
        told.append(
            Notice(reason="SaleSuspended", message=text, key=f"suspended-{gate.generation}")
        )
    if was_suspended(sale) and not suspended:
        text = "Units can be held again."
        told.append(Notice(reason="SaleResumed", message=text, key=f"resumed-{gate.generation}"))
    return told
