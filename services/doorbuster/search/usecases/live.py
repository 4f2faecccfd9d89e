"""What results show live: the units that are left, and the price while a sale is open."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from doorbuster.contracts import internal
from doorbuster.search.domain.results import Live
from doorbuster.search.ports import Sales, Stock

from . import meters

STOCK_SECONDS = 0.1
TRUSTED_SECONDS = 5.0  # an older sighting of the sales shows no price


@dataclass
class LiveView:
    """Asks for stock with each page and for the sales once a second; neither holds an answer up."""

    stock: Stock
    inventory: Sales
    monotonic: Callable[[], float] = time.monotonic
    _sighting: internal.Sales | None = None
    _sighted_at: float = float("-inf")

    async def refresh(self) -> None:
        """Ask inventory what is on sale; raises ConnectionError."""
        self._sighting = await self.inventory.sales()
        self._sighted_at = self.monotonic()

    async def of(self, product_ids: Sequence[str]) -> Live:
        """Return what is known of these; never raises."""
        return Live(available=await self._available(product_ids), prices=self._prices())

    async def _available(self, product_ids: Sequence[str]) -> dict[str, int]:
        if not product_ids:
            return {}
        try:
            async with asyncio.timeout(STOCK_SECONDS):
                found = await self.stock.read(product_ids)
        except (OSError, TimeoutError):
            meters.STOCK_AWAY.inc()
            return {}
        return {product_id: item.qty for product_id, item in found.items()}

    def _prices(self) -> dict[str, tuple[int, str]]:
        age = self.monotonic() - self._sighted_at
        if self._sighting is None or age > TRUSTED_SECONDS:
            meters.SALES_AWAY.inc()
            return {}
        now = self._sighting.server_time + timedelta(seconds=age)
        return {
            item.product_id: (item.price_minor, item.currency)
            for sale in self._sighting.sales
            if sale.state == "Active" and sale.open_time <= now < sale.close_time
            for item in sale.items
        }
