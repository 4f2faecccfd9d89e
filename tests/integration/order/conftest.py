"""The order service as a process, with a checkout, an inventory and a user service that say what a test wants."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa
from aiohttp import web as aiohttp_web
from aiohttp.test_utils import TestServer

from doorbuster.contracts import events, internal
from doorbuster.kit import auth, bus, database, migrations, web
from doorbuster.order import storage
from doorbuster.testing import broker, processes, stories

SERVICES = ("order", "checkout", "inventory", "user", "payment")


@dataclass
class Neighbours:
    """What checkout and inventory know; their routes take only calls that the order service signed."""

    keys: processes.Keys
    placed: dict[str, internal.PlacedOrder] = field(default_factory=dict)
    reservations: dict[str, internal.ReservationState] = field(default_factory=dict)

    async def find_placed(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        order = self.placed.get(request.match_info["id"])
        if order is None:
            raise web.NotFoundError("no such order")
        return web.json_response(order)

    async def find_reservation(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        reservation = self.reservations.get(request.match_info["id"])
        if reservation is None:
            raise web.NotFoundError("no such order")
        return web.json_response(reservation)

    async def jwks(self, _request: aiohttp_web.Request) -> aiohttp_web.Response:
        return aiohttp_web.Response(body=self.keys.jwks(), content_type="application/json")

    def app(self, name: str) -> aiohttp_web.Application:
        internal_call = web.callers("order")
        routes = {
            "checkout": ("/internal/v1/orders/{id}", self.find_placed, internal_call),
            "inventory": ("/internal/v1/reservations/{id}", self.find_reservation, internal_call),
            "user": ("/.well-known/jwks.json", self.jwks, web.Public()),
        }
        path, handler, access = routes[name]
        verifier = auth.ServiceVerifier(name, self.keys.public)
        return web.create_app(
            routes=[web.Route(method="GET", path=path, handler=handler, access=access)],
            errors={},
            authenticator=web.Authenticator(services=verifier),
        )


@dataclass
class World:
    """One order service to be, and everything around it."""

    env: dict[str, str]
    keys: processes.Keys
    neighbours: Neighbours
    folder: Path
    session: aiohttp.ClientSession

    @property
    def bootstrap(self) -> str:
        return self.env["DOORBUSTER_KAFKA_BOOTSTRAP"]

    @asynccontextmanager
    async def service(self, **env: str) -> AsyncIterator[processes.Running]:
        log = self.folder / "order.log"
        async with processes.running("order", {**self.env, **env}, log) as service:
            yield service

    async def get(
        self, service: processes.Running, path: str, user_id: str
    ) -> tuple[int, dict[str, Any]]:
        async with self.session.get(
            service.url + path, headers=self.keys.as_user(user_id)
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def post(
        self,
        service: processes.Running,
        what: str,
        body: dict[str, Any],
        *,
        path: str = "/v1/orders",
        role: str = "buyer",
    ) -> tuple[int, dict[str, Any]]:
        """Do something with the first order as its buyer; (0, {}) when the service died of it."""
        url = f"{service.url}{path}/{stories.order_id()}/{what}"
        headers = self.keys.as_user(stories.user_id(99 if role == "admin" else 1), role)
        try:
            async with self.session.post(url, json=body, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None)
        except aiohttp.ServerDisconnectedError:
            return 0, {}

    async def admin(
        self, service: processes.Running, what: str, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Do something with the first order as an admin."""
        return await self.post(service, what, body, path="/v1/admin/orders", role="admin")

    async def states(self) -> dict[str, str]:
        """Return the state of every stored order."""
        async with database.open_engine(self.env["DOORBUSTER_ORDER_DSN"]) as engine:
            async with engine.connect() as connection:
                rows = await connection.execute(
                    sa.select(storage.ORDERS.c.order_id, storage.ORDERS.c.state)
                )
                return {order_id: state for order_id, state in rows}


async def until(
    condition: Callable[[], Awaitable[bool]], *, within_seconds: float, what: str
) -> float:
    """Wait for a condition; returns how long it took in seconds."""
    started = time.monotonic()
    while time.monotonic() - started < within_seconds:
        if await condition():
            return time.monotonic() - started
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {within_seconds} s: {what}")


@pytest.fixture
def eventually() -> Callable[..., Awaitable[float]]:
    return until


@pytest.fixture
async def sale_topic(world: World, topic_prefix: str) -> str:
    """A sale's topic that nobody has heard of yet."""
    name = events.sale_topic("tests", topic_prefix.rstrip("-"))
    await bus.ensure_topic(world.bootstrap, name, partitions=3, replication=1)
    return name


@pytest.fixture
async def world(
    servers: Callable[..., dict[str, str]], fresh_mysql: str, tmp_path: Path
) -> AsyncIterator[World]:
    bootstrap = servers("kafka")["DOORBUSTER_KAFKA_BOOTSTRAP"]
    await migrations.upgrade("doorbuster.order", fresh_mysql)
    async with database.open_engine(fresh_mysql) as engine, engine.begin() as connection:
        for table in (storage.ORDERS, storage.HISTORY, storage.OUTBOX):
            await connection.execute(sa.delete(table))
    await broker.forget_everything(bootstrap)
    keys = processes.Keys(tmp_path / "keys", SERVICES)
    neighbours = Neighbours(keys)
    env = {
        "DOORBUSTER_ORDER_DSN": fresh_mysql,
        "DOORBUSTER_KAFKA_BOOTSTRAP": bootstrap,
        **keys.env("order"),
    }
    async with AsyncExitStack() as stack:
        for name in ("checkout", "inventory", "user"):
            server = TestServer(neighbours.app(name))
            await server.start_server()
            stack.push_async_callback(server.close)
            env[f"DOORBUSTER_{name.upper()}_URLS"] = str(server.make_url("/"))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield World(env, keys, neighbours, tmp_path, session)
