"""An order before it is held: what the buyer asked for, what it costs, and what inventory's verdict means."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import msgspec

from doorbuster.contracts import api, events, internal
from doorbuster.kit import ids, money

from . import refusals, sales

_DERIVED = "\x1f"  # no header can hold it, so a derived key never meets one that a client chose


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A parsed request: the id it names, and its lines in product order, each product once."""

    order_id: str
    user_id: str
    request_hash: str
    lines: tuple[api.CheckoutLine, ...]


@dataclass(frozen=True, kw_only=True)
class PricedLine:
    """One line with the offer it will be taken from."""

    product_id: str
    quantity: int
    offer: sales.Offer

    @property
    def needs_permit(self) -> bool:
        """Whether the sale keeps permits in Redis."""
        return self.offer.sale.strategy == "Escrow"

    @property
    def needs_lock(self) -> bool:
        """Whether orders of the sale ask for units one at a time."""
        return self.offer.sale.strategy == "Lock"


@dataclass(frozen=True, kw_only=True)
class PricedOrder:
    """A request that may be bought at this price."""

    order_id: str
    user_id: str
    request_hash: str
    lines: tuple[PricedLine, ...]
    amount_minor: int
    currency: str
    topic: str


class StoredOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A placed order with the hash of the request that placed it."""

    order: internal.PlacedOrder
    request_hash: str


def read_request(
    user_id: str, request: api.Checkout, *, key: str | None, fresh_key: str
) -> Wanted:
    """Name the order that a request means.

    Without a key, one with a cart is known by its content, so that a double click is one order; one without a
    cart is new every time. Raises DuplicateProductError, UnknownAddressError or UnknownDiscountCodeError.
    """
    lines = tuple(sorted(request.products, key=lambda line: line.product_id))
    for line, following in itertools.pairwise(lines):
        if line.product_id == following.product_id:
            raise refusals.DuplicateProductError(product_id=line.product_id)
    if request.address_id is not None:
        raise refusals.UnknownAddressError
    if request.discount_code is not None:
        raise refusals.UnknownDiscountCodeError
    contents = [[line.product_id, line.quantity, _plain(line.price)] for line in lines]
    request_hash = ids.fingerprint(msgspec.json.encode([contents, request.cart_id]))
    if key is None:
        key = _DERIVED + (fresh_key if request.cart_id is None else request_hash)
    return Wanted(
        order_id=ids.order_id(user_id, key),
        user_id=user_id,
        request_hash=request_hash,
        lines=lines,
    )


def _plain(price: Decimal | None) -> str | None:
    """Write equal prices equally: 10, 10.00 and 1e1 are one."""
    return None if price is None else format((price + 0).normalize(), "f")


def price(wanted: Wanted, sighting: sales.Sighting, now: sales.AuthorityTime) -> PricedOrder:
    """Price a request from the sales; raises the refusal when it certainly cannot be bought."""
    lines = tuple(_price_line(line, sighting, now) for line in wanted.lines)
    for line in lines:
        reason = sales.shut(line.offer, line.quantity, now)
        if reason is not None:
            raise reason
    currencies = {line.offer.item.currency for line in lines}
    if len(currencies) > 1:
        raise refusals.MixedCurrencyError
    for asked, line in zip(wanted.lines, lines, strict=True):
        item = line.offer.item
        if asked.price not in (None, money.from_minor(item.price_minor, item.currency)):
            raise refusals.PriceChangedError(product_id=line.product_id)
    first = min((line.offer.sale for line in lines), key=lambda sale: sale.uid)
    return PricedOrder(
        order_id=wanted.order_id,
        user_id=wanted.user_id,
        request_hash=wanted.request_hash,
        lines=lines,
        amount_minor=sum(line.offer.item.price_minor * line.quantity for line in lines),
        currency=currencies.pop(),
        topic=events.sale_topic(first.namespace, first.name),
    )


def _price_line(
    line: api.CheckoutLine, sighting: sales.Sighting, now: sales.AuthorityTime
) -> PricedLine:
    offer = sales.find_offer(sighting, line.product_id, now)
    if offer is None:
        raise refusals.UnknownProductError(product_id=line.product_id)
    return PricedLine(product_id=line.product_id, quantity=line.quantity, offer=offer)


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
                price_minor=line.offer.item.price_minor,
                currency=line.offer.item.currency,
                sale_uid=line.offer.sale.uid,
                epoch=epochs.get(line.product_id),
            )
            for line in order.lines
        ],
        traceparent=traceparent,
    )


def judge_item(
    order: PricedOrder, line: PricedLine, epoch: int | None, traceparent: str | None
) -> internal.JudgeItem:
    """Ask what it means that Redis had no permit for this line, or (without an epoch) for another one."""
    return internal.JudgeItem(
        order_id=order.order_id,
        user_id=order.user_id,
        request_hash=order.request_hash,
        product_id=line.product_id,
        quantity=line.quantity,
        sale_uid=line.offer.sale.uid,
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
                    price_minor=line.offer.item.price_minor,
                    sale_uid=line.offer.sale.uid,
                )
                for line in order.lines
            ],
            amount_minor=order.amount_minor,
            currency=order.currency,
            pay_by=pay_by,
            placed_at=now,
            topic=order.topic,
            traceparent=traceparent,
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
    named = [line for line in order.lines if line.product_id == product_id] or order.lines
    latest = max((line.offer.sale for line in named), key=lambda sale: sale.open_time)
    return kind(product_id=product_id, retry_after=sales.seconds_to_opening(latest, now))
