"""Asks order whether it knows what is sold, and tells it again if not: this survives the total loss of the broker."""

from collections.abc import Callable
from dataclasses import dataclass

from doorbuster.kit import failpoints, workers
from doorbuster.kit.clock import Clock
from doorbuster.payment.domain import Limits
from doorbuster.payment.ports import Orders, PaymentStore

BATCH = 200
WORKER = workers.Worker(
    "paid_order_sweep", outcomes=("known", "published_again"), reasons=("order_away",)
)


@dataclass(kw_only=True)
class OrderSweep:
    """Any number of copies may run; an event more does no harm."""

    store: PaymentStore
    orders: Orders
    clock: Clock
    limits: Limits
    announce: Callable[[], None]

    async def step(self) -> bool:
        """Ask about one batch; true when there may be more. Raises ConnectionError when order is away."""
        now = self.clock()
        claimed = await self.store.claim_unknown(
            now=now, again_at=now + self.limits.order_known_after, limit=BATCH
        )
        if not claimed:
            return False
        try:
            missing = await self.orders.missing([attempt.order_id for attempt in claimed])
        except (ConnectionError, TimeoutError):
            WORKER.postponed("order_away", len(claimed))
            raise
        failpoints.reach("payment.order.asked")
        lost = [attempt for attempt in claimed if attempt.order_id in missing]
        if lost:
            await self.store.publish(lost, now=now)
            failpoints.reach("payment.order.published")
            WORKER.repaired("published_again", len(lost))
            self.announce()
        known = [attempt for attempt in claimed if attempt.order_id not in missing]
        await self.store.note_known(known)
        WORKER.repaired("known", len(known))
        return len(claimed) == BATCH

    async def oldest_seconds(self) -> float:
        """Return for how long order should have known the oldest sale of which nobody knows that it does."""
        since = await self.store.unknown_since()
        due_after = self.limits.order_known_after
        return 0.0 if since is None else (self.clock() - since - due_after).total_seconds()
