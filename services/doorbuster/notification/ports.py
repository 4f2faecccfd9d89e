"""What the notification service needs from the world: a store of letters, the user service, a mail server."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from typing import Protocol

from .domain import Letter, Outcome, Recipient


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A letter that this worker alone sends until its lease ends.

    ``attempts`` counts this one; ``confirmed`` tells whether a confirmation of the same order was written.
    """

    letter: Letter
    attempts: int
    written_at: datetime
    confirmed: bool
    carrier: Mapping[str, str]


class LetterStore(Protocol):
    """Keeps one row a letter: who was told what."""

    async def write(
        self, letters: Sequence[tuple[Letter, Mapping[str, str]]], now: datetime
    ) -> None:
        """Add letters (with their trace context) in one transaction; those that are known stay as they are."""

    async def claim(self, now: datetime, *, limit: int, leased_until: datetime) -> list[Claim]:
        """Return letters that are due and put them off to ``leased_until``, so that a crash only delays them."""

    async def waiting_since(self) -> datetime | None:
        """Return when the oldest letter was written that still waits; None when none does."""

    async def settle(
        self, letter: Letter, outcome: Outcome, *, at: datetime, again_at: datetime, why: str
    ) -> None:
        """Store how the attempt ended; ``again_at`` counts for LATER, ``why`` holds no personal data."""


class Contacts(Protocol):
    """Who a user is."""

    async def find(self, user_id: str) -> Recipient:
        """Return name and address; raises UndeliverableError when the account is gone, ConnectionError."""


class Mailer(Protocol):
    """A connection to a mail server."""

    async def send(self, message: EmailMessage, *, recipient: str) -> None:
        """Hand over one mail; raises UndeliverableError when it is refused for good, ConnectionError."""


class PostOffice(Protocol):
    """Opens connections to the mail server."""

    def open(self) -> AbstractAsyncContextManager[Mailer]:
        """Connect for a batch; raises ConnectionError."""
