"""Asks whether others know what is sold and what was given back, and tells them again if not.

This survives the total loss of the broker.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from doorbuster.kit import failpoints, workers
from doorbuster.kit.clock import Clock
from doorbuster.payment import domain
from doorbuster.payment.domain import Attempt, Limits, State
from doorbuster.payment.ports import Inventory, Orders, PaymentStore

BATCH = 200
_OUTCOMES = ("known", "published_again")
SALES = workers.Worker("paid_order_sweep", outcomes=_OUTCOMES, reasons=("order_away",))
REVERSALS = workers.Worker(
    "reversal_sweep", outcomes=_OUTCOMES, reasons=("order_away", "inventory_away")
)
Question = Callable[[Sequence[Attempt]], Awaitable[set[str]]]


@dataclass(frozen=True, kw_only=True)
class News:
    """What attempts in ``states`` have to tell.

    Each question returns the orders that somebody has not heard of, or raises ConnectionError; its name is the
    worker's reason to come back when nobody answers.
    """

    worker: workers.Worker
    states: frozenset[State]
    questions: Mapping[str, Question]


def sales(orders: Orders) -> News:
    """Order must know what is sold; inventory's own sweep asks about pins."""

    async def missing(attempts: Sequence[Attempt]) -> set[str]:
        return await orders.missing([attempt.order_id for attempt in attempts])

    return News(worker=SALES, states=domain.SOLD, questions={"order_away": missing})


def reversals(orders: Orders, inventory: Inventory) -> News:
    """Order must know what was given back, and inventory must not count it as sold."""

    async def unreversed(attempts: Sequence[Attempt]) -> set[str]:
        return await orders.unreversed([attempt.order_id for attempt in attempts])

    return News(
        worker=REVERSALS,
        states=domain.REVERSED,
        questions={"order_away": unreversed, "inventory_away": inventory.unreturned},
    )


@dataclass(kw_only=True)
class OrderSweep:
    """Any number of copies may run; an event more does no harm."""

    news: News
    store: PaymentStore
    clock: Clock
    limits: Limits
    announce: Callable[[], None]

    async def step(self) -> bool:
        """Ask about one batch; true when there may be more. Raises ConnectionError when somebody is away.

        What is lacking by those who do answer is told all the same.
        """
        now = self.clock()
        claimed = await self.store.claim_unknown(
            self.news.states,
            now=now,
            again_at=now + self.limits.order_known_after,
            limit=BATCH,
        )
        if not claimed:
            return False
        lacking: set[str] = set()
        away: Exception | None = None
        for reason, ask in self.news.questions.items():
            try:
                lacking |= await ask(claimed)
            except (ConnectionError, TimeoutError) as error:
                self.news.worker.postponed(reason, len(claimed))
                away = error
        if away is None:
            failpoints.reach("payment.order.asked")
        await self._tell([attempt for attempt in claimed if attempt.order_id in lacking])
        if away is not None:
            raise away
        known = [attempt for attempt in claimed if attempt.order_id not in lacking]
        await self.store.note_known(self.news.states, known)
        self.news.worker.repaired("known", len(known))
        return len(claimed) == BATCH

    async def _tell(self, lost: Sequence[Attempt]) -> None:
        if lost:
            await self.store.publish(lost, now=self.clock())
            failpoints.reach("payment.order.published")
            self.news.worker.repaired("published_again", len(lost))
            self.announce()

    async def oldest_seconds(self) -> float:
        """Return for how long the oldest should have been known of which nobody has said that it is."""
        since = await self.store.unknown_since(self.news.states)
        due_after = self.limits.order_known_after
        return 0.0 if since is None else (self.clock() - since - due_after).total_seconds()
