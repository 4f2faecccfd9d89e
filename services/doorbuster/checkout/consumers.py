"""Checkout's two consumers, the shop's orders and every sale's own topic: which orders are over."""

from doorbuster.contracts import events
from doorbuster.kit.consumer import Consumer

from .usecases.discounting import Discounting

_TYPES: dict[str, type[events.Event]] = {
    event.type: event
    for event in (events.OrderExpired, events.OrderCancelled, events.PaymentReversed)
}


def consumers(bootstrap: str, discounting: Discounting) -> dict[str, Consumer]:
    """Return the consumers by the name of their loop."""
    return {
        "orders": Consumer(
            bootstrap=bootstrap,
            group="checkout.orders",
            types=_TYPES,
            handle=discounting.take_in,
            topics=(events.ORDERS_TOPIC,),
        ),
        "sale_orders": Consumer(
            bootstrap=bootstrap,
            group="checkout.sales",
            types=_TYPES,
            handle=discounting.take_in,
            pattern=events.SALE_TOPIC_PATTERN,
        ),
    }
