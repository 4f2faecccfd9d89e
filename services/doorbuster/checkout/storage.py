"""Placed orders in PostgreSQL: many in one transaction, each with its OrderPlaced in the outbox."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from doorbuster.contracts import events, internal
from doorbuster.kit import outbox
from doorbuster.kit.coalescer import Coalescer
from doorbuster.kit.database import Moment

from .domain.orders import StoredOrder, announce

MOST_IN_BATCH = 256
METADATA = sa.MetaData()
PLACED_ORDER = sa.Table(
    "placed_order",
    METADATA,
    sa.Column("order_id", sa.String(80), primary_key=True),
    sa.Column("user_id", sa.String(80), nullable=False),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("lines", sa.Text, nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("pay_by", Moment, nullable=False),
    sa.Column("placed_at", Moment, nullable=False),
    sa.Column("topic", sa.String(249), nullable=False),
    sa.Column("traceparent", sa.String(64), nullable=True),
)
OUTBOX = outbox.table(METADATA)
_LINES = msgspec.json.Decoder(list[events.Line])


class PostgresOrders:
    """The order store; ``wake`` is set after a commit that left events in the outbox."""

    def __init__(self, engine: AsyncEngine, wake: asyncio.Event) -> None:
        self._engine = engine
        self._wake = wake
        self._placing: Coalescer[StoredOrder, StoredOrder] = Coalescer(
            self._place_all, max_batch=MOST_IN_BATCH
        )
        self._finding: Coalescer[str, StoredOrder | None] = Coalescer(
            self._find_all, max_batch=MOST_IN_BATCH
        )

    async def place(self, stored: StoredOrder) -> StoredOrder:
        """Store an order with its event unless its id is known; returns what is stored."""
        return await self._placing.submit(stored)

    async def find(self, order_id: str) -> StoredOrder | None:
        """Return a placed order."""
        return await self._finding.submit(order_id)

    async def close(self) -> None:
        """Let the batches under way end."""
        await self._placing.close()
        await self._finding.close()

    async def _place_all(self, batch: list[StoredOrder]) -> list[StoredOrder | Exception]:
        # One order of ids everywhere: two copies that store the same orders never wait in a circle.
        new = {stored.order.order_id: stored for stored in reversed(batch)}
        async with self._engine.begin() as connection:
            taken = await _insert(connection, [new[order_id] for order_id in sorted(new)])
            if taken:
                await _announce(connection, [new[order_id] for order_id in sorted(taken)])
            known = await _select(connection, [name for name in new if name not in taken])
        self._wake.set()
        final = new | known
        return [final[stored.order.order_id] for stored in batch]

    async def _find_all(self, batch: list[str]) -> list[StoredOrder | Exception | None]:
        async with self._engine.connect() as connection:
            found = await _select(connection, list(set(batch)))
        return [found.get(order_id) for order_id in batch]


async def _insert(connection: AsyncConnection, new: Sequence[StoredOrder]) -> set[str]:
    """Insert what is not known yet; returns the ids that were inserted."""
    statement = insert(PLACED_ORDER).on_conflict_do_nothing().returning(PLACED_ORDER.c.order_id)
    rows = [_row(stored) for stored in new]
    return set((await connection.execute(statement, rows)).scalars())


async def _announce(connection: AsyncConnection, placed: Sequence[StoredOrder]) -> None:
    carriers = [
        {"traceparent": stored.order.traceparent} if stored.order.traceparent else {}
        for stored in placed
    ]
    await outbox.enqueue(
        connection,
        OUTBOX,
        [(stored.order.topic, announce(stored.order)) for stored in placed],
        now=max(stored.order.placed_at for stored in placed),
        carriers=carriers,
    )


async def _select(connection: AsyncConnection, names: Sequence[str]) -> dict[str, StoredOrder]:
    if not names:
        return {}
    wanted = sa.bindparam("wanted", value=list(names), type_=sa.ARRAY(sa.String))
    query = sa.select(PLACED_ORDER).where(PLACED_ORDER.c.order_id == sa.any_(wanted))
    rows = (await connection.execute(query)).mappings()
    return {row["order_id"]: _stored(row) for row in rows}


def _row(stored: StoredOrder) -> dict[str, Any]:
    order = stored.order
    return {
        "order_id": order.order_id,
        "user_id": order.user_id,
        "request_hash": stored.request_hash,
        "lines": msgspec.json.encode(order.lines).decode(),
        "amount_minor": order.amount_minor,
        "currency": order.currency,
        "pay_by": order.pay_by,
        "placed_at": order.placed_at,
        "topic": order.topic,
        "traceparent": order.traceparent,
    }


def _stored(row: sa.RowMapping) -> StoredOrder:
    return StoredOrder(
        order=internal.PlacedOrder(
            order_id=row["order_id"],
            user_id=row["user_id"],
            lines=_LINES.decode(row["lines"]),
            amount_minor=row["amount_minor"],
            currency=row["currency"],
            pay_by=row["pay_by"],
            placed_at=row["placed_at"],
            topic=row["topic"],
            traceparent=row["traceparent"],
        ),
        request_hash=row["request_hash"],
    )


@asynccontextmanager
async def open_orders(engine: AsyncEngine, wake: asyncio.Event) -> AsyncIterator[PostgresOrders]:
    """Open the store; on exit the batches under way end."""
    store = PostgresOrders(engine, wake)
    try:
        yield store
    finally:
        await store.close()
