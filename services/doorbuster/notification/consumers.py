"""The notification service's two consumers: the shop's orders and every sale's own topic."""

from doorbuster.contracts import events
from doorbuster.kit.consumer import Consumer

from .domain import TOLD
from .usecases import Notifications

_TYPES: dict[str, type[events.Event]] = {event.type: event for event in TOLD}


def consumers(bootstrap: str, notifications: Notifications) -> dict[str, Consumer]:
    """Return the consumers by the name of their loop."""
    return {
        "orders": Consumer(
            bootstrap=bootstrap,
            group="notification.orders",
            types=_TYPES,
            handle=notifications.take_in,
            topics=(events.ORDERS_TOPIC,),
        ),
        "sales": Consumer(
            bootstrap=bootstrap,
            group="notification.sales",
            types=_TYPES,
            handle=notifications.take_in,
            pattern=events.SALE_TOPIC_PATTERN,
        ),
    }
