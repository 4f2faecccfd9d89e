"""Fakes of what the notification service needs: letters in memory, an address book, a post office that keeps mail."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage

from doorbuster.notification.domain import Kind, Letter, Outcome, Recipient, UndeliverableError
from doorbuster.notification.ports import Claim


@dataclass
class StoredLetter:
    """One row of the fake store."""

    letter: Letter
    carrier: Mapping[str, str]
    written_at: datetime
    due_at: datetime
    outcome: Outcome = Outcome.LATER
    attempts: int = 0
    why: str = ""


@dataclass
class FakeLetterStore:
    """Letters in memory."""

    rows: dict[tuple[str, Kind], StoredLetter] = field(default_factory=dict)

    async def write(
        self, letters: Sequence[tuple[Letter, Mapping[str, str]]], now: datetime
    ) -> None:
        """Add letters; those that are known stay as they are."""
        for letter, carrier in letters:
            row = StoredLetter(letter=letter, carrier=carrier, written_at=now, due_at=now)
            self.rows.setdefault((letter.order_id, letter.kind), row)

    async def claim(self, now: datetime, *, limit: int, leased_until: datetime) -> list[Claim]:
        """Return letters that are due and put them off to ``leased_until``."""
        due = [
            row for row in self.rows.values() if row.outcome is Outcome.LATER and row.due_at <= now
        ]
        claimed = sorted(due, key=lambda row: row.due_at)[:limit]
        for row in claimed:
            row.due_at = leased_until
            row.attempts += 1
        return [
            Claim(
                letter=row.letter,
                attempts=row.attempts,
                written_at=row.written_at,
                confirmed=(row.letter.order_id, Kind.CONFIRMED) in self.rows,
                carrier=row.carrier,
            )
            for row in claimed
        ]

    async def waiting_since(self) -> datetime | None:
        """Return when the oldest letter was written that still waits; None when none does."""
        waiting = (row for row in self.rows.values() if row.outcome is Outcome.LATER)
        return min((row.written_at for row in waiting), default=None)

    async def settle(
        self, letter: Letter, outcome: Outcome, *, at: datetime, again_at: datetime, why: str
    ) -> None:
        """Store how the attempt ended; a letter that is settled already stays so."""
        row = self.rows[letter.order_id, letter.kind]
        if row.outcome is not Outcome.LATER:
            return
        row.outcome, row.why = outcome, why
        if outcome is Outcome.LATER:
            row.due_at = again_at


@dataclass
class FakeContacts:
    """Knows the users it is given; others are gone."""

    people: dict[str, Recipient] = field(default_factory=dict)
    away: bool = False

    async def find(self, user_id: str) -> Recipient:
        """Return name and address."""
        if self.away:
            raise ConnectionError("user does not answer")
        if user_id not in self.people:
            raise UndeliverableError("the account is gone")
        return self.people[user_id]


@dataclass
class FakePostOffice:
    """Keeps what is sent; ``closed`` refuses connections, ``fail_next`` is raised once, after delivery or before."""

    sent: list[tuple[str, EmailMessage]] = field(default_factory=list)
    closed: bool = False
    fail_next: Exception | None = None
    lose_reply: bool = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator["FakePostOffice"]:
        """Connect."""
        if self.closed:
            raise ConnectionError("the mail server is away")
        yield self

    async def send(self, message: EmailMessage, *, recipient: str) -> None:
        """Take one mail."""
        failure, self.fail_next = self.fail_next, None
        if failure is None or self.lose_reply:
            self.sent.append((recipient, message))
        if failure is not None:
            raise failure
