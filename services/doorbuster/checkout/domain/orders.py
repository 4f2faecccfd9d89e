"""An order before it is held: what the buyer asked for, what it costs, and what inventory's verdict means."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import msgspec

from doorbuster.contracts import api, events, internal
from doorbuster.kit import ids, money

from . import discounts, refusals, sales
from .totals import Terms, amount_minor, is_chargeable, reckon

_DERIVED = "\x1f"  # no header can hold it, so a derived key never meets one that a client chose


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A parsed request: the id it names, its lines in product order, each product once, and what else it names.

    ``is_keyed``: the client chose the key.
    """

    order_id: str
    user_id: str
    request_hash: str
    lines: tuple[api.CheckoutLine, ...]
    is_keyed: bool
    cart_id: str | None = None
    address_id: str | None = None
    discount_code: str | None = None

    @property
    def is_bare(self) -> bool:
        """Whether it names nothing but products, as most do in a rush."""
        return self.cart_id is None and self.address_id is None and self.discount_code is None


@dataclass(frozen=True, kw_only=True)
class PricedLine:
    """One line with its price and the offer it will be taken from; without one it is an ordinary purchase."""

    product_id: str
    quantity: int
    price_minor: int
    currency: str
    offer: sales.Offer | None

    @property
    def needs_permit(self) -> bool:
        """Whether the sale keeps permits in Redis."""
        return self.offer is not None and self.offer.sale.strategy == "Escrow"

    @property
    def needs_lock(self) -> bool:
        """Whether orders of the sale ask for units one at a time."""
        return self.offer is not None and self.offer.sale.strategy == "Lock"

    @property
    def sale_uid(self) -> str | None:
        """The sale that the units come from."""
        return None if self.offer is None else self.offer.sale.uid

    @property
    def epoch(self) -> int:
        """The epoch of the sale's permits as last seen; 0 where there is no sale."""
        return 0 if self.offer is None else self.offer.item.epoch


@dataclass(frozen=True, kw_only=True)
class PricedOrder:
    """A request that may be bought at this price."""

    order_id: str
    user_id: str
    request_hash: str
    lines: tuple[PricedLine, ...]
    totals: internal.TotalsMinor
    currency: str
    topic: str
    address: api.DeliveryAddress | None = None
    discount_code: str | None = None


class StoredOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A placed order with the hash of the request that placed it."""

    order: internal.PlacedOrder
    request_hash: str


def read_request(
    user_id: str,
    request: api.Checkout,
    *,
    key: str | None,
    fresh_key: str,
    cart_version: int | None = None,
) -> Wanted:
    """Name the order that a request means.

    Without a key, one with a cart is known by the cart's version, so that a double click is one order and a
    refilled cart a new one; one without a cart is new every time. Raises DuplicateProductError.
    """
    lines = tuple(sorted(request.products, key=lambda line: line.product_id))
    for line, following in itertools.pairwise(lines):
        if line.product_id == following.product_id:
            raise refusals.DuplicateProductError(product_id=line.product_id)
    code = None if request.discount_code is None else discounts.normalise(request.discount_code)
    contents = [[line.product_id, line.quantity, _plain(line.price)] for line in lines]
    hashed: list[object] = [contents, request.cart_id]
    if request.address_id is not None or code is not None:
        hashed += [request.address_id, code]
    derived = (
        fresh_key if request.cart_id is None else f"{request.cart_id}{_DERIVED}{cart_version}"
    )
    return Wanted(
        order_id=ids.order_id(user_id, _DERIVED + derived if key is None else key),
        user_id=user_id,
        request_hash=ids.fingerprint(msgspec.json.encode(hashed)),
        lines=lines,
        is_keyed=key is not None,
        cart_id=request.cart_id,
        address_id=request.address_id,
        discount_code=code,
    )


def require_same(wanted: Wanted, cart: internal.CartContents) -> None:
    """Raise CartChangedError unless the request names exactly what is in the cart."""
    asked = {line.product_id: line.quantity for line in wanted.lines}
    if asked != {product.product_id: product.quantity for product in cart.products}:
        raise refusals.CartChangedError


def _plain(price: Decimal | None) -> str | None:
    """Write equal prices equally: 10, 10.00 and 1e1 are one."""
    return None if price is None else format((price + 0).normalize(), "f")


def may_be_ordinary(
    wanted: Wanted, sighting: sales.Sighting, now: sales.AuthorityTime
) -> list[str]:
    """Return the products whose list price decides what is meant.

    Those without a sale, and those whose sale is not on where the line names another price than the sale's. While
    a sale is open only its price counts, so a rush asks nothing of the catalogue.
    """
    found = []
    for line in wanted.lines:
        offer = sales.find_offer(sighting, line.product_id, now)
        if offer is None or (sales.is_off(offer, now) and _names_another_price(line, offer)):
            found.append(line.product_id)
    return found


def _names_another_price(line: api.CheckoutLine, offer: sales.Offer) -> bool:
    item = offer.item
    return line.price not in (None, money.from_minor(item.price_minor, item.currency))


def price(
    wanted: Wanted,
    sighting: sales.Sighting,
    now: sales.AuthorityTime,
    *,
    quotes: Mapping[str, internal.Quote],
    terms: Terms,
) -> PricedOrder:
    """Price a request from the sales and the catalogue; raises the refusal when it certainly cannot be bought.

    ``quotes`` are those of :func:`may_be_ordinary` that are sold.
    """
    lines = tuple(_price_line(line, sighting, now, quotes) for line in wanted.lines)
    for line in lines:
        reason = None if line.offer is None else sales.shut(line.offer, line.quantity, now)
        if reason is not None:
            raise reason
    currencies = {line.currency for line in lines}
    if len(currencies) > 1:
        raise refusals.MixedCurrencyError
    for asked, line in zip(wanted.lines, lines, strict=True):
        if asked.price not in (None, money.from_minor(line.price_minor, line.currency)):
            raise refusals.PriceChangedError(product_id=line.product_id)
    currency = currencies.pop()
    subtotal = sum(line.price_minor * line.quantity for line in lines)
    totals = reckon(subtotal, currency, terms)
    if not is_chargeable(totals, currency, terms):
        raise refusals.AmountTooSmallError
    return PricedOrder(
        order_id=wanted.order_id,
        user_id=wanted.user_id,
        request_hash=wanted.request_hash,
        lines=lines,
        totals=totals,
        currency=currency,
        topic=_topic(lines),
    )


def _price_line(
    line: api.CheckoutLine,
    sighting: sales.Sighting,
    now: sales.AuthorityTime,
    quotes: Mapping[str, internal.Quote],
) -> PricedLine:
    offer = sales.find_offer(sighting, line.product_id, now)
    quote = quotes.get(line.product_id)
    if quote is not None and (
        offer is None or line.price == money.from_minor(quote.price_minor, quote.currency)
    ):
        return PricedLine(
            product_id=line.product_id,
            quantity=line.quantity,
            price_minor=quote.price_minor,
            currency=quote.currency,
            offer=None,
        )
    if offer is None:
        raise refusals.UnknownProductError(product_id=line.product_id)
    return PricedLine(
        product_id=line.product_id,
        quantity=line.quantity,
        price_minor=offer.item.price_minor,
        currency=offer.item.currency,
        offer=offer,
    )


def _topic(lines: tuple[PricedLine, ...]) -> str:
    """Choose the topic: that of the first sale by uid, else the common one."""
    taken_from = [line.offer.sale for line in lines if line.offer is not None]
    if not taken_from:
        return events.ORDERS_TOPIC
    first = min(taken_from, key=lambda sale: sale.uid)
    return events.sale_topic(first.namespace, first.name)


def reserve_item(
    order: PricedOrder, epochs: Mapping[str, int], traceparent: str | None
) -> internal.ReserveItem:
    """Write the order as inventory wants it; a product without an epoch has no permit."""
    return internal.ReserveItem(
        order_id=order.order_id,
        user_id=order.user_id,
        request_hash=order.request_hash,
        topic=order.topic,
        lines=[
            internal.ReserveLine(
                product_id=line.product_id,
                quantity=line.quantity,
                price_minor=line.price_minor,
                currency=line.currency,
                sale_uid=line.sale_uid,
                epoch=epochs.get(line.product_id),
            )
            for line in order.lines
        ],
        traceparent=traceparent,
    )


def judge_items(
    order: PricedOrder, refused: PricedLine, epoch: int | None, traceparent: str | None
) -> list[internal.JudgeItem]:
    """Ask what it means that Redis had no permit for this line; with it the other lines of sales, without an epoch.

    An ordinary line has no judge: reserve says in its turn whether it is gone.
    """
    others = [line for line in order.lines if line is not refused]
    return [
        _judge_item(order, line, line.offer, epoch if line is refused else None, traceparent)
        for line in (refused, *others)
        if line.offer is not None
    ]


def _judge_item(
    order: PricedOrder,
    line: PricedLine,
    offer: sales.Offer,
    epoch: int | None,
    traceparent: str | None,
) -> internal.JudgeItem:
    return internal.JudgeItem(
        order_id=order.order_id,
        user_id=order.user_id,
        request_hash=order.request_hash,
        product_id=line.product_id,
        quantity=line.quantity,
        sale_uid=offer.sale.uid,
        epoch=epoch,
        traceparent=traceparent,
    )


def place(
    order: PricedOrder, *, pay_by: datetime, now: datetime, traceparent: str | None
) -> StoredOrder:
    """Make the order that is stored once its units are held."""
    return StoredOrder(
        order=internal.PlacedOrder(
            order_id=order.order_id,
            user_id=order.user_id,
            lines=[
                events.Line(
                    product_id=line.product_id,
                    quantity=line.quantity,
                    price_minor=line.price_minor,
                    sale_uid=line.sale_uid,
                )
                for line in order.lines
            ],
            amount_minor=amount_minor(order.totals),
            currency=order.currency,
            pay_by=pay_by,
            placed_at=now,
            topic=order.topic,
            traceparent=traceparent,
            totals=order.totals,
            address=order.address,
            discount_code=order.discount_code,
        ),
        request_hash=order.request_hash,
    )


def announce(order: internal.PlacedOrder) -> events.OrderPlaced:
    """Return the event that goes with a placed order."""
    return events.OrderPlaced(
        order_id=order.order_id,
        user_id=order.user_id,
        lines=order.lines,
        amount_minor=order.amount_minor,
        currency=order.currency,
        pay_by=order.pay_by,
        placed_at=order.placed_at,
        topic=order.topic,
    )


# As reserve judges the lines of an order: the first of these that one line meets is the answer.
_WORST_FIRST: tuple[internal.ReserveOutcome, ...] = (
    "UNKNOWN_PRODUCT",
    "CLOSED",
    "SUSPENDED",
    "NOT_OPEN",
    "SOLD_OUT",
    "STALE_EPOCH",
    "USER_LIMIT",
    "WAITING",
)


def severity(outcome: internal.ReserveOutcome) -> int:
    """Rank a judgement of one line: the order's is the lowest; what inventory knows of the order comes first."""
    return _WORST_FIRST.index(outcome) if outcome in _WORST_FIRST else -1


_REFUSALS: dict[internal.ReserveOutcome, type[refusals.RefusalError]] = {
    "WAITING": refusals.WaitingError,
    "SOLD_OUT": refusals.SoldOutError,
    "USER_LIMIT": refusals.PerUserLimitError,
    "NOT_OPEN": refusals.SaleNotOpenError,
    "CLOSED": refusals.SaleClosedError,
    "SUSPENDED": refusals.SaleSuspendedError,
    "PRICE_CHANGED": refusals.PriceChangedError,
    "UNKNOWN_PRODUCT": refusals.UnknownProductError,
    "RELEASED": refusals.HoldExpiredError,
    "KEY_REUSED": refusals.KeyReusedError,
    "PAID": refusals.AlreadyPaidError,
    "STALE_EPOCH": refusals.WaitingError,  # asked several times, never of the same epoch
}


def refusal(
    outcome: internal.ReserveOutcome,
    order: PricedOrder,
    product_id: str | None,
    now: sales.AuthorityTime,
) -> refusals.RefusalError:
    """Return how an outcome other than HELD is told to the buyer."""
    kind = _REFUSALS[outcome]
    if kind is not refusals.SaleNotOpenError:
        return kind(product_id=product_id)
    of_sales = [line for line in order.lines if line.offer is not None]
    named = [line for line in of_sales if line.product_id == product_id] or of_sales
    latest = max(
        (line.offer.sale for line in named if line.offer is not None),
        key=lambda sale: sale.open_time,
        default=None,
    )
    if latest is None:
        return kind(product_id=product_id)
    return kind(product_id=product_id, retry_after=sales.seconds_to_opening(latest, now))
