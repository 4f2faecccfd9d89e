"""Inventory's numbers, as Debezium captures them, on the products."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from doorbuster.kit import consumer
from doorbuster.product.ports import Level, ProductStore


class StockRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of inventory's table; the columns that matter here."""

    product_id: str
    available_qty: int
    safety_stock: int = 0
    version: int


def read_row(
    _key: bytes | None, value: bytes | None, _headers: Mapping[str, str]
) -> StockRow | None:
    """Read a captured row; None for a deletion, which inventory never does. Raises MsgspecError."""
    return None if value is None else msgspec.json.decode(value, type=StockRow)


@dataclass(frozen=True)
class Stock:
    """Takes captured rows, in any order, as often as they come."""

    store: ProductStore

    async def take_in(self, deliveries: list[consumer.Delivery]) -> None:
        """Give the products the newest numbers of a batch."""
        levels: dict[str, Level] = {}
        for delivery in deliveries:
            row: StockRow = delivery.event
            known = levels.get(row.product_id)
            if known is None or known.version < row.version:
                sellable = max(0, row.available_qty - row.safety_stock)
                levels[row.product_id] = Level(available_qty=sellable, version=row.version)
        await self.store.take_levels(levels)
