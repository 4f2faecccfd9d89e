"""What the notification service does: write down which letters are due, and send them.

A letter is sent at least once: when the mail server's answer is lost, or a worker dies between the answer and
its own commit, the letter goes out again, with the same Message-ID. Nothing else sends one twice.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from opentelemetry.trace import SpanKind

from doorbuster.kit import clock, consumer, failpoints, telemetry, workers

from . import domain
from .domain import Outcome, UndeliverableError
from .ports import Claim, Contacts, LetterStore, Mailer, PostOffice

BATCH = 10
LETTER_SECONDS = 12.0
LEASE = timedelta(seconds=150)  # more than a whole batch may take
WORKER = workers.Worker(
    "letters", outcomes=("sent", "failed", "skipped"), reasons=("not_sent_yet",)
)
AWAY = (OSError, TimeoutError)


@dataclass(frozen=True, kw_only=True)
class Notifications:
    """The use cases; ``wake`` is called when letters were written."""

    store: LetterStore
    contacts: Contacts
    office: PostOffice
    sender: str
    wake: Callable[[], None]
    now: clock.Clock = clock.utc_now
    jitter: Callable[[], float] = random.random

    async def take_in(self, deliveries: list[consumer.Delivery]) -> None:
        """Write down the letters that a batch of events calls for."""
        letters = [
            (letter, delivery.carrier)
            for delivery in deliveries
            if (letter := domain.letter_for(delivery.event)) is not None
        ]
        if letters:
            await self.store.write(letters, self.now())
            failpoints.reach("notification.letters.written")
            self.wake()

    async def send_due(self) -> bool:
        """Send one batch over one connection; true when there may be more."""
        now = self.now()
        claims = await self.store.claim(now, limit=BATCH, leased_until=now + LEASE)
        if not claims:
            return False
        left = deque(claims)
        try:
            async with self.office.open() as mailer:
                while left:
                    await self._send(mailer, left[0])
                    left.popleft()
        except AWAY as error:
            for claim in left:
                await self._failed(claim, error)
        return len(claims) == BATCH

    async def oldest_seconds(self) -> float:
        """Return how long ago the oldest letter was written that still waits."""
        since = await self.store.waiting_since()
        return 0.0 if since is None else (self.now() - since).total_seconds()

    async def _send(self, mailer: Mailer, claim: Claim) -> None:
        """Send one letter; raises ConnectionError or TimeoutError when the connection is of no more use."""
        letter = claim.letter
        if domain.is_stale(letter.kind, claim.confirmed):
            await self._settle(claim, Outcome.SKIPPED, "the order was paid after all")
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
                message = domain.compose(letter, recipient, sender=self.sender, now=self.now())
                async with asyncio.timeout(LETTER_SECONDS):
                    await mailer.send(message, recipient=recipient.email)
            except UndeliverableError as error:
                await self._settle(claim, Outcome.FAILED, str(error))
                return
            failpoints.reach("notification.letter.sent")
            await self._settle(claim, Outcome.SENT, "")

    async def _failed(self, claim: Claim, error: Exception) -> None:
        outcome = domain.after_failure(claim.written_at, self.now())
        await self._settle(claim, outcome, f"{type(error).__name__}: {error}")

    async def _settle(self, claim: Claim, outcome: Outcome, why: str) -> None:
        letter, now = claim.letter, self.now()
        again_at = domain.next_attempt(claim.attempts, now, self.jitter())
        await self.store.settle(letter, outcome, at=now, again_at=again_at, why=why)
        if outcome is Outcome.LATER:
            WORKER.postponed("not_sent_yet")
        else:
            WORKER.repaired(outcome.name.lower())
        telemetry.log().info(
            "letter_attempted",
            order_id=letter.order_id,
            kind=letter.kind.value,
            outcome=outcome.name,
            attempts=claim.attempts,
            why=why,
        )
