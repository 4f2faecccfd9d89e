"""The board of sales: what inventory last said, kept through an outage, refreshed every second."""

import asyncio
from collections.abc import Callable

from doorbuster.checkout.domain import sales
from doorbuster.checkout.ports import Inventory

from . import meters

REFRESH_SECONDS = 1.0
TRUSTED_SECONDS = 5.0  # an older sighting refuses nobody: the truth may have moved


class BoardEmptyError(ConnectionError):
    """Inventory never answered since this process started."""


class SalesBoard:
    """The last sighting; ``monotonic`` returns seconds."""

    def __init__(self, inventory: Inventory, monotonic: Callable[[], float]) -> None:
        self._inventory = inventory
        self._monotonic = monotonic
        self._sighting: sales.Sighting | None = None
        self._refreshing: asyncio.Task[None] | None = None

    async def step(self) -> None:
        """Refresh; an inventory that does not answer is counted and leaves the last sighting."""
        await self._refresh()

    async def sighting(self, *, at_most_seconds: float | None = None) -> sales.Sighting:
        """Return the last sighting, refreshed first when it is older than asked.

        Raises BoardEmptyError when there never was one; an older one is better than none.
        """
        if self._sighting is None or (
            at_most_seconds is not None and self.age() > at_most_seconds
        ):
            await self._refresh()
        if self._sighting is None:
            raise BoardEmptyError("the sales are not known yet")
        return self._sighting

    def authority_time(self, sighting: sales.Sighting | None = None) -> sales.AuthorityTime:
        """Return the authority's clock now, by this sighting or the last one."""
        seen = sighting or self._sighting
        if seen is None:
            raise BoardEmptyError("the sales are not known yet")
        return seen.authority_time(self._monotonic())

    def age(self) -> float:
        """Return the age of the last sighting in seconds."""
        if self._sighting is None:
            return float("inf")
        return self._monotonic() - self._sighting.answered_at

    @property
    def is_trusted(self) -> bool:
        """Whether the last sighting is new enough to refuse a buyer."""
        return self.age() <= TRUSTED_SECONDS

    async def _refresh(self) -> None:
        """Refresh once for everybody who asks meanwhile."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._ask(), name="refresh_sales")
        await asyncio.shield(self._refreshing)

    async def _ask(self) -> None:
        asked_at = self._monotonic()
        try:
            answer = await self._inventory.sales()
        except (OSError, TimeoutError):
            meters.SALES_FAILURES.inc()
        else:
            self._sighting = sales.sight(answer, asked_at=asked_at, answered_at=self._monotonic())
        if self._sighting is not None:
            meters.SALES_AGE.set(self.age())
