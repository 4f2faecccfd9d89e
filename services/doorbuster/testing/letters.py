"""Fakes of what the notification service needs: letters in memory, an address book, a post office, an SMS provider."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage

from doorbuster.notification.domain import (
    Channel,
    Kind,
    Letter,
    LetterId,
    Outcome,
    Preferences,
    Recipient,
    UndeliverableError,
)
from doorbuster.notification.ports import Claim, Draft, Record, RecordPage


@dataclass
class StoredLetter:
    """One row of the fake store."""

    letter: Letter
    letter_id: LetterId
    carrier: Mapping[str, str]
    written_at: datetime
    waiting_since: datetime
    due_at: datetime
    outcome: Outcome = Outcome.LATER
    attempts: int = 0
    why: str = ""


@dataclass
class FakeLetterStore:
    """Letters in memory."""

    rows: dict[tuple[str, Kind, Channel], StoredLetter] = field(default_factory=dict)

    async def write(self, drafts: Sequence[Draft], now: datetime) -> None:
        """Add letters; those that are known stay as they are, and so do their channels."""
        for draft in drafts:
            if (draft.letter.order_id, draft.letter.kind, Channel.EMAIL) not in self.rows:
                for channel in draft.channels | {Channel.EMAIL}:
                    self._add(draft, channel, now)

    def _add(self, draft: Draft, channel: Channel, now: datetime) -> None:
        letter, is_wanted = draft.letter, channel in draft.channels
        self.rows[letter.order_id, letter.kind, channel] = StoredLetter(
            letter=letter,
            letter_id=LetterId(order_id=letter.order_id, kind=letter.kind, channel=channel),
            carrier=draft.carrier,
            written_at=now,
            waiting_since=now,
            due_at=now,
            outcome=Outcome.LATER if is_wanted else Outcome.SKIPPED,
            why="" if is_wanted else "not wanted",
        )

    async def claim(
        self, channel: Channel, now: datetime, *, limit: int, leased_until: datetime
    ) -> list[Claim]:
        """Return letters that are due and put them off to ``leased_until``."""
        due = [row for row in self._waiting(channel) if row.due_at <= now]
        claimed = sorted(due, key=lambda row: row.due_at)[:limit]
        for row in claimed:
            row.due_at = leased_until
            row.attempts += 1
        return [
            Claim(
                letter=row.letter,
                channel=channel,
                attempts=row.attempts,
                waiting_since=row.waiting_since,
                told=frozenset(
                    kind for order_id, kind, _ in self.rows if order_id == row.letter.order_id
                ),
                carrier=row.carrier,
            )
            for row in claimed
        ]

    async def waiting_since(self, channel: Channel) -> datetime | None:
        """Return since when the oldest letter waits; None when none does."""
        return min((row.waiting_since for row in self._waiting(channel)), default=None)

    async def settle(
        self, letter_id: LetterId, outcome: Outcome, *, at: datetime, again_at: datetime, why: str
    ) -> None:
        """Store how the attempt ended; a letter that is settled already stays so."""
        row = self.rows[letter_id.order_id, letter_id.kind, letter_id.channel]
        if row.outcome is not Outcome.LATER:
            return
        row.outcome, row.why = outcome, why[:200]
        if outcome is Outcome.LATER:
            row.due_at = again_at

    async def page(self, outcome: Outcome, *, offset: int, limit: int) -> RecordPage:
        """Return letters in this state, newest first."""
        found = sorted(
            (row for row in self.rows.values() if row.outcome is outcome),
            key=lambda row: (-row.written_at.timestamp(), str(row.letter_id)),
        )
        records = [
            Record(
                letter_id=row.letter_id,
                outcome=row.outcome,
                attempts=row.attempts,
                written_at=row.written_at,
                why=row.why,
            )
            for row in found[offset : offset + limit]
        ]
        return RecordPage(records=records, total=len(found))

    async def redrive(
        self, chosen: Collection[LetterId] | None, now: datetime, *, limit: int
    ) -> int:
        """Make failed letters due at once, these or (None) the oldest; returns how many."""
        failed = [
            row
            for row in self.rows.values()
            if row.outcome is Outcome.FAILED and (chosen is None or row.letter_id in chosen)
        ]
        driven = sorted(failed, key=lambda row: (row.written_at, str(row.letter_id)))[:limit]
        for row in driven:
            row.outcome, row.due_at, row.waiting_since, row.why = Outcome.LATER, now, now, ""
        return len(driven)

    def _waiting(self, channel: Channel) -> list[StoredLetter]:
        return [
            row
            for row in self.rows.values()
            if row.letter_id.channel is channel and row.outcome is Outcome.LATER
        ]


@dataclass
class FakePreferenceStore:
    """Choices in memory."""

    rows: dict[str, Preferences] = field(default_factory=dict)

    async def find(self, user_ids: Collection[str]) -> Mapping[str, Preferences]:
        """Return the choices of those who made one."""
        return {user_id: self.rows[user_id] for user_id in user_ids if user_id in self.rows}

    async def put(self, user_id: str, preferences: Preferences, now: datetime) -> None:
        """Store a choice; the last one counts."""
        self.rows[user_id] = preferences


@dataclass
class FakeContacts:
    """Knows the users it is given; others are gone."""

    people: dict[str, Recipient] = field(default_factory=dict)
    away: bool = False

    async def find(self, user_id: str) -> Recipient:
        """Return name and addresses."""
        if self.away:
            raise ConnectionError("user does not answer")
        if user_id not in self.people:
            raise UndeliverableError("the account is gone")
        return self.people[user_id]


@dataclass
class FakeTitles:
    """Knows the titles it is given."""

    titles: dict[str, str] = field(default_factory=dict)
    away: bool = False

    async def find(self, product_ids: Collection[str]) -> Mapping[str, str]:
        """Return the titles of those that are known."""
        if self.away:
            raise ConnectionError("product does not answer")
        return {name: self.titles[name] for name in product_ids if name in self.titles}


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


@dataclass
class FakeSmsProvider:
    """Keeps what is sent; ``fail_next`` is raised once, after delivery (``lose_reply``) or before."""

    sent: list[tuple[str, str]] = field(default_factory=list)
    fail_next: Exception | None = None
    lose_reply: bool = False

    async def send(self, phone: str, text: str) -> None:
        """Take one message."""
        failure, self.fail_next = self.fail_next, None
        if failure is None or self.lose_reply:
            self.sent.append((phone, text))
        if failure is not None:
            raise failure

    async def has_sent(self, phone: str, text: str) -> bool:
        """Tell whether it took this message."""
        return (phone, text) in self.sent
