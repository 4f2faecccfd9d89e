"""The life of a sale: one pure reducer from what is seen to what is to be done.

The phase is derived from facts on every pass, never trusted because it was written down; so any jump is legal
(an operator that was down all day goes from Scheduled to Closed in one pass). Only the timeline remembers,
because each of its times is set once. ``now`` is always the authority's clock, the inventory service's.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from doorbuster.contracts import control

from . import capacity, health, notices, timeline
from .facts import (
    Action,
    AddFinalizer,
    CountUnread,
    Decision,
    DeleteSale,
    DropFinalizer,
    DropTopic,
    EnsureTopic,
    Failure,
    LookForTopic,
    PutGate,
    Seen,
    WriteReport,
)
from .model import OVER, FlashSale, Phase

DRAIN_CHECK = timedelta(seconds=2)
URGENT = timedelta(seconds=15)
SOON = timedelta(milliseconds=100)
FOREIGN = "ResourceConflict"


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What one phase wants: effects, and what time alone will bring."""

    actions: tuple[Action, ...] = ()
    next_phase: Phase | None = None
    next_time: datetime | None = None
    wake_at: datetime | None = None


def decide(sale: FlashSale, seen: Seen, now: datetime) -> Decision:
    """Return what this sale is at ``now`` and what is to be done about it."""
    phase = phase_of(sale, seen, now)
    plan = _plan_deletion(sale, seen, now) if sale.is_deleting else _plan(phase, sale, seen, now)
    is_changing = any(isinstance(action, PutGate) for action in plan.actions)
    line = timeline.remembered(sale, seen, phase, now, is_changing=is_changing)
    conditions = health.conditions(sale, seen, phase, now)
    return Decision(
        phase=phase,
        timeline=line,
        conditions=conditions,
        notices=notices.edges(sale, seen, phase, line, conditions),
        summary=health.summary(sale, seen, phase, conditions),
        actions=_finalized(sale, plan.actions),
        next_phase=plan.next_phase,
        next_time=plan.next_time,
        wake_at=_next(now, plan.wake_at, plan.next_time),
        is_watched=seen.gate is not None and (phase not in OVER or sale.is_deleting),
    )


def phase_of(sale: FlashSale, seen: Seen, now: datetime) -> Phase:
    """Derive the phase; while inventory is silent a sale keeps the phase it had."""
    before = sale.status.phase
    if sale.status.timeline.settle_time is not None:
        return Phase.SETTLED
    if before is Phase.CANCELLED:
        return Phase.CANCELLED
    if seen.silence is not None:
        return before or Phase.PENDING
    gate = seen.gate
    if gate is None:
        return _phase_without_gate(sale, seen, now)
    if sale.spec.desired_state == "Cancelled" or gate.state == "Cancelled" or sale.is_deleting:
        if not timeline.has_opened(sale, gate, now) and sale.status.timeline.close_time is None:
            return Phase.CANCELLED
        return _closed_or_settled(sale, seen, gate, now)
    if now >= gate.close_time:
        return _closed_or_settled(sale, seen, gate, now)
    if now >= gate.open_time and timeline.has_opened(sale, gate, now):
        return Phase.SOLD_OUT if health.is_sold_out(gate) else Phase.OPEN
    return Phase.WARMING


def _phase_without_gate(sale: FlashSale, seen: Seen, now: datetime) -> Phase:
    spec = sale.spec
    if spec.desired_state == "Cancelled" or has_missed(sale, now):
        return Phase.CANCELLED
    if (
        health.accepted(sale, seen).status != "True"
        or health.pools_bound(sale, seen).status != "True"
    ):
        return Phase.PENDING
    if now < capacity.warmup_time(sale):
        return Phase.SCHEDULED
    return Phase.WARMING


def has_missed(sale: FlashSale, now: datetime) -> bool:
    """Tell whether a sale without a gate is too late to open at all."""
    return now >= missed_time(sale)


def missed_time(sale: FlashSale) -> datetime:
    """Return the moment from which on a sale without a gate is not opened any more."""
    is_strict = sale.spec.late_open_policy == "Reject"
    return sale.spec.open_time if is_strict else sale.spec.close_time


def _closed_or_settled(
    sale: FlashSale, seen: Seen, gate: control.SaleState, now: datetime
) -> Phase:
    is_settled = _is_at_rest(sale, seen, gate, now) and has_report(seen)
    return Phase.SETTLED if is_settled else Phase.CLOSED


def _is_at_rest(sale: FlashSale, seen: Seen, gate: control.SaleState, now: datetime) -> bool:
    """Tell whether the books could be closed: only the report may still be missing."""
    is_conserved = all(pool.is_conserved for pool in seen.pools.values())
    is_due = now >= _settle_time(sale, gate, now)
    return gate.drained and seen.unread == 0 and is_due and is_conserved


def has_report(seen: Seen) -> bool:
    """Tell whether the report is written, or cannot be because somebody else has its name."""
    failure = seen.report_failure
    return seen.is_reported or (failure is not None and failure.is_refusal)


def _settle_time(sale: FlashSale, gate: control.SaleState, now: datetime) -> datetime:
    closed = sale.status.timeline.close_time or min(gate.close_time, now)
    return closed + timedelta(seconds=sale.spec.settlement.grace_seconds)


# --- what each phase wants ------------------------------------------------------------------------


def _plan(phase: Phase, sale: FlashSale, seen: Seen, now: datetime) -> _Plan:
    match phase:
        case Phase.PENDING:
            return _pending(sale, seen, now)
        case Phase.SCHEDULED:
            return _scheduled(sale, seen, now)
        case Phase.WARMING:
            return _warming(sale, seen, now)
        case Phase.OPEN | Phase.SOLD_OUT:
            return _open(sale, seen, now)
        case Phase.CLOSED:
            return _closed(sale, seen, now)
        case Phase.SETTLED:
            return _over(sale, sale.status.timeline.settle_time, now)
        case Phase.CANCELLED:
            return _cancelled(sale, seen, now)
        case _:
            assert_never(phase)


def _pending(sale: FlashSale, seen: Seen, now: datetime) -> _Plan:
    """Wait for pools; ask inventory again now and then where it refused the sale."""
    if health.pools_bound(sale, seen).status != "True" or seen.silence is not None:
        return _Plan(wake_at=missed_time(sale))
    gate = _gate_action(sale, seen, now) if now >= capacity.warmup_time(sale) else ()
    return _Plan(actions=gate, wake_at=_earliest(_retry(seen.gate_failure), missed_time(sale)))


def _scheduled(sale: FlashSale, seen: Seen, now: datetime) -> _Plan:
    return _Plan(
        actions=_topic_action(sale, seen, now),
        next_phase=Phase.WARMING,
        next_time=capacity.warmup_time(sale),
        wake_at=_retry(seen.topic_failure),
    )


def _warming(sale: FlashSale, seen: Seen, now: datetime) -> _Plan:
    """The topic comes first, but neither its failure nor a slow Kafka may keep the gate from being armed in time."""
    topic, gate = _topic_action(sale, seen, now), _gate_action(sale, seen, now)
    is_urgent = sale.spec.open_time - now < URGENT
    if topic == (LookForTopic(),) and not is_urgent:
        gate = ()  # in the next round, behind one finalizer for both
    return _Plan(
        actions=gate + topic if is_urgent else topic + gate,
        next_phase=Phase.OPEN,
        next_time=sale.spec.open_time if now < sale.spec.open_time else None,
        wake_at=_earliest(_retry(seen.topic_failure), _retry(seen.gate_failure)),
    )


def _open(sale: FlashSale, seen: Seen, now: datetime) -> _Plan:
    close_time = sale.spec.close_time if seen.gate is None else seen.gate.close_time
    return _Plan(
        actions=_gate_action(sale, seen, now) + _topic_action(sale, seen, now),
        next_phase=Phase.CLOSED,
        next_time=close_time,
        wake_at=_earliest(_retry(seen.topic_failure), _retry(seen.gate_failure)),
    )


def _closed(sale: FlashSale, seen: Seen, now: datetime) -> _Plan:
    """Nothing is sold any more; wait until every hold has its fate and every event was read."""
    gate = seen.gate
    if gate is None:
        return _Plan()
    due = _settle_time(sale, gate, now)
    actions = _gate_action(sale, seen, now)
    wake_at = due
    if now >= due and gate.drained and seen.silence is None:
        actions += _unread_action(seen, now)
        wake_at = _retry(seen.unread_failure) or now + DRAIN_CHECK
        if _is_at_rest(sale, seen, gate, now) and not has_report(seen):
            actions += _report_action(seen, now)
            wake_at = _retry(seen.report_failure) or wake_at
    return _Plan(
        actions=actions,
        next_phase=Phase.SETTLED,
        next_time=due if now < due else None,
        wake_at=_earliest(wake_at, _retry(seen.gate_failure)),
    )


def _cancelled(sale: FlashSale, seen: Seen, now: datetime) -> _Plan:
    plan = _over(sale, sale.status.timeline.close_time, now)
    if seen.gate is None or seen.silence is not None:
        return plan
    return _Plan(
        actions=_gate_action(sale, seen, now) + plan.actions,
        wake_at=_earliest(plan.wake_at, _retry(seen.gate_failure)),
    )


def _over(sale: FlashSale, since: datetime | None, now: datetime) -> _Plan:
    """Delete what is over at its time; ``since`` is None in the very pass in which it ends, which is told first."""
    ttl = sale.spec.ttl_seconds_after_settled
    if ttl is None:
        return _Plan()
    due = (since or now) + timedelta(seconds=ttl)
    if since is None or now < due:
        return _Plan(wake_at=max(due, now + SOON))
    return _Plan(actions=(DeleteSale(),))


def _plan_deletion(sale: FlashSale, seen: Seen, now: datetime) -> _Plan:
    """Shut the gate, let holds and payments end, give the topic back, and only then let the object go."""
    if not sale.is_finalized:
        return _Plan()
    if seen.silence is not None:
        return _Plan()
    gate = seen.gate
    if gate is not None and now < gate.close_time and gate.state != "Cancelled":
        return _Plan(actions=_gate_action(sale, seen, now), wake_at=_retry(seen.gate_failure))
    if gate is not None and not gate.drained:
        return _Plan(wake_at=now + DRAIN_CHECK)
    is_told = sale.status.timeline.settle_time is not None or has_report(seen)
    if gate is not None and timeline.has_opened(sale, gate, now) and not is_told:
        return _Plan(actions=_report_action(seen, now), wake_at=_retry(seen.report_failure))
    if not all(target.is_returned for target in seen.targets):
        return _Plan(wake_at=now + DRAIN_CHECK)
    if sale.owns_topic and sale.spec.messaging.reclaim_policy == "Delete":
        if seen.unread != 0:
            again = _retry(seen.unread_failure) or now + DRAIN_CHECK
            return _Plan(actions=_unread_action(seen, now), wake_at=again)
        if _is_due(seen.topic_failure, now):
            return _Plan(actions=(DropTopic(), DropFinalizer()))
        return _Plan(wake_at=_retry(seen.topic_failure))
    return _Plan(actions=(DropFinalizer(),))


# --- single effects -------------------------------------------------------------------------------


def wanted_state(sale: FlashSale, seen: Seen, now: datetime) -> control.DesiredState:
    """Return the state that the gate shall have."""
    if sale.is_deleting or sale.status.phase is Phase.CANCELLED:
        return "Cancelled"  # also for a gate that was not to be seen when its opening was missed
    wanted = sale.spec.desired_state
    return "Suspended" if wanted == "Active" and is_held(sale, seen, now) else wanted


def is_held(sale: FlashSale, seen: Seen, now: datetime) -> bool:
    """Tell whether the gate waits for the capacity. One that was let go is held again only by an edit well before
    the opening, and one that has opened never.
    """
    gate = seen.gate
    if sale.spec.warmup.on_not_ready != "Hold" or not sale.spec.scaling.targets:
        return False
    if gate is not None:
        if timeline.has_opened(sale, gate, now):
            return False
        if gate.state == "Suspended" and now >= gate.close_time:
            return True
        is_edited = gate.generation < sale.generation and gate.open_time - now >= URGENT
        if gate.state == "Active" and not is_edited:
            return False
    return capacity.measured(sale, seen).status != "True"


def _gate_action(sale: FlashSale, seen: Seen, now: datetime) -> tuple[Action, ...]:
    gate = seen.gate
    state = wanted_state(sale, seen, now)
    if seen.silence is not None or not _is_due(health.current(sale, seen.gate_failure), now):
        return ()
    if gate is None and state == "Cancelled":
        return ()
    if gate is not None and gate.generation >= sale.generation and gate.state == state:
        return ()
    if gate is not None and gate.state == "Cancelled":
        return ()
    close_time = sale.spec.close_time
    if gate is not None and close_time < now < gate.close_time:
        close_time = now  # an open sale that shall have closed in the past closes now
    if gate is not None and state == "Cancelled" and gate.close_time <= now:
        close_time = gate.close_time  # it closed then, whatever was wanted later
    return (PutGate(state, close_time),)


def _topic_action(sale: FlashSale, seen: Seen, now: datetime) -> tuple[Action, ...]:
    failure = health.current(sale, seen.topic_failure)
    is_ours = sale.owns_topic or sale.adopts_topic
    if failure is not None and failure.reason == FOREIGN and is_ours:
        failure = None  # the merchant has decided since
    if not _is_due(failure, now):
        return ()
    if not is_ours and not seen.is_topic_free:
        return (LookForTopic(),)
    wanted, topic = sale.spec.messaging, seen.topic
    if (
        topic is not None
        and topic.partitions >= wanted.partitions
        and topic.retention_seconds == wanted.retention_seconds
    ):
        return ()
    return (EnsureTopic(),)


def _report_action(seen: Seen, now: datetime) -> tuple[Action, ...]:
    return (WriteReport(),) if _is_due(seen.report_failure, now) else ()


def _unread_action(seen: Seen, now: datetime) -> tuple[Action, ...]:
    is_wanted = seen.unread is None and _is_due(seen.unread_failure, now)
    return (CountUnread(),) if is_wanted else ()


def _finalized(sale: FlashSale, actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Put before the actions the finalizer that they need; which one says whether the topic is ours."""
    makes_topic = any(isinstance(each, EnsureTopic) for each in actions)
    stores_gate = any(isinstance(each, PutGate) for each in actions)
    is_missing = (stores_gate and not sale.is_finalized) or (makes_topic and not sale.owns_topic)
    if is_missing and not sale.is_deleting:
        return (AddFinalizer(sale.owns_topic or makes_topic), *actions)
    return actions


def _is_due(failure: Failure | None, now: datetime) -> bool:
    return failure is None or now >= failure.retry_at


def _retry(failure: Failure | None) -> datetime | None:
    return None if failure is None else failure.retry_at


def _earliest(*moments: datetime | None) -> datetime | None:
    known = [moment for moment in moments if moment is not None]
    return min(known, default=None)


def _next(now: datetime, *moments: datetime | None) -> datetime | None:
    """Return the earliest moment to come; what is due already was acted on in this very pass."""
    return _earliest(*(moment for moment in moments if moment is not None and moment > now))
