"""Parcels, cancellations and returns on a real broker and a real MySQL-protocol server, through deaths of both."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import aiokafka
import msgspec

from devstack.stack import Stack
from doorbuster.contracts import events
from doorbuster.kit import clock, failpoints
from doorbuster.testing import broker, stories

Eventually = Callable[..., Awaitable[float]]
ORDER, BUYER, ADMIN = stories.order_id(), stories.user_id(), stories.user_id(99)
PARCEL = {"carrier": "Swift Parcels", "trackingNumber": "SP-9"}


async def told(world: Any, *expected: str) -> list[events.Event]:
    """Read what was told of the order until all of this was heard; returns all of it."""
    seen: list[events.Event] = []
    consumer = aiokafka.AIOKafkaConsumer(
        events.ORDERS_TOPIC, bootstrap_servers=world.bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            while not set(expected) <= {event.type for event in seen}:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        kind = dict(record.headers)["type"].decode()
                        event = msgspec.json.decode(record.value, type=events.BY_TYPE[kind])
                        seen += [event] if event.order_id == ORDER else []
    finally:
        await consumer.stop()
    return seen


async def paid(world: Any, service: Any, sale_topic: str, eventually: Eventually) -> None:
    await broker.publish(world.bootstrap, sale_topic, [stories.placed(), stories.paid()])

    async def confirmed() -> bool:
        return bool((await world.states()).get(ORDER) == "CONFIRMED")

    await eventually(confirmed, within_seconds=30, what="the paid order")


async def test_a_dead_broker_keeps_nobody_from_shipping_and_loses_no_event(
    world: Any, stack: Stack, sale_topic: str, eventually: Eventually
) -> None:
    async with world.service() as service:
        await paid(world, service, sale_topic, eventually)
        stack.kill("kafka")
        try:
            url = f"{service.url}/v1/orders/{ORDER}/events"
            async with world.session.get(url, headers=world.keys.as_user(BUYER)) as answer:

                async def heard(word: bytes) -> None:
                    async with asyncio.timeout(20):
                        while word not in await answer.content.readline():
                            assert not answer.content.at_eof()

                await heard(b'"status":"confirmed"')
                assert (await world.admin(service, "shipments", PARCEL))[0] == 200
                await heard(b'"trackingNumber":"SP-9"')
                assert (await world.admin(service, "deliveries", {}))[0] == 200
                await heard(b'"status":"delivered"')
                assert (await world.post(service, "return", {"reason": "too small"}))[0] == 200
                await heard(b'"returnRequestedAt":"')
                assert (await world.admin(service, "returns", {}))[0] == 200
                await heard(b'"status":"returned"')
                assert await answer.content.read() == b"\n"
        finally:
            await asyncio.to_thread(stack.restart, "kafka")
        seen = await told(world, "OrderShipped", "OrderDelivered", "OrderReturned")
        assert isinstance(seen[1], events.OrderDelivered)
        assert seen[1].lines == stories.paid().lines
        assert not any("too small" in repr(event) for event in seen)


async def test_a_dead_database_refuses_and_changes_nothing(
    world: Any, stack: Stack, sale_topic: str, eventually: Eventually
) -> None:
    async with world.service() as service:
        await paid(world, service, sale_topic, eventually)
        stack.kill("mariadb")
        try:
            status, body = await world.post(service, "cancel", {})
            assert (status, body["code"]) == (503, "UNAVAILABLE")
            status, body = await world.admin(service, "shipments", PARCEL)
            assert (status, body["code"]) == (503, "UNAVAILABLE")
        finally:
            await asyncio.to_thread(stack.restart, "mariadb")

        async def cancelled() -> bool:
            status, body = await world.post(service, "cancel", {"reason": "changed my mind"})
            return status == 200 and body["status"] == "cancelled"

        await eventually(cancelled, within_seconds=30, what="the cancellation, tried again")
        await told(world, "OrderCancelled")
        status, body = await world.admin(service, "shipments", PARCEL)
        assert (status, body["code"]) == (409, "NOT_SHIPPABLE")


async def test_a_process_that_dies_after_the_commit_has_cancelled_once(
    world: Any, sale_topic: str, eventually: Eventually
) -> None:
    point = "http.post.orders.order_id.cancel.handled"
    async with world.service(**{failpoints.VARIABLE: point}) as service:
        await paid(world, service, sale_topic, eventually)
        assert await world.post(service, "cancel", {}) == (0, {})
        assert await service.process.wait() == failpoints.EXIT_STATUS
    died_at = clock.utc_now()
    async with world.service() as service:
        status, body = await world.post(service, "cancel", {})
        assert (status, body["status"]) == (200, "cancelled")
        assert datetime.fromisoformat(body["history"][-1]["at"]) < died_at
        await told(world, "OrderCancelled")
