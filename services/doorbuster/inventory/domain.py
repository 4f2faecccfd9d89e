"""What inventory decides without asking anybody: fates of permits, refusals of the control API, when to warm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from doorbuster.contracts import control
from doorbuster.escrow.model import Fate, Gate, Overdue, Settlement, Snapshot

MAX_UNITS = 2_147_483_647
_HOLDING = frozenset({"HELD", "PAYING", "SOLD"})


class ControlError(Exception):
    """The control API refuses; nothing was changed."""


class StaleEpochError(ControlError):
    """A fence or a generation that is older than the stored one."""


class ResourceConflictError(ControlError):
    """Another owner has it, or it cannot be changed any more."""


class BelowCommittedError(ControlError):
    """The level is below what is reserved and sold."""


class OverlapError(ControlError):
    """Another sale of the product is open at some time of the window."""


class ManagedByPoolError(ControlError):
    """An InventoryPool says how many units there are."""


class UnknownProductError(Exception):
    """There is no such product, or it never had any stock."""


class UnknownOrderError(Exception):
    """There is no reservation of this order."""


# --- permits --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class PermitUsed:
    """One line's permit as the order named it."""

    order_id: str
    product_id: str
    epoch: int


def fate_of_stored(state: str, line_epoch: int | None, permit_epoch: int) -> Fate:
    """Tell how a permit ends whose order id has a row in ``state``.

    A permit of another epoch than the line's did not buy the units: it goes back. One that did and was
    released since is only dropped: the return of the units is on its way by itself.
    """
    if state == "TOMB" or line_epoch != permit_epoch:
        return Fate.RETURN
    return Fate.KEEP if state in _HOLDING else Fate.RELEASED


def settlements(
    used: Sequence[PermitUsed],
    *,
    outcome: str,
    failed_product: str | None,
    stored_state: str | None,
    stored_epochs: Mapping[str, int | None],
) -> list[Settlement]:
    """Tell how the permits of one order end after reserve answered ``outcome``.

    ``stored_state`` is NEW for an order reserved just now, the state of the row of an order known before, or
    None for an order that was refused. A stale permit is left alone: the next load forgets it.
    """
    ended: list[Settlement] = []
    for permit in used:
        if stored_state == "NEW":
            fate = Fate.KEEP
        elif stored_state is not None:
            line_epoch = stored_epochs.get(permit.product_id)
            fate = fate_of_stored(stored_state, line_epoch, permit.epoch)
        elif permit.product_id == failed_product and outcome == "STALE_EPOCH":
            continue
        elif permit.product_id == failed_product and outcome in ("WAITING", "SOLD_OUT"):
            fate = Fate.PHANTOM
        else:
            fate = Fate.RETURN
        ended.append(
            Settlement(
                order_id=permit.order_id,
                product_id=permit.product_id,
                epoch=permit.epoch,
                fate=fate,
            )
        )
    return ended


def bury_verdict(
    permit: Overdue, state: str, stored_epochs: Mapping[str, int | None]
) -> Settlement:
    """Tell how an overdue permit ends, given what is stored of its order after the burial."""
    return Settlement(
        order_id=permit.order_id,
        product_id=permit.product_id,
        epoch=permit.epoch,
        fate=fate_of_stored(state, stored_epochs.get(permit.product_id), permit.epoch),
    )


# --- warmth ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class GateFacts:
    """What Redis should hold of a product, by PostgreSQL."""

    product_id: str
    epoch: int
    loaded_run_id: str | None
    strategy: control.Strategy
    gate: Gate
    sellable: int
    returning: int


def is_warm(facts: GateFacts, held: Snapshot | None, run_id: str | None) -> bool:
    """Tell whether Redis holds this very gate at this very epoch and has not been restarted since.

    ``run_id`` names the life of the server that holds the product.
    """
    return (
        held is not None
        and facts.loaded_run_id == run_id
        and held.epoch == facts.epoch
        and held.gate == facts.gate
    )


def drift(facts: GateFacts, held: Snapshot) -> int:
    """Return permits (free, in flight, on their way back) minus units that may be sold."""
    return held.permits + held.unsettled + facts.returning - facts.sellable


class DriftWatch:
    """Remembers drifts between two looks: only one that stays the same for a whole pass is real.

    What moves between two looks is work under way (a commit whose settlement is yet to come).
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}

    def look(self, found: Mapping[str, tuple[int, int]]) -> list[str]:
        """Take (epoch, drift) per product; return the products whose drift was there before."""
        real = [
            product
            for product, (epoch, amount) in found.items()
            if amount != 0 and self._seen.get(product) == (epoch, amount)
        ]
        self._seen = {
            product: seen
            for product, seen in found.items()
            if seen[1] != 0 and product not in real
        }
        return real


def armed_reason(
    facts: GateFacts | None,
    held: Snapshot | None,
    *,
    sale_uid: str,
    is_over: bool,
    strategy: control.Strategy,
    run_id: str | None,
) -> str:
    """Say in one CamelCase word why an item of a sale is armed (Armed, NoPermitsNeeded) or not.

    Without a ``run_id`` the server that would hold the permits is away.
    """
    if is_over:
        return "Over"
    if strategy != "Escrow":
        return "NoPermitsNeeded"
    if run_id is None:
        return "RedisAway"
    if facts is None or facts.gate.sale_uid != sale_uid:
        return "EarlierSaleHoldsGate"
    return "Armed" if is_warm(facts, held, run_id) else "NotLoaded"


ARMED_REASONS = frozenset({"Armed", "NoPermitsNeeded"})

# --- control API ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSale:
    """What of a stored sale decides over a change."""

    namespace: str
    name: str
    generation: int
    fence: int
    state: control.DesiredState


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPool:
    """What of a stored pool decides over a change."""

    owner_uid: str | None
    generation: int
    fence: int
    reserved: int
    sold: int


def check_sale(stored: StoredSale | None, gate: control.SaleGate) -> None:
    """Raise StaleEpochError or ResourceConflictError unless ``gate`` may replace ``stored``."""
    if stored is None:
        return
    if (stored.namespace, stored.name) != (gate.namespace, gate.name):
        raise ResourceConflictError(f"this uid is {stored.namespace}/{stored.name}")
    _check_age(stored.fence, stored.generation, fence=gate.fence, generation=gate.generation)
    if stored.state == "Cancelled" and gate.state != "Cancelled":
        raise ResourceConflictError("a cancelled sale stays cancelled")


def check_pool(stored: StoredPool, spec: control.PoolSpec) -> None:
    """Raise a ControlError unless ``spec`` may replace ``stored``."""
    if stored.owner_uid is not None:
        if stored.owner_uid != spec.owner_uid:
            raise ResourceConflictError(f"the stock belongs to the pool {stored.owner_uid}")
        _check_age(stored.fence, stored.generation, fence=spec.fence, generation=spec.generation)
    _check_committed(stored, spec.capacity)


def check_level(stored: StoredPool, total: int) -> None:
    """Raise ManagedByPoolError or BelowCommittedError unless a merchant may set ``total`` units."""
    if stored.owner_uid is not None:
        raise ManagedByPoolError("an InventoryPool says how many units of this product there are")
    _check_committed(stored, total)


def _check_committed(stored: StoredPool, total: int) -> None:
    if total < stored.reserved + stored.sold:
        raise BelowCommittedError(
            f"{stored.sold} units are sold and {stored.reserved} reserved,"
            f" so there cannot be {total}"
        )


def _check_age(stored_fence: int, stored_generation: int, *, fence: int, generation: int) -> None:
    if fence < stored_fence:
        raise StaleEpochError(f"fence {fence} is older than {stored_fence}")
    if generation < stored_generation:
        raise StaleEpochError(f"generation {generation} is older than {stored_generation}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """When another sale sells a product."""

    sale: str
    product_id: str
    open_at: datetime
    close_at: datetime


def check_overlap(gate: control.SaleGate, others: Sequence[Window]) -> None:
    """Raise OverlapError when a window of another sale of one of the products overlaps."""
    if gate.state == "Cancelled":
        return
    for other in others:
        if other.open_at < gate.close_time and gate.open_time < other.close_at:
            raise OverlapError(f"{other.sale} sells {other.product_id} at the same time")


# --- payments -------------------------------------------------------------------------------------

PinFate = Literal["SOLD", "DECLINED", "RETURNED", "LATER"]


def pin_fate(verdict: str) -> PinFate:
    """Translate payment's verdict; only a final one moves anything."""
    match verdict:
        case "SUCCEEDED":
            return "SOLD"
        case "FAILED":
            return "DECLINED"
        case "REVERSED":
            return "RETURNED"
        case _:
            return "LATER"
