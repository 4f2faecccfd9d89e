"""The payment service and the PSP sandbox as real processes on a real database, among neighbours that we play."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import aiokafka
import msgspec
import pytest
import sqlalchemy as sa
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from devstack import ports
from doorbuster.contracts import events
from doorbuster.kit import bus, database, failpoints, ids, migrations
from doorbuster.testing.neighbours import SALE_TOPIC, PaymentNeighbours
from doorbuster.testing.processes import Keys

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

    def start(self, **extra: str) -> None:
        """Start it and wait until it listens; ``extra`` variables are for this life only."""
        program = Path(sys.executable).with_name("doorbuster")
        base = {"PATH": os.environ["PATH"], "DOORBUSTER_LOG_LEVEL": "DEBUG", **extra}
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

    def restart(self, **extra: str) -> None:
        self.kill()
        self.start(**extra)


@dataclass(kw_only=True)
class Broker:
    """The topics as another service sees them."""

    bootstrap: str

    async def cancel(self, order_id: str, user_id: str, *, times: int = 1) -> None:
        """Tell that an order was cancelled, as often as that."""
        event = events.OrderCancelled(order_id=order_id, user_id=user_id, reason="changed my mind")
        message = bus.Message(
            topic=events.ORDERS_TOPIC,
            key=order_id,
            value=msgspec.json.encode(event),
            headers=(("type", event.type), ("id", ids.new_id("evt"))),
        )
        async with bus.open_bus(self.bootstrap) as kafka:
            await kafka.send([message] * times)

    async def heard(self, order_id: str, *expected: str) -> list[events.Event]:
        """Read both topics from their start until these types of events of an order were seen; returns all of it."""
        seen: list[events.Event] = []
        consumer = aiokafka.AIOKafkaConsumer(
            *(events.ORDERS_TOPIC, SALE_TOPIC),
            bootstrap_servers=self.bootstrap,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            async with asyncio.timeout(60):
                while not set(expected) <= {event.type for event in seen}:
                    for records in (await consumer.getmany(timeout_ms=500)).values():
                        seen += [_event(record) for record in records if _is_of(record, order_id)]
        finally:
            await consumer.stop()
        return seen


def _is_of(record: Any, order_id: str) -> bool:
    return bool(record.key.decode() == order_id)


def _event(record: Any) -> events.Event:
    kind = dict(record.headers)["type"].decode()
    return msgspec.json.decode(record.value, type=events.BY_TYPE[kind])


@dataclass(kw_only=True)
class World:
    """What a test speaks to."""

    payment: Program
    psp: Program
    engine: AsyncEngine
    neighbours: PaymentNeighbours
    session: aiohttp.ClientSession
    keys: Keys
    logs: list[Path]

    async def pay(
        self,
        user_id: str,
        order_id: str,
        *,
        card: str = GOOD_CARD,
        key: str | None = None,
        at: Program | None = None,
        **more: Any,
    ) -> tuple[int, dict[str, Any]]:
        """POST /v1/payment, to ``at`` where there are two of them; returns status and body."""
        details = {"number": card, "expMonth": 12, "expYear": 2040, "cvc": "737"}
        body = {"orderId": order_id, "cardDetails": details} | more
        return await self.post(user_id, msgspec.json.encode(body), key=key, at=at)

    async def click(self, user_id: str, order_id: str, **how: Any) -> tuple[int, dict[str, Any]]:
        """Pay, and press again as long as the answer is that it takes its time.

        That answer is true only after ``ANSWER_SECONDS``; a busy machine may come to it.
        """
        deadline = time.monotonic() + READY_SECONDS
        while True:
            began = time.monotonic()
            status, body = await self.pay(user_id, order_id, **how)
            if (status, body.get("code")) != (409, "PAYMENT_IN_PROGRESS"):
                return status, body
            assert time.monotonic() - began >= ANSWER_SECONDS, (
                "told too soon that it takes its time"
            )
            assert time.monotonic() < deadline, body

    async def post(
        self, user_id: str, body: bytes, *, key: str | None = None, at: Program | None = None
    ) -> tuple[int, dict[str, Any]]:
        headers = {**self.keys.as_user(user_id), "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        async with self.session.post(
            f"{(at or self.payment).url}/v1/payment", data=body, headers=headers
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def die_at(self, failpoint: str, user_id: str, order_id: str, **more: Any) -> None:
        """Let the service die at a named point while it pays an order; it stays dead."""
        await asyncio.to_thread(self.payment.restart, **{failpoints.VARIABLE: failpoint})
        assert self.payment.process is not None
        with suppress(aiohttp.ClientError):
            await self.pay(user_id, order_id, **more)
        status = await asyncio.to_thread(self.payment.process.wait, 30)
        assert status == failpoints.EXIT_STATUS

    async def behave(self, **behaviour: Any) -> None:
        """Switch the provider's faults on; without arguments, off."""
        async with self.session.put(f"{self.psp.url}/admin/behaviour", json=behaviour) as answer:
            assert answer.status == 200, await answer.text()

    async def intents(self, order_id: str) -> list[dict[str, Any]]:
        """Return the provider's intents of an order."""
        async with self.session.get(f"{self.psp.url}/admin/intents") as answer:
            found = (await answer.json())["intents"]
        return [intent for intent in found if intent["orderId"] == order_id]

    async def expire(self, order_id: str) -> None:
        """Let the authorisation of an order's last attempt lapse at the provider."""
        [intent, *_] = await self.intents(order_id)
        url = f"{self.psp.url}/admin/intents/{intent['id']}/expire"
        async with self.session.post(url) as answer:
            assert answer.status == 200, await answer.text()

    async def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        """Return what a query with ``:named`` values finds, on either kind of database."""
        async with self.engine.connect() as connection:
            found = await connection.execute(sa.text(query), values)
            return [dict(row) for row in found.mappings()]

    async def states(self, order_id: str) -> list[str]:
        """Return the states of all attempts of an order."""
        query = "SELECT state FROM payment WHERE order_id = :order ORDER BY attempt"
        return [row["state"] for row in await self.rows(query, order=order_id)]

    async def events(self, order_id: str) -> list[tuple[str, str]]:
        """Return (type, topic) of the events of an order that wait in the outbox."""
        query = "SELECT type, topic FROM outbox WHERE event_key = :order ORDER BY id"
        return [(row["type"], row["topic"]) for row in await self.rows(query, order=order_id)]

    async def one_charge(self, order_id: str) -> None:
        """Assert that the provider took the price of an order exactly once, and holds no more of it."""
        charged = [
            intent
            for intent in await self.intents(order_id)
            if intent["status"] in ("requires_capture", "succeeded")
        ]
        assert [intent["amountCaptured"] for intent in charged] == [99_900]

    async def until_states(
        self, order_id: str, *expected: str, within_seconds: float = 60.0
    ) -> None:
        """Wait until the attempts of an order are in these states."""
        deadline = time.monotonic() + within_seconds
        while time.monotonic() < deadline:
            if await self.states(order_id) == list(expected):
                return
            await asyncio.sleep(0.05)
        assert await self.states(order_id) == list(expected)


@pytest.fixture(scope="module", params=["postgres", "mysql"])
def payment_dsn(request: pytest.FixtureRequest) -> str:
    """Payment's database, of both kinds in turn; a module that has nothing to do with it overrides this."""
    dsn: str = request.getfixturevalue(f"fresh_{request.param}")
    asyncio.run(migrations.upgrade("doorbuster.payment", dsn))
    return dsn


@pytest.fixture(scope="module")
def bootstrap(servers: Any) -> str:
    """Kafka with the topics that payment speaks on."""
    address: str = servers("kafka")["DOORBUSTER_KAFKA_BOOTSTRAP"]

    async def make() -> None:
        for name in (events.ORDERS_TOPIC, SALE_TOPIC):
            await bus.ensure_topic(address, name, partitions=1, replication=1)

    asyncio.run(make())
    return address


@pytest.fixture
def broker(bootstrap: str) -> Broker:
    return Broker(bootstrap=bootstrap)


def psp_environment(folder: Path) -> dict[str, str]:
    """What the provider's sandbox is told."""
    return {
        "DOORBUSTER_PORT": str(free_port()),
        "DOORBUSTER_ADMIN_PORT": str(free_port()),
        "DOORBUSTER_PSP_STATE": str(folder / "psp" / "state.db"),
        "DOORBUSTER_PSP_KEY": PSP_KEY,
        "DOORBUSTER_PSP_WEBHOOK_SECRET": WEBHOOK_SECRET,
    }


def payment_environment(dsn: str, bootstrap: str, psp: Program, keys: Keys) -> dict[str, str]:
    """What the service is told, all but its neighbours."""
    return {
        "DOORBUSTER_PORT": str(free_port()),
        "DOORBUSTER_ADMIN_PORT": str(free_port()),
        "DOORBUSTER_PAYMENT_DSN": dsn,
        "DOORBUSTER_KAFKA_BOOTSTRAP": bootstrap,
        "DOORBUSTER_PSP_URL": psp.url,
        "DOORBUSTER_PSP_KEY": PSP_KEY,
        "DOORBUSTER_PSP_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "DOORBUSTER_ALLOW_RAW_CARDS": "true",
        "DOORBUSTER_PAYMENT_ANSWER_SECONDS": str(ANSWER_SECONDS),
        "DOORBUSTER_PAYMENT_RECOVER_SECONDS": str(RECOVER_SECONDS),
        "DOORBUSTER_PAYMENT_ORDER_KNOWN_SECONDS": "1",
        "DOORBUSTER_PAYMENT_AGAIN_SECONDS": "1",
        **keys.env("payment"),
    }


@pytest.fixture(scope="module")
def programs(
    request: pytest.FixtureRequest, payment_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """Both processes, started once a module and kind of database.

    Kafka is away, so that events stay in the outbox, unless the module says ``KAFKA = True``. A module's
    SETTINGS go into both environments.
    """
    has_kafka = getattr(request.module, "KAFKA", False)
    bootstrap = request.getfixturevalue("bootstrap") if has_kafka else f"127.0.0.1:{free_port()}"
    settings = getattr(request.module, "SETTINGS", {})
    folder = tmp_path_factory.mktemp("payment")
    keys = Keys(folder / "keys", ("payment", "inventory", "checkout"))
    port = free_port()
    names = ("USER", "CHECKOUT", "INVENTORY", "ORDER")
    neighbours = {f"DOORBUSTER_{name}_URLS": f"http://127.0.0.1:{port}" for name in names}
    psp = Program(command="psp", log=folder / "psp.log", env=psp_environment(folder) | settings)
    payment = Program(
        command="payment",
        log=folder / "payment.log",
        env=payment_environment(payment_dsn, bootstrap, psp, keys) | neighbours | settings,
    )
    try:
        psp.start()
        payment.start()
        yield {"payment": payment, "psp": psp, "keys": keys, "port": port, "dsn": payment_dsn}
    finally:
        payment.kill()
        psp.kill()


@pytest.fixture(scope="module")
def second_program(programs: dict[str, Any]) -> Program:
    """Another copy of the service on the same database, not started."""
    first = programs["payment"]
    own = {name: str(free_port()) for name in ("DOORBUSTER_PORT", "DOORBUSTER_ADMIN_PORT")}
    return Program(command="payment", log=first.log.with_name("second.log"), env=first.env | own)


@pytest.fixture
async def world(programs: dict[str, Any]) -> AsyncIterator[World]:
    """Both processes up, all faults off, neighbours fresh."""
    neighbours = PaymentNeighbours(keys=programs["keys"])
    runner = web.AppRunner(neighbours.app(), shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", programs["port"], reuse_address=True)
    await site.start()
    for program in (programs["psp"], programs["payment"]):
        if program.process.poll() is not None:
            await asyncio.to_thread(program.start)
    async with (
        aiohttp.ClientSession() as session,
        database.open_engine(programs["dsn"]) as engine,
    ):
        made = World(
            payment=programs["payment"],
            psp=programs["psp"],
            engine=engine,
            neighbours=neighbours,
            session=session,
            keys=programs["keys"],
            logs=[programs["payment"].log, programs["psp"].log],
        )
        await made.behave()
        yield made
    await runner.cleanup()


@pytest.fixture
def buyer() -> str:
    return ids.new_id("user")


@pytest.fixture
def unused_port() -> int:
    return free_port()
