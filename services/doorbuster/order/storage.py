"""Orders on a MySQL store, in SQL that MySQL 8 and MariaDB both understand."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from doorbuster.contracts import events
from doorbuster.kit.database import Moment

from . import domain
from .domain import Details, Order, State
from .ports import OrderPage

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
    sa.Column("updated_at", Moment, nullable=False),
)
HISTORY = sa.Table(
    "order_history",
    metadata,
    sa.Column("order_id", _ID, primary_key=True),
    sa.Column("state", sa.String(16), primary_key=True),
    sa.Column("reached_at", Moment, nullable=False),
)
_KEPT = ("order_id", "user_id")  # columns that never change once the row is there


class MysqlOrderStore:
    """Orders and their history; several copies may write the same order at the same time."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def merge(self, views: Sequence[Order], now: datetime) -> None:
        """Join views (one an order, sorted by id) into the stored orders in one transaction.

        The insert that changes nothing takes the lock of rows that are there and makes those that are not, so
        that what is read next is the whole truth until the commit.
        """
        if not views:
            return
        async with self._engine.begin() as connection:
            fresh = mysql.insert(ORDERS).values([_row(view, now) for view in views])
            await connection.execute(
                fresh.on_duplicate_key_update(order_id=fresh.inserted.order_id)
            )
            stored = await _read(connection, [view.order_id for view in views])
            changed: list[Order] = []
            for view in views:
                known = stored[view.order_id]
                joined = domain.merge(known, view)
                if _facts(joined) != _facts(known):
                    changed.append(joined)
            if changed:
                await _overwrite(connection, [_row(order, now) for order in changed])
            await _note_steps(connection, views)

    async def find(self, order_id: str) -> Order | None:
        """Return an order with its steps."""
        query = (
            sa.select(ORDERS, HISTORY.c.state.label("step"), HISTORY.c.reached_at)
            .outerjoin(HISTORY, HISTORY.c.order_id == ORDERS.c.order_id)
            .where(ORDERS.c.order_id == order_id)
        )
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).mappings().all()
        if not rows:
            return None
        steps = {State(row["step"]): row["reached_at"] for row in rows if row["step"]}
        return _order(rows[0], steps)

    async def page(self, user_id: str, *, offset: int, limit: int) -> OrderPage:
        """Return orders of a user whose details are known, newest first, without their steps."""
        mine = sa.and_(ORDERS.c.user_id == user_id, ORDERS.c.amount_minor.is_not(None))
        query = (
            sa.select(ORDERS)
            .where(mine)
            .order_by(ORDERS.c.placed_at.desc(), ORDERS.c.order_id.desc())
            .offset(offset)
            .limit(limit)
        )
        async with self._engine.connect() as connection:
            total = await connection.scalar(sa.select(sa.func.count()).where(mine))
            rows = (await connection.execute(query)).mappings().all()
        return OrderPage(orders=[_order(row, {}) for row in rows], total=total or 0)

    async def unconfirmed(self, order_ids: Sequence[str]) -> list[str]:
        """Return those ids whose PaymentSucceeded has not arrived."""
        return await self._lacking(order_ids, ORDERS.c.payment_id.is_not(None))

    async def unreversed(self, order_ids: Sequence[str]) -> list[str]:
        """Return those ids that are not known as cancelled or returned."""
        reversed_states = [state.value for state in domain.REVERSED]
        return await self._lacking(order_ids, ORDERS.c.state.in_(reversed_states))

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
        due = (
            sa.select(ORDERS)
            .where(ORDERS.c.check_at <= now)
            .order_by(ORDERS.c.check_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        async with self._engine.begin() as connection:
            rows = (await connection.execute(due)).mappings().all()
            if rows:
                await connection.execute(
                    sa.update(ORDERS)
                    .where(ORDERS.c.order_id == sa.bindparam("claimed"))
                    .values(check_at=again_at),
                    [{"claimed": row["order_id"]} for row in rows],
                )
        return [_order(row, {}) for row in rows]


async def _read(connection: AsyncConnection, order_ids: list[str]) -> dict[str, Order]:
    # No FOR UPDATE: the rows are locked already, and IN (..) may scan a small table into other copies' locks.
    rows = await connection.execute(sa.select(ORDERS).where(ORDERS.c.order_id.in_(order_ids)))
    return {row["order_id"]: _order(row, {}) for row in rows.mappings()}


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


def _facts(order: Order) -> tuple[Any, ...]:
    return (
        order.state,
        order.placed_at,
        order.pay_by,
        order.details,
        order.payment_id,
        order.declined_attempt,
    )


def _row(order: Order, now: datetime) -> dict[str, Any]:
    details = order.details
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
        "updated_at": now,
    }


def _order(row: Any, steps: dict[State, datetime]) -> Order:
    details = None
    if row["amount_minor"] is not None:
        details = Details(
            lines=msgspec.convert(row["lines"], tuple[events.Line, ...]),
            amount_minor=row["amount_minor"],
            currency=row["currency"],
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
        steps=steps,
    )
