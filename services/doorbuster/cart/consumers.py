"""The cart's consumers of paid orders."""

from doorbuster.contracts import events
from doorbuster.kit import consumer

from .usecases import Carts

_TYPES: dict[str, type[events.Event]] = {events.PaymentSucceeded.type: events.PaymentSucceeded}


def consumers(bootstrap: str, carts: Carts) -> dict[str, consumer.Consumer]:
    """Return the consumers by the name of their loop."""
    return consumer.of_orders(
        "cart",
        bootstrap=bootstrap,
        topic=events.ORDERS_TOPIC,
        pattern=events.SALE_TOPIC_PATTERN,
        types=_TYPES,
        handle=carts.take_in,
    )
