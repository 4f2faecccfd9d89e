"""Brings back units and permits that nobody is coming for: overdue permits, expired holds, returns to Redis."""

import asyncio

from prometheus_client import Counter

from doorbuster.escrow import Escrow, EscrowAwayError, Return
from doorbuster.inventory.domain import bury_verdict
from doorbuster.inventory.storage import Ledger, StockStore
from doorbuster.kit import failpoints

from .warm import Warmer

HOLDS_PER_PASS = 200
PERMITS_PER_PASS = 200
RETURNS_PER_PASS = 500
EXPIRED = Counter("doorbuster_inventory_holds_expired", "Holds released past their pay-by")
OVERDUE = Counter(
    "doorbuster_inventory_permits_overdue", "Permits looked after by the reaper", ["fate"]
)
RETURNED = Counter(
    "doorbuster_inventory_permits_returned", "Returns brought to Redis", ["outcome"]
)


class HoldReaper:
    """HELD and expired -> RELEASED; wakes those who carry the news."""

    def __init__(self, ledger: Ledger, *wakes: asyncio.Event) -> None:
        self._ledger = ledger
        self._wakes = wakes

    async def step(self) -> bool:
        """Release one batch; true when there may be more."""
        released = await self._ledger.expire_holds(HOLDS_PER_PASS)
        EXPIRED.inc(released)
        if released:
            failpoints.reach("inventory.release.committed")
            for wake in self._wakes:
                wake.set()
        return released >= HOLDS_PER_PASS


class PermitReaper:
    """A permit in flight past its deadline: bury the order id unless it reserved, then settle the permit."""

    def __init__(self, ledger: Ledger, stock: StockStore, escrow: Escrow) -> None:
        self._ledger = ledger
        self._stock = stock
        self._escrow = escrow

    async def step(self) -> bool:
        """Look after one batch per product; true when there may be more."""
        try:
            facts = await self._stock.all_facts()
            products = await self._escrow.watched([fact.product_id for fact in facts])
        except EscrowAwayError:
            return False
        found = [await self._reap(product_id) for product_id in products]
        return any(count >= PERMITS_PER_PASS for count in found)

    async def _reap(self, product_id: str) -> int:
        """Look after the permits of one product; one whose Redis is away waits, and lets the others be."""
        try:
            return await self._settle_overdue(product_id)
        except EscrowAwayError:
            return 0

    async def _settle_overdue(self, product_id: str) -> int:
        overdue = await self._escrow.overdue(product_id, limit=PERMITS_PER_PASS)
        if overdue:
            buried = await self._ledger.bury([permit.order_id for permit in overdue])
            failpoints.reach("inventory.burial.committed")
            ended = [
                bury_verdict(
                    permit, buried[permit.order_id].state, buried[permit.order_id].line_epochs
                )
                for permit in overdue
            ]
            await self._escrow.settle(ended)
            for settlement in ended:
                OVERDUE.labels(settlement.fate.name).inc()
        return len(overdue)


class ReturnWorker:
    """Brings released units back to Redis as permits; needs no Kafka."""

    def __init__(self, stock: StockStore, escrow: Escrow, warmer: Warmer) -> None:
        self._stock = stock
        self._escrow = escrow
        self._warmer = warmer
        self.wake = asyncio.Event()

    async def step(self) -> bool:
        """Bring one batch; true when there may be more."""
        pending = await self._stock.returns(RETURNS_PER_PASS)
        if not pending:
            return False
        arrived: list[Return] = [entry.item for entry in pending if not entry.has_gate]
        RETURNED.labels("no_gate").inc(len(arrived))
        coming = [entry for entry in pending if entry.has_gate]
        try:
            answers = await self._escrow.give_back([entry.item for entry in coming])
        except EscrowAwayError:
            answers = [False] * len(coming)
        later = [entry for entry, done in zip(coming, answers, strict=True) if not done]
        brought = [entry.item for entry, done in zip(coming, answers, strict=True) if done]
        RETURNED.labels("brought").inc(len(brought))
        RETURNED.labels("later").inc(len(later))
        if arrived or brought:
            failpoints.reach("inventory.return.given_back")
            await self._stock.forget_returns(arrived + brought)
        if later:
            await self._stock.postpone_returns([entry.item for entry in later])
            self._warmer.suspect(entry.item.product_id for entry in later if entry.is_old)
        return len(pending) >= RETURNS_PER_PASS
