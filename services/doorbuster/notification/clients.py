"""The notification service's neighbours: user and product, a mail server, an SMS provider with Twilio's API."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from urllib.parse import quote

import aiohttp
import aiosmtplib
import msgspec

from doorbuster.contracts import internal
from doorbuster.kit import client

from .config import SmsAccount, SmtpServer
from .domain import NotNowError, Recipient, UndeliverableError

CONTACT_SECONDS = 2.0
TITLES_SECONDS = 1.0
SMTP_SECONDS = 8.0
SMS_SECONDS = 5.0
SMS_LOOKED_AT = 20
_GONE = (404, 410)


@dataclass(frozen=True)
class UserContacts:
    """Asks the user service who a user is."""

    service: client.ServiceClient

    async def find(self, user_id: str) -> Recipient:
        """Return name and addresses; raises UndeliverableError when the account is gone, UnavailableError."""
        path = f"/internal/v1/users/{quote(user_id, safe='')}/contact"
        try:
            contact = await self.service.call(
                "GET", path, internal.Contact, timeout_seconds=CONTACT_SECONDS
            )
        except client.RefusedError as refused:
            if refused.status in _GONE:
                raise UndeliverableError("the account is gone") from refused
            raise client.UnavailableError(f"user refused: {refused.code}") from refused
        return Recipient(name=contact.name, email=contact.email, phone=contact.phone)


@dataclass(frozen=True)
class ProductTitles:
    """Asks the product service what products are called."""

    service: client.ServiceClient

    async def find(self, product_ids: Collection[str]) -> Mapping[str, str]:
        """Return the titles of those that are sold; raises UnavailableError."""
        try:
            found = await self.service.call(
                "POST",
                "/internal/v1/products:quote",
                internal.Quotes,
                body=internal.ProductIds(ids=sorted(product_ids)),
                timeout_seconds=TITLES_SECONDS,
            )
        except client.RefusedError as refused:
            raise client.UnavailableError(f"product refused: {refused.code}") from refused
        return {quote.product_id: quote.title for quote in found.quotes}


class SmtpMailer:
    """One SMTP session."""

    def __init__(self, session: aiosmtplib.SMTP, sender: str) -> None:
        self._session = session
        self._sender = sender

    async def send(self, message: EmailMessage, *, recipient: str) -> None:
        """Hand over one mail; raises UndeliverableError (refused for good), NotNowError, ConnectionError."""
        try:
            # As bytes: the library would write the headers anew and fold the Message-ID.
            await self._session.sendmail(
                self._sender,
                [recipient],
                message.as_bytes(),
                mail_options=[] if recipient.isascii() else ["SMTPUTF8"],
                timeout=SMTP_SECONDS,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            if all(500 <= refused.code < 600 for refused in error.recipients):
                raise UndeliverableError("the server refuses the address") from error
            raise NotNowError("the server takes the address later") from error
        except aiosmtplib.SMTPDataError as error:
            if 500 <= error.code < 600:
                raise UndeliverableError(f"the server refuses the mail: {error.code}") from error
            raise ConnectionError(f"the server takes the mail later: {error.code}") from error
        except (aiosmtplib.SMTPNotSupported, ValueError) as error:
            raise UndeliverableError("the server takes no such address") from error
        except aiosmtplib.SMTPException as error:
            raise ConnectionError(type(error).__name__) from error


@dataclass(frozen=True, kw_only=True)
class SmtpPostOffice:
    """Opens sessions with the configured server; no text of the server reaches an error, it may hold addresses."""

    server: SmtpServer
    sender: str

    @asynccontextmanager
    async def open(self) -> AsyncIterator[SmtpMailer]:
        """Connect, encrypt and log in as configured; raises ConnectionError."""
        session = aiosmtplib.SMTP(
            hostname=self.server.host,
            port=self.server.port,
            username=self.server.user,
            password=self.server.password,
            use_tls=self.server.implicit_tls,
            start_tls={"auto": None, "always": True, "never": False}[self.server.start_tls],
            timeout=SMTP_SECONDS,
        )
        try:
            await session.connect()
        except aiosmtplib.SMTPException as error:
            session.close()
            raise ConnectionError(type(error).__name__) from error
        try:
            yield SmtpMailer(session, self.sender)
        finally:
            with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                await session.quit(timeout=1.0)
            session.close()


class _SmsError(msgspec.Struct):
    code: int = 0


class _SmsMessage(msgspec.Struct):
    body: str
    status: str


class _SmsMessages(msgspec.Struct):
    messages: list[_SmsMessage]


@dataclass(frozen=True, kw_only=True)
class TwilioSms:
    """Twilio's Messages resource; no words of the provider reach an error, they may hold numbers."""

    account: SmsAccount
    session: aiohttp.ClientSession

    async def send(self, phone: str, text: str) -> None:
        """Hand over one message; raises UndeliverableError when it is refused for good, ConnectionError."""
        form = {"To": phone, "From": self.account.sender, "Body": text}
        await self._call("POST", data=form)

    async def has_sent(self, phone: str, text: str) -> bool:
        """Tell whether one of the latest messages to this number has these words; raises ConnectionError."""
        raw = await self._call("GET", params={"To": phone, "PageSize": str(SMS_LOOKED_AT)})
        try:
            found = msgspec.json.decode(raw, type=_SmsMessages)
        except msgspec.MsgspecError as error:
            raise ConnectionError("the SMS provider's answer cannot be read") from error
        return any(
            message.body == text and message.status not in _SMS_LOST for message in found.messages
        )

    async def _call(
        self,
        method: str,
        *,
        data: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> bytes:
        url = f"{self.account.url}/2010-04-01/Accounts/{self.account.name}/Messages.json"
        authorization = aiohttp.encode_basic_auth(self.account.name, self.account.token)
        try:
            async with self.session.request(
                method,
                url,
                headers={"Authorization": authorization},
                timeout=aiohttp.ClientTimeout(total=SMS_SECONDS),
                allow_redirects=False,
                data=data,
                params=params,
            ) as answer:
                raw = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # Without its cause: the error of a call may show its URL, and that the number.
            raise ConnectionError(f"SMS provider: {type(error).__name__}") from None
        if answer.status in (200, 201):
            return raw
        code = _sms_code(raw)
        if answer.status == 400:
            raise UndeliverableError(f"the SMS provider refuses the message: {code}")
        raise ConnectionError(f"the SMS provider answers {answer.status}, {code}")


_SMS_LOST = frozenset({"failed", "undelivered", "canceled"})


def _sms_code(raw: bytes) -> int:
    try:
        return msgspec.json.decode(raw, type=_SmsError).code
    except msgspec.MsgspecError:
        return 0
