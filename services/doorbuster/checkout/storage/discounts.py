"""Discounts and their uses in PostgreSQL: a code's row is locked by whoever takes a use or gives one back."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from doorbuster.checkout.domain import refusals
from doorbuster.checkout.domain.discounts import LOOK_AFTER, Discount, require_left
from doorbuster.checkout.domain.orders import StoredOrder
from doorbuster.checkout.ports import DiscountPage

from .tables import DISCOUNT, DISCOUNT_USE

_LIVE = DISCOUNT.c.is_ended.is_(False)


class PostgresDiscounts:
    """The discount store."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def find(self, code: str) -> Discount | None:
        """Return a discount that was not ended."""
        query = sa.select(DISCOUNT).where(DISCOUNT.c.code == code, _LIVE)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _discount(row)

    async def find_for(self, code: str, user_id: str) -> tuple[Discount, int] | None:
        """Return a discount that was not ended, with the number of this user's uses of it."""
        mine = (
            sa.select(sa.func.count())
            .where(DISCOUNT_USE.c.code == code, DISCOUNT_USE.c.user_id == user_id)
            .scalar_subquery()
        )
        query = sa.select(DISCOUNT, mine.label("mine")).where(DISCOUNT.c.code == code, _LIVE)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else (_discount(row), row["mine"])

    async def page(self, *, offset: int, limit: int) -> DiscountPage:
        """Return discounts that were not ended, by code."""
        query = sa.select(DISCOUNT).where(_LIVE).order_by(DISCOUNT.c.code)
        count = sa.select(sa.func.count()).select_from(DISCOUNT).where(_LIVE)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query.offset(offset).limit(limit))).mappings().all()
            total = await connection.scalar(count)
        return DiscountPage(discounts=[_discount(row) for row in rows], total=total or 0)

    async def put(self, discount: Discount) -> Discount:
        """Make or replace a discount; its uses stay counted, also those from before it was ended. Returns it."""
        values = asdict(discount) | {"used": 0, "is_ended": False}
        made = insert(DISCOUNT).values(values)
        kept = {"code", "used", "created_at"}
        changes: dict[str, Any] = {
            name: made.excluded[name] for name in values if name not in kept
        }
        changes["created_at"] = sa.case(
            (DISCOUNT.c.is_ended, made.excluded.created_at), else_=DISCOUNT.c.created_at
        )
        statement = made.on_conflict_do_update(
            index_elements=[DISCOUNT.c.code], set_=changes
        ).returning(DISCOUNT)
        async with self._engine.begin() as connection:
            return _discount((await connection.execute(statement)).mappings().one())

    async def end(self, code: str) -> bool:
        """End a discount; False when there is none."""
        statement = sa.update(DISCOUNT).where(DISCOUNT.c.code == code, _LIVE)
        async with self._engine.begin() as connection:
            ended = await connection.execute(statement.values(is_ended=True))
        return ended.rowcount > 0

    async def give_back(self, order_ids: Sequence[str]) -> int:
        """Give back the uses of dead orders, each once however often it is asked; returns how many."""
        # Locked in one order, so that two consumers of the same events never wait in a circle.
        named = DISCOUNT_USE.c.order_id.in_(sorted(set(order_ids)))
        lock = sa.select(DISCOUNT_USE.c.order_id).where(named).order_by(DISCOUNT_USE.c.order_id)
        async with self._engine.begin() as connection:
            locked = (await connection.execute(lock.with_for_update())).scalars().all()
            if not locked:
                return 0
            gone = await connection.execute(
                sa.delete(DISCOUNT_USE)
                .where(DISCOUNT_USE.c.order_id.in_(locked))
                .returning(DISCOUNT_USE.c.code)
            )
            freed = Counter(gone.scalars())
            await count(connection, {code: -uses for code, uses in freed.items()})
        return freed.total()

    async def keep(self, order_ids: Sequence[str]) -> None:
        """Ask about these no more: they are paid. Their uses can still be given back."""
        paid = DISCOUNT_USE.c.order_id.in_(list(order_ids))
        async with self._engine.begin() as connection:
            await connection.execute(sa.update(DISCOUNT_USE).where(paid).values(check_at=None))

    async def claim_due(self, now: datetime, *, limit: int, again_at: datetime) -> list[str]:
        """Return orders whose end should be known by now and put them off to ``again_at``."""
        due = (
            sa.select(DISCOUNT_USE.c.order_id)
            .where(DISCOUNT_USE.c.check_at <= now)
            .order_by(DISCOUNT_USE.c.check_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        claiming = (
            sa.update(DISCOUNT_USE)
            .where(DISCOUNT_USE.c.order_id == due.c.order_id)
            .values(check_at=again_at)
            .returning(DISCOUNT_USE.c.order_id)
        )
        async with self._engine.begin() as connection:
            return list((await connection.execute(claiming)).scalars())

    async def waiting_since(self) -> datetime | None:
        """Return the earliest time at which an order's end should have been known; None when none waits."""
        query = sa.select(sa.func.min(DISCOUNT_USE.c.due_at))
        async with self._engine.connect() as connection:
            found: datetime | None = await connection.scalar(
                query.where(DISCOUNT_USE.c.check_at.is_not(None))
            )
        return found


async def judge(
    connection: AsyncConnection, wanting: Sequence[StoredOrder]
) -> dict[str, refusals.RefusalError | None]:
    """Lock the codes that these new orders name and say, by order id, which of them get a use (None) and which not.

    The locks last until the caller's transaction ends, which must store the uses with :func:`take`.
    """
    codes = sorted({stored.order.discount_code or "" for stored in wanting})
    locked = (
        sa.select(DISCOUNT)
        .where(DISCOUNT.c.code.in_(codes), _LIVE)
        .order_by(DISCOUNT.c.code)
        .with_for_update()
    )
    rows = (await connection.execute(locked)).mappings().all()
    known = {row["code"]: _discount(row) for row in rows}
    # Counted by a statement of its own: it sees what the owners of the locks before us did.
    mine = await _uses(connection, codes, [stored.order.user_id for stored in wanting])
    verdicts: dict[str, refusals.RefusalError | None] = {}
    for stored in wanting:
        order, code = stored.order, stored.order.discount_code or ""
        try:
            if code not in known:
                raise refusals.UnknownDiscountCodeError
            require_left(known[code], mine[code, order.user_id])
        except refusals.RefusalError as refusal:
            verdicts[order.order_id] = refusal
        else:
            known[code] = replace(known[code], used=known[code].used + 1)
            mine[code, order.user_id] += 1
            verdicts[order.order_id] = None
    return verdicts


async def take(connection: AsyncConnection, placed: Sequence[StoredOrder]) -> None:
    """Store one use for each of these orders, which are placed in the same transaction."""
    if not placed:
        return
    rows = [
        {
            "order_id": stored.order.order_id,
            "code": stored.order.discount_code,
            "user_id": stored.order.user_id,
            "due_at": stored.order.pay_by + LOOK_AFTER,
            "check_at": stored.order.pay_by + LOOK_AFTER,
        }
        for stored in placed
    ]
    await connection.execute(sa.insert(DISCOUNT_USE), rows)
    await count(connection, Counter(stored.order.discount_code or "" for stored in placed))


async def count(connection: AsyncConnection, changes: Mapping[str, int]) -> None:
    """Move the counters of codes, in their order."""
    for code, change in sorted(changes.items()):
        await connection.execute(
            sa.update(DISCOUNT)
            .where(DISCOUNT.c.code == code)
            .values(used=DISCOUNT.c.used + change)
        )


async def _uses(
    connection: AsyncConnection, codes: Sequence[str], user_ids: Sequence[str]
) -> Counter[tuple[str, str]]:
    query = (
        sa.select(DISCOUNT_USE.c.code, DISCOUNT_USE.c.user_id, sa.func.count())
        .where(DISCOUNT_USE.c.code.in_(codes), DISCOUNT_USE.c.user_id.in_(set(user_ids)))
        .group_by(DISCOUNT_USE.c.code, DISCOUNT_USE.c.user_id)
    )
    found = (await connection.execute(query)).all()
    return Counter({(code, user_id): uses for code, user_id, uses in found})


def _discount(row: sa.RowMapping) -> Discount:
    fields = ("code", "kind", "percent", "amount_minor", "currency", "minimum_minor", "valid_from")
    rest = ("valid_until", "total_uses", "uses_per_user", "active", "created_at", "used")
    return Discount(**{name: row[name] for name in (*fields, *rest)})
