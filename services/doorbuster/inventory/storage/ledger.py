"""The reservations in PostgreSQL: reserve, judge, pin and every way on from there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from doorbuster.contracts import internal

from .pool import Database, sql


@dataclass(frozen=True, kw_only=True, slots=True)
class Reserved:
    """What became of one order; see domain.settlements for ``stored_state``."""

    outcome: internal.ReserveOutcome
    pay_by: datetime | None
    failed_product: str | None
    stored_state: str | None
    stored_epochs: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Buried:
    """What is stored of an order after the attempt to bury it."""

    state: str
    line_epochs: Mapping[str, int | None]


def _epochs(text: str | None) -> Mapping[str, int | None]:
    return {} if text is None else json.loads(text)


class Ledger:
    """Every method is one transaction; all raise StoreAwayError."""

    def __init__(self, database: Database, *, hold_seconds: int) -> None:
        self._database = database
        self._hold_seconds = hold_seconds

    async def reserve(self, items: Sequence[internal.ReserveItem]) -> list[Reserved]:
        """Reserve orders with distinct ids, each whole or not at all; answers in their order."""
        lines = [(at, line) for at, item in enumerate(items, 1) for line in item.lines]
        rows = await self._database.fetch(
            sql("reserve"),
            [item.order_id for item in items],
            [item.user_id for item in items],
            [item.request_hash for item in items],
            [item.topic for item in items],
            [item.traceparent for item in items],
            [at for at, _ in lines],
            [line.product_id for _, line in lines],
            [line.quantity for _, line in lines],
            [line.price_minor for _, line in lines],
            [line.currency for _, line in lines],
            [line.sale_uid for _, line in lines],
            [line.epoch for _, line in lines],
            self._hold_seconds,
        )
        # Of the refused ones too: holds that were over may have been released for them.
        self._database.changes.of_products({line.product_id for _, line in lines})
        return [
            Reserved(
                outcome=row["outcome"],
                pay_by=row["pay_by"],
                failed_product=row["failed_product"],
                stored_state=row["stored_state"],
                stored_epochs=_epochs(row["stored_epochs"]),
            )
            for row in rows
        ]

    async def judge(self, items: Sequence[internal.JudgeItem]) -> list[internal.ReserveResult]:
        """Tell orders without a permit whether there is hope; answers in their order."""
        rows = await self._database.fetch(
            sql("judge"),
            [item.order_id for item in items],
            [item.request_hash for item in items],
            [item.product_id for item in items],
            [item.quantity for item in items],
            [item.sale_uid for item in items],
            [item.epoch for item in items],
            [item.user_id for item in items],
        )
        return [
            internal.ReserveResult(
                order_id=item.order_id,
                outcome=row["outcome"],
                pay_by=row["pay_by"],
                product_id=item.product_id,
            )
            for item, row in zip(items, rows, strict=True)
        ]

    async def owners(self, product_ids: Sequence[str], *, limit: int) -> dict[str, list[str]]:
        """Return all orders that own units of each product; a product with more than ``limit`` is left out."""
        rows = await self._database.fetch(sql("owners"), list(product_ids), limit)
        return {row["product_id"]: row["owners"] for row in rows if len(row["owners"]) <= limit}

    async def pin(self, items: Sequence[internal.PinItem]) -> list[internal.PinResult]:
        """Pin HELD orders for their payment attempts; answers in their order. Order ids are distinct."""
        rows = await self._database.fetch(
            "SELECT * FROM pin_batch($1, $2)",
            [item.order_id for item in items],
            [item.attempt for item in items],
        )
        return [
            internal.PinResult(
                order_id=item.order_id, outcome=row["outcome"], pay_by=row["pay_by"]
            )
            for item, row in zip(items, rows, strict=True)
        ]

    async def find(self, order_id: str) -> internal.ReservationState | None:
        """Return what is stored of an order."""
        rows = await self._database.fetch(sql("find"), order_id)
        if not rows:
            return None
        row = rows[0]
        return internal.ReservationState(
            order_id=row["order_id"],
            state=row["state"],
            attempt=row["attempt"],
            expires_at=row["expires_at"],
        )

    async def unreturned(self, attempts: Sequence[internal.Attempt]) -> list[str]:
        """Return the orders whose units these attempts hold: PAYING or SOLD."""
        rows = await self._database.fetch(sql("unreturned"), *_split(attempts))
        return [row["order_id"] for row in rows]

    async def decline(self, attempts: Sequence[internal.Attempt]) -> int:
        """Note attempts that ended without a charge; returns how many orders moved."""
        moved: int = await self._database.value(
            "SELECT decline_attempts($1, $2)", *_split(attempts)
        )
        if moved:
            self._database.changes.of_orders(attempt.order_id for attempt in attempts)
        return moved

    async def confirm(self, attempts: Sequence[internal.Attempt]) -> dict[str, tuple[str, int]]:
        """Note attempts that were paid; returns the state and attempt of every order known."""
        rows = await self._database.fetch("SELECT * FROM confirm_sold($1, $2)", *_split(attempts))
        return {row["order_of"]: (row["state_now"], row["attempt_now"]) for row in rows}

    async def take_back(self, attempts: Sequence[internal.Attempt]) -> list[str]:
        """Note payments that were reversed; returns the products that have units again."""
        products: list[str] = await self._database.value(
            "SELECT take_back($1, $2)", *_split(attempts)
        )
        self._database.changes.of_products(products)
        return products

    async def let_go(self, order_id: str) -> bool:
        """Release the hold of an order that will not be placed; False when it holds nothing."""
        released: int = await self._database.value(sql("let_go"), order_id)
        self._database.changes.of_orders([order_id] if released else [])
        return released > 0

    async def expire_holds(self, limit: int) -> int:
        """Release holds past their pay-by; returns how many."""
        released: list[str] = await self._database.value("SELECT expire_holds($1)", limit)
        self._database.changes.of_orders(released)
        return len(released)

    async def bury(self, order_ids: Sequence[str]) -> dict[str, Buried]:
        """Bury order ids that never reserved; returns what is stored of all of them."""
        rows = await self._database.fetch("SELECT * FROM bury($1)", list(order_ids))
        return {
            row["order_of"]: Buried(
                state=row["state_now"], line_epochs=_epochs(row["line_epochs"])
            )
            for row in rows
        }

    async def stale_pins(
        self, older_than_seconds: float, *, again_seconds: float, limit: int
    ) -> list[internal.Attempt]:
        """Return pinned attempts nobody asked about for so long; nobody else gets them for ``again_seconds``."""
        rows = await self._database.fetch(
            "SELECT * FROM stale_pins($1, $2, $3)", older_than_seconds, again_seconds, limit
        )
        return [
            internal.Attempt(order_id=row["order_of"], attempt=row["attempt_now"]) for row in rows
        ]

    async def oldest_hold_seconds(self) -> float:
        """Return how long ago the oldest hold should have been released; 0 or less when none is overdue."""
        return await self._database.value(sql("oldest_hold")) or 0.0

    async def oldest_pin_seconds(self) -> float:
        """Return how long ago the oldest payment under way was pinned; 0 when there is none."""
        return await self._database.value(sql("oldest_pin")) or 0.0


def _split(attempts: Sequence[internal.Attempt]) -> tuple[list[Any], list[Any]]:
    return [item.order_id for item in attempts], [item.attempt for item in attempts]
