"""What services say to each other over ``/internal/v1``: batches where a rush passes, single calls elsewhere.

Every batch item carries its own ``traceparent``; results keep the order of the items.
"""

from datetime import datetime
from typing import Literal

import msgspec

from .api import DeliveryAddress
from .control import Strategy
from .events import Line

# --- inventory: what is on sale -------------------------------------------------------------------


class SaleItemView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One product of a sale as buyers see it; ``available`` and ``reserved`` are the sale's own counters."""

    product_id: str
    sku: str
    price_minor: int
    currency: str
    per_user_limit: int
    allocated: int
    available: int
    reserved: int
    sold: int
    epoch: int


class SaleView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A sale that is announced, open or recently closed.

    ``admit_per_second``: new buyers that its waiting room lets in; None is no waiting room.
    """

    uid: str
    namespace: str
    name: str
    state: Literal["Active", "Suspended", "Cancelled"]
    strategy: Strategy
    open_time: datetime
    close_time: datetime
    reservation_timeout_seconds: int
    items: list[SaleItemView]
    admit_per_second: int | None = None


class Sales(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /internal/v1/sales`` of inventory; ``server_time`` is the clock that decides."""

    sales: list[SaleView]
    server_time: datetime


# --- inventory: reservations ----------------------------------------------------------------------

ReserveOutcome = Literal[
    "HELD",  # the units are the buyer's until payBy (also when the same order asked before)
    "WAITING",  # others hold the units; they may come back
    "SOLD_OUT",  # terminal for this quantity
    "USER_LIMIT",
    "NOT_OPEN",
    "CLOSED",
    "SUSPENDED",
    "STALE_EPOCH",  # the permit is of an older epoch: ask again
    "PRICE_CHANGED",
    "UNKNOWN_PRODUCT",
    "RELEASED",  # this order id lost its hold or was buried (TOMB): use a new key
    "KEY_REUSED",  # this order id was reserved with another request hash
    "PAID",  # this order id is PAYING, SOLD or RETURNED already
]


class ReserveLine(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One line; ``epoch`` is the permit's epoch, absent when no permit was taken (ordinary product, Direct)."""

    product_id: str
    quantity: int
    price_minor: int | None = None
    currency: str | None = None
    sale_uid: str | None = None
    epoch: int | None = None


class ReserveItem(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One order that wants all of its lines or nothing."""

    order_id: str
    user_id: str
    request_hash: str
    topic: str
    lines: list[ReserveLine]
    traceparent: str | None = None


class ReserveBatch(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``POST /internal/v1/reservations`` (caller: checkout)."""

    items: list[ReserveItem]


class ReserveResult(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What became of one order; ``product_id`` names the line that failed."""

    order_id: str
    outcome: ReserveOutcome
    pay_by: datetime | None = None
    product_id: str | None = None


class ReserveResults(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Answers in the order of the items.

    ``owners``, by product id, may name every order that owned units (HELD, PAYING or SOLD) at the instant when one
    of these results said SOLD_OUT; a product with more than 1,000 of them is left out. Only with it may checkout
    repeat a SOLD_OUT without asking: those orders must go the full way.
    """

    results: list[ReserveResult]
    owners: dict[str, list[str]] = {}


class JudgeItem(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One line of an order that got no permit (Redis said OUT or USER_LIMIT), for this product and quantity.

    ``epoch`` is that of the refusal; it is absent for the other lines of the order, of which only a final
    answer is of interest.
    """

    order_id: str
    user_id: str
    request_hash: str
    product_id: str
    quantity: int
    sale_uid: str
    epoch: int | None
    traceparent: str | None = None


class JudgeBatch(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``POST /internal/v1/judgements`` (caller: checkout): WAITING, SOLD_OUT or USER_LIMIT, read from PostgreSQL.

    A reservation row of the same order id wins over both. An epoch other than PostgreSQL's answers
    STALE_EPOCH and makes inventory warm the product.
    """

    items: list[JudgeItem]


class PinItem(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A payment attempt that wants the order's units pinned: from then on time alone frees nothing."""

    order_id: str
    attempt: int
    traceparent: str | None = None


class PinBatch(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``POST /internal/v1/pins`` (caller: checkout)."""

    items: list[PinItem]


class PinResult(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """PINNED also answers a replay of the same attempt; EXPIRED: the hold is gone; CONFLICT: another attempt."""

    order_id: str
    outcome: Literal["PINNED", "EXPIRED", "CONFLICT", "PAID", "UNKNOWN_ORDER"]
    pay_by: datetime | None = None


class PinResults(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Answers in the order of the items."""

    results: list[PinResult]


class Unpin(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``POST /internal/v1/unpins`` (caller: payment): the attempt was declined; an accelerator of PaymentFailed."""

    order_id: str
    attempt: int


class Release(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``POST /internal/v1/releases`` (caller: checkout): HELD to RELEASED, for an order that will not be placed."""

    order_id: str


class Warm(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``POST /internal/v1/warm`` (caller: checkout): these products are cold or stale in Redis."""

    product_ids: list[str]


class ReservationState(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /internal/v1/reservations/{orderId}`` (callers: checkout, order)."""

    order_id: str
    state: Literal["TOMB", "HELD", "PAYING", "SOLD", "RELEASED", "RETURNED"]
    attempt: int
    expires_at: datetime | None


class UnreturnedOrders(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``POST /internal/v1/reservations:unreturned`` (caller: payment) answers :class:`Attempts` that were reversed.

    The orders whose units such an attempt still holds (PAYING or SOLD): its reversal is to be told again.
    """

    unreturned: list[str]


# --- checkout -------------------------------------------------------------------------------------


class BeginPayment(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``POST /internal/v1/orders/{orderId}/begin-payment`` (caller: payment)."""

    attempt: int


class PlacedOrder(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A placed order as checkout stored it.

    Answer of ``GET /internal/v1/orders/{orderId}`` (callers: payment, order) and of begin-payment,
    which pins the units first and refuses with HOLD_EXPIRED, PAYMENT_IN_PROGRESS or UNKNOWN_ORDER.
    """

    order_id: str
    user_id: str
    lines: list[Line]
    amount_minor: int
    currency: str
    pay_by: datetime
    placed_at: datetime
    topic: str
    traceparent: str | None = None
    totals: "TotalsMinor | None" = None
    address: DeliveryAddress | None = None
    discount_code: str | None = None


class TotalsMinor(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """subtotal - discount + shipping + tax = amount, all in minor units of the order's currency."""

    subtotal_minor: int
    discount_minor: int
    shipping_minor: int
    tax_minor: int


# --- payment, order, user -------------------------------------------------------------------------


class Attempt(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One payment attempt of an order."""

    order_id: str
    attempt: int


class Attempts(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``POST /internal/v1/payments:verdicts`` (caller: inventory): the pin sweep asks."""

    items: list[Attempt]


class Verdict(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How an attempt ended: SUCCEEDED, FAILED, or REVERSED (paid, and given back: the order is over).

    PENDING means ask later; UNKNOWN: no such attempt yet.
    """

    order_id: str
    attempt: int
    verdict: Literal["SUCCEEDED", "FAILED", "REVERSED", "PENDING", "UNKNOWN"]


class Verdicts(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Answers in the order of the items."""

    verdicts: list[Verdict]


class OrderIds(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Two questions to order (caller: payment).

    ``POST /internal/v1/orders:missing``: which of these are not confirmed there? ``orders:unreversed``: of
    which has PaymentReversed not arrived there?
    """

    ids: list[str]


class MissingOrders(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The ids of which order has not heard that."""

    missing: list[str]


class Contact(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /internal/v1/users/{id}/contact`` of user (caller: notification): asked when it sends, never stored."""

    name: str
    email: str
    phone: str | None = None


class Author(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /internal/v1/users/{id}/author`` of user (caller: product): the first name that a review shows."""

    name: str


# ``GET /internal/v1/users/{id}/addresses/{addressId}`` of user (caller: checkout) answers api.DeliveryAddress, or
# 404 UNKNOWN_ADDRESS.


# --- product and availability ---------------------------------------------------------------------


class ProductIds(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A question about these products, at most 200.

    ``POST /internal/v1/products:quote`` of product (callers: cart, checkout, search, notification)
    answers ``Quotes``;
    ``POST /internal/v1/availability`` of inventory (callers: product, cart, search) answers ``Availabilities``.
    """

    ids: list[str]


class Quote(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The list price of a product that is sold; ``version`` grows with every change of the document."""

    product_id: str
    sku: str
    title: str
    thumbnail: str | None
    price_minor: int
    currency: str
    version: int


class Quotes(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Quotes of those that are sold; the others are missing."""

    quotes: list[Quote]


class Availability(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Units that a buyer could reserve now (of the open sale where there is one); a higher version is later."""

    product_id: str
    qty: int
    version: int


class Availabilities(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Those that have stock rows; the others are missing."""

    items: list[Availability]


class CatalogueEntry(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A product as search indexes it; ``version`` grows with every change, stock and rating among them."""

    product_id: str
    sku: str
    title: str
    description: str
    category: str
    keywords: list[str]
    manufacturer: str | None
    price_minor: int
    currency: str
    thumbnail: str | None
    rating: float | None
    rating_count: int
    available_qty: int | None
    created_at: datetime
    version: int


class CataloguePage(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /internal/v1/products?after=&size=`` of product (caller: search), by product id, at most 1,000 a page.

    ``next`` is the ``after`` of the next page, absent on the last one; ``total`` counts all, for progress.
    """

    entries: list[CatalogueEntry]
    next: str | None
    total: int


class CatalogueMatches(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /internal/v1/products:find?`` with the fields of SearchQuery (caller: search): whole words only.

    Search answers with it while Elasticsearch is away.
    """

    entries: list[CatalogueEntry]
    total: int


# --- cart -----------------------------------------------------------------------------------------


class CartContents(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /internal/v1/carts/{cartId}?userId=`` of cart (caller: checkout); 404 UNKNOWN_CART for another's."""

    cart_id: str
    version: int
    products: list["CartProduct"]


class CartProduct(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One line of a cart."""

    product_id: str
    quantity: int
