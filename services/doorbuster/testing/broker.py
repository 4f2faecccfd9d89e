"""Events on a real broker, as a relay would send them."""

import re
from collections.abc import Iterable
from uuid import uuid4

import msgspec
from aiokafka.admin import AIOKafkaAdminClient

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


async def forget_everything(bootstrap: str) -> None:
    """Drop every topic of orders and sales with all events, and make the orders' topic anew.

    For tests of a service that listens to all of them: what other tests published is not its business.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        topics = [
            name
            for name in await admin.list_topics()
            if name == events.ORDERS_TOPIC or re.match(events.SALE_TOPIC_PATTERN, name)
        ]
        if topics:
            await admin.delete_topics(topics)
    finally:
        await admin.close()
    await bus.ensure_topic(bootstrap, events.ORDERS_TOPIC, partitions=3, replication=1)
