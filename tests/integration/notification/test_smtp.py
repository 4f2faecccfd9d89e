"""The post office on a real SMTP server: what arrives, what is refused for good, what is tried later."""

import asyncio
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from doorbuster.notification import clients, config, domain
from doorbuster.notification.domain import NotNowError, Recipient, UndeliverableError
from doorbuster.notification.wording import Wording
from doorbuster.testing import stories

SENDER = "shop@doorbuster.example"


class Server:
    """An SMTP server whose answers are set by the test."""

    def __init__(self) -> None:
        self.arrived: list[tuple[list[str], bytes]] = []
        self.recipient_answer: str | None = None
        self.data_answer: str | None = None
        self.port = 0

    async def handle_RCPT(
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        answer, self.recipient_answer = self.recipient_answer, None
        if answer is None:
            envelope.rcpt_tos.append(address)
        return answer or "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        answer, self.data_answer = self.data_answer, None
        if answer is None:
            self.arrived.append((list(envelope.rcpt_tos), envelope.content))
        return answer or "250 OK"

    def office(self) -> clients.SmtpPostOffice:
        server = config.smtp_server(f"smtp://127.0.0.1:{self.port}")
        return clients.SmtpPostOffice(server=server, sender=SENDER)


@pytest.fixture
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    handler = Server()
    beyond_ascii = getattr(request, "param", True)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: SMTP(handler, hostname="sink", enable_SMTPUTF8=beyond_ascii, loop=loop),
        "127.0.0.1",
        0,
    )
    handler.port = listener.sockets[0].getsockname()[1]
    yield handler
    listener.close()
    await listener.wait_closed()


def mail(number: int = 1, email: str = "ada@buyers.example", name: str = "Ada") -> Any:
    letter = domain.letter_for(stories.paid(number))
    assert letter is not None
    words = Wording().mail(letter, name, {})
    recipient = Recipient(name=name, email=email)
    return domain.compose(letter, words, recipient, sender=SENDER, now=stories.at(7))


async def test_a_mail_arrives_whole(server: Server) -> None:
    async with server.office().open() as mailer:
        await mailer.send(mail(), recipient="ada@buyers.example")
    [(recipients, content)] = server.arrived
    assert recipients == ["ada@buyers.example"]
    assert f"Subject: Your order {stories.order_id()} is confirmed".encode() in content
    assert (
        f"Message-ID: <{stories.order_id()}.order-confirmed@doorbuster.example>".encode()
        in content
    )
    assert b"Total: 999.00 EUR" in content


async def test_one_session_sends_a_batch_and_survives_refusals(server: Server) -> None:
    async with server.office().open() as mailer:
        await mailer.send(mail(1), recipient="a@buyers.example")
        server.recipient_answer = "550 no such mailbox"
        with pytest.raises(UndeliverableError):
            await mailer.send(mail(2), recipient="gone@buyers.example")
        server.data_answer = "554 no thanks"
        with pytest.raises(UndeliverableError):
            await mailer.send(mail(3), recipient="c@buyers.example")
        await mailer.send(mail(4), recipient="d@buyers.example")
    assert [recipients for recipients, _ in server.arrived] == [
        ["a@buyers.example"],
        ["d@buyers.example"],
    ]


async def test_a_busy_server_is_tried_later(server: Server) -> None:
    async with server.office().open() as mailer:
        server.recipient_answer = "450 greylisted"
        with pytest.raises(NotNowError):
            await mailer.send(mail(), recipient="a@buyers.example")
        server.data_answer = "451 later"
        with pytest.raises(ConnectionError):
            await mailer.send(mail(), recipient="a@buyers.example")
    assert server.arrived == []


async def test_an_address_beyond_ascii_arrives(server: Server) -> None:
    email = "ñandú@correo.example"
    async with server.office().open() as mailer:
        await mailer.send(mail(email=email), recipient=email)
    assert server.arrived[0][0] == [email]


@pytest.mark.parametrize("server", [False], indirect=True)
async def test_an_address_that_the_server_cannot_write_is_undeliverable(server: Server) -> None:
    email = "ñandú@correo.example"
    async with server.office().open() as mailer:
        with pytest.raises(UndeliverableError):
            await mailer.send(mail(email=email), recipient=email)
        await mailer.send(mail(), recipient="ada@buyers.example")
    assert len(server.arrived) == 1


async def test_a_server_that_is_not_there_is_a_lost_connection(server: Server) -> None:
    office = clients.SmtpPostOffice(server=config.smtp_server("smtp://127.0.0.1:1"), sender=SENDER)
    with pytest.raises(ConnectionError):
        async with office.open():
            pass


async def test_no_password_goes_to_a_server_without_encryption(server: Server) -> None:
    asked = config.smtp_server(f"smtp://shop:secret@127.0.0.1:{server.port}")
    with pytest.raises(ConnectionError) as caught:
        async with clients.SmtpPostOffice(server=asked, sender=SENDER).open():
            pass
    assert "secret" not in str(caught.value)


async def test_a_name_beyond_ascii_arrives_on_a_line_of_ascii(server: Server) -> None:
    message = mail(name="Łukasz Żółw")
    async with server.office().open() as mailer:
        await mailer.send(message, recipient="l@buyers.example")
    content = server.arrived[0][1]
    assert content.isascii()
    parts = list(message_from_bytes(content, policy=default).iter_parts())
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"]
    assert all("Hello Łukasz Żółw," in part.get_content() for part in parts)
