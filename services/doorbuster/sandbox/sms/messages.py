"""What the sandbox has sent, in SQLite; the rules by which it refuses; the faults that are switched on."""

import re
import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_BODY_CHARACTERS = 1600
MAX_KEPT = 10_000
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_SENDER = re.compile(r"\+[1-9][0-9]{6,14}|[A-Za-z0-9 ]{1,11}")
# Twilio's test number that is no mobile, and one that has answered STOP.
NO_MOBILE = "+15005550009"
UNSUBSCRIBED = "+15005550004"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
  number INTEGER PRIMARY KEY AUTOINCREMENT, sid TEXT NOT NULL UNIQUE, recipient TEXT NOT NULL,
  sender TEXT NOT NULL, body TEXT NOT NULL, created TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS message_recipient ON message (recipient, number);
"""

Count = Annotated[int, Meta(ge=0, le=1_000_000)]


class FailFault(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """Answer an error to the next ``count`` messages; ``acted`` sends them first."""

    count: Count
    status: Literal[400, 401, 429, 500, 503] = 500
    code: int = 20500
    acted: bool = False


class Behaviour(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``PUT /admin/behaviour``: the whole of it; what is absent is switched off."""

    delay_millis: Annotated[int, Meta(ge=0, le=120_000)] = 0
    fail_next: FailFault | None = None
    drop_reply_next: Count = 0


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message that was sent."""

    sid: str
    recipient: str
    sender: str
    body: str
    created: str


class RefusedError(Exception):
    """Twilio refuses the message for good, with one of its codes."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def require_sendable(form: Mapping[str, str]) -> None:
    """Raise RefusedError as Twilio's checks do."""
    recipient, body = form.get("To", ""), form.get("Body", "")
    if not recipient:
        raise RefusedError(21604, "A 'To' phone number is required.")
    if not body:
        raise RefusedError(21602, "Message body is required.")
    if len(body) > MAX_BODY_CHARACTERS:
        raise RefusedError(21617, "The message body exceeds the 1600 character limit.")
    if not _SENDER.fullmatch(form.get("From", "")):
        raise RefusedError(21212, "The 'From' number is not a valid phone number.")
    if not _NUMBER.fullmatch(recipient):
        raise RefusedError(21211, "The 'To' number is not a valid phone number.")
    if recipient == NO_MOBILE:
        raise RefusedError(21614, "The 'To' number is not a valid mobile number.")
    if recipient == UNSUBSCRIBED:
        raise RefusedError(21610, "Attempt to send to unsubscribed recipient.")


class Outbox:
    """The messages, at most 10,000 of them; the path may be ``:memory:``."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def ping(self) -> None:
        """Raise unless the file answers."""
        self._db.execute("SELECT 1 FROM message LIMIT 1").fetchone()

    def send(self, form: Mapping[str, str], now: datetime) -> Message:
        """Keep a message."""
        sent = Message(
            sid=f"SM{secrets.token_hex(16)}",
            recipient=form["To"],
            sender=form["From"],
            body=form["Body"],
            created=format_datetime(now.astimezone(UTC)),
        )
        self._db.execute(
            "INSERT INTO message (sid, recipient, sender, body, created) VALUES (?, ?, ?, ?, ?)",
            (sent.sid, sent.recipient, sent.sender, sent.body, sent.created),
        )
        self._db.execute(
            "DELETE FROM message WHERE number <= (SELECT max(number) FROM message) - ?",
            (MAX_KEPT,),
        )
        return sent

    def find(self, recipient: str | None, *, limit: int) -> list[Message]:
        """Return messages (to one number), the newest first."""
        rows = self._db.execute(
            "SELECT sid, recipient, sender, body, created FROM message"
            " WHERE ? IS NULL OR recipient = ? ORDER BY number DESC LIMIT ?",
            (recipient, recipient, limit),
        )
        names = ("sid", "recipient", "sender", "body", "created")
        return [Message(**dict(zip(names, row, strict=True))) for row in rows]
