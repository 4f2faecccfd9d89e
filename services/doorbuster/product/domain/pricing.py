"""The price now: the open sale's, if inventory's word is fresh enough, else the list price."""

from datetime import datetime, timedelta
from decimal import Decimal

from msgspec import Struct

from doorbuster.contracts import catalogue, internal
from doorbuster.kit import money

from .products import Product


class Offer(Struct, frozen=True):
    """One product as one sale sells it."""

    sale: internal.SaleView
    item: internal.SaleItemView


class Board(Struct, frozen=True, kw_only=True):
    """What inventory said of its sales; ``answered_at`` in seconds on our own monotonic clock."""

    offers: dict[str, list[Offer]]
    server_time: datetime
    answered_at: float

    def open_offer(self, product_id: str, monotonic: float) -> Offer | None:
        """Return the offer of the sale that is open by inventory's clock."""
        now = self.server_time + timedelta(seconds=monotonic - self.answered_at)
        for offer in self.offers.get(product_id, ()):
            sale = offer.sale
            if sale.state == "Active" and sale.open_time <= now < sale.close_time:
                return offer
        return None


def arrange(sales: internal.Sales, *, answered_at: float) -> Board:
    """Arrange an answer of inventory by product."""
    offers: dict[str, list[Offer]] = {}
    for sale in sales.sales:
        for item in sale.items:
            offers.setdefault(item.product_id, []).append(Offer(sale, item))
    return Board(offers=offers, server_time=sales.server_time, answered_at=answered_at)


def price_now(
    product: Product, offer: Offer | None
) -> tuple[Decimal, str, catalogue.OpenSale | None]:
    """Return price and currency, and the sale that gives them."""
    list_price = money.from_minor(product.price_minor, product.currency)
    if offer is None:
        return list_price, product.currency, None
    sale, item = offer.sale, offer.item
    shown = catalogue.OpenSale(
        sale_id=f"{sale.namespace}.{sale.name}",
        close_time=sale.close_time,
        list_price=list_price,
        per_user_limit=item.per_user_limit,
    )
    return money.from_minor(item.price_minor, item.currency), item.currency, shown
