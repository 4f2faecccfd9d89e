"""The cart's store, catalogue, sales and stock in memory; each neighbour may be ``away``."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from doorbuster.cart import domain
from doorbuster.cart.domain import OfNobody, OfUser, Owner, StoredCart, UnknownCartError
from doorbuster.cart.ports import Change, Purchase
from doorbuster.contracts import internal
from doorbuster.kit import ids

NOON = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


def product(number: int = 1) -> str:
    """Return the id of the numbered product."""
    return ids.product_id(f"thing-{number}")


def quote(number: int = 1, *, price_minor: int = 1_999, currency: str = "EUR") -> internal.Quote:
    """Return the list price of the numbered product: 19.99 EUR."""
    return internal.Quote(
        product_id=product(number),
        sku=f"thing-{number}",
        title=f"Thing {number}",
        thumbnail=None,
        price_minor=price_minor,
        currency=currency,
        version=1,
    )


def sale(number: int = 1, *, price_minor: int = 999, opens_in: float = -60.0) -> internal.SaleView:
    """Return a sale of the numbered product at 9.99 EUR that opened a minute ago and lasts for ten."""
    opening = NOON + timedelta(seconds=opens_in)
    item = internal.SaleItemView(
        product_id=product(number),
        sku=f"thing-{number}",
        price_minor=price_minor,
        currency="EUR",
        per_user_limit=1,
        allocated=5,
        available=5,
        reserved=0,
        sold=0,
        epoch=1,
    )
    return internal.SaleView(
        uid="0b5e0f5c-7d0e-4a57-9a0b-6a3c3f1f6a11",
        namespace="shop",
        name="drop",
        state="Active",
        strategy="Escrow",
        open_time=opening,
        close_time=opening + timedelta(minutes=10),
        reservation_timeout_seconds=120,
        items=[item],
    )


@dataclass
class _Row:
    cart: StoredCart
    updated_at: datetime


class FakeCartStore:
    """Carts in memory."""

    def __init__(self) -> None:
        self.rows: dict[Owner, _Row] = {}
        self.orders: dict[str, datetime] = {}

    async def find(self, owner: Owner) -> StoredCart | None:
        """Return the owner's cart."""
        await asyncio.sleep(0)  # as any store it lets others go on
        row = self.rows.get(owner)
        return None if row is None else row.cart

    async def of_user(self, cart_id: str, user_id: str) -> StoredCart | None:
        """Return this cart if it is this user's."""
        cart = await self.find(OfUser(user_id=user_id))
        return cart if cart is not None and cart.cart_id == cart_id else None

    async def change(
        self, owner: Owner, change: Change, now: datetime, *, new_id: str | None = None
    ) -> StoredCart:
        """Apply a change; raises UnknownCartError, and what ``change`` raises."""
        await asyncio.sleep(0)
        return self._change(owner, change, now, new_id)

    async def merge(
        self, source: OfNobody, user_id: str, now: datetime, *, new_id: str
    ) -> StoredCart:
        """Move a cart of nobody into the user's, once; raises UnknownCartError."""
        await asyncio.sleep(0)
        row = self.rows.pop(source, None)
        if row is None:
            raise UnknownCartError("there is no such cart")
        others = row.cart.lines
        return self._change(
            OfUser(user_id=user_id), lambda lines: domain.join(lines, others), now, new_id
        )

    async def take_out(self, purchases: Sequence[Purchase], now: datetime) -> int:
        """Take bought units out of the buyers' carts, once an order."""
        new = {one.order_id: one for one in purchases if one.order_id not in self.orders}
        for purchase in new.values():
            self.orders[purchase.order_id] = purchase.paid_at
            owner = OfUser(user_id=purchase.user_id)
            if owner in self.rows:
                self._change(owner, partial(domain.take_out, bought=purchase.bought), now, None)
        return len(new)

    async def expire(self, before: datetime, limit: int) -> int:
        """Delete at most ``limit`` carts of nobody last changed before then."""
        stale = [
            owner
            for owner, row in self.rows.items()
            if isinstance(owner, OfNobody) and row.updated_at < before
        ][:limit]
        for owner in stale:
            del self.rows[owner]
        return len(stale)

    async def forget_orders(self, before: datetime, limit: int) -> int:
        """Forget at most ``limit`` bought orders paid before then."""
        old = [name for name, paid_at in self.orders.items() if paid_at < before][:limit]
        for name in old:
            del self.orders[name]
        return len(old)

    async def oldest_of_nobody(self) -> datetime | None:
        """Return when the stalest cart of nobody was last changed."""
        moments = [
            row.updated_at for owner, row in self.rows.items() if isinstance(owner, OfNobody)
        ]
        return min(moments, default=None)

    def _change(
        self, owner: Owner, change: Change, now: datetime, new_id: str | None
    ) -> StoredCart:
        row = self.rows.get(owner)
        if row is None and new_id is None:
            raise UnknownCartError("there is no such cart")
        held = StoredCart(cart_id=new_id or "", version=0, lines=()) if row is None else row.cart
        lines = change(held.lines)
        if row is not None and lines == held.lines:
            return held
        cart = StoredCart(cart_id=held.cart_id, version=held.version + 1, lines=lines)
        self.rows[owner] = _Row(cart, now)
        return cart


@dataclass
class FakeMarket:
    """Product, inventory's sales and the stock in one; ``away`` names those that do not answer."""

    listed: dict[str, internal.Quote] = field(default_factory=dict)
    on_sale: list[internal.SaleView] = field(default_factory=list)
    units: dict[str, int] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)

    async def quotes(self, product_ids: Sequence[str]) -> Mapping[str, internal.Quote]:
        """Return the list prices of those that are sold; raises ConnectionError."""
        self._answer("product")
        return {name: self.listed[name] for name in product_ids if name in self.listed}

    async def sales(self) -> internal.Sales:
        """Return the sales; raises ConnectionError."""
        self._answer("sales")
        return internal.Sales(sales=self.on_sale, server_time=NOON)

    async def read(self, product_ids: Sequence[str]) -> dict[str, internal.Availability]:
        """Return those that have stock rows; raises ConnectionError."""
        self._answer("stock")
        return {
            name: internal.Availability(product_id=name, qty=self.units[name], version=1)
            for name in product_ids
            if name in self.units
        }

    def _answer(self, neighbour: str) -> None:
        if neighbour in self.away:
            raise ConnectionError(f"{neighbour} is away")
