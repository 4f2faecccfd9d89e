"""The notification service's consumers of what buyers are told."""

from doorbuster.contracts import events
from doorbuster.kit import consumer

from .domain import TOLD
from .usecases import Notifications

_TYPES: dict[str, type[events.Event]] = {event.type: event for event in TOLD}


def consumers(bootstrap: str, notifications: Notifications) -> dict[str, consumer.Consumer]:
    """Return the consumers by the name of their loop."""
    return consumer.of_orders(
        "notification",
        bootstrap=bootstrap,
        topic=events.ORDERS_TOPIC,
        pattern=events.SALE_TOPIC_PATTERN,
        types=_TYPES,
        handle=notifications.take_in,
    )
