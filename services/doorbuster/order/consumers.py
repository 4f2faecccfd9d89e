"""The order service's consumers of everything that is told of orders."""

from doorbuster.contracts import events
from doorbuster.kit import consumer

from .usecases import Orders


def consumers(bootstrap: str, orders: Orders) -> dict[str, consumer.Consumer]:
    """Return the consumers by the name of their loop."""
    return consumer.of_orders(
        "order",
        bootstrap=bootstrap,
        topic=events.ORDERS_TOPIC,
        pattern=events.SALE_TOPIC_PATTERN,
        types=events.BY_TYPE,
        handle=orders.take_in,
    )
