"""Fakes of what an order names beside products: discounts and their uses, list prices, carts, address books."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from doorbuster.checkout.domain import discounts, refusals
from doorbuster.checkout.domain.orders import StoredOrder
from doorbuster.checkout.ports import DiscountPage
from doorbuster.contracts import api, internal
from doorbuster.kit import ids


@dataclass
class _Use:
    code: str
    user_id: str
    due_at: datetime
    check_at: datetime | None


class FakeDiscounts:
    """Discounts in memory."""

    def __init__(self) -> None:
        self._known: dict[str, discounts.Discount] = {}
        self._ended: set[str] = set()
        self._uses: dict[str, _Use] = {}

    async def find(self, code: str) -> discounts.Discount | None:
        """Return a discount that was not ended."""
        found = None if code in self._ended else self._known.get(code)
        return None if found is None else replace(found, used=self._used(code))

    async def find_for(self, code: str, user_id: str) -> tuple[discounts.Discount, int] | None:
        """Return a discount that was not ended, with the number of this user's uses of it."""
        found = await self.find(code)
        return None if found is None else (found, self._used(code, user_id))

    async def page(self, *, offset: int, limit: int) -> DiscountPage:
        """Return discounts that were not ended, by code."""
        found = [await self.find(code) for code in sorted(self._known)]
        live = [one for one in found if one is not None]
        return DiscountPage(discounts=live[offset : offset + limit], total=len(live))

    async def put(self, discount: discounts.Discount) -> discounts.Discount:
        """Make or replace a discount."""
        known = await self.find(discount.code)
        created_at = discount.created_at if known is None else known.created_at
        self._known[discount.code] = replace(discount, created_at=created_at)
        self._ended.discard(discount.code)
        return replace(self._known[discount.code], used=self._used(discount.code))

    async def end(self, code: str) -> bool:
        """End a discount; False when there is none."""
        was_there = await self.find(code) is not None
        self._ended.add(code)
        return was_there

    def take(self, stored: StoredOrder) -> None:
        """Take the use that goes with a new order."""
        order, code = stored.order, stored.order.discount_code
        if code is None:
            return
        if code in self._ended or code not in self._known:
            raise refusals.UnknownDiscountCodeError
        found = replace(self._known[code], used=self._used(code))
        discounts.require_left(found, self._used(code, order.user_id))
        due_at = order.pay_by + discounts.LOOK_AFTER
        self._uses[order.order_id] = _Use(code, order.user_id, due_at, due_at)

    async def give_back(self, order_ids: Sequence[str]) -> int:
        """Give back the uses of dead orders."""
        return sum(self._uses.pop(order_id, None) is not None for order_id in order_ids)

    async def keep(self, order_ids: Sequence[str]) -> None:
        """Ask about these no more."""
        for order_id in order_ids:
            if order_id in self._uses:
                self._uses[order_id].check_at = None

    async def claim_due(self, now: datetime, *, limit: int, again_at: datetime) -> list[str]:
        """Return orders whose end should be known by now and put them off."""
        due = [
            order_id
            for order_id, use in self._uses.items()
            if use.check_at is not None and use.check_at <= now
        ][:limit]
        for order_id in due:
            self._uses[order_id].check_at = again_at
        return due

    async def waiting_since(self) -> datetime | None:
        """Return the earliest time at which an order's end should have been known."""
        waiting = [use.due_at for use in self._uses.values() if use.check_at is not None]
        return min(waiting, default=None)

    def _used(self, code: str, user_id: str | None = None) -> int:
        return sum(
            use.code == code and user_id in (None, use.user_id) for use in self._uses.values()
        )


@dataclass
class FakeCatalogue:
    """List prices in memory."""

    quotes: dict[str, internal.Quote] = field(default_factory=dict)
    is_away: bool = False
    asked: Counter[str] = field(default_factory=Counter)

    def sell(self, sku: str, price_minor: int, currency: str = "EUR") -> str:
        """Put a product on the list; returns its id."""
        product_id = ids.product_id(sku)
        self.quotes[product_id] = internal.Quote(
            product_id=product_id,
            sku=sku,
            title=sku,
            thumbnail=None,
            price_minor=price_minor,
            currency=currency,
            version=1,
        )
        return product_id

    async def quote(self, product_id: str) -> internal.Quote | None:
        """Return what a product costs outside sales."""
        self.asked[product_id] += 1
        if self.is_away:
            raise ConnectionError("the catalogue is away")
        return self.quotes.get(product_id)


@dataclass
class FakeCarts:
    """Carts in memory by user and id."""

    carts: dict[tuple[str, str], internal.CartContents] = field(default_factory=dict)
    is_away: bool = False

    def fill(self, user_id: str, cart_id: str, version: int, **quantities: int) -> None:
        """Put units into a cart, by sku."""
        self.carts[user_id, cart_id] = internal.CartContents(
            cart_id=cart_id,
            version=version,
            products=[
                internal.CartProduct(product_id=ids.product_id(sku), quantity=quantity)
                for sku, quantity in quantities.items()
            ],
        )

    async def find(self, user_id: str, cart_id: str) -> internal.CartContents | None:
        """Return the user's cart."""
        if self.is_away:
            raise ConnectionError("the cart service is away")
        return self.carts.get((user_id, cart_id))


@dataclass
class FakeAddresses:
    """Address books in memory by user and id."""

    books: dict[tuple[str, str], api.DeliveryAddress] = field(default_factory=dict)
    is_away: bool = False

    def write(self, user_id: str, address_id: str) -> api.DeliveryAddress:
        """Write an address into a book; returns it."""
        address = api.DeliveryAddress(
            recipient="A. Buyer",
            line1="1 High Street",
            city="Town",
            postal_code="12345",
            country="DE",
        )
        self.books[user_id, address_id] = address
        return address

    async def find(self, user_id: str, address_id: str) -> api.DeliveryAddress | None:
        """Return an address of the user's book."""
        if self.is_away:
            raise ConnectionError("the address books are away")
        return self.books.get((user_id, address_id))
