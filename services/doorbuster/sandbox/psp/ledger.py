"""What the sandbox remembers, in SQLite: whatever it has acknowledged survives its death at any instant.

One connection, used from the event loop alone and never across an await, so that each request is one
transaction by itself. WAL with synchronous=NORMAL keeps every committed transaction when the process dies.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .cards import Card
from .intents import Intent, Refund

KEY_RETENTION_SECONDS = 24 * 3600
_SCHEMA = """
CREATE TABLE IF NOT EXISTS method (id TEXT PRIMARY KEY, created INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS intent (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS refund (id TEXT PRIMARY KEY, intent_id TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS answer (
  key TEXT PRIMARY KEY, request_mac TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL,
  created INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS answer_created ON answer (created);
CREATE TABLE IF NOT EXISTS notice (
  number INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL, tries INTEGER NOT NULL DEFAULT 0
);
"""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """The stored answer under an idempotency key."""

    request_mac: str
    status: int
    body: bytes


class Ledger:
    """Methods, intents, refunds, answers by idempotency key, and webhooks still to be sent."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def ping(self) -> None:
        """Raise unless the file answers."""
        self._db.execute("SELECT 1 FROM intent LIMIT 1").fetchone()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all of what happens inside, or nothing; no await inside."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def method(self, method_id: str) -> tuple[Card, int] | None:
        """Return a payment method and when it was made."""
        row = self._db.execute(
            "SELECT body, created FROM method WHERE id = ?", (method_id,)
        ).fetchone()
        return row and (msgspec.json.decode(row[0], type=Card), row[1])

    def add_method(self, method_id: str, card: Card, *, now: int) -> None:
        """Remember what stays of a card."""
        self._db.execute(
            "INSERT INTO method (id, created, body) VALUES (?, ?, ?)",
            (method_id, now, msgspec.json.encode(card)),
        )

    def intent(self, intent_id: str) -> Intent | None:
        """Return one intent."""
        row = self._db.execute("SELECT body FROM intent WHERE id = ?", (intent_id,)).fetchone()
        return row and msgspec.json.decode(row[0], type=Intent)

    def intents(self, *, limit: int, before: str | None = None) -> list[Intent]:
        """Return the newest intents first, those made before ``before`` when it is given."""
        rows = self._db.execute(
            "SELECT body FROM intent WHERE number < coalesce((SELECT number FROM intent WHERE id = ?),"
            " 9223372036854775807) ORDER BY number DESC LIMIT ?",
            (before, limit),
        )
        return [msgspec.json.decode(body, type=Intent) for (body,) in rows]

    def put_intent(self, intent: Intent) -> None:
        """Write an intent, new or changed."""
        self._db.execute(
            "INSERT INTO intent (id, body) VALUES (?, ?)"
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (intent.id, msgspec.json.encode(intent)),
        )

    def refund(self, refund_id: str) -> Refund | None:
        """Return one refund."""
        row = self._db.execute("SELECT body FROM refund WHERE id = ?", (refund_id,)).fetchone()
        return row and msgspec.json.decode(row[0], type=Refund)

    def add_refund(self, refund: Refund) -> None:
        """Remember a refund."""
        self._db.execute(
            "INSERT INTO refund (id, intent_id, body) VALUES (?, ?, ?)",
            (refund.id, refund.payment_intent, msgspec.json.encode(refund)),
        )

    def answer(self, key: str, *, now: int) -> Saved | None:
        """Return what was answered under this key, while it is remembered."""
        row = self._db.execute(
            "SELECT request_mac, status, body FROM answer WHERE key = ? AND created > ?",
            (key, now - KEY_RETENTION_SECONDS),
        ).fetchone()
        return row and Saved(request_mac=row[0], status=row[1], body=row[2])

    def save_answer(self, key: str, saved: Saved, *, now: int) -> None:
        """Remember the answer under its key."""
        self._db.execute(
            "INSERT OR REPLACE INTO answer (key, request_mac, status, body, created)"
            " VALUES (?, ?, ?, ?, ?)",
            (key, saved.request_mac, saved.status, saved.body, now),
        )

    def forget_answers(self, *, now: int) -> int:
        """Drop keys past their retention; returns how many."""
        return self._db.execute(
            "DELETE FROM answer WHERE created <= ?", (now - KEY_RETENTION_SECONDS,)
        ).rowcount

    def add_notice(self, body: bytes) -> None:
        """Queue a webhook event."""
        self._db.execute("INSERT INTO notice (body) VALUES (?)", (body,))

    def notices(self, *, limit: int) -> list[tuple[int, bytes, int]]:
        """Return (number, body, tries) of the oldest webhook events that wait."""
        return self._db.execute(
            "SELECT number, body, tries FROM notice ORDER BY tries, number LIMIT ?", (limit,)
        ).fetchall()

    def drop_notice(self, number: int) -> None:
        """Forget a webhook event that arrived or was given up."""
        self._db.execute("DELETE FROM notice WHERE number = ?", (number,))

    def retry_notice(self, number: int) -> None:
        """Count a failed delivery."""
        self._db.execute("UPDATE notice SET tries = tries + 1 WHERE number = ?", (number,))
