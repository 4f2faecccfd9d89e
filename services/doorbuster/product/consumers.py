"""The product service's two consumers: what orders say of deliveries, and inventory's rows as they change."""

from doorbuster.contracts import events
from doorbuster.kit.consumer import Consumer

from .usecases.review import Reviewing
from .usecases.stock import Stock, read_row

STOCK_TOPIC = "cdc.inventory.public.inventory"
_DELIVERIES: dict[str, type[events.Event]] = {
    event.type: event for event in (events.OrderDelivered, events.OrderReturned)
}


def consumers(bootstrap: str, reviewing: Reviewing, stock: Stock) -> dict[str, Consumer]:
    """Return the consumers by the name of their loop."""
    return {
        "orders": Consumer(
            bootstrap=bootstrap,
            group="product.orders",
            types=_DELIVERIES,
            handle=reviewing.take_in,
            topics=(events.ORDERS_TOPIC,),
        ),
        "stock": Consumer(
            bootstrap=bootstrap,
            group="product.stock",
            read=read_row,
            handle=stock.take_in,
            topics=(STOCK_TOPIC,),
        ),
    }
