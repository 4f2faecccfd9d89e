"""Carts in PostgreSQL: one row a cart, changed under its lock."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from doorbuster.kit.database import Moment

from . import domain
from .domain import Line, Lines, OfNobody, OfUser, Owner, StoredCart, UnknownCartError
from .ports import Change, Purchase

_METADATA = sa.MetaData()
CART = sa.Table(
    "cart",
    _METADATA,
    sa.Column("cart_id", sa.String, primary_key=True),
    sa.Column("user_id", sa.String),
    sa.Column("token_hash", sa.String),
    sa.Column("products", postgresql.JSONB),
    sa.Column("version", sa.BigInteger),
    sa.Column("updated_at", Moment),
)
BOUGHT_ORDER = sa.Table(
    "bought_order",
    _METADATA,
    sa.Column("order_id", sa.String, primary_key=True),
    sa.Column("paid_at", Moment),
)
_SEEN = (CART.c.cart_id, CART.c.version, CART.c.products)


class PostgresCartStore:
    """Carts and the orders that were taken out of them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def find(self, owner: Owner) -> StoredCart | None:
        """Return the owner's cart."""
        return await self._one(_owned_by(owner))

    async def of_user(self, cart_id: str, user_id: str) -> StoredCart | None:
        """Return this cart if it is this user's."""
        return await self._one(sa.and_(CART.c.cart_id == cart_id, CART.c.user_id == user_id))

    async def change(
        self, owner: Owner, change: Change, now: datetime, *, new_id: str | None = None
    ) -> StoredCart:
        """Apply a change; raises UnknownCartError, and what ``change`` raises."""
        async with self._engine.begin() as connection:
            return await _change(connection, owner, change, now, new_id)

    async def merge(
        self, source: OfNobody, user_id: str, now: datetime, *, new_id: str
    ) -> StoredCart:
        """Move a cart of nobody into the user's; of two merges at once the deletion lets one through."""
        async with self._engine.begin() as connection:
            gone = sa.delete(CART).where(_owned_by(source)).returning(CART.c.products)
            products = await connection.scalar(gone)
            if products is None:
                raise UnknownCartError("there is no such cart")
            others = _lines(products)
            return await _change(
                connection,
                OfUser(user_id=user_id),
                lambda lines: domain.join(lines, others),
                now,
                new_id,
            )

    async def take_out(self, purchases: Sequence[Purchase], now: datetime) -> int:
        """Take bought units out of the buyers' carts, once an order.

        Orders before carts and both sorted: two consumers with the same events wait, never in a ring.
        """
        if not purchases:
            return 0
        by_order = {purchase.order_id: purchase for purchase in purchases}
        rows = [
            {"order_id": order_id, "paid_at": by_order[order_id].paid_at}
            for order_id in sorted(by_order)
        ]
        async with self._engine.begin() as connection:
            found = await connection.scalars(
                postgresql.insert(BOUGHT_ORDER)
                .values(rows)
                .on_conflict_do_nothing()
                .returning(BOUGHT_ORDER.c.order_id)
            )
            new = sorted((by_order[name] for name in found), key=lambda one: one.user_id)
            for purchase in new:
                owner = OfUser(user_id=purchase.user_id)
                row = await _lock(connection, owner)
                if row is not None:
                    await _store(connection, row, domain.take_out(row.lines, purchase.bought), now)
        return len(new)

    async def expire(self, before: datetime, limit: int) -> int:
        """Delete at most ``limit`` carts of nobody last changed before then."""
        stale = sa.and_(CART.c.user_id.is_(None), CART.c.updated_at < before)
        return await self._delete(CART, CART.c.cart_id, stale, limit)

    async def forget_orders(self, before: datetime, limit: int) -> int:
        """Forget at most ``limit`` bought orders paid before then."""
        return await self._delete(
            BOUGHT_ORDER, BOUGHT_ORDER.c.order_id, BOUGHT_ORDER.c.paid_at < before, limit
        )

    async def oldest_of_nobody(self) -> datetime | None:
        """Return when the stalest cart of nobody was last changed."""
        query = sa.select(sa.func.min(CART.c.updated_at)).where(CART.c.user_id.is_(None))
        async with self._engine.connect() as connection:
            found: datetime | None = await connection.scalar(query)
        return found

    async def _one(self, which: sa.ColumnElement[bool]) -> StoredCart | None:
        async with self._engine.connect() as connection:
            row = (await connection.execute(sa.select(*_SEEN).where(which))).one_or_none()
        return None if row is None else _cart(row)

    async def _delete(
        self, table: sa.Table, key: sa.Column[str], which: sa.ColumnElement[bool], limit: int
    ) -> int:
        some = sa.select(key).where(which).limit(limit).with_for_update(skip_locked=True)
        async with self._engine.begin() as connection:
            gone = await connection.execute(sa.delete(table).where(key.in_(some)))
        return gone.rowcount


async def _change(
    connection: AsyncConnection,
    owner: Owner,
    change: Callable[[Lines], Lines],
    now: datetime,
    new_id: str | None,
) -> StoredCart:
    cart = await _lock(connection, owner)
    if cart is None:
        if new_id is None:
            raise UnknownCartError("there is no such cart")
        await connection.execute(
            postgresql.insert(CART)
            .values(cart_id=new_id, products=[], version=0, updated_at=now, **_owner(owner))
            .on_conflict_do_nothing()  # another tab was faster: both change its cart
        )
        cart = await _lock(connection, owner)
        if cart is None:
            raise UnknownCartError("there is no such cart")
    return await _store(connection, cart, change(cart.lines), now)


async def _lock(connection: AsyncConnection, owner: Owner) -> StoredCart | None:
    query = sa.select(*_SEEN).where(_owned_by(owner)).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _cart(row)


async def _store(
    connection: AsyncConnection, cart: StoredCart, lines: Lines, now: datetime
) -> StoredCart:
    if lines == cart.lines and cart.version > 0:
        return cart
    version = cart.version + 1
    products = [{"productId": line.product_id, "quantity": line.quantity} for line in lines]
    await connection.execute(
        sa.update(CART)
        .where(CART.c.cart_id == cart.cart_id)
        .values(products=products, version=version, updated_at=now)
    )
    return StoredCart(cart_id=cart.cart_id, version=version, lines=lines)


def _owner(owner: Owner) -> dict[str, str]:
    match owner:
        case OfUser(user_id=user_id):
            return {"user_id": user_id}
        case OfNobody(token_hash=token_hash):
            return {"token_hash": token_hash}


def _owned_by(owner: Owner) -> sa.ColumnElement[bool]:
    ((name, value),) = _owner(owner).items()
    return CART.c[name] == value


def _lines(products: list[dict[str, Any]]) -> Lines:
    return tuple(Line(product_id=one["productId"], quantity=one["quantity"]) for one in products)


def _cart(row: Any) -> StoredCart:
    return StoredCart(cart_id=row.cart_id, version=row.version, lines=_lines(row.products))
