"""Begin a payment: pin the units of a placed order for one attempt; from then on time alone frees nothing."""

from doorbuster.checkout.domain import refusals
from doorbuster.checkout.ports import Inventory, OrderStore
from doorbuster.contracts import internal
from doorbuster.kit import failpoints, telemetry

_REFUSALS: dict[str, type[refusals.RefusalError]] = {
    "EXPIRED": refusals.HoldExpiredError,
    "CONFLICT": refusals.PaymentInProgressError,
    "PAID": refusals.AlreadyPaidError,
    "UNKNOWN_ORDER": refusals.HoldExpiredError,  # stored here, unknown there: nothing holds units
}


async def show_order(store: OrderStore, order_id: str) -> internal.PlacedOrder:
    """Return a placed order; raises UnknownOrderError."""
    stored = await store.find(order_id)
    if stored is None:
        raise refusals.UnknownOrderError
    return stored.order


async def begin_payment(
    store: OrderStore, inventory: Inventory, order_id: str, attempt: int
) -> internal.PlacedOrder:
    """Return the order once its units are pinned.

    Raises UnknownOrderError, HoldExpiredError, PaymentInProgressError, AlreadyPaidError or ConnectionError. A
    repeated call with the same attempt finds its own pin.
    """
    order = await show_order(store, order_id)
    pinned = await inventory.pin(
        internal.PinItem(order_id=order_id, attempt=attempt, traceparent=telemetry.traceparent())
    )
    failpoints.reach("checkout.pin.answered")
    if pinned.outcome != "PINNED":
        raise _REFUSALS[pinned.outcome]
    return order
