"""Two checkouts with the real inventory, Redis and Kafka: the rush, and what happens when one of them is gone."""

import asyncio
import secrets
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import asyncpg
import msgspec
import pytest
import redis.asyncio
from aiohttp import test_utils
from aiokafka import AIOKafkaConsumer
from prometheus_client import REGISTRY

from doorbuster.checkout.app import build
from doorbuster.contracts import control, events
from doorbuster.kit import auth, bus, client, clock, ids

WITHIN_SECONDS = 20.0
PRICE = 99.90


async def eventually(condition, what):
    """Wait until ``condition()`` answers something true; returns it."""
    deadline = asyncio.get_running_loop().time() + WITHIN_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        found = await condition()
        if found:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {WITHIN_SECONDS} s: {what}")


class Drop:
    """One sale of its own sku on the real inventory, sold by two checkouts."""

    def __init__(self, env, operator, urls, session, identity, keys) -> None:
        self.env, self.urls, self.session = env, urls, session
        self.sku = f"t-{secrets.token_hex(6)}"
        self.product = ids.product_id(self.sku)
        self._operator, self._identity, self._keys = operator, identity, keys
        self._turn = 0

    async def arm(self, units, *, opens_in=-1.0, hold_seconds=60, limit=1):
        """Do as the operator: topic, pool, sale; wait until both checkouts show it."""
        await bus.ensure_topic(
            self.env["DOORBUSTER_KAFKA_BOOTSTRAP"],
            events.sale_topic("t", self.sku),
            partitions=1,
            replication=1,
        )
        fence = await self._operator.call(
            "POST",
            "/control/v1/fences",
            control.Fence,
            body=control.FenceRequest(lease_namespace="t", lease_name=self.sku, holder="test"),
        )
        pool = control.PoolSpec(
            capacity=units, owner_uid=self.sku, generation=1, fence=fence.fence
        )
        await self._operator.call(
            "PUT", f"/control/v1/pools/{self.sku}", control.PoolState, body=pool
        )
        opens = clock.utc_now() + timedelta(seconds=opens_in)
        gate = control.SaleGate(
            namespace="t",
            name=self.sku,
            generation=1,
            fence=fence.fence,
            state="Active",
            open_time=opens,
            close_time=opens + timedelta(minutes=10),
            reservation_timeout_seconds=hold_seconds,
            items=[
                control.SaleItem(
                    sku=self.sku, price_minor=9_990, currency="EUR", per_user_limit=limit
                )
            ],
        )
        path = f"/control/v1/sales/{self.sku}"
        await self._operator.call("PUT", path, control.SaleState, body=gate)
        await eventually(self._is_armed, "the sale is armed")
        await eventually(self._is_shown, "both checkouts show the sale")
        return opens

    async def state(self):
        states = await self._operator.call("GET", "/control/v1/sales?since=0", control.SaleStates)
        return next(sale for sale in states.sales if sale.uid == self.sku)

    async def _is_armed(self):
        return (await self.state()).armed

    async def _is_shown(self):
        for url in self.urls:
            async with self.session.get(f"{url}/v1/sales/t.{self.sku}") as response:
                if response.status != 200:
                    return False
        return True

    async def buy(self, user, key=None, *, at=None, quantity=1, price=PRICE):
        """Press the button at the next checkout in turn, or at ``at``."""
        self._turn += 1
        url = self.urls[self._turn % len(self.urls) if at is None else at]
        headers = {
            "Authorization": f"Bearer {self._identity.token(user)}",
            "Idempotency-Key": key or f"{self.sku}-{user}",
        }
        line = {"productId": self.product, "quantity": quantity, "price": price}
        async with self.session.post(
            f"{url}/v1/checkout", json={"products": [line]}, headers=headers
        ) as response:
            answer = await response.json(content_type=None)
            return answer["orderId"] if response.status == 201 else answer["code"]

    async def rush(self, buyers, *, prefix="user", **how):
        users = [f"{prefix}_{number}" for number in range(buyers)]
        return dict(
            zip(users, await asyncio.gather(*(self.buy(u, **how) for u in users)), strict=True)
        )

    async def pay(self, order_id, *, user):
        """Pin, then say on Kafka that it is paid, as payment does."""
        token = auth.ServiceSigner("payment", self._keys / "payment.pem").token("checkout")
        url = f"{self.urls[0]}/internal/v1/orders/{order_id}/begin-payment"
        async with self.session.post(
            url, json={"attempt": 1}, headers={"Authorization": f"Bearer {token}"}
        ) as response:
            assert response.status == 200, await response.text()
            order = await response.json()
        paid = events.PaymentSucceeded(
            order_id=order_id,
            user_id=user,
            payment_id="txn_test",
            attempt=1,
            lines=[],
            amount_minor=order["amountMinor"],
            currency="EUR",
            topic="orders",
            paid_at=clock.utc_now(),
        )
        message = bus.Message(
            topic="orders",
            key=order_id,
            value=msgspec.json.encode(paid),
            headers=(("id", order_id), ("type", paid.type), ("version", "1")),
        )
        async with bus.open_bus(self.env["DOORBUSTER_KAFKA_BOOTSTRAP"]) as kafka:
            await kafka.send([message])

    async def are_sold(self, units):
        return sum(item.sold for item in (await self.state()).items) == units


@pytest.fixture
async def drop(servers, stack, checkout_dsn, identity, monkeypatch):
    env = servers("inventory")
    keys: Path = stack.layout.keys
    async with AsyncExitStack() as opened:
        session = await opened.enter_async_context(aiohttp.ClientSession())
        users = await opened.enter_async_context(test_utils.TestServer(identity.app()))
        settings = {
            "DOORBUSTER_CHECKOUT_DSN": checkout_dsn,
            "DOORBUSTER_REDIS_URL": env["DOORBUSTER_REDIS_URL"],
            "DOORBUSTER_KAFKA_BOOTSTRAP": env["DOORBUSTER_KAFKA_BOOTSTRAP"],
            "DOORBUSTER_INVENTORY_URLS": env["DOORBUSTER_INVENTORY_URLS"],
            "DOORBUSTER_USER_URLS": str(users.make_url("")),
            "DOORBUSTER_SERVICE_KEY_FILE": str(keys / "checkout.pem"),
            "DOORBUSTER_SERVICE_KEYS_DIR": str(keys / "public"),
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        urls = []
        for _ in range(2):
            service = await opened.enter_async_context(build())
            server = await opened.enter_async_context(test_utils.TestServer(service.app))
            urls.append(str(server.make_url("")).rstrip("/"))
        operator = client.ServiceClient(
            callee="inventory",
            urls=(env["DOORBUSTER_INVENTORY_URLS"],),
            session=session,
            signer=auth.ServiceSigner("operator", keys / "operator.pem"),
        )
        yield Drop(env, operator, urls, session, identity, keys)


@asynccontextmanager
async def dead(stack, name):
    """Kill -9 a server and bring it back."""
    await asyncio.to_thread(stack.kill, name)
    try:
        yield
    finally:
        await asyncio.to_thread(stack.restart, name)


def bit_hits():
    return REGISTRY.get_sample_value("doorbuster_checkout_sold_out_bit_hits_total")


def winners(answers):
    return {user: answer for user, answer in answers.items() if answer.startswith("order_")}


async def test_a_rush_of_double_clicks_over_two_checkouts(drop):
    await drop.arm(5)
    first, second = await asyncio.gather(drop.rush(60), drop.rush(60))
    won = winners(first)
    assert winners(second) == won
    assert Counter(first.values()) - Counter(won.values()) == {"WAITING": 55}
    assert len(set(won.values())) == 5
    [item] = (await drop.state()).items
    assert (item.available, item.reserved, item.sold) == (0, 5, 0)


async def test_sold_out_is_told_to_strangers_at_once_and_never_to_owners(drop):
    await drop.arm(3)
    won = winners(await drop.rush(10))
    for user, order_id in won.items():
        await drop.pay(order_id, user=user)
    await eventually(lambda: drop.are_sold(3), "three units are sold")
    before = bit_hits()
    assert set((await drop.rush(20, prefix="late")).values()) == {"SOLD_OUT"}
    assert set((await drop.rush(20, prefix="later")).values()) == {"SOLD_OUT"}
    assert bit_hits() >= before + 20, "nobody was asked for the second twenty"
    for at in (0, 1):
        assert {user: await drop.buy(user, at=at) for user in won} == won


async def test_waiting_becomes_held_when_a_hold_runs_out(drop):
    await drop.arm(1, hold_seconds=1)
    [first] = winners({"a": await drop.buy("a")}).values()
    assert await drop.buy("b") == "WAITING"

    async def held():
        answer = await drop.buy("b")
        assert answer == "WAITING" or answer.startswith("order_"), answer
        return answer.startswith("order_")

    await eventually(held, "the waiting buyer gets the unit")
    assert await drop.buy("a") == "HOLD_EXPIRED"
    assert first != ids.order_id("b", f"{drop.sku}-b")


async def test_nobody_gets_in_before_the_authority_opens(drop):
    opens = await drop.arm(1, opens_in=4.0)
    assert await drop.buy("a") == "SALE_NOT_OPEN"

    async def answered():
        pressed = clock.utc_now()
        answer = await drop.buy("a")
        assert answer == "SALE_NOT_OPEN" or clock.utc_now() >= opens, "too early"
        assert answer != "SALE_NOT_OPEN" or pressed < opens + timedelta(seconds=0.2), "too late"
        return answer.startswith("order_")

    await eventually(answered, "the sale opens")


async def test_redis_that_forgets_everything_is_warmed(drop):
    await drop.arm(5)
    won = winners(await drop.rush(3))
    async with redis.asyncio.from_url(drop.env["DOORBUSTER_REDIS_URL"]) as store:
        await store.flushall()

    async def all_sold():
        # An owner who clicks again may take a permit for a moment, so the last units may need a second try.
        answers = await drop.rush(40)
        assert won.items() <= answers.items()
        assert set(answers.values()) - set(winners(answers).values()) <= {"WAITING"}
        return len(winners(answers)) == 5

    await eventually(all_sold, "the other two units are sold")
    [item] = (await drop.state()).items
    assert (item.available, item.reserved) == (0, 5)


async def test_without_redis_the_sale_goes_on(drop, stack):
    await drop.arm(5)
    async with dead(stack, "redis"):
        answers = await drop.rush(30)
        assert Counter(answers.values()) - Counter(winners(answers).values()) == {"WAITING": 25}
        assert len(winners(answers)) == 5

    async def again():
        return await drop.rush(30) == answers

    await eventually(again, "the same answers with Redis back")
    [item] = (await drop.state()).items
    assert (item.available, item.reserved, item.sold) == (0, 5, 0)


async def test_without_inventory_nothing_is_sold_and_then_it_goes_on(drop, stack, checkout_dsn):
    await drop.arm(5)
    store = await asyncpg.connect(checkout_dsn)
    try:
        async with dead(stack, "inventory"):
            assert Counter((await drop.rush(20)).values()) == {"UNAVAILABLE": 20}
            assert await store.fetchval("SELECT count(*) FROM placed_order") == 0

        async def answered():
            found = await drop.rush(20)
            return "UNAVAILABLE" not in found.values() and winners(found)

        assert len(await eventually(answered, "inventory answers again")) == 5
        assert await store.fetchval("SELECT count(*) FROM placed_order") == 5
    finally:
        await store.close()


async def test_the_event_arrives_on_the_topic_of_its_sale(drop):
    await drop.arm(1)
    bootstrap = drop.env["DOORBUSTER_KAFKA_BOOTSTRAP"]
    topic = events.sale_topic("t", drop.sku)
    order_id = await drop.buy("a")
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            record = await consumer.getone()
    finally:
        await consumer.stop()
    placed = msgspec.json.decode(record.value, type=events.OrderPlaced)
    assert (placed.order_id, placed.topic, record.key.decode()) == (order_id, topic, order_id)
    assert dict(record.headers)["type"] == b"OrderPlaced"
