"""The operator's view: store a change, bring it to Redis, read back what is true now."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from doorbuster.contracts import control, internal, shopping
from doorbuster.escrow import Escrow, EscrowAwayError, Survey
from doorbuster.inventory.domain import (
    ARMED_REASONS,
    GateFacts,
    UnknownProductError,
    armed_reason,
)
from doorbuster.inventory.storage.control import ControlStore, allocated
from doorbuster.inventory.storage.stock import StockStore

from .warm import Warmer

ANNOUNCED_SECONDS = 0.2


class ControlRoom:
    """Pools and sales; refusals are domain.ControlError, outages StoreAwayError."""

    def __init__(
        self, store: ControlStore, stock: StockStore, escrow: Escrow, warmer: Warmer
    ) -> None:
        self._store = store
        self._stock = stock
        self._escrow = escrow
        self._warmer = warmer

    async def take_fence(self, request: control.FenceRequest) -> control.Fence:
        """Return a fence that makes those of the lease before it stale."""
        return control.Fence(fence=await self._store.take_fence(request))

    async def put_sale(self, uid: str, gate: control.SaleGate) -> control.SaleState:
        """Store a gate and load it; returns it as it is stored."""
        changed = await self._store.put_sale(uid, gate)
        if changed:
            await self._warmer.load_new(changed)
        states = await self._states(await self._store.sales(uid=uid, since=0))
        return states[0]

    async def put_pool(self, sku: str, spec: control.PoolSpec) -> control.PoolState:
        """Store a level and load it; returns it as it is stored."""
        changed = await self._store.put_pool(sku, spec)
        if changed:
            await self._warmer.load_new(changed)
        return (await self._store.pools(sku=sku, since=-1))[0]

    async def release_pool(self, sku: str, *, owner_uid: str, fence: int) -> None:
        """Let another owner have the stock of a sku."""
        await self._store.release_pool(sku, owner_uid=owner_uid, fence=fence)

    async def sales(self, since: int) -> control.SaleStates:
        """Return sales that changed after ``since`` (and all of the last day)."""
        revision, server_time = await self._store.revision()
        states = await self._states(await self._store.sales(uid=None, since=since))
        return control.SaleStates(sales=states, revision=revision, server_time=server_time)

    async def pools(self, since: int) -> control.PoolStates:
        """Return pools that changed after ``since``."""
        revision, server_time = await self._store.revision()
        pools = await self._store.pools(sku=None, since=since)
        return control.PoolStates(pools=pools, revision=revision, server_time=server_time)

    async def _states(self, sales: Sequence[list[Any]]) -> list[control.SaleState]:
        products = sorted({row["product_id"] for sale in sales for row in sale})
        facts = {fact.product_id: fact for fact in await self._stock.facts(products)}
        try:
            survey = await self._escrow.survey(products)
        except EscrowAwayError:
            survey = Survey(runs={}, held={})
        return [_state(rows, facts, survey) for rows in sales]


def _state(rows: Sequence[Any], facts: dict[str, GateFacts], survey: Survey) -> control.SaleState:
    sale = rows[0]
    reasons = [
        armed_reason(
            facts.get(row["product_id"]),
            survey.held.get(row["product_id"]),
            sale_uid=sale["sale_uid"],
            is_over=sale["is_over"],
            strategy=sale["strategy"],
            run_id=survey.runs.get(row["product_id"]),
        )
        for row in rows
    ]
    missing = [reason for reason in reasons if reason not in ARMED_REASONS]
    return control.SaleState(
        uid=sale["sale_uid"],
        namespace=sale["namespace"],
        name=sale["name"],
        generation=sale["generation"],
        fence=sale["fence"],
        state=sale["state"],
        open_time=sale["open_at"],
        close_time=sale["close_at"],
        strategy=sale["strategy"],
        reservation_timeout_seconds=sale["hold_seconds"],
        items=[
            _item_state(row, is_armed=reason in ARMED_REASONS)
            for row, reason in zip(rows, reasons, strict=True)
        ],
        armed=not missing,
        armed_reason=missing[0] if missing else reasons[0],
        drained=sale["is_outbox_empty"] and all(row["reserved_qty"] == 0 for row in rows),
        first_reservation_time=sale["first_reservation_at"],
        sold_out_time=sale["sold_out_at"],
        revision=sale["revision"],
        server_time=sale["server_time"],
        admit_per_second=sale["admit_per_second"],
    )


def _item_state(row: Any, *, is_armed: bool) -> control.SaleItemState:
    return control.SaleItemState(
        sku=row["sku"],
        product_id=row["product_id"],
        allocated=allocated(row),
        available=row["sellable"],
        reserved=row["reserved_qty"],
        sold=row["sold_qty"],
        price_minor=row["price_minor"],
        currency=row["currency"],
        per_user_limit=row["per_user_limit"],
        epoch=row["epoch"],
        armed=is_armed,
    )


class StockDesk:
    """Stock of products without a pool, as a merchant sets it."""

    def __init__(self, store: ControlStore, warmer: Warmer) -> None:
        self._store = store
        self._warmer = warmer

    async def read(self, product_id: str) -> shopping.Stock:
        """Return the stock of a product; raises domain.UnknownProductError, StoreAwayError."""
        stock = await self._store.level(product_id)
        if stock is None:
            raise UnknownProductError("this product has no stock yet")
        return stock

    async def put(self, product_id: str, total: int) -> shopping.Stock:
        """Store a level and load it where a sale is on.

        Raises domain.ManagedByPoolError, BelowCommittedError, StoreAwayError.
        """
        if await self._store.put_level(product_id, total):
            await self._warmer.load_new([product_id])
        return await self.read(product_id)


class SaleBoard:
    """What is on sale, read from PostgreSQL at most every 200 ms however many ask."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store
        self._lock = asyncio.Lock()
        self._read_at = float("-inf")
        self._sales: internal.Sales | None = None

    async def read(self) -> internal.Sales:
        """Return the sales; raises StoreAwayError."""
        async with self._lock:
            if self._sales is None or time.monotonic() - self._read_at > ANNOUNCED_SECONDS:
                self._sales = await self._store.announced()
                self._read_at = time.monotonic()
            return self._sales
