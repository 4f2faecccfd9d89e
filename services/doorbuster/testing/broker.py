"""Events on a real broker, as a relay would send them."""

from collections.abc import Iterable
from uuid import uuid4

import msgspec

from doorbuster.contracts import events
from doorbuster.kit import bus, clock


def message(topic: str, event: events.Event) -> bus.Message:
    """Return the record of an event that happens now."""
    return bus.Message(
        topic=topic,
        key=event.order_id,
        value=msgspec.json.encode(event),
        headers=(
            ("id", str(uuid4())),
            ("type", event.type),
            ("version", str(event.version)),
            ("occurredAt", clock.utc_now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")),
        ),
    )


async def publish(bootstrap: str, topic: str, heard: Iterable[events.Event]) -> None:
    """Send events to an existing topic; raises ConnectionError or TimeoutError."""
    async with bus.open_bus(bootstrap) as producer:
        await producer.send([message(topic, event) for event in heard])
