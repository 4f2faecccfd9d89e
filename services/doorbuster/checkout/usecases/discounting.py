"""Discount codes as merchants keep them, and how the uses of dead orders come back.

A use is stored with its order and comes back when the order dies. Events say so at once; the sweep asks inventory
about every order whose end should be known, because an event can be lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from doorbuster.checkout.domain import discounts, refusals
from doorbuster.checkout.ports import DiscountPage, DiscountStore, Inventory
from doorbuster.contracts import events, shopping
from doorbuster.kit import clock, failpoints, workers
from doorbuster.kit.consumer import Delivery

from . import meters

BATCH = 50
AGAIN_AFTER = timedelta(seconds=10)
WORKER = workers.Worker(
    "discount_sweep",
    outcomes=("given_back", "kept"),
    reasons=("undecided", "inventory_away"),
)
_DEAD = ("RELEASED", "RETURNED", "TOMB")


@dataclass(frozen=True, kw_only=True)
class Discounting:
    """Any number of copies may run."""

    store: DiscountStore
    inventory: Inventory
    now: clock.Clock

    async def put(self, code: str, wanted: shopping.DiscountDraft) -> discounts.Discount:
        """Make or replace a discount; raises InvalidDiscountError."""
        return await self.store.put(discounts.draft(code, wanted, self.now()))

    async def find(self, code: str) -> discounts.Discount:
        """Return a discount; raises NoDiscountError."""
        found = await self.store.find(discounts.normalise(code))
        if found is None:
            raise refusals.NoDiscountError
        return found

    async def page(self, *, page: int, size: int) -> DiscountPage:
        """Return one page of discounts, by code."""
        return await self.store.page(offset=(page - 1) * size, limit=size)

    async def end(self, code: str) -> None:
        """End a discount; raises NoDiscountError. Orders that have it keep it."""
        if not await self.store.end(discounts.normalise(code)):
            raise refusals.NoDiscountError

    async def take_in(self, deliveries: Sequence[Delivery]) -> None:
        """Give back what the orders of these events used: they are over.

        One that is cancelled lets go of its units, too, unless a payment is under way or done: only a hold is released.
        """
        for delivery in deliveries:
            if isinstance(delivery.event, events.OrderCancelled):
                await self.inventory.let_go(delivery.event.order_id)
        meters.GIVEN_BACK.inc(
            await self.store.give_back([delivery.event.order_id for delivery in deliveries])
        )
        failpoints.reach("checkout.discount.given_back")

    async def sweep(self) -> bool:
        """Ask about one batch of orders whose end should be known; true when there may be more."""
        now = self.now()
        due = await self.store.claim_due(now, limit=BATCH, again_at=now + AGAIN_AFTER)
        for at, order_id in enumerate(due):
            try:
                reservation = await self.inventory.reservation(order_id)
            except ConnectionError:
                WORKER.postponed("inventory_away", len(due) - at)
                return False
            state = None if reservation is None else reservation.state
            if state in _DEAD:
                given_back = await self.store.give_back([order_id])
                meters.GIVEN_BACK.inc(given_back)
                WORKER.repaired("given_back", given_back)
            elif state == "SOLD":
                await self.store.keep([order_id])
                WORKER.repaired("kept")
            else:
                WORKER.postponed("undecided")
        return len(due) == BATCH

    async def oldest_seconds(self) -> float:
        """Return for how long the oldest end of an order with a discount should have been known."""
        since = await self.store.waiting_since()
        return 0.0 if since is None else (self.now() - since).total_seconds()
