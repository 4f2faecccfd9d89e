"""Orders on a MySQL store, in SQL that MySQL 8 and MariaDB both understand."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from doorbuster.contracts import events
from doorbuster.kit import outbox
from doorbuster.kit.database import Moment

from . import domain
from .domain import Details, Order, Shipment, State
from .ports import Decide, OrderPage

metadata = sa.MetaData()
_ID = sa.String(80, collation="ascii_bin")

ORDERS = sa.Table(
    "orders",
    metadata,
    sa.Column("order_id", _ID, primary_key=True),
    sa.Column("user_id", _ID, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("placed_at", Moment, nullable=False),
    sa.Column("pay_by", Moment),
    sa.Column("amount_minor", sa.BigInteger),
    sa.Column("currency", sa.String(3)),
    sa.Column("lines", sa.JSON(none_as_null=True)),
    sa.Column("payment_id", _ID),
    sa.Column("declined_attempt", sa.Integer, nullable=False),
    sa.Column("check_at", Moment),
    sa.Column("tell_at", Moment),
    sa.Column("carrier", sa.String(200)),
    sa.Column("tracking_number", sa.String(100)),
    sa.Column("estimated_delivery", Moment),
    sa.Column("shipped_at", Moment),
    sa.Column("return_requested_at", Moment),
    sa.Column("reversed_at", Moment),
    sa.Column("words", sa.String(500), nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
)
HISTORY = sa.Table(
    "order_history",
    metadata,
    sa.Column("order_id", _ID, primary_key=True),
    sa.Column("state", sa.String(16), primary_key=True),
    sa.Column("reached_at", Moment, nullable=False),
)
OUTBOX = outbox.table(metadata)
_KEPT = ("order_id", "user_id")  # columns that never change once the row is there


class MysqlOrderStore:
    """Orders and their history; several copies may write the same order at the same time."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def merge(self, views: Sequence[Order], now: datetime) -> None:
        """Join views (one an order, sorted by id) into the stored orders in one transaction."""
        if not views:
            return
        async with self._engine.begin() as connection:
            await _join(connection, views, now)

    async def find(self, order_id: str) -> Order | None:
        """Return an order with its steps."""
        async with self._engine.connect() as connection:
            return await _find(connection, order_id)

    async def page(self, user_id: str, *, offset: int, limit: int) -> OrderPage:
        """Return orders of a user whose details are known, newest first, without their steps."""
        async with self._engine.connect() as connection:
            return await _page(connection, ORDERS.c.user_id == user_id, offset, limit)

    async def page_all(self, state: State | None, *, offset: int, limit: int) -> OrderPage:
        """Return everybody's orders (in one state) whose details are known, newest first, with their steps."""
        wanted = sa.true() if state is None else ORDERS.c.state == state.value
        async with self._engine.connect() as connection:
            page = await _page(connection, wanted, offset, limit)
            return replace(page, orders=await _with_steps(connection, page.orders))

    async def change(self, known: Order, decide: Decide, now: datetime) -> Order:
        """Join in what is known, let ``decide`` look at the locked order, store and tell what it says."""
        async with self._engine.begin() as connection:
            await _join(connection, [known], now)
            stored = await _find(connection, known.order_id)
            if stored is None:
                raise RuntimeError("a row that is locked is gone")
            change = decide(stored)
            if change is None:
                return stored
            await _join(connection, [change.view], now)
            if change.event is not None:
                told = [(events.ORDERS_TOPIC, change.event)]
                await outbox.enqueue(connection, OUTBOX, told, now=now)
            return domain.merge(stored, change.view)

    async def tell_again(self, now: datetime, *, limit: int, again_at: datetime) -> int:
        """Tell once more of orders whose money should have come back by now, and put them off to ``again_at``."""
        async with self._engine.begin() as connection:
            claimed = await _claim(connection, ORDERS.c.tell_at, now, limit, again_at)
            told = [
                (events.ORDERS_TOPIC, domain.money_back(order))
                for order in await _with_steps(connection, claimed)
            ]
            await outbox.enqueue(connection, OUTBOX, told, now=now)
        return len(told)

    async def untold_since(self) -> datetime | None:
        """Return when the order ended whose money has been out longest; None when there is none."""
        ended = sa.and_(HISTORY.c.order_id == ORDERS.c.order_id, HISTORY.c.state == ORDERS.c.state)
        query = (
            sa.select(sa.func.min(HISTORY.c.reached_at))
            .select_from(ORDERS.join(HISTORY, ended))
            .where(ORDERS.c.tell_at.is_not(None))
        )
        async with self._engine.connect() as connection:
            since: datetime | None = await connection.scalar(query)
        return since

    async def unconfirmed(self, order_ids: Sequence[str]) -> list[str]:
        """Return those ids whose PaymentSucceeded has not arrived."""
        return await self._lacking(order_ids, ORDERS.c.payment_id.is_not(None))

    async def unreversed(self, order_ids: Sequence[str]) -> list[str]:
        """Return those ids whose PaymentReversed has not arrived."""
        return await self._lacking(order_ids, ORDERS.c.reversed_at.is_not(None))

    async def _lacking(
        self, order_ids: Sequence[str], condition: sa.ColumnElement[bool]
    ) -> list[str]:
        query = sa.select(ORDERS.c.order_id).where(ORDERS.c.order_id.in_(order_ids), condition)
        async with self._engine.connect() as connection:
            found = set((await connection.scalars(query)).all())
        return [order_id for order_id in order_ids if order_id not in found]

    async def waiting_since(self) -> tuple[datetime | None, datetime | None]:
        """Return the earliest pay-by of unpaid orders, and the earliest time heard of one without a pay-by."""
        unplaced = sa.case((ORDERS.c.pay_by.is_(None), ORDERS.c.placed_at))
        query = sa.select(sa.func.min(ORDERS.c.pay_by), sa.func.min(unplaced)).where(
            ORDERS.c.check_at.is_not(None)
        )
        async with self._engine.connect() as connection:
            pay_by, heard_at = (await connection.execute(query)).one()
        return pay_by, heard_at

    async def claim_due(self, now: datetime, *, limit: int, again_at: datetime) -> list[Order]:
        """Return unpaid orders that are to be checked by now and put them off to ``again_at``."""
        async with self._engine.begin() as connection:
            return await _claim(connection, ORDERS.c.check_at, now, limit, again_at)


async def _join(connection: AsyncConnection, views: Sequence[Order], now: datetime) -> None:
    """Join views into the stored orders.

    The insert that changes nothing takes the lock of rows that are there and makes those that are not, so that
    what is read next is the whole truth until the commit.
    """
    fresh = mysql.insert(ORDERS).values([_row(view, now) for view in views])
    await connection.execute(fresh.on_duplicate_key_update(order_id=fresh.inserted.order_id))
    stored = await _read(connection, [view.order_id for view in views])
    changed: list[Order] = []
    for view in views:
        known = stored[view.order_id]
        joined = replace(domain.merge(known, view), steps={})
        if joined != known:
            changed.append(joined)
    if changed:
        await _overwrite(connection, [_row(order, now) for order in changed])
    await _note_steps(connection, views)


async def _find(connection: AsyncConnection, order_id: str) -> Order | None:
    found = await _read(connection, [order_id])
    orders = await _with_steps(connection, list(found.values()))
    return orders[0] if orders else None


async def _with_steps(connection: AsyncConnection, orders: Sequence[Order]) -> list[Order]:
    steps: dict[str, dict[State, datetime]] = {order.order_id: {} for order in orders}
    query = sa.select(HISTORY).where(HISTORY.c.order_id.in_(list(steps)))
    for row in (await connection.execute(query)).mappings() if steps else ():
        steps[row["order_id"]][State(row["state"])] = row["reached_at"]
    return [replace(order, steps=steps[order.order_id]) for order in orders]


async def _page(
    connection: AsyncConnection, wanted: sa.ColumnElement[bool], offset: int, limit: int
) -> OrderPage:
    wanted = sa.and_(wanted, ORDERS.c.amount_minor.is_not(None))
    query = (
        sa.select(ORDERS)
        .where(wanted)
        .order_by(ORDERS.c.placed_at.desc(), ORDERS.c.order_id.desc())
        .offset(offset)
        .limit(limit)
    )
    total = await connection.scalar(sa.select(sa.func.count()).where(wanted))
    rows = (await connection.execute(query)).mappings().all()
    return OrderPage(orders=[_order(row) for row in rows], total=total or 0)


async def _claim(
    connection: AsyncConnection,
    appointment: sa.Column[datetime | None],
    now: datetime,
    limit: int,
    again_at: datetime,
) -> list[Order]:
    due = (
        sa.select(ORDERS)
        .where(appointment <= now)
        .order_by(appointment)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = (await connection.execute(due)).mappings().all()
    if rows:
        await connection.execute(
            sa.update(ORDERS)
            .where(ORDERS.c.order_id == sa.bindparam("claimed"))
            .values({appointment: again_at}),
            [{"claimed": row["order_id"]} for row in rows],
        )
    return [_order(row) for row in rows]


async def _read(connection: AsyncConnection, order_ids: list[str]) -> dict[str, Order]:
    # No FOR UPDATE: the rows are locked already, and IN (..) may scan a small table into other copies' locks.
    rows = await connection.execute(sa.select(ORDERS).where(ORDERS.c.order_id.in_(order_ids)))
    return {row["order_id"]: _order(row) for row in rows.mappings()}


async def _overwrite(connection: AsyncConnection, rows: list[dict[str, Any]]) -> None:
    # One statement for many rows; all of them are there and locked, so none is inserted.
    statement = mysql.insert(ORDERS).values(rows)
    new = statement.inserted
    await connection.execute(
        statement.on_duplicate_key_update(
            {column.name: new[column.name] for column in ORDERS.c if column.name not in _KEPT}
        )
    )


async def _note_steps(connection: AsyncConnection, views: Sequence[Order]) -> None:
    rows = [
        {"order_id": view.order_id, "state": state.value, "reached_at": view.steps[state]}
        for view in views
        for state in State
        if state in view.steps
    ]
    if not rows:
        return
    statement = mysql.insert(HISTORY).values(rows)
    earliest = sa.func.least(HISTORY.c.reached_at, statement.inserted.reached_at)
    await connection.execute(statement.on_duplicate_key_update(reached_at=earliest))


def _row(order: Order, now: datetime) -> dict[str, Any]:
    details, shipment = order.details, order.shipment
    return {
        "order_id": order.order_id,
        "user_id": order.user_id,
        "state": order.state.value,
        "placed_at": order.placed_at,
        "pay_by": order.pay_by,
        "amount_minor": details and details.amount_minor,
        "currency": details and details.currency,
        "lines": details and msgspec.to_builtins(details.lines),
        "payment_id": order.payment_id,
        "declined_attempt": order.declined_attempt,
        "check_at": domain.check_at(order, now),
        "tell_at": domain.tell_at(order, now),
        "carrier": shipment and shipment.carrier,
        "tracking_number": shipment and shipment.tracking_number,
        "estimated_delivery": shipment and shipment.estimated_delivery,
        "shipped_at": shipment and shipment.shipped_at,
        "return_requested_at": order.return_requested_at,
        "reversed_at": order.reversed_at,
        "words": order.words,
        "updated_at": now,
    }


def _order(row: Any) -> Order:
    """Return the order without its steps."""
    details = shipment = None
    if row["amount_minor"] is not None:
        details = Details(
            lines=msgspec.convert(row["lines"], tuple[events.Line, ...]),
            amount_minor=row["amount_minor"],
            currency=row["currency"],
        )
    if row["shipped_at"] is not None:
        shipment = Shipment(
            shipped_at=row["shipped_at"],
            carrier=row["carrier"],
            tracking_number=row["tracking_number"],
            estimated_delivery=row["estimated_delivery"],
        )
    return Order(
        order_id=row["order_id"],
        user_id=row["user_id"],
        state=State(row["state"]),
        placed_at=row["placed_at"],
        pay_by=row["pay_by"],
        details=details,
        payment_id=row["payment_id"],
        declined_attempt=row["declined_attempt"],
        shipment=shipment,
        return_requested_at=row["return_requested_at"],
        reversed_at=row["reversed_at"],
        words=row["words"],
    )
