"""A gateway as a process, with real HTTP servers behind it that write down what reaches them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from doorbuster.testing import processes

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SEEN: web.RequestKey[bytes] = web.RequestKey("seen", bytes)


@dataclass
class Arrived:
    """A request that reached a service."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Upstream:
    """One copy of a service; ``handler`` says what it does, answering {} at first."""

    port: int
    handler: Handler
    runner: web.AppRunner | None = None
    arrived: list[Arrived] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=1_000_000)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = dict(request.headers)
        self.arrived.append(Arrived(request.method, request.path_qs, headers, body))
        return await self.handler(request)


async def say_nothing_much(_request: web.Request) -> web.StreamResponse:
    return web.json_response({})


@dataclass
class Street:
    """The gateway and what is behind it."""

    keys: processes.Keys
    user: Upstream
    checkouts: list[Upstream]
    payment: Upstream
    order: Upstream
    env: dict[str, str]
    folder: Path
    session: aiohttp.ClientSession
    gateway: processes.Running

    async def call(
        self, method: str, path: str, *, address: str = "198.51.100.7", **rest: Any
    ) -> tuple[int, Any, Mapping[str, str]]:
        headers = {"X-Forwarded-For": address} | rest.pop("headers", {})
        async with self.session.request(
            method, self.gateway.url + path, headers=headers, **rest
        ) as answer:
            raw = await answer.read()
            body = await answer.json(content_type=None) if raw else None
            return answer.status, body, answer.headers

    def as_user(self, number: int = 1) -> dict[str, str]:
        return self.keys.as_user(f"user_{number:026}")

    def arrived(self) -> list[Arrived]:
        """All that reached any service, apart from the gateway's own question for keys."""
        services = (self.user, *self.checkouts, self.payment, self.order)
        return [
            one
            for service in services
            for one in service.arrived
            if one.path != "/.well-known/jwks.json"
        ]

    async def metric(self, name: str) -> float:
        async with self.session.get(f"{self.gateway.admin_url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    @asynccontextmanager
    async def another(self, **env: str) -> AsyncIterator[processes.Running]:
        """Run another gateway with other settings for a while; ``call`` goes there."""
        before = self.gateway
        log = self.folder / "another.log"
        async with processes.running("gateway", {**self.env, **env}, log) as other:
            self.gateway = other
            try:
                yield other
            finally:
                self.gateway = before


@pytest.fixture
async def street(fresh_redis: str, tmp_path: Path) -> AsyncIterator[Street]:
    keys = processes.Keys(tmp_path / "keys", ())

    async def publish_keys(request: web.Request) -> web.StreamResponse:
        if request.path == "/.well-known/jwks.json":
            return web.Response(body=keys.jwks(), content_type="application/jwk-set+json")
        return web.json_response({})

    async with AsyncExitStack() as opened:
        services = []
        for handler in (publish_keys, *[say_nothing_much] * 4):
            upstream = Upstream(processes.free_port(), handler)
            await upstream.start()
            opened.push_async_callback(upstream.stop)
            services.append(upstream)
        user, first, second, payment, order = services
        env = {
            "DOORBUSTER_USER_URLS": user.url,
            "DOORBUSTER_CHECKOUT_URLS": f"{first.url},{second.url}",
            "DOORBUSTER_PAYMENT_URLS": payment.url,
            "DOORBUSTER_ORDER_URLS": order.url,
            "DOORBUSTER_REDIS_URL": fresh_redis,
            "DOORBUSTER_TRUSTED_PROXIES": "127.0.0.0/8",
        }
        session = await opened.enter_async_context(
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=30),
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
            )
        )
        gateway = await opened.enter_async_context(
            processes.running("gateway", env, tmp_path / "gateway.log")
        )
        yield Street(
            keys=keys,
            user=user,
            checkouts=[first, second],
            payment=payment,
            order=order,
            env=env,
            folder=tmp_path,
            session=session,
            gateway=gateway,
        )


async def say(gateway: processes.Running, raw: bytes) -> bytes:
    """Send bytes on a connection of their own and return all that comes back within 2 s."""
    port = int(gateway.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        writer.write(raw)
        await writer.drain()
        async with asyncio.timeout(2):
            while chunk := await reader.read(65_536):
                received += chunk
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return received
