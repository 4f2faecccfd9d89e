"""How a sale's facts are told: conditions with stable reasons, notices on edges, one sentence (pure)."""

from datetime import datetime, timedelta

from doorbuster.contracts import control
from doorbuster_operator.conditions import Condition, by_type, condition, rfc3339

from . import capacity
from .facts import Failure, Seen
from .model import OVER, FlashSale, Phase

SKEW_LIMIT = timedelta(milliseconds=500)
# Reasons of the condition Open while the gate is stored Suspended: by the merchant, or to wait for the capacity.
SUSPENDED = "Suspended"
HOLD_PREPARED = "HoldPrepared"
HELD = "Held"

# What a refusal of inventory means for people; other codes pass through with inventory's own words.
REFUSALS = {
    "OVERLAP": "Overlap",
    "RESOURCE_CONFLICT": "ResourceConflict",
    "BELOW_COMMITTED": "BelowCommitted",
    "STALE_EPOCH": "StaleEpoch",
}


def is_sold_out(gate: control.SaleState) -> bool:
    """Tell whether nothing is left and nobody holds a unit that may come back."""
    return gate.sold_out_time is not None and all(
        item.available <= 0 and item.reserved == 0 for item in gate.items
    )


def told_open(sale: FlashSale) -> str:
    """Return the reason of the condition Open as it was told last."""
    before = by_type(sale.status.conditions).get("Open")
    return "" if before is None else before.reason


def was_suspended(sale: FlashSale) -> bool:
    """Tell whether the last status told that the gate is shut, by the merchant or for the capacity."""
    return told_open(sale) in {SUSPENDED, HOLD_PREPARED, HELD}


def conditions(sale: FlashSale, seen: Seen, phase: Phase, now: datetime) -> tuple[Condition, ...]:
    """Return all conditions of a sale, Ready first."""
    parts = (
        accepted(sale, seen),
        pools_bound(sale, seen),
        _topics_ready(sale, seen),
        capacity.warmed(sale, seen, phase, now),
        _clock_synchronized(seen),
        _armed(sale, seen, phase),
        _open(sale, seen, phase, now),
        _sold_out(sale, seen, phase),
        _settled(seen, phase),
    )
    return (_ready(phase, by_type(parts)), *parts)


def current(sale: FlashSale, failure: Failure | None) -> Failure | None:
    """Forget a failure of an older generation: the new one deserves a try, and other words."""
    return failure if failure is not None and failure.generation == sale.generation else None


def accepted(sale: FlashSale, seen: Seen) -> Condition:
    """Tell whether inventory takes the sale as it is written."""
    failure = current(sale, seen.gate_failure)
    if failure is not None and failure.is_refusal:
        return condition("Accepted", False, failure.reason, failure.message)
    return condition("Accepted", True, "Valid", "The sale can be sold as it is written.")


def pools_bound(sale: FlashSale, seen: Seen) -> Condition:
    """Tell whether every item has its pool, with the same sku and its stock applied."""
    for item in sale.spec.items:
        pool = seen.pools.get(item.pool_name)
        name = f"InventoryPool {item.pool_name}"
        if pool is None:
            return condition("PoolsBound", False, "PoolMissing", f"{name} does not exist.")
        if pool.sku != item.sku:
            why = f"{name} holds {pool.sku}, not {item.sku}."
            return condition("PoolsBound", False, "SkuMismatch", why)
        if pool.is_deleting:
            return condition("PoolsBound", False, "PoolDeleting", f"{name} is being deleted.")
        if not pool.is_applied:
            why = f"The stock of {name} is not applied yet."
            return condition("PoolsBound", False, "StockNotApplied", why)
    return condition("PoolsBound", True, "Bound", "Every item has its stock.")


def _topics_ready(sale: FlashSale, seen: Seen) -> Condition:
    failure, wanted = current(sale, seen.topic_failure), sale.spec.messaging
    if failure is not None:
        return condition("TopicsReady", False, failure.reason, failure.message)
    if seen.topic is None:
        # A process that was just started has not looked yet, and for a sale that is over it never will.
        known = by_type(sale.status.conditions).get("TopicsReady")
        why = "The topic was not looked at yet."
        return known or condition("TopicsReady", "Unknown", "NotAsked", why)
    if seen.topic.partitions < wanted.partitions:
        return condition("TopicsReady", False, "Growing", "The topic has too few partitions yet.")
    return condition("TopicsReady", True, "Provisioned", f"Topic {seen.topic.name} is there.")


def _clock_synchronized(seen: Seen) -> Condition:
    kind = "ClockSynchronized"
    if seen.offset is None:
        return condition(kind, "Unknown", "NotMeasured", "The clocks were not compared yet.")
    if abs(seen.offset) > SKEW_LIMIT:
        why = (
            "The operator's clock is wrong. Sales open on time all the same: "
            "the inventory service's clock decides."
        )
        return condition(kind, False, "Skewed", why)
    return condition(kind, True, "InStep", "The operator's clock agrees with the deciding one.")


def _armed(sale: FlashSale, seen: Seen, phase: Phase) -> Condition:
    gate = seen.gate
    if seen.silence is not None:
        return condition("Armed", False, "InventoryUnavailable", seen.silence)
    if phase in {Phase.CLOSED, Phase.SETTLED, Phase.CANCELLED}:
        return condition("Armed", False, "Over", "The gate is shut for good.")
    failure = current(sale, seen.gate_failure)
    if failure is not None:
        return condition("Armed", gate is not None and gate.armed, failure.reason, failure.message)
    if gate is None:
        return condition("Armed", False, "NotYet", "The gate is armed when the warm-up begins.")
    if gate.armed:
        is_shut = gate.state == "Suspended"
        why = (
            "The gate is loaded and kept shut."
            if is_shut
            else "The gate opens by itself, on time."
        )
        return condition("Armed", True, "Loaded", why)
    reason = "GateLost" if sale.status.timeline.armed_time is not None else "Loading"
    cause = gate.armed_reason or "no reason given"
    why = f"The permits are not loaded ({cause}): reservations go straight to the database."
    return condition("Armed", False, reason, why)


def _open(sale: FlashSale, seen: Seen, phase: Phase, now: datetime) -> Condition:
    gate = seen.gate
    if phase in {Phase.OPEN, Phase.SOLD_OUT, Phase.WARMING} and gate is not None:
        if gate.state == "Suspended":
            return _suspended(sale, gate, now)
        if phase is not Phase.WARMING:
            return condition("Open", True, "WindowOpen", f"Until {rfc3339(gate.close_time)}.")
    match phase:
        case Phase.CLOSED | Phase.SETTLED:
            is_cancelled = sale.spec.desired_state == "Cancelled"
            reason = "Cancelled" if is_cancelled else "WindowOver"
            return condition("Open", False, reason, "The sale is over.")
        case Phase.CANCELLED:
            if sale.spec.desired_state == "Cancelled" or sale.is_deleting:
                return condition(
                    "Open", False, "Cancelled", "The sale was cancelled before it opened."
                )
            why = "The opening time had passed before the gate could be armed."
            return condition("Open", False, "MissedOpening", why)
        case Phase.OPEN | Phase.SOLD_OUT:
            return condition("Open", "Unknown", "InventoryUnavailable", "The gate cannot be seen.")
        case _:
            opens = rfc3339(sale.spec.open_time)
            reason = "NotYet" if now < sale.spec.open_time else "NotArmed"
            return condition("Open", False, reason, f"The sale opens at {opens}.")


def _suspended(sale: FlashSale, gate: control.SaleState, now: datetime) -> Condition:
    # Until the edit that resumes it has reached the gate, a sale is what it was, and not held for its capacity.
    is_resuming = told_open(sale) == SUSPENDED and gate.generation < sale.generation
    if sale.spec.desired_state == "Suspended" or is_resuming:
        return condition("Open", False, SUSPENDED, "The sale is suspended; holds stay payable.")
    if now < gate.open_time:
        why = "The gate is kept shut until the capacity is warm."
        return condition("Open", False, HOLD_PREPARED, why)
    why = f"The sale opens as soon as the capacity is warm, until {rfc3339(gate.close_time)}."
    return condition("Open", False, HELD, why)


def _sold_out(sale: FlashSale, seen: Seen, phase: Phase) -> Condition:
    known = by_type(sale.status.conditions).get("SoldOut")
    if sale.status.phase in OVER and known is not None:
        return known  # what happens to the stock later is no business of the sale
    if seen.gate is not None and is_sold_out(seen.gate):
        return condition("SoldOut", True, "NothingLeft", "Every unit is paid.")
    if phase in {Phase.OPEN, Phase.SOLD_OUT}:
        return condition("SoldOut", False, "UnitsLeft", "There are units that may be bought.")
    return condition("SoldOut", False, "NotSelling", "The sale does not sell now.")


def _settled(seen: Seen, phase: Phase) -> Condition:
    gate = seen.gate
    if phase is Phase.SETTLED:
        return condition(
            "Settled", True, "BooksClosed", "Every unit and every payment has its fate."
        )
    if phase is not Phase.CLOSED:
        return condition("Settled", False, "NotClosed", "The sale is not over.")
    if gate is not None and not gate.drained:
        return condition("Settled", False, "Draining", "Holds or payments are still under way.")
    if seen.unread_failure is not None:
        return condition("Settled", False, seen.unread_failure.reason, seen.unread_failure.message)
    if seen.unread:
        return condition(
            "Settled", False, "EventsUnread", "Some events are not read by everybody."
        )
    if seen.report_failure is not None:
        return condition("Settled", False, seen.report_failure.reason, seen.report_failure.message)
    if not all(pool.is_conserved for pool in seen.pools.values()):
        return condition("Settled", False, "NotConserved", "The counters of a pool do not add up.")
    return condition("Settled", False, "Grace", "Waiting for settlement.graceSeconds to pass.")


def _ready(phase: Phase, parts: dict[str, Condition]) -> Condition:
    match phase:
        case Phase.SETTLED:
            return condition(
                "Ready", True, "Settled", "The sale is over and its books are closed."
            )
        case Phase.CANCELLED:
            return condition("Ready", False, parts["Open"].reason, parts["Open"].message)
        case Phase.CLOSED:
            needed = ["Accepted"]
        case Phase.WARMING | Phase.OPEN | Phase.SOLD_OUT:
            needed = ["Accepted", "PoolsBound", "TopicsReady", "Armed", "CapacityWarmed"]
        case Phase.PENDING | Phase.SCHEDULED:
            needed = ["Accepted", "PoolsBound", "TopicsReady"]
    for kind in needed:
        part = parts[kind]
        if part.status != "True":
            return condition("Ready", False, part.reason, part.message)
    return condition("Ready", True, "AsPlanned", "Everything is as it should be.")


def summary(sale: FlashSale, seen: Seen, phase: Phase, parts: tuple[Condition, ...]) -> str:
    """Return one sentence for people."""
    ready = by_type(parts)["Ready"]
    opens, closes = rfc3339(sale.spec.open_time), rfc3339(sale.spec.close_time)
    gate = seen.gate
    sold = sum(item.sold for item in gate.items) if gate else 0
    units = sum(item.allocated for item in gate.items) if gate else 0
    match phase:
        case Phase.PENDING:
            return f"Waiting: {ready.message}"
        case Phase.SCHEDULED:
            text = f"Opens at {opens}."
        case Phase.WARMING:
            text = f"Getting ready to open at {opens}."
        case Phase.OPEN:
            text = f"Open until {closes}."
        case Phase.SOLD_OUT:
            text = f"All {sold} units are sold."
        case Phase.CLOSED:
            text = f"Closed, {sold} of {units} units sold, settling."
        case Phase.SETTLED:
            return f"Settled: {sold} of {units} units sold."
        case Phase.CANCELLED:
            return f"Cancelled: {ready.message}"
    if ready.status != "True":
        text += f" {ready.message}"
    return text[:500]
