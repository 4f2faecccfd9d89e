"""Brings back units and permits that nobody is coming for: overdue permits, expired holds, returns to Redis."""

import asyncio

from doorbuster.escrow import Escrow, EscrowAwayError, Fate, Return
from doorbuster.inventory.domain import bury_verdict
from doorbuster.inventory.storage import Ledger, StockStore, StoreAwayError
from doorbuster.kit import failpoints, workers

from .warm import Warmer

HOLDS_PER_PASS = 200
PERMITS_PER_PASS = 200
RETURNS_PER_PASS = 500
RETURN_LEASE_SECONDS = 3.0
HOLD_REAPER = workers.Worker("hold_reaper", outcomes=("released",))
PERMIT_REAPER = workers.Worker("permit_reaper", outcomes=("kept", "given_back", "dropped"))
RETURNS = workers.Worker(
    "permit_return",
    outcomes=("brought", "not_needed"),
    reasons=("redis_away", "redis_behind"),
)
_ENDS = {
    Fate.KEEP: "kept",
    Fate.RETURN: "given_back",
    Fate.PHANTOM: "dropped",
    Fate.RELEASED: "dropped",
}


class HoldReaper:
    """HELD and expired -> RELEASED; wakes those who carry the news."""

    def __init__(self, ledger: Ledger, *wakes: asyncio.Event) -> None:
        self._ledger = ledger
        self._wakes = wakes

    async def step(self) -> bool:
        """Release one batch; true when there may be more."""
        released = await self._ledger.expire_holds(HOLDS_PER_PASS)
        HOLD_REAPER.repaired("released", released)
        if released:
            failpoints.reach("inventory.release.committed")
            for wake in self._wakes:
                wake.set()
        return released >= HOLDS_PER_PASS

    async def oldest_seconds(self) -> float:
        """Return for how long the oldest hold has been past its pay-by."""
        return await self._ledger.oldest_hold_seconds()


class PermitReaper:
    """A permit in flight past its deadline: bury the order id unless it reserved, then settle the permit."""

    def __init__(self, ledger: Ledger, stock: StockStore, escrow: Escrow) -> None:
        self._ledger = ledger
        self._stock = stock
        self._escrow = escrow
        self._due: dict[str, float] = {}
        self._trouble: ConnectionError | None = None

    async def step(self) -> bool:
        """Look after one batch per product; true when there may be more."""
        try:
            facts = await self._stock.all_facts()
            self._due = await self._escrow.watched([fact.product_id for fact in facts])
            self._trouble = None
        except EscrowAwayError as error:
            self._trouble = error
            return False
        except StoreAwayError as error:
            self._trouble = error
            raise
        found = [await self._reap(product_id) for product_id in self._due]
        return any(count >= PERMITS_PER_PASS for count in found)

    async def oldest_seconds(self) -> float:
        """Return the age of what was due longest at the last pass; raises what that pass could not see for."""
        if self._trouble is not None:
            raise self._trouble
        return max(self._due.values(), default=0.0)

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
            for fate, end in _ENDS.items():
                settled = [settlement for settlement in ended if settlement.fate is fate]
                PERMIT_REAPER.repaired(end, await self._escrow.settle(settled))
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
        claimed = await self._stock.claim_returns(
            lease_seconds=RETURN_LEASE_SECONDS, limit=RETURNS_PER_PASS
        )
        if not claimed:
            return False
        unneeded = [entry.item for entry in claimed if not entry.has_gate]
        coming = [entry for entry in claimed if entry.has_gate]
        reason = "redis_behind"
        try:
            answers = await self._escrow.give_back([entry.item for entry in coming])
        except EscrowAwayError:
            reason, answers = "redis_away", [False] * len(coming)
        later = [entry for entry, done in zip(coming, answers, strict=True) if not done]
        brought = [entry.item for entry, done in zip(coming, answers, strict=True) if done]
        if brought:
            failpoints.reach("inventory.return.given_back")
        await self._forget("brought", brought)
        await self._forget("not_needed", unneeded)
        if later:
            RETURNS.postponed(reason, len(later))
            await self._stock.postpone_returns([entry.item for entry in later])
            self._warmer.suspect(entry.item.product_id for entry in later if entry.is_old)
        return len(claimed) >= RETURNS_PER_PASS

    async def _forget(self, end: str, items: list[Return]) -> None:
        if items:
            RETURNS.repaired(end, await self._stock.forget_returns(items))

    async def oldest_seconds(self) -> float:
        """Return how long ago the oldest units were released whose permits are not back."""
        return await self._stock.oldest_return_seconds()
