"""The order service's two consumers: the shop's orders and every sale's own topic."""

from doorbuster.contracts import events
from doorbuster.kit.consumer import Consumer

from .usecases import Orders


def consumers(bootstrap: str, orders: Orders) -> dict[str, Consumer]:
    """Return the consumers by the name of their loop."""
    return {
        "orders": Consumer(
            bootstrap=bootstrap,
            group="order.orders",
            types=events.BY_TYPE,
            handle=orders.take_in,
            topics=(events.ORDERS_TOPIC,),
        ),
        "sales": Consumer(
            bootstrap=bootstrap,
            group="order.sales",
            types=events.BY_TYPE,
            handle=orders.take_in,
            pattern=events.SALE_TOPIC_PATTERN,
        ),
    }
