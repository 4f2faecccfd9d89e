"""The product service on real servers, with an inventory and a user service that say what a test wants.

It runs in the process of the tests, which have imported everything already; only what dies runs in one of its own.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pymongo
import pytest
from aiohttp import web as aiohttp_web
from aiohttp.test_utils import TestServer

from doorbuster.contracts import internal
from doorbuster.kit import auth, bus, clock, process, web
from doorbuster.product import app
from doorbuster.product.consumers import STOCK_TOPIC
from doorbuster.testing import broker, processes

SERVICES = ("product", "inventory", "user", "cart", "search")


@dataclass
class Neighbours:
    """What inventory and user say; their routes take only calls that the product service signed."""

    keys: processes.Keys
    sales: list[internal.SaleView] = field(default_factory=list)
    stock: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    away: bool = False

    async def tell_sales(self, _request: aiohttp_web.Request) -> aiohttp_web.Response:
        self._answer()
        return web.json_response(internal.Sales(sales=self.sales, server_time=clock.utc_now()))

    async def tell_stock(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        self._answer()
        asked = await web.read_json(request, internal.ProductIds)
        items = [
            internal.Availability(product_id=name, qty=self.stock[name], version=1)
            for name in asked.ids
            if name in self.stock
        ]
        return web.json_response(internal.Availabilities(items=items))

    async def tell_author(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        self._answer()
        name = self.names.get(request.match_info["id"])
        if name is None:
            raise web.NotFoundError("nobody")
        return web.json_response(internal.Author(name=name))

    async def jwks(self, _request: aiohttp_web.Request) -> aiohttp_web.Response:
        return aiohttp_web.Response(body=self.keys.jwks(), content_type="application/json")

    def _answer(self) -> None:
        if self.away:
            raise ConnectionError("away")

    def served_as(self, name: str) -> aiohttp_web.Application:
        ours = web.callers("product")
        routes = {
            "inventory": [
                ("GET", "/internal/v1/sales", self.tell_sales, ours),
                ("POST", "/internal/v1/availability", self.tell_stock, ours),
            ],
            "user": [
                ("GET", "/internal/v1/users/{id}/author", self.tell_author, ours),
                ("GET", "/.well-known/jwks.json", self.jwks, web.Public()),
            ],
        }
        verifier = auth.ServiceVerifier(name, self.keys.public)
        return web.create_app(
            routes=[
                web.Route(method=method, path=path, handler=handler, access=access)
                for method, path, handler, access in routes[name]
            ],
            errors={},
            authenticator=web.Authenticator(services=verifier),
        )


@dataclass(frozen=True)
class Here:
    """The service in this process; ``url`` is its API."""

    url: str
    checks: Mapping[str, process.Check]

    async def is_ready(self) -> bool:
        answers = await asyncio.gather(
            *(check() for check in self.checks.values()), return_exceptions=True
        )
        return not any(isinstance(answer, BaseException) for answer in answers)


@dataclass
class World:
    """One product service to be, and everything around it."""

    env: dict[str, str]
    keys: processes.Keys
    neighbours: Neighbours
    folder: Path
    session: aiohttp.ClientSession
    monkeypatch: pytest.MonkeyPatch

    @property
    def bootstrap(self) -> str:
        return self.env["DOORBUSTER_KAFKA_BOOTSTRAP"]

    @asynccontextmanager
    async def service(self) -> AsyncIterator["Here"]:
        for name, value in self.env.items():
            self.monkeypatch.setenv(name, value)
        async with app.build() as built, TestServer(built.app) as server:
            yield Here(str(server.make_url("")).rstrip("/"), built.checks)

    @asynccontextmanager
    async def process(self, **env: str) -> AsyncIterator[processes.Running]:
        log = self.folder / "product.log"
        async with processes.running("product", {**self.env, **env}, log) as service:
            yield service

    async def call(
        self,
        service: "Here",
        method: str,
        path: str,
        body: Any = None,
        *,
        as_: str | None = None,
        **headers: str,
    ) -> tuple[int, Any, Any]:
        """Call as a user id, as ``merchant`` or as nobody; returns status, body and headers."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if as_ is not None:
            sent |= self.keys.as_user(as_, "merchant" if as_ == "merchant" else "buyer")
        async with self.session.request(
            method, service.url + path, json=body, headers=sent
        ) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers

    async def ask(
        self, service: "Here", method: str, path: str, caller: str, body: Any = None
    ) -> tuple[int, Any]:
        """Call as another service."""
        headers = self.keys.as_service(caller, "product")
        async with self.session.request(
            method, service.url + path, json=body, headers=headers
        ) as answer:
            return answer.status, await answer.json(content_type=None)


async def until(
    condition: Callable[[], Awaitable[Any]], *, within_seconds: float = 20, what: str
) -> Any:
    """Wait until a condition is true; returns what it said."""
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        if found := await condition():
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {within_seconds} s: {what}")


@pytest.fixture
def eventually() -> Callable[..., Awaitable[Any]]:
    return until


@pytest.fixture
async def world(
    servers: Callable[..., dict[str, str]],
    fresh_mongo: str,
    fresh_redis: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    stack_env = servers("mongo", "kafka", "s3", "cdn", "redis")
    with pymongo.MongoClient[dict[str, Any]](fresh_mongo) as client:
        database = client.get_default_database()
        for name in database.list_collection_names():
            database[name].delete_many({})
    await broker.forget_everything(stack_env["DOORBUSTER_KAFKA_BOOTSTRAP"])
    await bus.ensure_topic(
        stack_env["DOORBUSTER_KAFKA_BOOTSTRAP"], STOCK_TOPIC, partitions=1, replication=1
    )
    keys = processes.Keys(tmp_path / "keys", SERVICES)
    neighbours = Neighbours(keys)
    shared = ("DOORBUSTER_KAFKA_BOOTSTRAP", "DOORBUSTER_CDN_URL")
    env = {
        "DOORBUSTER_MONGO_URL": fresh_mongo,
        "DOORBUSTER_REDIS_URL": fresh_redis,
        **{name: stack_env[name] for name in shared},
        **{name: value for name, value in stack_env.items() if name.startswith("DOORBUSTER_S3_")},
        **keys.env("product"),
    }
    async with AsyncExitStack() as opened:
        for name in ("inventory", "user"):
            server = TestServer(neighbours.served_as(name))
            await server.start_server()
            opened.push_async_callback(server.close)
            env[f"DOORBUSTER_{name.upper()}_URLS"] = str(server.make_url("/"))
        session = await opened.enter_async_context(aiohttp.ClientSession())
        yield World(env, keys, neighbours, tmp_path, session, monkeypatch)
