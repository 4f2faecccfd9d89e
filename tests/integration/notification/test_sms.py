"""The SMS client on the sandbox's real HTTP: what arrives, what is refused for good, what is tried later."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from doorbuster.notification.clients import TwilioSms
from doorbuster.notification.config import SmsAccount
from doorbuster.notification.domain import UndeliverableError
from doorbuster.sandbox.sms.app import Front, twilio_errors
from doorbuster.sandbox.sms.messages import NO_MOBILE, UNSUBSCRIBED, Behaviour, FailFault, Outbox

PHONE = "+4915510000001"
TEXT = "Doorbuster: Your order order_1 is on its way. Grüße & 100 %"


@dataclass
class Provider:
    front: Front
    url: str
    session: aiohttp.ClientSession

    def client(self, **changed: str) -> TwilioSms:
        account = {"url": self.url, "name": "AC1", "token": "secret", "sender": "+15005550006"}
        return TwilioSms(account=SmsAccount(**{**account, **changed}), session=self.session)

    def sent(self) -> list[tuple[str, str]]:
        found = self.front.outbox.find(None, limit=100)
        return [(message.recipient, message.body) for message in found]


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    outbox = Outbox(":memory:")
    front = Front(outbox=outbox, account="AC1", token="secret")
    app = web.Application(middlewares=[twilio_errors])
    app.add_routes(front.routes())
    server = TestServer(app)
    await server.start_server()
    async with aiohttp.ClientSession() as session:
        yield Provider(front, str(server.make_url("")).rstrip("/"), session)
    await server.close()
    outbox.close()


async def test_a_message_arrives_whole(provider: Provider) -> None:
    await provider.client().send(PHONE, TEXT)
    assert provider.sent() == [(PHONE, TEXT)]


async def test_a_message_is_found_by_its_words_and_number(provider: Provider) -> None:
    client = provider.client()
    assert not await client.has_sent(PHONE, TEXT)
    await client.send(PHONE, TEXT)
    for number in range(19):
        await client.send(PHONE, f"something else {number}")
    assert await client.has_sent(PHONE, TEXT)
    assert not await client.has_sent(PHONE, TEXT + ".")
    assert not await client.has_sent("+4915510000002", TEXT)


@pytest.mark.parametrize(
    ("phone", "text", "code"),
    [
        *((NO_MOBILE, TEXT, 21614), (UNSUBSCRIBED, TEXT, 21610), ("+0490", TEXT, 21211)),
        *(("", TEXT, 21604), (PHONE, "", 21602), (PHONE, "x" * 1601, 21617)),
    ],
)
async def test_what_the_provider_refuses_is_undeliverable(
    provider: Provider, phone: str, text: str, code: int
) -> None:
    with pytest.raises(UndeliverableError, match=str(code)) as caught:
        await provider.client().send(phone, text)
    assert not phone or phone not in str(caught.value)
    assert provider.sent() == []


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_provider_is_tried_later(provider: Provider, status: Any) -> None:
    provider.front.behaviour = Behaviour(fail_next=FailFault(count=2, status=status))
    for _ in range(2):
        with pytest.raises(ConnectionError, match=str(status)):
            await provider.client().send(PHONE, TEXT)
    await provider.client().send(PHONE, TEXT)
    assert len(provider.sent()) == 1


@pytest.mark.parametrize("wrong", [{"token": "guessed"}, {"name": "AC2"}])
async def test_wrong_credentials_are_tried_later_for_they_can_be_put_right(
    provider: Provider, wrong: dict[str, str]
) -> None:
    with pytest.raises(ConnectionError, match="401"):
        await provider.client(**wrong).send(PHONE, TEXT)
    with pytest.raises(ConnectionError, match="401"):
        await provider.client(**wrong).has_sent(PHONE, TEXT)
    assert provider.sent() == []


@pytest.mark.parametrize(
    "fault",
    [Behaviour(drop_reply_next=1), Behaviour(fail_next=FailFault(count=1, acted=True))],
)
async def test_a_message_whose_reply_was_lost_is_found(
    provider: Provider, fault: Behaviour
) -> None:
    provider.front.behaviour = fault
    with pytest.raises(ConnectionError):
        await provider.client().send(PHONE, TEXT)
    assert await provider.client().has_sent(PHONE, TEXT)


async def test_a_provider_that_is_not_there_is_a_lost_connection(provider: Provider) -> None:
    client = provider.client(url="http://127.0.0.1:1")
    with pytest.raises(ConnectionError) as caught:
        await client.has_sent(PHONE, TEXT)
    assert PHONE.strip("+") not in str(caught.value)


async def test_what_the_sandbox_does_not_know_it_answers_as_the_provider_does(
    provider: Provider,
) -> None:
    async with provider.session.get(
        f"{provider.url}/2010-04-01/Accounts/AC1/Calls.json"
    ) as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, 20404)
    path = f"{provider.url}/2010-04-01/Accounts/AC1/Messages.json"
    headers = {"Authorization": aiohttp.encode_basic_auth("AC1", "secret")}
    async with provider.session.get(path, params={"PageSize": "0"}, headers=headers) as answer:
        assert answer.status == 400
    for behaviour in ('{"delayMillis": -1}', '{"surprise": 1}', "[["):
        async with provider.session.put(
            f"{provider.url}/admin/behaviour", data=behaviour
        ) as answer:
            assert answer.status == 400
    assert provider.front.behaviour == Behaviour()
