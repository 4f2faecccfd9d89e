"""The cart's two consumers of paid orders: the shop's topic and every sale's own."""

from doorbuster.contracts import events
from doorbuster.kit.consumer import Consumer

from .usecases import Carts

_TYPES: dict[str, type[events.Event]] = {events.PaymentSucceeded.type: events.PaymentSucceeded}


def consumers(bootstrap: str, carts: Carts) -> dict[str, Consumer]:
    """Return the consumers by the name of their loop."""
    return {
        "orders": Consumer(
            bootstrap=bootstrap,
            group="cart.orders",
            types=_TYPES,
            handle=carts.take_in,
            topics=(events.ORDERS_TOPIC,),
        ),
        "sales": Consumer(
            bootstrap=bootstrap,
            group="cart.sales",
            types=_TYPES,
            handle=carts.take_in,
            pattern=events.SALE_TOPIC_PATTERN,
        ),
    }
