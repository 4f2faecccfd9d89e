"""The notification service as a process: mail for every sale, through deaths of mail server, users and itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa
from aiohttp import web as aiohttp_web
from aiohttp.test_utils import TestServer
from aiosmtpd.smtp import SMTP

from doorbuster.contracts import events, internal
from doorbuster.kit import auth, bus, database, migrations, web
from doorbuster.notification import storage
from doorbuster.testing import broker, processes, stories

PEOPLE = {stories.user_id(number): f"buyer-{number}@buyers.example" for number in range(1, 400)}


@dataclass
class Sink:
    """An SMTP server that can be closed and opened again on the same port, and a user service."""

    keys: processes.Keys
    port: int
    mails: list[tuple[str, str, str]] = field(
        default_factory=list
    )  # recipient, Message-ID, Subject
    users_away: bool = False
    listener: asyncio.Server | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self.listener = await loop.create_server(
            lambda: SMTP(self, hostname="sink", loop=loop), "127.0.0.1", self.port
        )

    async def close(self) -> None:
        if self.listener is not None:
            self.listener.close()
            await self.listener.wait_closed()
            self.listener = None

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        mail = message_from_bytes(envelope.content, policy=default)
        self.mails.append((envelope.rcpt_tos[0], mail["Message-ID"], mail["Subject"]))
        return "250 OK"

    async def contact(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        if self.users_away:
            raise ConnectionError
        email = PEOPLE.get(request.match_info["id"])
        if email is None:
            raise web.NotFoundError("no such user")
        return web.json_response(internal.Contact(name="A Buyer", email=email))

    def app(self) -> aiohttp_web.Application:
        route = web.Route(
            method="GET",
            path="/internal/v1/users/{id}/contact",
            handler=self.contact,
            access=web.callers("notification"),
        )
        verifier = auth.ServiceVerifier("user", self.keys.public)
        return web.create_app(
            routes=[route], errors={}, authenticator=web.Authenticator(services=verifier)
        )


@dataclass
class World:
    env: dict[str, str]
    sink: Sink
    topic: str
    log: Path

    def service(self) -> Any:
        return processes.running("notification", self.env, self.log)

    async def publish(self, *heard: events.Event) -> None:
        await broker.publish(self.env["DOORBUSTER_KAFKA_BOOTSTRAP"], self.topic, heard)

    async def states(self) -> list[str]:
        async with database.open_engine(self.env["DOORBUSTER_NOTIFICATION_DSN"]) as engine:
            async with engine.connect() as connection:
                return list(await connection.scalars(sa.select(storage.LETTER.c.state)))


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
async def world(
    servers: Callable[..., dict[str, str]],
    fresh_postgres: str,
    topic_prefix: str,
    tmp_path: Path,
) -> AsyncIterator[World]:
    bootstrap = servers("kafka")["DOORBUSTER_KAFKA_BOOTSTRAP"]
    await migrations.upgrade("doorbuster.notification", fresh_postgres)
    async with database.open_engine(fresh_postgres) as engine, engine.begin() as connection:
        await connection.execute(sa.delete(storage.LETTER))
    await broker.forget_everything(bootstrap)
    topic = events.sale_topic("tests", topic_prefix.rstrip("-"))
    await bus.ensure_topic(bootstrap, topic, partitions=3, replication=1)
    keys = processes.Keys(tmp_path / "keys", ("notification", "user"))
    sink = Sink(keys, processes.free_port())
    async with AsyncExitStack() as stack:
        await sink.open()
        stack.push_async_callback(sink.close)
        users = TestServer(sink.app())
        await users.start_server()
        stack.push_async_callback(users.close)
        env = {
            "DOORBUSTER_NOTIFICATION_DSN": fresh_postgres,
            "DOORBUSTER_KAFKA_BOOTSTRAP": bootstrap,
            "DOORBUSTER_USER_URLS": str(users.make_url("/")),
            "DOORBUSTER_SMTP_URL": f"smtp://127.0.0.1:{sink.port}",
            "DOORBUSTER_MAIL_FROM": "shop@doorbuster.example",
            **keys.env("notification"),
        }
        yield World(env, sink, topic, tmp_path / "notification.log")


async def test_every_buyer_gets_one_mail_of_his_own(world: World) -> None:
    async with world.service():
        for _ in range(2):
            await world.publish(*(stories.paid(number) for number in range(1, 31)))
        await world.publish(stories.failed(31), stories.expired(32), stories.placed(33))

        async def all_sent() -> bool:
            return len(world.sink.mails) >= 32

        await until(all_sent, within_seconds=30, what="32 mails")
    recipients = sorted(recipient for recipient, _, _ in world.sink.mails)
    assert recipients == sorted(PEOPLE[stories.user_id(number)] for number in range(1, 33))
    assert set(await world.states()) == {"SENT"}


async def test_while_the_mail_server_is_dead_letters_wait(world: World) -> None:
    await world.sink.close()
    async with world.service() as service:
        await world.publish(stories.paid(1), stories.paid(2))

        async def tried() -> bool:
            return world.log.read_text().count("letter_attempted") >= 2

        await until(tried, within_seconds=20, what="two attempts")
        async with aiohttp.ClientSession() as session:
            assert await service.is_ready(session)
        await world.sink.open()

        async def both() -> bool:
            return len(world.sink.mails) == 2

        await until(both, within_seconds=30, what="both mails after the server's return")


async def test_while_the_user_service_is_away_letters_wait(world: World) -> None:
    world.sink.users_away = True
    async with world.service() as service:
        await world.publish(stories.paid(1))

        async def tried() -> bool:
            return "letter_attempted" in world.log.read_text()

        await until(tried, within_seconds=20, what="an attempt")
        async with aiohttp.ClientSession() as session:
            assert await service.is_ready(session)
        world.sink.users_away = False

        async def sent() -> bool:
            return len(world.sink.mails) == 1

        await until(sent, within_seconds=30, what="the mail")


async def test_kill_9_while_sending_loses_no_letter_and_repeats_few(world: World) -> None:
    numbers = range(1, 201)
    async with world.service() as service:
        await world.publish(*(stories.paid(number) for number in numbers))

        async def some() -> bool:
            return len(world.sink.mails) >= 20

        await until(some, within_seconds=30, what="the first mails")
        await service.kill()
    # What the dead worker had claimed is leased for minutes: end the leases instead of waiting for them.
    async with (
        database.open_engine(world.env["DOORBUSTER_NOTIFICATION_DSN"]) as engine,
        engine.begin() as connection,
    ):
        await connection.execute(
            sa.update(storage.LETTER).values(due_at=storage.LETTER.c.written_at)
        )
    async with world.service():

        async def all_sent() -> bool:
            states = await world.states()
            return len(states) == len(numbers) and set(states) == {"SENT"}

        await until(all_sent, within_seconds=60, what="every letter sent")
    message_ids = {message_id for _, message_id, _ in world.sink.mails}
    assert len(message_ids) == len(numbers)
    # A mail whose answer or commit was lost goes out again: at most the one that was under way.
    assert len(world.sink.mails) <= len(numbers) + 1


async def test_nobodys_name_or_address_is_logged_or_stored(world: World) -> None:
    world.env["DOORBUSTER_LOG_LEVEL"] = "DEBUG"
    async with world.service():
        await world.publish(stories.paid(1), stories.paid(999), stories.failed(2))

        async def all_settled() -> bool:
            states = await world.states()
            return len(states) == 3 and "PENDING" not in states

        await until(all_settled, within_seconds=30, what="three letters settled")
    assert len(world.sink.mails) == 2
    log = world.log.read_text()
    assert "letter_attempted" in log
    assert "buyers.example" not in log
    assert "A Buyer" not in log
    async with database.open_engine(world.env["DOORBUSTER_NOTIFICATION_DSN"]) as engine:
        async with engine.connect() as connection:
            rows = await connection.execute(sa.text("SELECT to_jsonb(letter)::text FROM letter"))
            stored = "".join(rows.scalars())
    assert stories.order_id(1) in stored
    assert "buyers.example" not in stored
