"""The notification service as a process: mail for every sale, through deaths of mail server, users and itself."""

import asyncio
import json
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

from devstack.stack import Stack
from doorbuster.contracts import events, internal
from doorbuster.kit import auth, bus, database, migrations, web
from doorbuster.notification import storage
from doorbuster.testing import broker, processes, stories

PEOPLE = {stories.user_id(number): f"buyer-{number}@buyers.example" for number in range(1, 400)}
PHONES = {stories.user_id(number): f"+4915510{number:06}" for number in range(1, 400)}
SMS = {
    "DOORBUSTER_SMS_ACCOUNT": "AC1",
    "DOORBUSTER_SMS_TOKEN": "a-token",
    "DOORBUSTER_SMS_FROM": "+15005550006",
}
PATIENCE_SECONDS = 120.0  # for a busy machine; a calm one needs a few
PREFERENCES = "/v1/notifications/preferences"


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
        phone = PHONES[request.match_info["id"]]
        return web.json_response(internal.Contact(name="A Buyer", email=email, phone=phone))

    async def keys_of_users(self, _request: aiohttp_web.Request) -> aiohttp_web.Response:
        return aiohttp_web.Response(body=self.keys.jwks(), content_type="application/json")

    def app(self) -> aiohttp_web.Application:
        routes = [
            web.Route(
                method="GET",
                path="/internal/v1/users/{id}/contact",
                handler=self.contact,
                access=web.callers("notification"),
            ),
            web.Route(
                method="GET",
                path="/.well-known/jwks.json",
                handler=self.keys_of_users,
                access=web.Public(),
            ),
        ]
        verifier = auth.ServiceVerifier("user", self.keys.public)
        return web.create_app(
            routes=routes, errors={}, authenticator=web.Authenticator(services=verifier)
        )


@dataclass
class World:
    env: dict[str, str]
    sink: Sink
    topic: str
    log: Path
    sms_port: int

    def service(self) -> Any:
        return processes.running("notification", self.env, self.log)

    def sms(self) -> Any:
        env = {**SMS, "DOORBUSTER_SMS_STATE": str(self.log.with_name("sms.sqlite"))}
        return processes.running("sms", env, self.log.with_name("sms.log"), port=self.sms_port)

    def with_sms(self) -> None:
        self.env |= {**SMS, "DOORBUSTER_SMS_URL": f"http://127.0.0.1:{self.sms_port}"}

    def user(self, number: int = 1, role: str = "buyer") -> dict[str, str]:
        return self.sink.keys.as_user(stories.user_id(number), role)

    async def texts(self, session: aiohttp.ClientSession) -> list[str]:
        async with session.get(f"http://127.0.0.1:{self.sms_port}/admin/messages") as answer:
            return [message["recipient"] for message in (await answer.json())["messages"]]

    async def publish(self, *heard: events.Event) -> None:
        await broker.publish(self.env["DOORBUSTER_KAFKA_BOOTSTRAP"], self.topic, heard)

    async def states(self) -> list[str]:
        async with database.open_engine(self.env["DOORBUSTER_NOTIFICATION_DSN"]) as engine:
            async with engine.connect() as connection:
                return list(await connection.scalars(sa.select(storage.LETTER.c.state)))


async def until(condition: Callable[[], Awaitable[bool]], *, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {PATIENCE_SECONDS} s: {what}")


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
        await connection.execute(sa.delete(storage.PREFERENCE))
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
        yield World(env, sink, topic, tmp_path / "notification.log", processes.free_port())


async def test_every_buyer_gets_one_mail_of_his_own(world: World) -> None:
    async with world.service():
        for _ in range(2):
            await world.publish(*(stories.paid(number) for number in range(1, 31)))
        await world.publish(stories.failed(31), stories.expired(32), stories.placed(33))

        async def all_sent() -> bool:
            return len(world.sink.mails) >= 32

        await until(all_sent, what="32 mails")
    recipients = sorted(recipient for recipient, _, _ in world.sink.mails)
    assert recipients == sorted(PEOPLE[stories.user_id(number)] for number in range(1, 33))
    assert set(await world.states()) == {"SENT"}


async def test_letters_outlive_both_providers_and_lost_replies_and_go_out_once(
    world: World, stack: Stack, servers: Callable[..., dict[str, str]]
) -> None:
    mails = Path(servers("smtp")["DOORBUSTER_SMTP_SINK_DIR"]) / "mails.jsonl"
    world.with_sms()
    world.env["DOORBUSTER_SMTP_URL"] = stack.env()["DOORBUSTER_SMTP_URL"]
    stack.kill("smtp")
    try:
        async with world.service() as service, aiohttp.ClientSession() as session:
            url = service.url + PREFERENCES
            choice = {"email": True, "sms": True}
            async with session.put(url, json=choice, headers=world.user()) as answer:
                assert (answer.status, await answer.json()) == (200, choice)
            await world.publish(stories.shipped(1), stories.shipped(2))

            async def tried() -> bool:
                return world.log.read_text().count("letter_attempted") >= 3

            await until(tried, what="two mails and a text tried")
            assert await service.is_ready(session)
            stack.restart("smtp")
            async with world.sms() as sms:

                async def all_sent() -> bool:
                    return await world.states() == ["SENT"] * 3

                await until(all_sent, what="all sent after the return")
                assert await world.texts(session) == [PHONES[stories.user_id(1)]]
                lost = {"dropReplyNext": 1}
                async with session.put(f"{sms.url}/admin/behaviour", json=lost) as answer:
                    assert answer.status == 200
                await world.publish(stories.delivered(1))

                async def told() -> bool:
                    return await world.states() == ["SENT"] * 5

                await until(told, what="the text whose reply was lost")
                assert await world.texts(session) == [PHONES[stories.user_id(1)]] * 2
                tried_again = [
                    line
                    for line in world.log.read_text().splitlines()
                    if '"order-delivered"' in line and '"sms"' in line
                ]
                assert len(tried_again) >= 2
    finally:
        servers("smtp")
    sent = [json.loads(line) for line in mails.read_text().splitlines()]
    mine = sorted(mail["to"][0] for mail in sent if "is on its way" in mail["subject"])
    assert mine == [PEOPLE[stories.user_id(1)], PEOPLE[stories.user_id(2)]]


async def test_an_admin_sees_what_failed_and_drives_it_again(world: World) -> None:
    unknown = stories.user_id(999)
    async with world.service() as service, aiohttp.ClientSession() as session:

        async def ask(
            method: str, path: str, headers: dict[str, str], **rest: Any
        ) -> tuple[int, Any]:
            async with session.request(
                method, service.url + path, headers=headers, **rest
            ) as answer:
                return answer.status, await answer.json()

        admin, letters, redrive = (
            world.user(role="admin"),
            "/v1/admin/letters",
            "/v1/admin/letters:redrive",
        )
        await world.publish(stories.paid(999))

        async def failed() -> bool:
            return await world.states() == ["FAILED"]

        await until(failed, what="a letter to nobody given up")
        status, found = await ask("GET", letters, admin)
        [shown] = found["letters"]
        assert (status, found["pagination"]["totalItems"]) == (200, 1)
        assert (shown["kind"], shown["channel"], shown["why"]) == (
            "order-confirmed",
            "email",
            "the account is gone",
        )
        assert unknown not in json.dumps(found)
        for headers, refused in (
            ({}, 401),
            (world.user(), 403),
            (world.user(role="merchant"), 403),
        ):
            assert (await ask("GET", letters, headers))[0] == refused
            assert (await ask("POST", redrive, headers, json={}))[0] == refused
        bad: list[tuple[str, str, Any]] = [
            *(("GET", f"{letters}?state=lost", None), ("GET", f"{letters}?size=101", None)),
            *(("POST", redrive, {"letterIds": [""]}), ("POST", redrive, {"letters": []})),
            *(("PUT", PREFERENCES, {"email": 1}), ("PUT", PREFERENCES, {"fax": True})),
        ]
        for method, path, body in bad:
            status, problem = await ask(method, path, admin, json=body)
            assert (status, problem["code"]) == (422, "INVALID"), path
        strangers = {"letterIds": ["nothing", "order_1.order-confirmed.email"]}
        assert await ask("POST", redrive, admin, json=strangers) == (200, {"redriven": 0})
        assert await world.states() == ["FAILED"]
        PEOPLE[unknown], PHONES[unknown] = "late@buyers.example", "+491551099999"
        try:
            chosen = {"letterIds": [shown["letterId"]]}
            assert await ask("POST", redrive, admin, json=chosen) == (200, {"redriven": 1})

            async def sent() -> bool:
                return await world.states() == ["SENT"]

            await until(sent, what="the letter driven again")
        finally:
            del PEOPLE[unknown], PHONES[unknown]
        assert await ask("POST", redrive, admin, json={}) == (200, {"redriven": 0})
        assert await ask("GET", PREFERENCES, world.user(7)) == (200, {"email": True, "sms": False})


async def test_while_the_user_service_is_away_letters_wait(world: World) -> None:
    world.sink.users_away = True
    async with world.service() as service:
        await world.publish(stories.paid(1))

        async def tried() -> bool:
            return "letter_attempted" in world.log.read_text()

        await until(tried, what="an attempt")
        async with aiohttp.ClientSession() as session:
            assert await service.is_ready(session)
        world.sink.users_away = False

        async def sent() -> bool:
            return len(world.sink.mails) == 1

        await until(sent, what="the mail")


async def test_kill_9_while_sending_loses_no_letter_and_repeats_few(world: World) -> None:
    numbers = range(1, 201)
    async with world.service() as service:
        await world.publish(*(stories.paid(number) for number in numbers))

        async def some() -> bool:
            return len(world.sink.mails) >= 20

        await until(some, what="the first mails")
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

        await until(all_sent, what="every letter sent")
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

        await until(all_settled, what="three letters settled")
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
