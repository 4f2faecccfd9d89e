"""The payment service and the PSP sandbox as real processes on a real database, among neighbours that we play."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import jwt
import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from devstack import ports
from doorbuster.contracts import events, internal
from doorbuster.kit import auth, ids, migrations
from doorbuster.kit.clock import utc_now

PSP_KEY = "sk_test_integration"
WEBHOOK_SECRET = "whsec_integration"
READY_SECONDS = 60.0
ANSWER_SECONDS = 4.0
RECOVER_SECONDS = 4.5
GOOD_CARD = "4242424242424242"
DECLINED_CARD = "4000000000000002"


def free_port() -> int:
    """Return a port that stays ours while its server is dead: none of the ephemeral range."""
    return ports.choose(["one"], known={}, preferred={})["one"]


def write_keys(folder: Path) -> dict[str, Ed25519PrivateKey]:
    """Make a key pair for each service: NAME.pem beside public/NAME.pub."""
    keys = {}
    (folder / "public").mkdir(parents=True)
    for name in ("payment", "inventory", "checkout"):
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.pem").write_bytes(pem)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / "public" / f"{name}.pub").write_bytes(public)
        keys[name] = key
    return keys


@dataclass(kw_only=True)
class Program:
    """One `doorbuster COMMAND` process with its log; it can be killed and started again on the same ports."""

    command: str
    env: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.env['DOORBUSTER_PORT']}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.env['DOORBUSTER_ADMIN_PORT']}"

    def start(self) -> None:
        program = Path(sys.executable).with_name("doorbuster")
        base = {"PATH": os.environ["PATH"], "DOORBUSTER_LOG_LEVEL": "DEBUG"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [program, self.command], env=base | self.env, stdout=log, stderr=log
            )
        deadline = time.monotonic() + READY_SECONDS
        port = int(self.env["DOORBUSTER_PORT"])
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
                return
            time.sleep(0.05)
        pytest.fail(f"{self.command} did not start:\n{self.log.read_text()[-3000:]}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(number)
        self.process.wait(timeout=20)

    def kill(self) -> None:
        self.stop(signal.SIGKILL)


@dataclass(kw_only=True)
class Neighbours:
    """Checkout, inventory, order and user as payment sees them; ``pins`` follows the rules of the real ones."""

    user_key: Ed25519PrivateKey
    verifier: auth.ServiceVerifier
    orders: dict[str, internal.PlacedOrder] = field(default_factory=dict)
    pins: dict[str, int] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)
    unpinned: list[tuple[str, int]] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    asked_missing: int = 0
    away: set[str] = field(default_factory=set)
    begun: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def place(self, user_id: str, *, amount_minor: int = 99_900) -> str:
        """Place an order and return its id."""
        order_id = ids.order_id(user_id, ids.new_id("key"))
        line = events.Line(
            product_id=ids.product_id("phone"), quantity=1, price_minor=amount_minor
        )
        self.orders[order_id] = internal.PlacedOrder(
            order_id=order_id,
            user_id=user_id,
            lines=[line],
            amount_minor=amount_minor,
            currency="EUR",
            pay_by=utc_now() + timedelta(minutes=2),
            placed_at=utc_now(),
            topic="sale.default.drop.orders",
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        return order_id

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/.well-known/jwks.json", self._jwks)
        app.router.add_get("/internal/v1/orders/{id}", self._order)
        app.router.add_post("/internal/v1/orders/{id}/begin-payment", self._begin)
        app.router.add_post("/internal/v1/unpins", self._unpin)
        app.router.add_post("/internal/v1/orders:missing", self._missing)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        part = request.path.rpartition("/")[2]
        if part in self.away or (part.startswith("order_") and "order" in self.away):
            return web.Response(status=503)
        if request.path.startswith("/internal/"):
            audience = {"unpins": "inventory", "orders:missing": "order"}.get(part, "checkout")
            token = request.headers["Authorization"].removeprefix("Bearer ")
            claims = jwt.decode(token, options={"verify_signature": False})
            assert (claims["sub"], claims["aud"]) == ("payment", audience)
        response: web.StreamResponse = await handler(request)
        return response

    async def _jwks(self, _request: web.Request) -> web.Response:
        body = auth.jwks_document({"u1": self.user_key.public_key()})
        return web.Response(body=body, content_type="application/json")

    async def _order(self, request: web.Request) -> web.Response:
        placed = self.orders.get(request.match_info["id"])
        return refusal(404, "UNKNOWN_ORDER") if placed is None else reply(placed)

    async def _begin(self, request: web.Request) -> web.Response:
        order_id = request.match_info["id"]
        attempt = msgspec.json.decode(await request.read(), type=internal.BeginPayment).attempt
        self.begun[order_id].append(attempt)
        if order_id in self.expired:
            return refusal(409, "HOLD_EXPIRED")
        if self.pins.get(order_id, attempt) != attempt:
            return refusal(409, "PAYMENT_IN_PROGRESS")
        self.pins[order_id] = attempt
        return reply(self.orders[order_id])

    async def _unpin(self, request: web.Request) -> web.Response:
        unpin = msgspec.json.decode(await request.read(), type=internal.Unpin)
        self.unpinned.append((unpin.order_id, unpin.attempt))
        if self.pins.get(unpin.order_id) == unpin.attempt:
            del self.pins[unpin.order_id]
        return web.Response(status=204)

    async def _missing(self, request: web.Request) -> web.Response:
        self.asked_missing += 1
        asked = msgspec.json.decode(await request.read(), type=internal.OrderIds).ids
        return reply(internal.MissingOrders(missing=[i for i in asked if i not in self.known]))


def reply(body: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


def refusal(status: int, code: str) -> web.Response:
    return web.json_response({"code": code}, status=status)


@dataclass(kw_only=True)
class World:
    """What a test speaks to."""

    payment: Program
    psp: Program
    dsn: str
    neighbours: Neighbours
    session: aiohttp.ClientSession
    service_keys: dict[str, Ed25519PrivateKey]
    logs: list[Path]

    def token(self, user_id: str) -> str:
        now = int(time.time())
        claims = {
            "iss": auth.ISSUER,
            "aud": auth.USER_AUDIENCE,
            "sub": user_id,
            "role": "buyer",
            "sid": "s1",
            "iat": now,
            "exp": now + 900,
        }
        return jwt.encode(
            claims, self.neighbours.user_key, algorithm="EdDSA", headers={"kid": "u1"}
        )

    async def pay(
        self,
        user_id: str,
        order_id: str,
        *,
        card: str = GOOD_CARD,
        key: str | None = None,
        **more: Any,
    ) -> tuple[int, dict[str, Any]]:
        """POST /v1/payment; returns status and body."""
        details = {"number": card, "expMonth": 12, "expYear": 2040, "cvc": "737"}
        body = {"orderId": order_id, "cardDetails": details} | more
        return await self.post(user_id, msgspec.json.encode(body), key=key)

    async def post(
        self, user_id: str, body: bytes, *, key: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        headers = {
            "Authorization": f"Bearer {self.token(user_id)}",
            "Content-Type": "application/json",
        }
        if key is not None:
            headers["Idempotency-Key"] = key
        async with self.session.post(
            f"{self.payment.url}/v1/payment", data=body, headers=headers
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def behave(self, **behaviour: Any) -> None:
        """Switch the provider's faults on; without arguments, off."""
        async with self.session.put(f"{self.psp.url}/admin/behaviour", json=behaviour) as answer:
            assert answer.status == 200, await answer.text()

    async def intents(self, order_id: str) -> list[dict[str, Any]]:
        """Return the provider's intents of an order."""
        async with self.session.get(f"{self.psp.url}/admin/intents") as answer:
            found = (await answer.json())["intents"]
        return [intent for intent in found if intent["orderId"] == order_id]

    async def rows(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.dsn)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def states(self, order_id: str) -> list[str]:
        """Return the states of all attempts of an order."""
        query = "SELECT state FROM payment WHERE order_id = $1 ORDER BY attempt"
        return [row["state"] for row in await self.rows(query, order_id)]

    async def events(self, order_id: str) -> list[tuple[str, str]]:
        """Return (type, topic) of the events of an order that wait in the outbox."""
        query = "SELECT type, topic FROM outbox WHERE event_key = $1 ORDER BY id"
        return [(row["type"], row["topic"]) for row in await self.rows(query, order_id)]

    async def until_states(
        self, order_id: str, *expected: str, within_seconds: float = 15.0
    ) -> None:
        """Wait until the attempts of an order are in these states."""
        deadline = time.monotonic() + within_seconds
        while time.monotonic() < deadline:
            if await self.states(order_id) == list(expected):
                return
            await asyncio.sleep(0.05)
        assert await self.states(order_id) == list(expected)


@pytest.fixture(scope="module")
def programs(
    request: pytest.FixtureRequest,
    fresh_postgres: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Any]]:
    """Both processes, started once a module.

    Kafka is away, so that events stay in the outbox, unless the module has a fixture ``bootstrap``.
    """
    has_kafka = hasattr(request.module, "bootstrap")
    bootstrap = request.getfixturevalue("bootstrap") if has_kafka else f"127.0.0.1:{free_port()}"
    folder = tmp_path_factory.mktemp("payment")
    keys = write_keys(folder / "keys")
    asyncio.run(migrations.upgrade("doorbuster.payment", fresh_postgres))
    neighbour_port = free_port()
    neighbour_url = f"http://127.0.0.1:{neighbour_port}"
    psp = Program(
        command="psp",
        log=folder / "psp.log",
        env={
            "DOORBUSTER_PORT": str(free_port()),
            "DOORBUSTER_ADMIN_PORT": str(free_port()),
            "DOORBUSTER_PSP_STATE": str(folder / "psp" / "state.db"),
            "DOORBUSTER_PSP_KEY": PSP_KEY,
        },
    )
    payment = Program(
        command="payment",
        log=folder / "payment.log",
        env={
            "DOORBUSTER_PORT": str(free_port()),
            "DOORBUSTER_ADMIN_PORT": str(free_port()),
            "DOORBUSTER_PAYMENT_DSN": fresh_postgres,
            "DOORBUSTER_KAFKA_BOOTSTRAP": bootstrap,
            "DOORBUSTER_PSP_URL": psp.url,
            "DOORBUSTER_PSP_KEY": PSP_KEY,
            "DOORBUSTER_PSP_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "DOORBUSTER_ALLOW_RAW_CARDS": "true",
            "DOORBUSTER_SERVICE_KEY_FILE": str(folder / "keys" / "payment.pem"),
            "DOORBUSTER_SERVICE_KEYS_DIR": str(folder / "keys" / "public"),
            "DOORBUSTER_PAYMENT_ANSWER_SECONDS": str(ANSWER_SECONDS),
            "DOORBUSTER_PAYMENT_RECOVER_SECONDS": str(RECOVER_SECONDS),
            "DOORBUSTER_PAYMENT_ORDER_KNOWN_SECONDS": "1",
            **{
                f"DOORBUSTER_{name}_URLS": neighbour_url
                for name in ("USER", "CHECKOUT", "INVENTORY", "ORDER")
            },
        },
    )
    user_key = Ed25519PrivateKey.generate()
    try:
        psp.start()
        payment.start()
        yield {
            "payment": payment,
            "psp": psp,
            "keys": keys,
            "public": folder / "keys" / "public",
            "port": neighbour_port,
            "folder": folder,
            "user_key": user_key,
        }
    finally:
        payment.kill()
        psp.kill()


@pytest.fixture
async def world(programs: dict[str, Any], fresh_postgres: str) -> AsyncIterator[World]:
    """Both processes up, all faults off, neighbours fresh."""
    neighbours = Neighbours(
        user_key=programs["user_key"],
        verifier=auth.ServiceVerifier("checkout", programs["public"]),
    )
    runner = web.AppRunner(neighbours.app(), shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", programs["port"], reuse_address=True)
    await site.start()
    for program in (programs["psp"], programs["payment"]):
        if program.process.poll() is not None:
            program.start()
    async with aiohttp.ClientSession() as session:
        made = World(
            payment=programs["payment"],
            psp=programs["psp"],
            dsn=fresh_postgres,
            neighbours=neighbours,
            session=session,
            service_keys=programs["keys"],
            logs=[programs["payment"].log, programs["psp"].log],
        )
        await made.behave()
        yield made
    await runner.cleanup()


@pytest.fixture
def unused_port() -> int:
    return free_port()
