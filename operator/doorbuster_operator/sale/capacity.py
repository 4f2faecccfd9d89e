"""The capacity that sales ask of autoscalers, and whether it is there (pure).

A demand is derived from the sales as they are, never remembered: what no live sale asks for is given back, whatever
happened to the sale or to the operator in between.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from doorbuster_operator.autoscaler import BASE, Autoscaler
from doorbuster_operator.conditions import Condition, by_type, condition, rfc3339

from .facts import Seen, TargetSeen
from .model import FlashSale, Phase, ScalingTarget

KIND = "CapacityWarmed"
SELLING = frozenset({Phase.WARMING, Phase.OPEN, Phase.SOLD_OUT})
CLOSED = frozenset({Phase.CLOSED, Phase.SETTLED})


def warmup_time(sale: FlashSale) -> datetime:
    """Return when the gate is to be armed and the capacity to be raised."""
    return sale.spec.open_time - timedelta(seconds=sale.spec.warmup.lead_seconds)


def demand(sale: FlashSale, target: ScalingTarget, now: datetime) -> int:
    """Return the replicas that a sale asks of one target: from the warm-up to the end of the cool-down."""
    if sale.is_deleting or sale.spec.desired_state == "Cancelled":
        return 0
    phase = sale.status.phase
    is_due = phase is Phase.SCHEDULED and now >= warmup_time(sale)
    if phase in SELLING or is_due or (phase in CLOSED and now < _cooled(sale, target)):
        return target.warm_replicas
    return 0


def demands(sales: Iterable[FlashSale], now: datetime) -> dict[str, int]:
    """Return the highest demand of all sales by autoscaler; one that nobody asks anything of is absent."""
    highest: dict[str, int] = {}
    for sale in sales:
        for target in sale.spec.scaling.targets:
            asked = demand(sale, target, now)
            if asked > highest.get(target.hpa_name, 0):
                highest[target.hpa_name] = asked
    return highest


def basis(sale: FlashSale) -> object:
    """Return what the demands of a sale depend on besides the time; None of a sale that asks for nothing."""
    if sale.is_deleting or sale.spec.desired_state == "Cancelled" or not sale.spec.scaling.targets:
        return None
    return sale.spec, sale.status.phase, sale.status.timeline.close_time


def next_change(sales: Iterable[FlashSale], now: datetime) -> datetime | None:
    """Return when time alone changes a demand next."""
    return min((moment for moment in _changes(sales) if moment > now), default=None)


def _changes(sales: Iterable[FlashSale]) -> Iterator[datetime]:
    for sale in sales:
        targets = sale.spec.scaling.targets
        if targets and sale.status.phase is Phase.SCHEDULED:
            yield warmup_time(sale)
        if sale.status.phase in CLOSED:
            yield from (_cooled(sale, target) for target in targets)


def _cooled(sale: FlashSale, target: ScalingTarget) -> datetime:
    closed = sale.status.timeline.close_time or sale.spec.close_time
    return closed + timedelta(seconds=target.cooldown_seconds)


def look(
    target: ScalingTarget,
    asked: int,
    scaler: Autoscaler | None,
    *,
    ready: Mapping[str, int] | None,
    failure: str | None,
) -> TargetSeen:
    """Return a target as it was last seen; ``ready`` are the ready replicas by Deployment, if they were read.

    ``failure`` says why the autoscaler could not be read or written.
    """
    problem = _problem(target, scaler, failure)
    if scaler is None or failure is not None:
        return TargetSeen(name=target.name, demand=asked, problem=problem)
    deployment = scaler.deployment
    if problem is None and ready is not None and deployment not in ready:
        text = f"{_of(target)} scales no Deployment whose readiness can be seen."
        problem = ("DeploymentMissing", text)
    return TargetSeen(
        name=target.name,
        demand=asked,
        minimum=scaler.minimum,
        ready=None if ready is None else ready.get(deployment or "", 0),
        problem=problem,
    )


def _of(target: ScalingTarget) -> str:
    return f"Target {target.name}: HorizontalPodAutoscaler {target.hpa_name}"


def _problem(
    target: ScalingTarget, scaler: Autoscaler | None, failure: str | None
) -> tuple[str, str] | None:
    if failure is not None:
        return "AutoscalingUnavailable", f"{_of(target)} cannot be warmed: {failure}"
    if scaler is None:
        return "HpaMissing", f"{_of(target)} does not exist."
    if scaler.base is None:
        text = (
            f"{_of(target)} may not be changed: it needs the annotation {BASE}, a number from 1."
        )
        return "NotMarked", text
    if scaler.maximum < target.warm_replicas:
        text = (
            f"{_of(target)} allows {scaler.maximum} replicas, {target.warm_replicas} are asked for: "
            "raise its maxReplicas or lower warmReplicas."
        )
        return "BelowMaximum", text
    return None


def needed(sale: FlashSale, target: ScalingTarget) -> int:
    """Return how many replicas of a target must be ready; parts of a replica count as one."""
    return -(-target.warm_replicas * sale.spec.warmup.min_ready_percent // 100)


def warmed(sale: FlashSale, seen: Seen, phase: Phase, now: datetime) -> Condition:
    """Tell whether the capacity that the sale asks for is there."""
    if not sale.spec.scaling.targets:
        return condition(KIND, True, "NotNeeded", "The sale names no scaling targets.")
    if phase is Phase.CANCELLED or phase in CLOSED:
        return _after(sale, seen)
    fresh = measured(sale, seen)
    if fresh.reason == "NotSeen":
        # A process that was just started has not looked yet: what was told of this very spec still stands.
        known = by_type(sale.status.conditions).get(KIND)
        if known is not None and known.observed_generation == sale.generation:
            return known
    if phase not in SELLING and now < warmup_time(sale) and fresh.reason in {"NotReady", "Warmed"}:
        text = f"The capacity is warmed from {rfc3339(warmup_time(sale))} on."
        return condition(KIND, False, "NotYet", text)
    return fresh


def measured(sale: FlashSale, seen: Seen) -> Condition:
    """Tell what of the capacity can be seen at this moment, whatever was told before."""
    by_name = {target.name: target for target in seen.targets}
    looked = [(target, by_name.get(target.name)) for target in sale.spec.scaling.targets]
    for _, found in looked:
        if found is not None and found.problem is not None:
            reason, text = found.problem
            is_unknown = reason == "AutoscalingUnavailable"
            return condition(KIND, "Unknown" if is_unknown else False, reason, text)
    for target, found in looked:
        if found is None or found.minimum is None:
            return condition(KIND, "Unknown", "NotSeen", f"{_of(target)} was not looked at yet.")
        if found.minimum < target.warm_replicas:
            return condition(KIND, False, "NotReady", f"{_of(target)} is not raised yet.")
        if found.ready is None:
            text = f"The replicas of target {target.name} were not counted yet."
            return condition(KIND, "Unknown", "NotSeen", text)
        if found.ready < needed(sale, target):
            text = (
                f"Target {target.name}: {found.ready} of {target.warm_replicas} replicas are ready, "
                f"{needed(sale, target)} are needed."
            )
            return condition(KIND, False, "NotReady", text)
    return condition(KIND, True, "Warmed", "Every scaling target has its replicas ready.")


def _after(sale: FlashSale, seen: Seen) -> Condition:
    left = [target for target in seen.targets if sale.is_deleting and not target.is_returned]
    if left:
        text = f"The sale goes when target {left[0].name} is given back."
        reason, why = left[0].problem or ("GivingBack", "It is under way.")
        return condition(KIND, False, reason, f"{text} {why}")
    asked = {target.name for target in seen.targets if target.demand}
    ends = [_cooled(sale, each) for each in sale.spec.scaling.targets if each.name in asked]
    if ends:
        text = f"The replicas are kept until {rfc3339(max(ends))}."
        return condition(KIND, False, "CoolingDown", text)
    text = "The sale asks for no replicas any more."
    return condition(KIND, False, "GivenBack", text)
