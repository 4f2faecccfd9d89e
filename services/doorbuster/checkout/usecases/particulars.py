"""What an order names beside products: the cart it is from, where it goes, and a discount.

All of it is looked at before units are asked for, so that a refusal holds nothing. The last use of a discount may
still go to somebody else meanwhile: storing the order decides.
"""

from dataclasses import dataclass, replace

from doorbuster.checkout.domain import discounts, orders, refusals
from doorbuster.checkout.domain.orders import PricedOrder, Wanted
from doorbuster.checkout.domain.totals import Terms
from doorbuster.checkout.ports import Addresses, Carts, DiscountStore
from doorbuster.contracts import internal
from doorbuster.kit import clock

from . import meters


@dataclass(frozen=True, kw_only=True)
class Particulars:
    """Completes priced orders; ``terms`` are the shop's."""

    carts: Carts
    addresses: Addresses
    discounts: DiscountStore
    terms: Terms
    now: clock.Clock

    async def find_cart(self, user_id: str, cart_id: str) -> internal.CartContents:
        """Return the user's cart; raises UnknownCartError or ConnectionError."""
        cart = await self.carts.find(user_id, cart_id)
        if cart is None:
            raise refusals.UnknownCartError
        return cart

    async def complete(
        self, order: PricedOrder, wanted: Wanted, cart: internal.CartContents | None
    ) -> PricedOrder:
        """Return the order with what it names; raises the refusal, or ConnectionError when somebody is away.

        ``cart`` is given where it was read already, to name the order.
        """
        await self._compare(wanted, cart)
        if wanted.address_id is not None:
            address = await self.addresses.find(wanted.user_id, wanted.address_id)
            if address is None:
                raise refusals.UnknownAddressError
            order = replace(order, address=address)
        if wanted.discount_code is not None:
            order = await self._discount(order, wanted.discount_code)
        return order

    async def _compare(self, wanted: Wanted, cart: internal.CartContents | None) -> None:
        """Require that the cart is what the buyer pays for.

        Without the cart service an order whose client chose a key goes on: its products and prices are in the
        request and are checked by their owners, and its key makes a repetition harmless.
        """
        if wanted.cart_id is None:
            return
        if cart is None:
            try:
                cart = await self.find_cart(wanted.user_id, wanted.cart_id)
            except ConnectionError:
                meters.DEGRADED.labels("cart").inc()
                return
        orders.require_same(wanted, cart)

    async def _discount(self, order: PricedOrder, code: str) -> PricedOrder:
        found = await self.discounts.find_for(code, order.user_id)
        if found is None:
            raise refusals.UnknownDiscountCodeError
        discount, used_by_user = found
        discounts.require_left(discount, used_by_user)
        totals = discounts.apply(
            discount, order.totals.subtotal_minor, order.currency, self.terms, self.now()
        )
        return replace(order, totals=totals, discount_code=code)
