"""The notification service's neighbours: the user service over HTTP, a mail server over SMTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from urllib.parse import quote

import aiosmtplib

from doorbuster.contracts import internal
from doorbuster.kit import client

from .config import SmtpServer
from .domain import Recipient, UndeliverableError

CONTACT_SECONDS = 2.0
SMTP_SECONDS = 8.0
_GONE = (404, 410)


@dataclass(frozen=True)
class UserContacts:
    """Asks the user service who a user is."""

    service: client.ServiceClient

    async def find(self, user_id: str) -> Recipient:
        """Return name and address; raises UndeliverableError when the account is gone, UnavailableError."""
        path = f"/internal/v1/users/{quote(user_id, safe='')}/contact"
        try:
            contact = await self.service.call(
                "GET", path, internal.Contact, timeout_seconds=CONTACT_SECONDS
            )
        except client.RefusedError as refused:
            if refused.status in _GONE:
                raise UndeliverableError("the account is gone") from refused
            raise client.UnavailableError(f"user refused: {refused.code}") from refused
        return Recipient(name=contact.name, email=contact.email)


class SmtpMailer:
    """One SMTP session."""

    def __init__(self, session: aiosmtplib.SMTP, sender: str) -> None:
        self._session = session
        self._sender = sender

    async def send(self, message: EmailMessage, *, recipient: str) -> None:
        """Hand over one mail; raises UndeliverableError when it is refused for good, ConnectionError."""
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
            raise ConnectionError("the server takes the address later") from error
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
