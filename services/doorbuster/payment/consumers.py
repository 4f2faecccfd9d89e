"""What payment hears on Kafka: that an order was cancelled or came back; captures need no event."""

from doorbuster.contracts import events
from doorbuster.kit.consumer import Consumer, Delivery

from .usecases import Reversal

GROUP = "payment.orders"


def cancellations(bootstrap: str, reversal: Reversal) -> Consumer:
    """Return the consumer of OrderCancelled and OrderReturned; each may come any number of times."""

    async def handle(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            await reversal.ask(delivery.event.order_id, delivery.event.reason)

    return Consumer(
        bootstrap=bootstrap,
        group=GROUP,
        topics=(events.ORDERS_TOPIC,),
        types={kind.type: kind for kind in (events.OrderCancelled, events.OrderReturned)},
        handle=handle,
    )
