"""Stock as the keepers of Redis see it: gates, epochs, and released units on their way back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from doorbuster.contracts import internal
from doorbuster.escrow import Gate, Return
from doorbuster.inventory.domain import GateFacts

from .pool import Database, sql

_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingReturn:
    """Released units whose permits Redis has not got back; without a gate there is nowhere to bring them."""

    item: Return
    is_old: bool
    has_gate: bool


def gate_facts(row: Any, loaded_run_id: str | None) -> GateFacts:
    """Build the facts of a row of ``gate_facts()`` or of facts.sql."""
    return GateFacts(
        product_id=row["product_of"],
        epoch=row["epoch_now"],
        loaded_run_id=loaded_run_id,
        strategy=row["gate_strategy"],
        gate=Gate(
            sale_uid=row["gate_sale_uid"],
            open_at_millis=_millis(row["opens_at"], up=True),
            close_at_millis=_millis(row["closes_at"], up=False),
            state=row["gate_state"],
            per_user_limit=row["user_limit"],
        ),
        sellable=row["sellable_qty"],
        returning=row["returning_qty"],
    )


def _millis(moment: datetime, *, up: bool) -> int:
    """Return Unix milliseconds, rounded so that Redis is never open when PostgreSQL is not."""
    micros = (moment - _EPOCH_START) // timedelta(microseconds=1)
    return -(-micros // 1000) if up else micros // 1000


class StockStore:
    """Every method is one transaction; all raise StoreAwayError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def facts(self, product_ids: Sequence[str]) -> list[GateFacts]:
        """Return the facts of those products that have a sale ahead or open."""
        return await self._facts(list(product_ids))

    async def all_facts(self) -> list[GateFacts]:
        """Return the facts of all products whose current sale takes permits."""
        return [facts for facts in await self._facts(None) if facts.strategy == "Escrow"]

    async def _facts(self, product_ids: list[str] | None) -> list[GateFacts]:
        rows = await self._database.fetch(sql("facts"), product_ids)
        return [gate_facts(row, row["loaded_run_id"]) for row in rows]

    async def bump(
        self, product_id: str, *, seen_epoch: int, above_epoch: int, run_id: str
    ) -> GateFacts | None:
        """Start a new epoch; None when somebody else did since ``seen_epoch`` was read."""
        rows = await self._database.fetch(
            "SELECT * FROM bump_epoch($1, $2, $3, $4)", product_id, seen_epoch, above_epoch, run_id
        )
        return gate_facts(rows[0], run_id) if rows else None

    async def note_run(self, product_id: str, *, epoch: int, run_id: str) -> None:
        """Note that ``epoch`` was loaded into the Redis of ``run_id``."""
        await self._database.fetch(
            "UPDATE inventory SET loaded_run_id = $3 WHERE product_id = $1 AND epoch = $2",
            product_id,
            epoch,
            run_id,
        )

    async def note_sold_out(self, product_ids: Sequence[str]) -> None:
        """Put right which sales of these products are sold out."""
        await self._database.fetch("SELECT note_sold_out($1)", list(product_ids))

    async def availability(
        self, product_ids: Sequence[str], order_ids: Sequence[str] = ()
    ) -> list[internal.Availability]:
        """Return what anybody could reserve now of these products and of those of these orders."""
        rows = await self._database.fetch(sql("availability"), list(product_ids), list(order_ids))
        return [
            internal.Availability(
                product_id=row["product_id"], qty=row["qty"], version=row["version"]
            )
            for row in rows
        ]

    async def turned(self) -> dict[str, float]:
        """Return the products of which a sale has opened or closed since their last version, and seconds since then."""
        rows = await self._database.fetch(sql("turned"))
        return {row["product_id"]: row["seconds"] for row in rows}

    async def touch(self, product_ids: Sequence[str]) -> None:
        """Give these products a new version."""
        await self._database.fetch(sql("touch"), list(product_ids))
        self._database.changes.of_products(product_ids)

    async def claim_returns(self, *, lease_seconds: float, limit: int) -> list[PendingReturn]:
        """Return released units that are due to go back to Redis; nobody else gets them for ``lease_seconds``."""
        rows = await self._database.fetch(sql("returns"), limit, lease_seconds)
        return [
            PendingReturn(
                item=Return(
                    order_id=row["order_id"],
                    product_id=row["product_id"],
                    epoch=row["epoch"],
                    quantity=row["qty"],
                ),
                is_old=row["is_old"],
                has_gate=row["has_gate"],
            )
            for row in rows
        ]

    async def forget_returns(self, items: Sequence[Return]) -> int:
        """Delete returns that arrived; returns how many were still there."""
        return len(await self._database.fetch(sql("returned"), *_keys(items)))

    async def postpone_returns(self, items: Sequence[Return]) -> None:
        """Try these again in a second."""
        await self._database.fetch(sql("postpone"), *_keys(items))

    async def oldest_return_seconds(self) -> float:
        """Return how long the oldest release has waited for its permits to go back; 0 when none waits."""
        return await self._database.value(sql("oldest_return")) or 0.0


def _keys(items: Sequence[Return]) -> tuple[list[str], list[str]]:
    return [item.order_id for item in items], [item.product_id for item in items]
