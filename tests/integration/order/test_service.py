"""The order service on a real broker and a real MySQL-protocol server, through deaths of all of them."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import psutil
import pytest

from devstack.stack import Stack
from doorbuster.contracts import events, internal
from doorbuster.kit import bus, clock
from doorbuster.testing import broker, stories

MOST_RSS_MIB = 120
Eventually = Callable[..., Awaitable[float]]
ORDER, BUYER = stories.order_id(), stories.user_id()


def placed_at_checkout(number: int = 1) -> internal.PlacedOrder:
    event = stories.placed(number)
    return internal.PlacedOrder(**{name: getattr(event, name) for name in event.__struct_fields__})


async def test_a_new_sales_first_events_are_seen_within_seconds(
    world: Any, topic_prefix: str, sale_topic: str, eventually: Eventually
) -> None:
    async with world.service() as service:
        await broker.publish(world.bootstrap, sale_topic, [stories.placed(), stories.paid()])

        async def confirmed() -> bool:
            status, body = await world.get(service, f"/v1/orders/{ORDER}/status", BUYER)
            return status == 200 and body["status"] == "confirmed"

        await eventually(confirmed, within_seconds=15, what="the first paid order of a sale")
        late = events.sale_topic("tests", topic_prefix + "late")
        await bus.ensure_topic(world.bootstrap, late, partitions=2, replication=1)
        await broker.publish(world.bootstrap, late, [stories.paid(2)])

        async def second() -> bool:
            return stories.order_id(2) in await world.states()

        # The consumer looks for new topics every 2 s; the rest is joining and reading.
        await eventually(second, within_seconds=6, what="the first event of a new sale's topic")


async def test_a_buyer_reads_his_order_back_while_the_broker_is_dead(
    world: Any, stack: Stack, sale_topic: str, eventually: Eventually
) -> None:
    stack.kill("kafka")
    back = False
    try:
        async with world.service() as service:
            world.neighbours.placed[ORDER] = placed_at_checkout()
            status, body = await world.get(service, f"/v1/orders/{ORDER}/status", BUYER)
            assert (status, body["status"]) == (200, "pending")
            status, body = await world.get(service, f"/v1/orders/{ORDER}", BUYER)
            assert (status, body["amount"], body["currency"]) == (200, 999.0, "EUR")
            other = stories.user_id(2)
            status, body = await world.get(service, f"/v1/orders/{ORDER}/status", other)
            assert (status, body["code"]) == (404, "UNKNOWN_ORDER")
            assert await service.is_ready(world.session)

            await asyncio.to_thread(stack.restart, "kafka")
            back = True
            await broker.publish(world.bootstrap, sale_topic, [stories.paid()])

            async def confirmed() -> bool:
                _, body = await world.get(service, f"/v1/orders/{ORDER}/status", BUYER)
                return bool(body["status"] == "confirmed")

            await eventually(
                confirmed, within_seconds=30, what="the order after the broker's return"
            )
    finally:
        if not back:
            await asyncio.to_thread(stack.restart, "kafka")


async def test_kill_9_in_the_middle_of_a_batch_loses_and_doubles_nothing(
    world: Any, sale_topic: str, eventually: Eventually
) -> None:
    numbers = range(1, 1201)
    first = [stories.placed(number) for number in numbers]
    async with world.service() as service:
        await broker.publish(world.bootstrap, sale_topic, first)

        async def some() -> bool:
            return len(await world.states()) > 0

        await eventually(some, within_seconds=20, what="the first batch")
        await service.kill()
    await broker.publish(
        world.bootstrap, sale_topic, [stories.paid(number) for number in reversed(numbers)]
    )
    async with world.service():

        async def all_confirmed() -> bool:
            states = await world.states()
            return len(states) == len(numbers) and set(states.values()) == {"CONFIRMED"}

        await eventually(all_confirmed, within_seconds=40, what="every order confirmed, once")


async def test_a_database_that_dies_only_delays_the_orders(
    world: Any, stack: Stack, sale_topic: str, eventually: Eventually
) -> None:
    async with world.service() as service:
        stack.kill("mariadb")
        try:
            paid = [stories.paid(number) for number in range(1, 301)]
            await broker.publish(world.bootstrap, sale_topic, paid)

            async def unready() -> bool:
                return not await service.is_ready(world.session)

            await eventually(unready, within_seconds=10, what="not ready without its database")
            status, body = await world.get(service, f"/v1/orders/{ORDER}/status", BUYER)
            assert (status, body["code"]) == (503, "UNAVAILABLE")

            async def failed_twice() -> bool:
                return service.log.read_text().count('"loop": "order.sales"') >= 2

            await eventually(failed_twice, within_seconds=20, what="two failed passes")
        finally:
            await asyncio.to_thread(stack.restart, "mariadb")

        async def all_confirmed() -> bool:
            states = await world.states()
            return len(states) == 300 and set(states.values()) == {"CONFIRMED"}

        await eventually(all_confirmed, within_seconds=40, what="every order confirmed")
        assert await service.is_ready(world.session)
        async with world.session.get(f"{service.admin_url}/metrics") as answer:
            metrics = await answer.text()
        assert "doorbuster_consumer_poison_total{" not in metrics


async def test_the_sweep_settles_an_order_whose_expiry_was_lost(
    world: Any, sale_topic: str, eventually: Eventually
) -> None:
    past = clock.utc_now() - timedelta(seconds=60)
    world.neighbours.reservations[ORDER] = internal.ReservationState(
        order_id=ORDER, state="RELEASED", attempt=0, expires_at=past
    )
    async with world.service():
        placed = stories.placed(placed_at=past - timedelta(seconds=120), pay_by=past)
        await broker.publish(world.bootstrap, sale_topic, [placed])

        async def expired() -> bool:
            return (await world.states()).get(ORDER) == "EXPIRED"

        await eventually(expired, within_seconds=20, what="inventory's word taken")


async def test_events_nobody_can_read_are_left_behind_and_counted(
    world: Any, sale_topic: str, eventually: Eventually
) -> None:
    good = broker.message(sale_topic, stories.paid())
    bad = [
        bus.Message(topic=sale_topic, key="k", value=value, headers=good.headers)
        for value in (b"", b"{", b"[]", b'{"orderId": 7}', b"\xff", b"[" * 3000)
    ]
    endless = stories.paid(2, user_id="u" * 5000)
    hostile = stories.paid(3, user_id="ü\x00' OR 1=1 --")
    async with world.service() as service, bus.open_bus(world.bootstrap) as producer:
        await producer.send(
            [*bad, broker.message(sale_topic, endless), broker.message(sale_topic, hostile), good]
        )

        async def confirmed() -> bool:
            return (await world.states()).get(ORDER) == "CONFIRMED"

        await eventually(confirmed, within_seconds=30, what="the good event behind the bad ones")

        async def counted() -> bool:
            async with world.session.get(f"{service.admin_url}/metrics") as answer:
                metrics = await answer.text()
            return 'doorbuster_consumer_poison_total{group="order.sales"} 8.0' in metrics

        await eventually(counted, within_seconds=20, what="eight events given up")


async def test_a_page_that_listens_hears_of_the_payment_and_of_the_end(
    world: Any, sale_topic: str
) -> None:
    world.neighbours.placed[ORDER] = placed_at_checkout()
    async with world.service() as service:
        url = f"{service.url}/v1/orders/{ORDER}/events"
        async with world.session.get(url, headers=world.keys.as_user(BUYER)) as answer:
            assert answer.content_type == "text/event-stream"

            async def heard(word: bytes) -> None:
                async with asyncio.timeout(30):
                    while word not in await answer.content.readline():
                        assert not answer.content.at_eof()

            await heard(b'"status":"pending"')
            await broker.publish(world.bootstrap, sale_topic, [stories.paid()])
            await heard(b'"status":"confirmed"')
            service.process.terminate()
            async with asyncio.timeout(15):
                await answer.content.read()
                assert await service.process.wait() == 0


@pytest.mark.parametrize("question", ["orders:missing", "orders:unreversed"])
async def test_payment_is_told_what_is_missing(world: Any, sale_topic: str, question: str) -> None:
    async with world.service() as service:
        headers = world.keys.as_service("payment", "order")
        url = f"{service.url}/internal/v1/{question}"
        async with world.session.post(url, json={"ids": [ORDER]}, headers=headers) as answer:
            assert await answer.json() == {"missing": [ORDER]}
        headers = world.keys.as_service("checkout", "order")
        async with world.session.post(url, json={"ids": [ORDER]}, headers=headers) as answer:
            assert answer.status == 403


async def test_the_service_stays_small(
    world: Any, sale_topic: str, eventually: Eventually
) -> None:
    async with world.service() as service:
        paid = [stories.paid(number) for number in range(1, 501)]
        await broker.publish(world.bootstrap, sale_topic, paid)

        async def all_in() -> bool:
            return len(await world.states()) == 500

        await eventually(all_in, within_seconds=30, what="500 orders")
        rss_mib = psutil.Process(service.pid).memory_info().rss / 2**20
    assert rss_mib <= MOST_RSS_MIB


@pytest.mark.parametrize("missing", ["DOORBUSTER_ORDER_DSN", "DOORBUSTER_USER_URLS"])
async def test_a_missing_setting_is_named_at_the_start(world: Any, missing: str) -> None:
    with pytest.raises(RuntimeError, match=f"{missing} is not set"):
        async with world.service(**{missing: ""}):
            pass
