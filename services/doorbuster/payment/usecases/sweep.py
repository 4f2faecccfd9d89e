"""Asks order whether it knows what is sold, and tells it again if not: this survives the total loss of the broker."""

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import Counter

from doorbuster.kit import failpoints
from doorbuster.kit.clock import Clock
from doorbuster.payment.domain import Limits
from doorbuster.payment.ports import Orders, PaymentStore

BATCH = 200
PUBLISHED_AGAIN = Counter(
    "doorbuster_payment_published_again", "PaymentSucceeded sent again because order had none"
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
        missing = await self.orders.missing([attempt.order_id for attempt in claimed])
        failpoints.reach("payment.order.asked")
        lost = [attempt for attempt in claimed if attempt.order_id in missing]
        if lost:
            await self.store.publish(lost, now=now)
            failpoints.reach("payment.order.published")
            PUBLISHED_AGAIN.inc(len(lost))
            self.announce()
        await self.store.note_known([a for a in claimed if a.order_id not in missing])
        return len(claimed) == BATCH
