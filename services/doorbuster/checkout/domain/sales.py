"""The sales as last seen: which offer a product has, whether its gate may be open, and what the public sees.

The gate here is only a cheap pre-filter. It refuses what is certainly shut by the authority's clock, which is
known only within bounds; whatever might just be open goes on to Redis and PostgreSQL, which decide.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from doorbuster.contracts import api, internal
from doorbuster.kit import money

from .refusals import (
    PerUserLimitError,
    RefusalError,
    SaleClosedError,
    SaleNotOpenError,
    SaleSuspendedError,
)

SLACK = timedelta(milliseconds=150)  # clocks drift, and what is almost open may be open on arrival


@dataclass(frozen=True, kw_only=True)
class AuthorityTime:
    """The authority's clock now: certainly between these two."""

    earliest: datetime
    latest: datetime

    @property
    def likely(self) -> datetime:
        """The middle of the bounds."""
        return self.earliest + (self.latest - self.earliest) / 2


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One product as one sale sells it."""

    sale: internal.SaleView
    item: internal.SaleItemView


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What inventory said about its sales, and when, on our monotonic clock in seconds."""

    sales: tuple[internal.SaleView, ...]
    offers: Mapping[str, tuple[Offer, ...]]
    server_time: datetime
    asked_at: float
    answered_at: float

    def authority_time(self, monotonic: float) -> AuthorityTime:
        """Extrapolate: the answer was stamped at some instant between the question and the answer."""
        return AuthorityTime(
            earliest=self.server_time + timedelta(seconds=monotonic - self.answered_at),
            latest=self.server_time + timedelta(seconds=monotonic - self.asked_at),
        )


def sight(answer: internal.Sales, *, asked_at: float, answered_at: float) -> Sighting:
    """Arrange an answer of inventory by product."""
    offers: dict[str, list[Offer]] = defaultdict(list)
    for sale in answer.sales:
        for item in sale.items:
            offers[item.product_id].append(Offer(sale=sale, item=item))
    return Sighting(
        sales=tuple(answer.sales),
        offers={product_id: tuple(found) for product_id, found in offers.items()},
        server_time=answer.server_time,
        asked_at=asked_at,
        answered_at=answered_at,
    )


def find_offer(sighting: Sighting, product_id: str, now: AuthorityTime) -> Offer | None:
    """Return the offer that counts: the open one, else the next to open, else the last that closed."""
    found = sighting.offers.get(product_id, ())
    return min(found, key=lambda offer: _rank(offer.sale, now.likely), default=None)


def _rank(sale: internal.SaleView, now: datetime) -> tuple[int, float]:
    if sale.state == "Cancelled":
        return 3, -sale.close_time.timestamp()
    if now < sale.open_time:
        return 1, sale.open_time.timestamp()
    if now < sale.close_time:
        return 0, 0.0
    return 2, -sale.close_time.timestamp()


def shut(offer: Offer, quantity: int, now: AuthorityTime) -> RefusalError | None:
    """Return why the offer is certainly not to be had, or None when it may be."""
    sale, product_id = offer.sale, offer.item.product_id
    if sale.state == "Cancelled" or now.earliest - SLACK >= sale.close_time:
        return SaleClosedError(product_id=product_id)
    if sale.state == "Suspended":
        return SaleSuspendedError(product_id=product_id)
    if now.latest + SLACK < sale.open_time:
        return SaleNotOpenError(product_id=product_id, retry_after=seconds_to_opening(sale, now))
    if quantity > offer.item.per_user_limit:
        return PerUserLimitError(product_id=product_id)
    return None


def is_off(offer: Offer, now: AuthorityTime) -> bool:
    """Tell whether the sale is certainly over, called off, or not open yet, so that the list price may be meant."""
    sale = offer.sale
    is_over = sale.state == "Cancelled" or now.earliest - SLACK >= sale.close_time
    return is_over or now.latest + SLACK < sale.open_time


def seconds_to_opening(sale: internal.SaleView, now: AuthorityTime) -> int:
    """Return the whole seconds until the sale opens, at least 1."""
    return max(1, math.ceil((sale.open_time - now.likely).total_seconds()))


def public_id(sale: internal.SaleView) -> str:
    """Return ``namespace.name``; a namespace has no dot, so it names one sale."""
    return f"{sale.namespace}.{sale.name}"


def public_sales(sighting: Sighting) -> dict[str, internal.SaleView]:
    """Return the sales by public id, earliest opening first; of a name used again, the newest."""
    ordered = sorted(sighting.sales, key=lambda sale: (sale.open_time, sale.uid))
    return {public_id(sale): sale for sale in ordered}


def describe(sale: internal.SaleView, now: AuthorityTime) -> api.Sale:
    """Show a sale as anybody may see it."""
    return api.Sale(
        id=public_id(sale),
        phase=_phase(sale, now.likely),
        open_time=sale.open_time,
        close_time=sale.close_time,
        server_time=now.likely,
        products=[
            api.SaleProduct(
                product_id=item.product_id,
                sku=item.sku,
                price=money.from_minor(item.price_minor, item.currency),
                currency=item.currency,
                per_user_limit=item.per_user_limit,
                available=item.available > 0,
            )
            for item in sale.items
        ],
    )


Phase = Literal["Scheduled", "Open", "SoldOut", "Suspended", "Closed", "Cancelled"]


def _phase(sale: internal.SaleView, now: datetime) -> Phase:
    if sale.state == "Cancelled":
        return "Cancelled"
    if now >= sale.close_time:
        return "Closed"
    if sale.state == "Suspended":
        return "Suspended"
    if now < sale.open_time:
        return "Scheduled"
    if all(item.available <= 0 and item.reserved <= 0 for item in sale.items):
        return "SoldOut"
    return "Open"
