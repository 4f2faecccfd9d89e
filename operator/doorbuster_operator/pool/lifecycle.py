"""The life of a pool: one pure reducer from what is seen to what is to be done.

Stock is a level: the same capacity applied twice changes nothing, so there is nothing to count and nothing to lose.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from doorbuster.contracts import control
from doorbuster_operator.conditions import Condition, Notice, by_type, condition

from .model import InventoryPool


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why the stock could not be applied for this generation, and when to try again."""

    reason: str
    message: str
    retry_at: datetime
    generation: int


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the world looks like to one pool.

    ``bound_sales`` are the names of sales that are not over and take units from it; ``is_in_use`` tells
    whether one of them may have a gate.
    """

    stock: control.PoolState | None = None
    silence: str | None = None
    failure: Failure | None = None
    bound_sales: tuple[str, ...] = ()


@dataclass(frozen=True)
class AddFinalizer:
    """Make sure that the pool is not forgotten while its stock is sold."""


@dataclass(frozen=True)
class DropFinalizer:
    """Let the object go."""


@dataclass(frozen=True)
class PutStock:
    """Set the stock level in inventory."""

    capacity: int
    safety_stock: int


@dataclass(frozen=True)
class ReleaseStock:
    """Give up the ownership of the stock, so that another pool may have the sku."""


Action = AddFinalizer | DropFinalizer | PutStock | ReleaseStock


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a pool is now and what is to be done."""

    conditions: tuple[Condition, ...]
    notices: tuple[Notice, ...]
    actions: tuple[Action, ...]
    wake_at: datetime | None


def decide(pool: InventoryPool, seen: Seen, now: datetime) -> Decision:
    """Return what this pool is at ``now`` and what is to be done about it."""
    actions = _deletion(pool, seen, now) if pool.is_deleting else _actions(pool, seen, now)
    parts = (_capacity_applied(pool, seen), _conserved(seen), _bound(seen))
    conditions = (_ready(pool, seen, parts), *parts)
    return Decision(
        conditions=conditions,
        notices=_notices(pool, seen, by_type(conditions)),
        actions=actions,
        wake_at=_retry_at(seen.failure, now),
    )


def _retry_at(failure: Failure | None, now: datetime) -> datetime | None:
    return failure.retry_at if failure is not None and failure.retry_at > now else None


def is_owned(pool: InventoryPool, stock: control.PoolState | None) -> bool:
    """Tell whether inventory has stock of this very pool, at whatever level."""
    return stock is not None and stock.owner_uid == pool.uid


def is_conserved(stock: control.PoolState) -> bool:
    """Tell whether every unit is somewhere."""
    return stock.available + stock.reserved + stock.sold == stock.capacity


def _is_current(pool: InventoryPool, stock: control.PoolState | None) -> bool:
    return (
        stock is not None
        and stock.owner_uid == pool.uid
        and stock.generation >= pool.generation
        and stock.capacity == pool.spec.capacity
        and stock.safety_stock == pool.spec.safety_stock
    )


def _is_due(pool: InventoryPool, seen: Seen, now: datetime) -> bool:
    failure = seen.failure
    return failure is None or failure.generation != pool.generation or now >= failure.retry_at


def _actions(pool: InventoryPool, seen: Seen, now: datetime) -> tuple[Action, ...]:
    if seen.silence is not None or _is_current(pool, seen.stock) or not _is_due(pool, seen, now):
        return ()
    put = PutStock(pool.spec.capacity, pool.spec.safety_stock)
    return (put,) if pool.is_finalized else (AddFinalizer(), put)


def _deletion(pool: InventoryPool, seen: Seen, now: datetime) -> tuple[Action, ...]:
    """Wait for the sales; then leave the stock, or lower it to what is committed, and give it up."""
    if not pool.is_finalized or seen.bound_sales or seen.silence is not None:
        return ()
    stock = seen.stock
    if stock is None or stock.owner_uid != pool.uid:
        return (DropFinalizer(),)
    if not _is_due(pool, seen, now):
        return ()
    committed = stock.reserved + stock.sold
    if pool.spec.reclaim_policy == "Delete" and stock.capacity != committed:
        return (PutStock(committed, stock.safety_stock), ReleaseStock(), DropFinalizer())
    return (ReleaseStock(), DropFinalizer())


def _capacity_applied(pool: InventoryPool, seen: Seen) -> Condition:
    failure = seen.failure
    if failure is not None:
        return condition("CapacityApplied", False, failure.reason, failure.message)
    if seen.silence is not None:
        return condition("CapacityApplied", "Unknown", "InventoryUnavailable", seen.silence)
    if pool.is_deleting:
        return condition("CapacityApplied", False, "Deleting", "The pool is being deleted.")
    if not _is_current(pool, seen.stock):
        return condition("CapacityApplied", False, "Applying", "The stock is not applied yet.")
    return condition("CapacityApplied", True, "Applied", "Inventory has this stock.")


def _conserved(seen: Seen) -> Condition:
    stock = seen.stock
    if stock is None:
        return condition("Conserved", "Unknown", "NotSeen", "The counters were not read yet.")
    if is_conserved(stock):
        return condition("Conserved", True, "AddsUp", "available + reserved + sold = capacity.")
    why = (
        f"{stock.available} available + {stock.reserved} reserved + {stock.sold} sold "
        f"is not {stock.capacity}."
    )
    return condition("Conserved", False, "CountersDiffer", why)


def _bound(seen: Seen) -> Condition:
    if not seen.bound_sales:
        return condition("Bound", False, "NoSale", "No sale takes units from this pool.")
    names = ", ".join(seen.bound_sales)
    return condition("Bound", True, "InUse", f"Taken by {names}.")


def _ready(pool: InventoryPool, seen: Seen, parts: Iterable[Condition]) -> Condition:
    if pool.is_deleting and seen.bound_sales:
        names = ", ".join(seen.bound_sales)
        why = f"The pool goes when these sales are over: {names}."
        return condition("Ready", False, "DeletionBlocked", why)
    for part in parts:
        if part.type != "Bound" and part.status != "True":
            return condition("Ready", False, part.reason, part.message)
    return condition("Ready", True, "AsPlanned", "The stock is as it should be.")


def _notices(pool: InventoryPool, seen: Seen, fresh: dict[str, Condition]) -> tuple[Notice, ...]:
    before = by_type(pool.status.conditions)
    told = []
    applied, ready, conserved = fresh["CapacityApplied"], fresh["Ready"], fresh["Conserved"]
    old = before.get("CapacityApplied")
    known = pool.status.capacity
    stock = seen.stock
    generation = pool.generation
    if applied.status == "True" and stock is not None and known not in (None, stock.capacity):
        raised = stock.capacity > (known or 0)
        reason = "StockRaised" if raised else "StockLowered"
        text = f"The stock is {stock.capacity} now, it was {known}."
        told.append(Notice(reason=reason, message=text, key=f"stock-{generation}"))
    if applied.reason == "BelowCommitted" and (old is None or old.reason != "BelowCommitted"):
        key = f"below-{generation}"
        told.append(
            Notice(
                reason="StockReductionRefused", message=applied.message, key=key, is_warning=True
            )
        )
    if applied.reason == "ResourceConflict" and (old is None or old.reason != "ResourceConflict"):
        key = f"conflict-{generation}"
        told.append(
            Notice(reason="ResourceConflict", message=applied.message, key=key, is_warning=True)
        )
    was_ready = before.get("Ready")
    if ready.reason == "DeletionBlocked" and (
        was_ready is None or was_ready.reason != "DeletionBlocked"
    ):
        told.append(
            Notice(reason="DeletionBlocked", message=ready.message, key="blocked", is_warning=True)
        )
    was_conserved = before.get("Conserved")
    if conserved.status == "False" and (was_conserved is None or was_conserved.status != "False"):
        key = f"conservation-{stock.revision if stock else 0}"
        told.append(
            Notice(reason="ConservationError", message=conserved.message, key=key, is_warning=True)
        )
    return tuple(told)
