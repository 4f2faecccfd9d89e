"""The cart as a process on real PostgreSQL, Kafka and Redis, with neighbours that go away and come back."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web as aiohttp_web
from aiohttp.test_utils import TestServer

from devstack.stack import Stack
from doorbuster.contracts import events, internal
from doorbuster.kit import auth, bus, clock, migrations, web
from doorbuster.testing import broker, processes, stories
from doorbuster.testing.carts import product, quote, sale

SERVICES = ("cart", "checkout", "product", "inventory", "user")


@dataclass
class Neighbours:
    """Product, inventory and user in one app; ``away`` names those that answer 503."""

    keys: processes.Keys
    sales: list[internal.SaleView] = field(default_factory=list)
    away: set[str] = field(default_factory=set)

    def app(self) -> aiohttp_web.Application:
        app = aiohttp_web.Application()
        app.router.add_get("/.well-known/jwks.json", self.jwks)
        for method, path, callee, handler in (
            ("POST", "/internal/v1/products:quote", "product", self.quote),
            ("POST", "/internal/v1/availability", "inventory", self.availability),
            ("GET", "/internal/v1/sales", "inventory", self.on_sale),
        ):
            app.router.add_route(method, path, self.guarded(callee, handler))
        return app

    def guarded(self, callee: str, handler: web.Handler) -> web.Handler:
        verifier = auth.ServiceVerifier(callee, self.keys.public)

        async def handle(request: aiohttp_web.Request) -> aiohttp_web.StreamResponse:
            if callee in self.away:
                return aiohttp_web.Response(status=503)
            token = auth.bearer(request.headers.get("Authorization"))
            assert verifier.verify(token).caller == "cart"
            return await handler(request)

        return handle

    async def jwks(self, _request: aiohttp_web.Request) -> aiohttp_web.Response:
        return aiohttp_web.Response(body=self.keys.jwks(), content_type="application/json")

    async def quote(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        asked = msgspec.json.decode(await request.read(), type=internal.ProductIds).ids
        listed = [quote(number) for number in (1, 2)]
        return web.json_response(
            internal.Quotes(quotes=[one for one in listed if one.product_id in asked])
        )

    async def availability(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        asked = msgspec.json.decode(await request.read(), type=internal.ProductIds).ids
        items = [internal.Availability(product_id=name, qty=7, version=1) for name in asked]
        return web.json_response(internal.Availabilities(items=items))

    async def on_sale(self, _request: aiohttp_web.Request) -> aiohttp_web.Response:
        return web.json_response(internal.Sales(sales=self.sales, server_time=clock.utc_now()))


@dataclass
class Shop:
    """The running cart and how to call it; a buyer is his id, or the token of a cart of nobody."""

    env: dict[str, str]
    log: Path
    topic: str
    keys: processes.Keys
    neighbours: Neighbours
    session: aiohttp.ClientSession
    url: str = ""

    @asynccontextmanager
    async def running(self, **settings: str) -> AsyncIterator[processes.Running]:
        async with processes.running("cart", self.env | settings, self.log) as service:
            self.url = service.url
            yield service

    async def __call__(
        self, method: str, path: str, who: str | None = None, body: Any = None, **rest: Any
    ) -> tuple[int, Any]:
        headers = dict(rest.pop("headers", {}))
        if who is not None:
            headers |= self.keys.as_user(who) if who.startswith("user_") else {"X-Cart-Token": who}
        async with self.session.request(
            method, self.url + path, json=body, headers=headers, **rest
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def add(self, who: str | None, number: int = 1, quantity: int = 1) -> tuple[int, Any]:
        body = {"productId": product(number), "quantity": quantity}
        return await self("POST", "/v1/cart/add", who, body)

    async def units(self, who: str) -> dict[str, int]:
        status, cart = await self("GET", "/v1/cart", who)
        assert status == 200, cart
        return {line["productId"]: line["quantity"] for line in cart["products"]}

    async def publish(self, *heard: events.Event) -> None:
        await broker.publish(self.env["DOORBUSTER_KAFKA_BOOTSTRAP"], self.topic, heard)


async def until(
    condition: Callable[[], Awaitable[bool]], *, within_seconds: float, what: str
) -> None:
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {within_seconds} s: {what}")


@pytest.fixture
async def shop(
    servers: Callable[..., dict[str, str]],
    fresh_postgres: str,
    fresh_redis: str,
    topic_prefix: str,
    tmp_path: Path,
) -> AsyncIterator[Shop]:
    bootstrap = servers("kafka")["DOORBUSTER_KAFKA_BOOTSTRAP"]
    await migrations.upgrade("doorbuster.cart", fresh_postgres)
    await broker.forget_everything(bootstrap)
    topic = events.sale_topic("tests", topic_prefix.rstrip("-"))
    await bus.ensure_topic(bootstrap, topic, partitions=2, replication=1)
    keys = processes.Keys(tmp_path / "keys", SERVICES)
    neighbours = Neighbours(keys)
    async with AsyncExitStack() as stack:
        server = TestServer(neighbours.app())
        await server.start_server()
        stack.push_async_callback(server.close)
        url = str(server.make_url("/"))
        env = {
            "DOORBUSTER_CART_DSN": fresh_postgres,
            "DOORBUSTER_KAFKA_BOOTSTRAP": bootstrap,
            "DOORBUSTER_REDIS_URL": fresh_redis,
            **{
                f"DOORBUSTER_{name.upper()}_URLS": url for name in ("product", "inventory", "user")
            },
            **keys.env("cart"),
        }
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        )
        yield Shop(env, tmp_path / "cart.log", topic, keys, neighbours, session)


@pytest.fixture
def buyers() -> tuple[str, str]:
    """Two users whom no other test has met: the tests of this module share a database."""
    seed = time.monotonic_ns()
    return stories.user_id(seed), stories.user_id(seed + 1)


async def test_from_a_strangers_cart_to_a_paid_order(shop: Shop, buyers: tuple[str, str]) -> None:
    ada, bo = buyers
    now = clock.utc_now()
    window = {"open_time": now, "close_time": now + timedelta(minutes=5)}
    shop.neighbours.sales.append(msgspec.structs.replace(sale(2), **window))
    async with shop.running():
        status, made = await shop.add(None, 1, 2)
        token = made["cartToken"]
        assert (status, made["version"], len(token) > 40) == (200, 1, True)
        status, problem = await shop.add(None, 9)
        assert (status, problem["code"]) == (422, "UNKNOWN_PRODUCT")
        assert (await shop.add(token, 2, 1))[1]["cartToken"] is None

        async def shows_sale_price() -> bool:
            _, cart = await shop("GET", "/v1/cart", token)
            prices = [line["price"] for line in cart["products"]]
            return prices == [19.99, 9.99] and cart["total"] == 49.97

        await until(shows_sale_price, within_seconds=10, what="the sale's price")
        await shop.add(ada, 1, 1)
        _, of_both = await shop("GET", "/v1/cart", ada, headers={"X-Cart-Token": token})
        assert [line["quantity"] for line in of_both["products"]] == [1]
        merge = ("POST", "/v1/cart/merge", ada, {"cartToken": token})
        status, merged = await shop(*merge)
        assert status == 200
        assert (await shop(*merge))[0] == 404
        assert (await shop("GET", "/v1/cart", token))[0] == 404
        assert await shop.units(ada) == {product(1): 3, product(2): 1}

        path = f"/internal/v1/carts/{merged['cartId']}?userId="
        asked = {"headers": shop.keys.as_service("checkout", "cart")}
        status, contents = await shop("GET", path + ada, **asked)
        assert (status, contents["version"], len(contents["products"])) == (200, 2, 2)
        assert (await shop("GET", path + bo, **asked))[1]["code"] == "UNKNOWN_CART"
        assert (await shop("GET", path + ada, ada))[0] == 401
        intruder = {"headers": shop.keys.as_service("product", "cart")}
        assert (await shop("GET", path + ada, **intruder))[0] == 403

        line = stories.line(product_id=product(1), quantity=2)
        paid = stories.paid(time.monotonic_ns(), user_id=ada, lines=[line], paid_at=now)
        await shop.publish(paid, paid)

        async def is_taken_out() -> bool:
            return await shop.units(ada) == {product(1): 1, product(2): 1}

        await until(is_taken_out, within_seconds=30, what="the bought units leave the cart")
        assert (await shop("GET", path + ada, **asked))[1]["version"] == 3
        assert token not in shop.log.read_text()


async def test_forty_adds_at_once_lose_nothing(shop: Shop, buyers: tuple[str, str]) -> None:
    ada, _ = buyers
    async with shop.running():
        outcomes = await asyncio.gather(*(shop.add(ada, 1 + n % 2) for n in range(40)))
        assert {status for status, _ in outcomes} == {200}
        assert await shop.units(ada) == {product(1): 20, product(2): 20}


async def test_a_consumer_that_dies_before_its_commit_empties_a_cart_once(
    shop: Shop, buyers: tuple[str, str]
) -> None:
    ada, bo = buyers
    async with shop.running(DOORBUSTER_FAILPOINTS="consumer.handled") as service:
        await shop.add(ada, 1, 5)
        line = stories.line(product_id=product(1), quantity=2)
        now = clock.utc_now()
        first = stories.paid(time.monotonic_ns(), user_id=ada, lines=[line], paid_at=now)
        await shop.publish(first)
        assert await asyncio.wait_for(service.process.wait(), 30) == 86
    async with shop.running():
        await shop.add(bo, 1, 5)
        last = stories.paid(time.monotonic_ns(), user_id=bo, lines=[line], paid_at=now)
        await shop.publish(first, last)

        async def is_heard() -> bool:
            return await shop.units(bo) == {product(1): 3}

        await until(is_heard, within_seconds=40, what="the last order")

        async def is_settled() -> bool:
            return await shop.units(ada) == {product(1): 3}

        await until(is_settled, within_seconds=10, what="the first order, once")


async def test_each_neighbour_may_go_away_and_come_back(
    shop: Shop, buyers: tuple[str, str], stack: Stack, servers: Any
) -> None:
    ada, _ = buyers
    async with shop.running() as service:
        await shop.add(ada, 1)
        shop.neighbours.away |= {"product", "inventory"}
        assert (await shop.add(ada, 9))[0] == 200
        status, cart = await shop("GET", "/v1/cart", ada)
        seen = [(line["title"], line["price"], line["availability"]) for line in cart["products"]]
        assert (status, seen) == (200, [(None, None, "unknown")] * 2)
        async with shop.session.get(f"{service.admin_url}/metrics") as answer:
            metrics = await answer.text()
        assert 'doorbuster_cart_degraded_total{without="product"} 2.0' in metrics
        shop.neighbours.away.clear()
        cart = (await shop("GET", "/v1/cart", ada))[1]
        shown = [line["availability"] for line in cart["products"]]
        assert shown == ["available", "gone"]

        stack.kill("postgres")
        try:
            for call in (shop.add(ada, 1), shop("GET", "/v1/cart", ada)):
                status, problem = await call
                assert (status, problem["code"]) == (503, "UNAVAILABLE")
            assert not await service.is_ready(shop.session)
        finally:
            await asyncio.to_thread(stack.restart, "postgres")

        async def is_back() -> bool:
            return (await shop("GET", "/v1/cart", ada))[0] == 200

        await until(is_back, within_seconds=30, what="the cart after PostgreSQL came back")
        assert await shop.units(ada) == {product(1): 1, product(9): 1}


BODIES: list[Any] = [
    *(None, [], "text", 5, {}),
    *({"productId": product(1), "quantity": bad} for bad in (0, -1, 1001, 1.5, "1", None, True)),
    *({"productId": bad, "quantity": 1} for bad in ("", "phone", "x" * 300, 5, None, "prod_\x00")),
    {"productId": product(1), "quantity": 1, "price": 1},
    {"productId": stories.user_id(), "quantity": 1},
    {"productId": "prod_" + "z" * 26, "quantity": 1},
]


async def test_bad_input_is_refused_and_changes_nothing(
    shop: Shop, buyers: tuple[str, str]
) -> None:
    ada, _ = buyers
    async with shop.running():
        await shop.add(ada, 1)
        calls = [("POST", "/v1/cart/add", body) for body in BODIES]
        calls += [("PUT", "/v1/cart/update", body) for body in BODIES]
        calls += [("DELETE", f"/v1/cart/remove{query}", None) for query in ("", "?productId=x")]
        calls += [("POST", "/v1/cart/merge", body) for body in ({}, {"cartToken": "short"}, 5)]
        for method, path, body in calls:
            status, problem = await shop(method, path, ada, body)
            assert 400 <= status < 500, (method, path, body, status)
            assert problem["status"] == status
            assert problem["code"]
        for bad in ("Bearer x", "Basic eDp4", ""):
            headers = {"Authorization": bad, "X-Cart-Token": "ct_something"}
            assert (await shop("GET", "/v1/cart", headers=headers))[0] == 401
        assert (await shop("POST", "/v1/cart/merge", body={"cartToken": "c" * 40}))[0] == 401
        for token in ("x", "\u00fc" * 9, "t" * 4000):
            assert (await shop("GET", "/v1/cart", token))[1]["code"] == "UNKNOWN_CART"
        assert (await shop("GET", "/v1/cart"))[1]["cartId"] is None
        assert await shop.units(ada) == {product(1): 1}
