"""Placed orders in PostgreSQL: many in one transaction, each with its OrderPlaced in the outbox.

Those with a discount go apart, in one transaction at a time: they wait for their code's row, and may hold one of the
few connections while they do, never all of them.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from doorbuster.checkout.domain.orders import StoredOrder, announce
from doorbuster.contracts import api, events, internal
from doorbuster.kit import failpoints, outbox
from doorbuster.kit.coalescer import Coalescer

from . import discounts
from .tables import OUTBOX, PLACED_ORDER

MOST_IN_BATCH = 256
_LINES = msgspec.json.Decoder(list[events.Line])
_NO_TOTALS = dict.fromkeys(internal.TotalsMinor.__struct_fields__)
_ADDRESS = msgspec.json.Decoder(api.DeliveryAddress)


class PostgresOrders:
    """The order store; ``wake`` is set after a commit that left events in the outbox."""

    def __init__(self, engine: AsyncEngine, wake: asyncio.Event) -> None:
        self._engine = engine
        self._wake = wake
        self._placing: Coalescer[StoredOrder, StoredOrder] = Coalescer(
            self._place_all, max_batch=MOST_IN_BATCH
        )
        self._claiming: Coalescer[StoredOrder, StoredOrder] = Coalescer(
            self._place_with_uses, max_batch=MOST_IN_BATCH, max_in_flight=1
        )
        self._finding: Coalescer[str, StoredOrder | None] = Coalescer(
            self._find_all, max_batch=MOST_IN_BATCH
        )

    async def place(self, stored: StoredOrder) -> StoredOrder:
        """Store an order with its event unless its id is known; returns what is stored.

        One with a discount code is stored with a use of it, or raises why it gets none.
        """
        if stored.order.discount_code is not None:
            return await self._claiming.submit(stored)
        return await self._placing.submit(stored)

    async def find(self, order_id: str) -> StoredOrder | None:
        """Return a placed order."""
        return await self._finding.submit(order_id)

    async def close(self) -> None:
        """Let the batches under way end."""
        await self._placing.close()
        await self._claiming.close()
        await self._finding.close()

    async def _place_all(self, batch: list[StoredOrder]) -> list[StoredOrder | Exception]:
        # One order of ids everywhere: two copies that store the same orders never wait in a circle.
        new = {stored.order.order_id: stored for stored in reversed(batch)}
        async with self._engine.begin() as connection:
            taken = await _insert_new(connection, new)
            known = await _select(connection, [name for name in new if name not in taken])
        self._wake.set()
        final = new | known
        return [final[stored.order.order_id] for stored in batch]

    async def _place_with_uses(self, batch: list[StoredOrder]) -> list[StoredOrder | Exception]:
        wanted = {stored.order.order_id: stored for stored in reversed(batch)}
        async with self._engine.begin() as connection:
            known = await _select(connection, list(wanted))
            verdicts = await discounts.judge(
                connection, [one for name, one in sorted(wanted.items()) if name not in known]
            )
            new = {name: wanted[name] for name, verdict in verdicts.items() if verdict is None}
            taken = await _insert_new(connection, new)
            await discounts.take(connection, [new[name] for name in sorted(taken)])
            failpoints.reach("checkout.discount.taken")
            # Also those that another copy has placed since: the lock of the code made us wait for it.
            known = await _select(connection, [name for name in wanted if name not in taken])
        self._wake.set()
        final: dict[str, StoredOrder | Exception] = {**new, **_refusals(verdicts), **known}
        return [final[stored.order.order_id] for stored in batch]

    async def _find_all(self, batch: list[str]) -> list[StoredOrder | Exception | None]:
        async with self._engine.connect() as connection:
            found = await _select(connection, list(set(batch)))
        return [found.get(order_id) for order_id in batch]


def _refusals(verdicts: Mapping[str, Exception | None]) -> dict[str, Exception]:
    return {name: verdict for name, verdict in verdicts.items() if verdict is not None}


async def _insert_new(connection: AsyncConnection, new: Mapping[str, StoredOrder]) -> set[str]:
    """Insert and announce those whose ids are not known; returns their ids."""
    if not new:
        return set()
    taken = await _insert(connection, [new[order_id] for order_id in sorted(new)])
    if taken:
        await _announce(connection, [new[order_id] for order_id in sorted(taken)])
    return taken


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
        **(_NO_TOTALS if order.totals is None else msgspec.structs.asdict(order.totals)),
        "address": None if order.address is None else msgspec.json.encode(order.address).decode(),
        "discount_code": order.discount_code,
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
            totals=None if row["subtotal_minor"] is None else _totals(row),
            address=None if row["address"] is None else _ADDRESS.decode(row["address"]),
            discount_code=row["discount_code"],
        ),
        request_hash=row["request_hash"],
    )


def _totals(row: sa.RowMapping) -> internal.TotalsMinor:
    return internal.TotalsMinor(**{name: row[name] for name in _NO_TOTALS})


@asynccontextmanager
async def open_orders(engine: AsyncEngine, wake: asyncio.Event) -> AsyncIterator[PostgresOrders]:
    """Open the store; on exit the batches under way end."""
    store = PostgresOrders(engine, wake)
    try:
        yield store
    finally:
        await store.close()
