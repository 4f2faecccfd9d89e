"""Checkout's consumers of orders: which are over."""

from doorbuster.contracts import events
from doorbuster.kit import consumer

from .usecases.discounting import Discounting

_TYPES: dict[str, type[events.Event]] = {
    event.type: event
    for event in (events.OrderExpired, events.OrderCancelled, events.PaymentReversed)
}


def consumers(bootstrap: str, discounting: Discounting) -> dict[str, consumer.Consumer]:
    """Return the consumers by the name of their loop."""
    return consumer.of_orders(
        "checkout",
        bootstrap=bootstrap,
        topic=events.ORDERS_TOPIC,
        pattern=events.SALE_TOPIC_PATTERN,
        types=_TYPES,
        handle=discounting.take_in,
    )
