"""Payment on a real broker: what is decided is told, a cancelled order is reversed, a lost broker is survived."""

import asyncio
from typing import Any

import aiokafka
import msgspec
import pytest

from doorbuster.contracts import events
from doorbuster.kit import bus

SALE_TOPIC = "sale.default.drop.orders"  # where the neighbours' orders belong


@pytest.fixture(scope="module")
def bootstrap(servers: Any) -> str:
    address: str = servers("kafka")["DOORBUSTER_KAFKA_BOOTSTRAP"]

    async def make() -> None:
        for name in (events.ORDERS_TOPIC, SALE_TOPIC):
            await bus.ensure_topic(address, name, partitions=1, replication=1)

    asyncio.run(make())
    return address


async def _heard(bootstrap: str, order_id: str, *expected: str) -> dict[str, events.Event]:
    """Read both topics until these types of events of an order were seen."""
    seen: dict[str, events.Event] = {}
    consumer = aiokafka.AIOKafkaConsumer(
        events.ORDERS_TOPIC, SALE_TOPIC, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            async for record in consumer:
                if record.key.decode() != order_id:
                    continue
                kind = dict(record.headers)["type"].decode()
                seen[kind] = msgspec.json.decode(record.value, type=events.BY_TYPE[kind])
                if set(expected) <= set(seen):
                    break
    finally:
        await consumer.stop()
    return seen


async def test_a_cancelled_order_is_refunded_and_told_so(
    world: Any, buyer: str, bootstrap: str
) -> None:
    order_id = world.neighbours.place(buyer)
    _, body = await world.pay(buyer, order_id)
    await world.until_states(order_id, "CAPTURED")
    told = await _heard(bootstrap, order_id, "PaymentSucceeded", "PaymentCaptured")
    sold = told["PaymentSucceeded"]
    assert isinstance(sold, events.PaymentSucceeded)
    assert (sold.payment_id, sold.amount_minor) == (body["transactionId"], 99_900)
    cancelled = events.OrderCancelled(order_id=order_id, user_id=buyer, reason="changed my mind")
    message = bus.Message(
        topic=events.ORDERS_TOPIC,
        key=order_id,
        value=msgspec.json.encode(cancelled),
        headers=(("type", cancelled.type), ("id", "1")),
    )
    async with bus.open_bus(bootstrap) as kafka:
        await kafka.send([message, message])
    await world.until_states(order_id, "REFUNDED", within_seconds=30)
    [intent] = await world.intents(order_id)
    assert (intent["amountCaptured"], intent["amountRefunded"]) == (99_900, 99_900)
    reversed_ = (await _heard(bootstrap, order_id, "PaymentReversed"))["PaymentReversed"]
    assert isinstance(reversed_, events.PaymentReversed)
    assert reversed_.reason == "changed my mind"


async def test_a_decline_is_told_on_the_topic_of_the_sale(
    world: Any, buyer: str, bootstrap: str
) -> None:
    order_id = world.neighbours.place(buyer)
    await world.pay(buyer, order_id, card="4000000000000002")
    failed = (await _heard(bootstrap, order_id, "PaymentFailed"))["PaymentFailed"]
    assert isinstance(failed, events.PaymentFailed)
    assert (failed.attempt, failed.reason, failed.topic) == (1, "generic_decline", SALE_TOPIC)
