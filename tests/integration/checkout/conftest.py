"""Checkout as it is built for production, on a real PostgreSQL; its peers are HTTP servers in this process.

The inventory of ``open_shop`` is the shelf's fake behind real HTTP, so that its replies can be lost and its clock
moved; that of ``drop`` is the real one, with Redis and Kafka, behind two checkouts.
"""

import asyncio
import copy
import os
import secrets
import time
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import asyncpg
import jwt
import msgspec
import pytest
from aiohttp import test_utils
from aiohttp import web as aiohttp_web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devstack.keys import ensure_service_keys
from doorbuster.checkout.app import build
from doorbuster.contracts import control, events, internal
from doorbuster.kit import auth, bus, client, clock, ids, migrations
from doorbuster.testing.discounts import FakeAddresses, FakeCarts, FakeCatalogue
from doorbuster.testing.shelf import FakeInventory, build_sale
from doorbuster.testing.shelf_server import ShelfServer

PHONE = ids.product_id("phone")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DEAD_PORT_URL = "127.0.0.1:1"  # nobody listens there
WITHIN_SECONDS = 30.0
NEIGHBOURS = ("DOORBUSTER_USER_URLS", "DOORBUSTER_PRODUCT_URLS", "DOORBUSTER_CART_URLS")
PRICE = 99.90


class Identity:
    """Signs access tokens like the user service does; beside it the address books, the list prices and the carts."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.jwks = auth.jwks_document({"k1": self._key.public_key()})
        self.catalogue, self.carts, self.addresses = FakeCatalogue(), FakeCarts(), FakeAddresses()

    def token(self, user="user_1", **changed) -> str:
        now = int(time.time())
        payload = {
            "iss": auth.ISSUER,
            "aud": auth.USER_AUDIENCE,
            "sub": user,
            "role": "buyer",
            "sid": "s",
            "iat": now,
            "exp": now + 900,
        }
        return jwt.encode(payload | changed, self._key, algorithm="EdDSA", headers={"kid": "k1"})

    def app(self) -> aiohttp_web.Application:
        async def jwks(_request):
            return aiohttp_web.Response(body=self.jwks, content_type="application/json")

        app = aiohttp_web.Application()
        app.router.add_get("/.well-known/jwks.json", jwks)
        app.router.add_post("/internal/v1/products:quote", self._quote)
        app.router.add_get("/internal/v1/carts/{cart}", self._cart)
        app.router.add_get("/internal/v1/users/{user}/addresses/{address}", self._address)
        return app

    async def _quote(self, request):
        asked = msgspec.json.decode(await request.read(), type=internal.ProductIds).ids
        return await _told(self._quotes(asked))

    async def _quotes(self, asked):
        found = [await self.catalogue.quote(product_id) for product_id in asked]
        return internal.Quotes(quotes=[quote for quote in found if quote is not None])

    async def _cart(self, request):
        return await _told(self.carts.find(request.query["userId"], request.match_info["cart"]))

    async def _address(self, request):
        user, address = request.match_info["user"], request.match_info["address"]
        return await _told(self.addresses.find(user, address))


async def _told(answer):
    """Say what a neighbour says: 503 when it is away, 404 for nothing."""
    try:
        found = await answer
    except ConnectionError:
        return aiohttp_web.Response(status=503)
    if found is None:
        return aiohttp_web.json_response({"code": "UNKNOWN"}, status=404)
    return aiohttp_web.Response(body=msgspec.json.encode(found), content_type="application/json")


class Shop:
    """One running checkout over HTTP with its shelf, its store and callers."""

    def __init__(self, session, url, shelf, identity, keys, pool, checks, environment) -> None:
        self.session, self.url, self.shelf, self.pool = session, url, shelf, pool
        self.identity, self.checks, self.environment = identity, checks, environment
        self._keys = keys

    async def ask(self, method, path, *, token=None, body=None, headers=None, raw=None):
        """Return status, headers and decoded body."""
        sent = dict(headers or {})
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if raw is not None:
            sent.setdefault("Content-Type", "application/json")
        async with self.session.request(
            method, self.url + path, json=body, data=raw, headers=sent
        ) as response:
            return response.status, response.headers, await response.json(content_type=None)

    def at(self, url):
        """The same shop through another door."""
        other = copy.copy(self)
        other.url = url
        return other

    async def buy(
        self, user="user_1", key="key-1", *, price=99.90, quantity=1, product=PHONE, **more
    ):
        body = {"products": [{"productId": product, "quantity": quantity}], **more}
        if price is not None:
            body["products"][0]["price"] = price
        headers = {"traceparent": TRACEPARENT}
        if key is not None:
            headers["Idempotency-Key"] = key
        token = self.identity.token(user)
        status, _, answer = await self.ask(
            "POST", "/v1/checkout", token=token, body=body, headers=headers
        )
        return status, answer

    async def administer(self, method, path, body=None, *, role="merchant"):
        token = self.identity.token("user_m", role=role)
        status, _, answer = await self.ask(method, path, token=token, body=body)
        return status, answer

    async def uses_of(self, code):
        """Return how often a code counts as used, and the orders that have it."""
        _, shown = await self.administer("GET", f"/v1/admin/discounts/{code}")
        orders = await self.pool.fetch("SELECT order_id FROM discount_use WHERE code = $1", code)
        return shown["used"], {row["order_id"] for row in orders}

    async def internally(self, caller, method, path, body=None):
        token = auth.ServiceSigner(caller, self._keys / f"{caller}.pem").token("checkout")
        status, _, answer = await self.ask(method, path, token=token, body=body)
        return status, answer

    async def stored(self):
        """Return (placed orders, events in the outbox)."""
        orders = await self.pool.fetch("SELECT * FROM placed_order ORDER BY order_id")
        events = await self.pool.fetch("SELECT * FROM outbox ORDER BY id")
        return [dict(row) for row in orders], [dict(row) for row in events]


class Drop:
    """One sale of its own sku on the real inventory, sold by two checkouts with ``strategy``."""

    def __init__(self, env, operator, urls, session, identity, keys, strategy) -> None:
        self.env, self.urls, self.session, self.strategy = env, urls, session, strategy
        self.sku = f"t-{secrets.token_hex(6)}"
        self.product = ids.product_id(self.sku)
        self._operator, self._identity, self._keys = operator, identity, keys
        self._turn = 0
        self._gate = None

    async def arm(self, units, *, opens_in=-1.0, hold_seconds=60, limit=1, **gate):
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
        self._gate = control.SaleGate(
            namespace="t",
            name=self.sku,
            generation=1,
            fence=fence.fence,
            state="Active",
            open_time=opens,
            close_time=opens + timedelta(minutes=10),
            strategy=self.strategy,
            reservation_timeout_seconds=hold_seconds,
            items=[
                control.SaleItem(
                    sku=self.sku, price_minor=9_990, currency="EUR", per_user_limit=limit
                )
            ],
            **gate,
        )
        await self._put_gate()
        await self.eventually(self._is_armed, "the sale is armed")
        await self.eventually(self._is_shown, "both checkouts show the sale")
        return opens

    async def change(self, **changes):
        """Change the gate, as the operator does when its resource changes."""
        self._gate = msgspec.structs.replace(
            self._gate, generation=self._gate.generation + 1, **changes
        )
        await self._put_gate()

    async def change_price(self, price_minor):
        """Sell at another price from now on."""
        [item] = self._gate.items
        await self.change(items=[msgspec.structs.replace(item, price_minor=price_minor)])

    async def _put_gate(self):
        path = f"/control/v1/sales/{self.sku}"
        await self._operator.call("PUT", path, control.SaleState, body=self._gate)

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

    async def buy(self, user, key=None, **how):
        """Press the button; returns the order or the code of the refusal."""
        status, answer = await self.press(user, key, **how)
        return answer["orderId"] if status == 201 else answer["code"]

    async def press(self, user, key=None, *, at=None, quantity=1, price=PRICE):
        """Press the button at the next checkout in turn, or at ``at``; returns status and answer."""
        self._turn += 1
        url = self.urls[self._turn % len(self.urls) if at is None else at]
        headers = {
            "Authorization": f"Bearer {self._identity.token(user)}",
            "Idempotency-Key": f"{self.sku}-{key or user}",
        }
        line = {"productId": self.product, "quantity": quantity, "price": price}
        async with self.session.post(
            f"{url}/v1/checkout", json={"products": [line]}, headers=headers
        ) as response:
            return response.status, await response.json(content_type=None)

    async def rush(self, buyers, *, prefix="user", **how):
        users = [f"{prefix}_{number}" for number in range(buyers)]
        return dict(
            zip(users, await asyncio.gather(*(self.buy(u, **how) for u in users)), strict=True)
        )

    async def pin(self, order_id):
        """Begin to pay, as payment does; returns the order."""
        token = auth.ServiceSigner("payment", self._keys / "payment.pem").token("checkout")
        url = f"{self.urls[0]}/internal/v1/orders/{order_id}/begin-payment"
        async with self.session.post(
            url, json={"attempt": 1}, headers={"Authorization": f"Bearer {token}"}
        ) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def pay(self, order_id, *, user):
        """Pin, then say on Kafka that it is paid, as payment does."""
        order = await self.pin(order_id)
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

    async def counters(self):
        """Return (available, reserved, sold) of the sale."""
        [item] = (await self.state()).items
        return item.available, item.reserved, item.sold

    @staticmethod
    async def eventually(condition, what):
        """Wait until ``condition()`` answers something true; returns it."""
        deadline = asyncio.get_running_loop().time() + WITHIN_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            found = await condition()
            if found:
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"not within {WITHIN_SECONDS} s: {what}")

    @staticmethod
    def winners(answers):
        """Return those of a rush who got an order."""
        return {user: answer for user, answer in answers.items() if answer.startswith("order_")}


@pytest.fixture(scope="module")
def checkout_dsn(fresh_postgres):
    asyncio.run(migrations.upgrade("doorbuster.checkout", fresh_postgres))
    return fresh_postgres


@pytest.fixture
def identity():
    return Identity()


@pytest.fixture
def open_shop(checkout_dsn, tmp_path, monkeypatch, identity):
    """Start checkouts on one store: ``async with open_shop(*sales) as shop``."""
    ensure_service_keys(tmp_path)

    @asynccontextmanager
    async def start(*sales, shelf=None, **settings):
        shelf = shelf or FakeInventory(
            clock.utc_now,
            *(sales or (build_sale(clock.utc_now() - timedelta(minutes=1), strategy="Direct"),)),
        )
        async with (
            test_utils.TestServer(ShelfServer(shelf, tmp_path / "public").app()) as inventory,
            test_utils.TestServer(identity.app()) as users,
            aiohttp.ClientSession() as session,
            asyncpg.create_pool(checkout_dsn, min_size=1, max_size=2) as pool,
        ):
            environment = {
                "DOORBUSTER_CHECKOUT_DSN": checkout_dsn,
                "DOORBUSTER_REDIS_URL": f"redis://{DEAD_PORT_URL}/0",
                "DOORBUSTER_KAFKA_BOOTSTRAP": DEAD_PORT_URL,
                "DOORBUSTER_INVENTORY_URLS": str(inventory.make_url("")),
                **dict.fromkeys(NEIGHBOURS, str(users.make_url(""))),
                "DOORBUSTER_SERVICE_KEY_FILE": str(tmp_path / "checkout.pem"),
                "DOORBUSTER_SERVICE_KEYS_DIR": str(tmp_path / "public"),
                **settings,
            }
            for name, value in environment.items():
                monkeypatch.setitem(os.environ, name, value)
            async with build() as service, test_utils.TestServer(service.app) as server:
                url = str(server.make_url("")).rstrip("/")
                yield Shop(
                    session, url, shelf, identity, tmp_path, pool, service.checks, environment
                )

    return start


@pytest.fixture(autouse=True)
async def empty_store(checkout_dsn):
    connection = await asyncpg.connect(checkout_dsn)
    try:
        await connection.execute("TRUNCATE placed_order, outbox, discount, discount_use")
    finally:
        await connection.close()


@pytest.fixture
def strategy():
    """How the sale of :class:`Drop` reserves its units."""
    return "Escrow"


@pytest.fixture
async def drop(servers, stack, checkout_dsn, identity, monkeypatch, strategy):
    """A sale of its own with two checkouts; a module that wants other strategies has its own ``strategy``."""
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
            **dict.fromkeys(NEIGHBOURS, str(users.make_url(""))),
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
        yield Drop(env, operator, urls, session, identity, keys, strategy)
