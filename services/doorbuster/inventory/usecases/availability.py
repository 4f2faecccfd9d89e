"""Keeps the cached availability at the ledger's heels: after each commit, and when a sale opens or closes."""

import asyncio
import time
from typing import Protocol

from prometheus_client import Counter, Histogram

from doorbuster.contracts import internal
from doorbuster.inventory.ports import AvailableStock
from doorbuster.inventory.storage.changes import Changes
from doorbuster.kit import workers

PRODUCTS_PER_WRITE = 200
PAUSE_SECONDS = 0.05
STALENESS = Histogram(
    "doorbuster_availability_staleness_seconds",
    "From the oldest commit among those of one write until the cache shows it",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
WRITES = Counter(
    "doorbuster_availability_writes",
    "Products written to the cache, and those that Redis did not take (their entry lives a minute at most)",
    ["outcome"],
)
_WRITTEN, _LOST = WRITES.labels("written"), WRITES.labels("lost")
TURNS = workers.Worker("sale_turns", outcomes=("touched",))


class Cache(Protocol):
    """Where the readers look first."""

    async def write(self, items: list[internal.Availability]) -> int:
        """Write these down unless a higher version is there; returns how many were taken up."""
        ...


class AvailabilityWriter:
    """Writes down what transactions changed, in the background: a rush costs one read and one write each 50 ms."""

    def __init__(self, stock: AvailableStock, changes: Changes, cache: Cache) -> None:
        self._stock = stock
        self._changes = changes
        self._cache = cache

    async def step(self) -> bool:
        """Write one batch; true when there is more. What cannot be written is let go: the entry dies of age."""
        batch = self._changes.take(PRODUCTS_PER_WRITE)
        if not batch.products and not batch.orders:
            return False
        try:
            items = await self._stock.availability(batch.products, batch.orders)
        except ConnectionError:
            _LOST.inc(len(batch.products) + len(batch.orders))
            raise
        taken = await self._cache.write(items)
        _WRITTEN.inc(taken)
        _LOST.inc(len(items) - taken)
        if taken:
            STALENESS.observe(time.monotonic() - batch.since)
        await asyncio.sleep(PAUSE_SECONDS)
        return bool(self._changes)


class SaleTurns:
    """Gives products a new version when a sale of theirs opens or closes: no transaction does, and others buy then."""

    def __init__(self, stock: AvailableStock) -> None:
        self._stock = stock

    async def step(self) -> bool:
        """Look once."""
        turned = await self._stock.turned()
        if turned:
            await self._stock.touch(sorted(turned))
            TURNS.repaired("touched", len(turned))
        return False

    async def oldest_seconds(self) -> float:
        """Return how long ago the oldest sale turned that no version tells of yet."""
        return max((await self._stock.turned()).values(), default=0.0)
