"""What of a sale is worth an Event: the edges between what was told last and what is now (pure)."""

from datetime import timedelta

from doorbuster.contracts import control
from doorbuster_operator.conditions import Condition, Notice, by_type, rfc3339

from . import report
from .facts import Seen
from .health import HELD, SUSPENDED, told_open
from .model import FlashSale, Phase, Timeline

# Reasons of CapacityWarmed that somebody has to act on.
PROBLEMS = frozenset(
    {"HpaMissing", "NotMarked", "BelowMaximum", "DeploymentMissing", "AutoscalingUnavailable"}
)


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
        *_capacity_notices(sale, timeline, by_type(fresh)),
    )


def _timeline_notices(sale: FlashSale, seen: Seen, timeline: Timeline) -> list[Notice]:
    known = sale.status.timeline
    told = []
    is_warming = timeline.warmup_start_time is not None and timeline.open_time is None
    if known.warmup_start_time is None and is_warming:
        text = f"The warm-up begins; the sale opens at {rfc3339(sale.spec.open_time)}."
        told.append(Notice(reason="WarmupStarted", message=text, key="warmup"))
    if known.armed_time is None and timeline.armed_time is not None:
        is_shut = seen.gate is not None and seen.gate.state == "Suspended"
        what = "kept shut for now" if is_shut else "the sale opens by itself from now on"
        text = f"The gate is armed: {what}."
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
        text = report.sentence(seen.gate)
        if seen.is_reported:
            text += f" The report is ConfigMap {report.name(sale)}."
        told.append(Notice(reason="SaleSettled", message=text, key="settled"))
    failure = seen.report_failure
    if failure is not None and failure.is_refusal:
        told.append(
            Notice(reason=failure.reason, message=failure.message, key="report", is_warning=True)
        )
    return told


def _phase_notices(sale: FlashSale, seen: Seen, phase: Phase) -> list[Notice]:
    before = sale.status.phase
    if before is phase:
        return []
    # Not by the epoch: it also grows when nothing is sold or raised, and a restart would tell the edge again.
    since = _since(by_type(sale.status.conditions).get("SoldOut"))
    if phase is Phase.SOLD_OUT:
        key = f"soldout-{since}"
        return [Notice(reason="SaleSoldOut", message="Every unit is paid.", key=key)]
    if phase is Phase.OPEN and before is Phase.SOLD_OUT:
        key = f"reopened-{since}"
        return [Notice(reason="SaleReopened", message="There are units again.", key=key)]
    if phase is Phase.CLOSED:
        text = "Nothing is sold any more."
        if sale.spec.desired_state == "Cancelled":
            text = "The sale was cancelled while it was open; paid orders stand, nothing more is sold."
        return [Notice(reason="SaleClosed", message=text, key="closed")]
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
        key = f"skew-{_since(before.get('ClockSynchronized'))}"
        told.append(Notice(reason="ClockSkewDetected", message=text, key=key, is_warning=True))
    topic, old = fresh["TopicsReady"], before.get("TopicsReady")
    if topic.reason == "ResourceConflict" and (old is None or old.reason != topic.reason):
        key = f"topic-{_since(old)}"
        told.append(Notice(reason=topic.reason, message=topic.message, key=key, is_warning=True))
    if seen.gate is not None and phase in {Phase.WARMING, Phase.OPEN, Phase.SOLD_OUT}:
        told += _gate_notices(sale, seen.gate, before, fresh)
    return told


def _since(old: Condition | None) -> str:
    """Return since when a condition told what it does not tell any more: that names an edge for good."""
    moment = None if old is None else old.last_transition_time
    return "the-start" if moment is None else moment.isoformat()


def _capacity_notices(
    sale: FlashSale, timeline: Timeline, fresh: dict[str, Condition]
) -> list[Notice]:
    old, new = by_type(sale.status.conditions).get("CapacityWarmed"), fresh["CapacityWarmed"]
    told = []
    if new.reason == "Warmed" and (old is None or old.status != "True"):
        # Once for what is asked: a new process has seen nothing yet, so no edge between conditions names this for good.
        targets = sale.spec.scaling.targets
        key = "warmed-" + ",".join(f"{each.hpa_name}:{each.warm_replicas}" for each in targets)
        told.append(Notice(reason="CapacityWarmed", message=new.message, key=key))
    if new.reason in PROBLEMS and (old is None or old.reason != new.reason):
        key = f"{new.reason}-{sale.generation}-{_since(old)}"
        told.append(Notice(reason=new.reason, message=new.message, key=key, is_warning=True))
    opens = sale.status.timeline.open_time is None and timeline.open_time is not None
    if opens and new.reason in PROBLEMS | {"NotReady"}:
        text = f"The sale opens although its capacity is not warm. {new.message}"
        told.append(_not_ready(text, key="opened-cold"))
    if fresh["Open"].reason == HELD and told_open(sale) != HELD:
        text = f"The opening is held until the capacity is warm. {new.message}"
        told.append(_not_ready(text, key=f"held-{sale.generation}"))
    return told


def _not_ready(text: str, *, key: str) -> Notice:
    return Notice(reason="CapacityNotReady", message=text, key=key, is_warning=True)


def _gate_notices(
    sale: FlashSale,
    gate: control.SaleState,
    before: dict[str, Condition],
    fresh: dict[str, Condition],
) -> list[Notice]:
    told = []
    shown = sale.raw_status.get("gate", {}).get("closeTime")
    if shown is not None and shown != rfc3339(gate.close_time):
        text = f"The sale now closes at {rfc3339(gate.close_time)} (before: {shown})."
        key = f"closes-{gate.generation}"
        told.append(Notice(reason="CloseTimeChanged", message=text, key=key))
    old, new = before.get("Armed"), fresh["Armed"]
    if old is not None and old.status == "True" and new.reason == "GateLost":
        key = f"lost-{_since(old)}"
        told.append(Notice(reason="GateLost", message=new.message, key=key, is_warning=True))
    if old is not None and old.reason == "GateLost" and new.status == "True":
        text = "The permits are loaded again."
        told.append(Notice(reason="GateRestored", message=text, key=f"restored-{_since(old)}"))
    was_suspended, suspended = told_open(sale) == SUSPENDED, fresh["Open"].reason == SUSPENDED
    if suspended and not was_suspended:
        text = "Nobody can hold new units; holds stay payable."
        told.append(
            Notice(reason="SaleSuspended", message=text, key=f"suspended-{sale.generation}")
        )
    if was_suspended and not suspended:
        text = "Units can be held again."
        told.append(Notice(reason="SaleResumed", message=text, key=f"resumed-{sale.generation}"))
    return told
