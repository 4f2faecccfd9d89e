"""Checkout as it is built for production, on a real PostgreSQL; its peers are HTTP servers in this process.

The inventory here is the shelf's fake behind real HTTP, so that its replies can be lost and its clock moved; the
whole path through the real inventory, Redis and processes is in test_real_inventory.py.
"""

import asyncio
import os
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
import asyncpg
import jwt
import pytest
from aiohttp import test_utils
from aiohttp import web as aiohttp_web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devstack.keys import ensure_service_keys
from doorbuster.checkout.app import build
from doorbuster.contracts import internal
from doorbuster.kit import auth, client, clock, ids, migrations, web
from doorbuster.testing.shelf import FakeInventory, build_sale

PHONE = ids.product_id("phone")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DEAD_PORT_URL = "127.0.0.1:1"  # nobody listens there


class Identity:
    """Signs access tokens like the user service does."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.jwks = auth.jwks_document({"k1": self._key.public_key()})

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
        return app


class ShelfServer:
    """The fake inventory behind HTTP; a reply that is lost is a connection that is cut after the act."""

    def __init__(self, inventory: FakeInventory, keys) -> None:
        self.inventory = inventory
        self._keys = keys

    def app(self) -> aiohttp_web.Application:
        def route(method, path, handler):
            async def guarded(request):
                try:
                    return web.json_response(await handler(request))
                except client.UnavailableError:
                    request.transport.close()
                    raise

            access = web.callers("checkout")
            return web.Route(method=method, path=path, handler=guarded, access=access)

        return web.create_app(
            routes=[
                route("GET", "/internal/v1/sales", lambda _request: self.inventory.sales()),
                route("POST", "/internal/v1/reservations", self._reserve),
                route("POST", "/internal/v1/judgements", self._judge),
                route("POST", "/internal/v1/pins", self._pin),
                route("GET", "/internal/v1/reservations/{id}", self._reservation),
            ],
            errors={},
            authenticator=web.Authenticator(
                services=auth.ServiceVerifier("inventory", self._keys)
            ),
        )

    async def _verdicts(self, request, batch_type, one):
        batch = await web.read_json(request, batch_type)
        verdicts = [await one(item) for item in batch.items]
        owners = {v.result.product_id: list(v.owners) for v in verdicts if v.owners is not None}
        return internal.ReserveResults(results=[v.result for v in verdicts], owners=owners)

    async def _reserve(self, request):
        return await self._verdicts(request, internal.ReserveBatch, self.inventory.reserve)

    async def _judge(self, request):
        return await self._verdicts(request, internal.JudgeBatch, self.inventory.judge)

    async def _pin(self, request):
        batch = await web.read_json(request, internal.PinBatch)
        return internal.PinResults(results=[await self.inventory.pin(i) for i in batch.items])

    async def _reservation(self, request):
        found = await self.inventory.reservation(request.match_info["id"])
        if found is None:
            raise web.NotFoundError("no such order")
        return found


class Shop:
    """One running checkout over HTTP with its shelf, its store and callers."""

    def __init__(self, session, url, shelf, identity, keys, pool, checks) -> None:
        self.session, self.url, self.shelf, self.pool = session, url, shelf, pool
        self.identity, self.checks = identity, checks
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

    async def buy(self, user="user_1", key="key-1", *, price=99.90, quantity=1, product=PHONE):
        body = {"products": [{"productId": product, "quantity": quantity}]}
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

    async def internally(self, caller, method, path, body=None):
        token = auth.ServiceSigner(caller, self._keys / f"{caller}.pem").token("checkout")
        status, _, answer = await self.ask(method, path, token=token, body=body)
        return status, answer

    async def stored(self):
        """Return (placed orders, events in the outbox)."""
        orders = await self.pool.fetch("SELECT * FROM placed_order ORDER BY order_id")
        events = await self.pool.fetch("SELECT * FROM outbox ORDER BY id")
        return [dict(row) for row in orders], [dict(row) for row in events]


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
                "DOORBUSTER_USER_URLS": str(users.make_url("")),
                "DOORBUSTER_SERVICE_KEY_FILE": str(tmp_path / "checkout.pem"),
                "DOORBUSTER_SERVICE_KEYS_DIR": str(tmp_path / "public"),
                **settings,
            }
            for name, value in environment.items():
                monkeypatch.setitem(os.environ, name, value)
            async with build() as service, test_utils.TestServer(service.app) as server:
                url = str(server.make_url("")).rstrip("/")
                yield Shop(session, url, shelf, identity, tmp_path, pool, service.checks)

    return start


@pytest.fixture(autouse=True)
async def empty_store(checkout_dsn):
    connection = await asyncpg.connect(checkout_dsn)
    try:
        await connection.execute("TRUNCATE placed_order, outbox")
    finally:
        await connection.close()
