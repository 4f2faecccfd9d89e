"""Sends the letters that are due, each channel by its own worker, so that one provider never holds up the other.

A letter is sent at least once. By e-mail: when the server's answer is lost, or a worker dies between the answer and its
own commit, the letter goes out again, with the same Message-ID. By SMS: before it tries again a worker looks whether
the provider has these words to this number already. Nothing else sends one twice.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import ClassVar, Protocol

from opentelemetry.trace import SpanKind

from doorbuster.kit import clock, failpoints, telemetry, workers

from . import domain
from .domain import (
    Channel,
    NotNowError,
    Outcome,
    Recipient,
    UndeliverableError,
    UnreachableError,
)
from .ports import Claim, Contacts, LetterStore, Mailer, PostOffice, SmsProvider, Titles
from .wording import MOST_LINES, Wording

BATCH = 10
LETTER_SECONDS = 12.0
LEASE = timedelta(seconds=150)  # more than a whole batch may take
_OUTCOMES = ("sent", "failed", "skipped")
WORKERS: Mapping[Channel, workers.Worker] = {
    Channel.EMAIL: workers.Worker("letters", outcomes=_OUTCOMES, reasons=("not_sent_yet",)),
    Channel.SMS: workers.Worker("text_messages", outcomes=_OUTCOMES, reasons=("not_sent_yet",)),
}
AWAY = (OSError, TimeoutError)

# Tells one recipient; raises UndeliverableError, UnreachableError, ConnectionError.
Tell = Callable[[Claim, Recipient], Awaitable[None]]


class Way(Protocol):
    """How letters of one channel reach people."""

    channel: ClassVar[Channel]

    def open(self) -> AbstractAsyncContextManager[Tell]:
        """Connect for a batch; raises ConnectionError."""


@dataclass(frozen=True, kw_only=True)
class ByEmail:
    """One session with the mail server a batch; without ``titles`` products are called by their ids."""

    office: PostOffice
    wording: Wording
    sender: str
    titles: Titles | None = None
    now: clock.Clock = clock.utc_now
    channel: ClassVar[Channel] = Channel.EMAIL

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Tell]:
        """Connect for a batch; raises ConnectionError."""
        async with self.office.open() as mailer:
            yield partial(self._tell, mailer)

    async def _tell(self, mailer: Mailer, claim: Claim, recipient: Recipient) -> None:
        letter = claim.letter
        words = self.wording.mail(letter, recipient.name, await self._titles(letter))
        message = domain.compose(letter, words, recipient, sender=self.sender, now=self.now())
        await mailer.send(message, recipient=recipient.email)

    async def _titles(self, letter: domain.Letter) -> Mapping[str, str]:
        product_ids = {line.product_id for line in letter.lines[:MOST_LINES]}
        if self.titles is None or not product_ids:
            return {}
        try:
            return await self.titles.find(product_ids)
        except AWAY:  # counted as a failed call: an id is better than no letter
            return {}


@dataclass(frozen=True, kw_only=True)
class BySms:
    """The provider has no session."""

    provider: SmsProvider
    wording: Wording
    channel: ClassVar[Channel] = Channel.SMS

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Tell]:
        """Yield at once."""
        yield self._tell

    async def _tell(self, claim: Claim, recipient: Recipient) -> None:
        if recipient.phone is None:
            raise UnreachableError("the account has no telephone number")
        text = self.wording.sms(claim.letter)
        # The answer to an earlier attempt may have been lost; the first one needs no look.
        if claim.attempts == 1 or not await self.provider.has_sent(recipient.phone, text):
            await self.provider.send(recipient.phone, text)


@dataclass(frozen=True, kw_only=True)
class Sending:
    """The worker of one channel."""

    way: Way
    store: LetterStore
    contacts: Contacts
    now: clock.Clock = clock.utc_now
    jitter: Callable[[], float] = random.random

    async def send_due(self) -> bool:
        """Send one batch over one connection; true when there may be more."""
        now = self.now()
        claims = await self.store.claim(
            self.way.channel, now, limit=BATCH, leased_until=now + LEASE
        )
        if not claims:
            return False
        left = deque(claims)
        try:
            async with self.way.open() as tell:
                while left:
                    await self._send(tell, left[0])
                    left.popleft()
        except AWAY as error:
            for claim in left:
                await self._failed(claim, error)
        return len(claims) == BATCH

    async def oldest_seconds(self) -> float:
        """Return how long the oldest letter has been waiting."""
        since = await self.store.waiting_since(self.way.channel)
        return 0.0 if since is None else (self.now() - since).total_seconds()

    async def _send(self, tell: Tell, claim: Claim) -> None:
        """Send one letter; raises ConnectionError or TimeoutError when the connection is of no more use."""
        letter = claim.letter
        if domain.is_stale(letter.kind, claim.told):
            await self._settle(claim, Outcome.SKIPPED, "overtaken by later news of the order")
            return
        with telemetry.span(f"send {letter.kind}", SpanKind.PRODUCER, carrier=dict(claim.carrier)):
            try:
                recipient = await self.contacts.find(letter.user_id)
            except UndeliverableError as error:
                await self._settle(claim, Outcome.FAILED, str(error))
                return
            except AWAY as error:
                await self._failed(claim, error)
                return
            try:
                async with asyncio.timeout(LETTER_SECONDS):
                    await tell(claim, recipient)
            except UndeliverableError as error:
                await self._settle(claim, Outcome.FAILED, str(error))
                return
            except NotNowError as error:
                await self._failed(claim, error)
                return
            except UnreachableError as error:
                await self._settle(claim, Outcome.SKIPPED, str(error))
                return
            failpoints.reach("notification.letter.sent")
            await self._settle(claim, Outcome.SENT, "")

    async def _failed(self, claim: Claim, error: Exception) -> None:
        outcome = domain.after_failure(claim.waiting_since, self.now())
        await self._settle(claim, outcome, f"{type(error).__name__}: {error}")

    async def _settle(self, claim: Claim, outcome: Outcome, why: str) -> None:
        now = self.now()
        again_at = domain.next_attempt(claim.attempts, now, self.jitter())
        await self.store.settle(claim.letter_id, outcome, at=now, again_at=again_at, why=why)
        worker = WORKERS[claim.channel]
        if outcome is Outcome.LATER:
            worker.postponed("not_sent_yet")
        else:
            worker.repaired(outcome.name.lower())
        telemetry.log().info(
            "letter_attempted",
            order_id=claim.letter.order_id,
            kind=claim.letter.kind.value,
            channel=claim.channel.value,
            outcome=outcome.name,
            attempts=claim.attempts,
            why=why,
        )
