"""What the notification service needs from the world: its stores, user, product, a mail server, an SMS provider."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from typing import Protocol

from .domain import Channel, Kind, Letter, LetterId, Outcome, Preferences, Recipient


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A letter to be written for these channels, with the trace context of its event."""

    letter: Letter
    channels: frozenset[Channel]
    carrier: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A letter that this worker alone sends until its lease ends.

    ``attempts`` counts this one; ``waiting_since`` is when it was written or driven again; ``told`` are all kinds
    of letters of the same order.
    """

    letter: Letter
    channel: Channel
    attempts: int
    waiting_since: datetime
    told: frozenset[Kind]
    carrier: Mapping[str, str]

    @property
    def letter_id(self) -> LetterId:
        """Return what names it."""
        return LetterId(order_id=self.letter.order_id, kind=self.letter.kind, channel=self.channel)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What became of a letter."""

    letter_id: LetterId
    outcome: Outcome
    attempts: int
    written_at: datetime
    why: str


@dataclass(frozen=True, kw_only=True)
class RecordPage:
    """Some records, and how many there are (counted to a bound)."""

    records: list[Record]
    total: int


class LetterStore(Protocol):
    """Keeps one row a letter and channel: who was told what."""

    async def write(self, drafts: Sequence[Draft], now: datetime) -> None:
        """Add letters in one transaction, each for the channels of its first draft only.

        The row of the e-mail is always written, settled as SKIPPED where no e-mail is wanted: it remembers that
        the event was heard, so that a later repetition adds no channel.
        """

    async def claim(
        self, channel: Channel, now: datetime, *, limit: int, leased_until: datetime
    ) -> list[Claim]:
        """Return letters that are due and put them off to ``leased_until``, so that a crash only delays them."""

    async def waiting_since(self, channel: Channel) -> datetime | None:
        """Return since when the oldest letter waits; None when none does."""

    async def settle(
        self, letter_id: LetterId, outcome: Outcome, *, at: datetime, again_at: datetime, why: str
    ) -> None:
        """Store how the attempt ended; ``again_at`` counts for LATER, ``why`` holds no personal data."""

    async def page(self, outcome: Outcome, *, offset: int, limit: int) -> RecordPage:
        """Return letters in this state, newest first."""

    async def redrive(
        self, chosen: Collection[LetterId] | None, now: datetime, *, limit: int
    ) -> int:
        """Make failed letters due at once, these or (None) the oldest; returns how many."""


class PreferenceStore(Protocol):
    """Keeps what users chose; who chose nothing is not in it."""

    async def find(self, user_ids: Collection[str]) -> Mapping[str, Preferences]:
        """Return the choices of those who made one."""

    async def put(self, user_id: str, preferences: Preferences, now: datetime) -> None:
        """Store a choice; the last one counts."""


class Contacts(Protocol):
    """Who a user is."""

    async def find(self, user_id: str) -> Recipient:
        """Return name and addresses; raises UndeliverableError when the account is gone, ConnectionError."""


class Titles(Protocol):
    """What products are called."""

    async def find(self, product_ids: Collection[str]) -> Mapping[str, str]:
        """Return the titles of those that are sold; raises ConnectionError."""


class Mailer(Protocol):
    """A connection to a mail server."""

    async def send(self, message: EmailMessage, *, recipient: str) -> None:
        """Hand over one mail; raises UndeliverableError when it is refused for good, ConnectionError."""


class PostOffice(Protocol):
    """Opens connections to the mail server."""

    def open(self) -> AbstractAsyncContextManager[Mailer]:
        """Connect for a batch; raises ConnectionError."""


class SmsProvider(Protocol):
    """Sends text messages; it knows no idempotency key."""

    async def send(self, phone: str, text: str) -> None:
        """Hand over one message; raises UndeliverableError when it is refused for good, ConnectionError."""

    async def has_sent(self, phone: str, text: str) -> bool:
        """Tell whether one of the latest messages to this number has these words; raises ConnectionError."""
