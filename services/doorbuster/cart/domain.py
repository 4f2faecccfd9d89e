"""The rules of a cart: what it may hold, what a purchase or another cart does to it, how it looks at today's prices."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from doorbuster.contracts import internal, shopping
from doorbuster.kit import money

MAX_LINES = shopping.MAX_CART_LINES
MAX_UNITS_OF_A_LINE = 1000
CART_OF_NOBODY_LIFE = timedelta(days=30)
# An older payment empties nothing, so that its order need not be remembered for longer.
BOUGHT_ORDER_LIFE = timedelta(days=30)

Availability = Literal["available", "insufficient", "sold_out", "gone", "unknown"]


class CartFullError(Exception):
    """The cart, or this line of it, holds all that it may."""


class UnknownCartError(Exception):
    """There is no such cart, or it is another's."""


class UnknownProductError(Exception):
    """Nobody sells this product; ``product_id`` names it."""

    def __init__(self, product_id: str) -> None:
        super().__init__("there is no such product")
        self.product_id = product_id


@dataclass(frozen=True, kw_only=True)
class OfUser:
    """The cart of a signed-in user: he has one."""

    user_id: str


@dataclass(frozen=True, kw_only=True)
class OfNobody:
    """The cart of whoever has its token, of which only the hash is known."""

    token_hash: str


Owner = OfUser | OfNobody


@dataclass(frozen=True, kw_only=True)
class Line:
    """Units of one product."""

    product_id: str
    quantity: int


Lines = tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class StoredCart:
    """A cart as it is kept: its lines in the order in which they came, and a version that grows with each change."""

    cart_id: str
    version: int
    lines: Lines


@dataclass(frozen=True, kw_only=True)
class Price:
    """The price of one unit in minor units of its currency."""

    amount_minor: int
    currency: str


@dataclass(frozen=True, kw_only=True)
class Market:
    """What is known of the products now; ``quotes`` and ``stock`` are None while nobody can say.

    ``sale_prices`` are those of open sales: they override the list price.
    """

    quotes: Mapping[str, internal.Quote] | None
    sale_prices: Mapping[str, Price]
    stock: Mapping[str, int] | None


def add(lines: Lines, product_id: str, quantity: int) -> Lines:
    """Return the lines with so many more units; raises CartFullError."""
    return put(lines, product_id, _units(lines).get(product_id, 0) + quantity)


def put(lines: Lines, product_id: str, quantity: int) -> Lines:
    """Return the lines with exactly so many units of the product; raises CartFullError."""
    if quantity > MAX_UNITS_OF_A_LINE:
        raise CartFullError(f"a line holds at most {MAX_UNITS_OF_A_LINE} units")
    units = _units(lines) | {product_id: quantity}
    if len(units) > MAX_LINES:
        raise CartFullError(f"a cart holds at most {MAX_LINES} products")
    return _lines(units)


def remove(lines: Lines, product_id: str) -> Lines:
    """Return the lines without the product."""
    return tuple(line for line in lines if line.product_id != product_id)


def join(lines: Lines, others: Lines) -> Lines:
    """Return both carts in one, cut at the limits: what a user already had comes first."""
    units = _units(lines)
    for line in others:
        if line.product_id in units or len(units) < MAX_LINES:
            both = units.get(line.product_id, 0) + line.quantity
            units[line.product_id] = min(both, MAX_UNITS_OF_A_LINE)
    return _lines(units)


def take_out(lines: Lines, bought: Collection[Line]) -> Lines:
    """Return what is left after a purchase; more may have been bought than was in the cart."""
    units = _units(lines)
    for line in bought:
        if line.product_id in units:
            units[line.product_id] -= line.quantity
    return _lines({name: left for name, left in units.items() if left > 0})


def show(cart: StoredCart | None, market: Market) -> shopping.Cart:
    """Return the cart at today's prices; None is an empty cart that nobody has made yet."""
    if cart is None:
        return shopping.Cart(cart_id=None, version=0, products=[], total=None, currency=None)
    lines = [_shown(line, market) for line in cart.lines]
    currencies = {line.currency for line in lines if line.currency is not None}
    currency = currencies.pop() if len(currencies) == 1 else None
    total = None
    if currency is not None:
        zero = money.from_minor(0, currency)
        total = sum((line.line_total for line in lines if line.line_total is not None), zero)
    return shopping.Cart(
        cart_id=cart.cart_id, version=cart.version, products=lines, total=total, currency=currency
    )


def _shown(line: Line, market: Market) -> shopping.CartLine:
    quote = (market.quotes or {}).get(line.product_id)
    price = market.sale_prices.get(line.product_id)
    if price is None and quote is not None:
        price = Price(amount_minor=quote.price_minor, currency=quote.currency)
    availability, left = _availability(line, market, is_sold=price is not None)
    cost = None if price is None else money.from_minor(price.amount_minor, price.currency)
    return shopping.CartLine(
        product_id=line.product_id,
        quantity=line.quantity,
        title=None if quote is None else quote.title,
        thumbnail=None if quote is None else quote.thumbnail,
        price=cost,
        currency=None if price is None else price.currency,
        line_total=None if cost is None else cost * line.quantity,
        available_qty=left,
        availability=availability,
    )


def _availability(line: Line, market: Market, *, is_sold: bool) -> tuple[Availability, int | None]:
    if not is_sold:
        return ("unknown" if market.quotes is None else "gone"), None
    if market.stock is None:
        return "unknown", None
    left = market.stock.get(line.product_id, 0)  # no stock row: nothing to be had
    if left <= 0:
        return "sold_out", 0
    return ("available" if left >= line.quantity else "insufficient"), left


def open_prices(answer: internal.Sales, now: datetime) -> dict[str, Price]:
    """Return the prices of the sales that are open; ``now`` by inventory's own clock."""
    return {
        item.product_id: Price(amount_minor=item.price_minor, currency=item.currency)
        for sale in answer.sales
        if sale.state == "Active" and sale.open_time <= now < sale.close_time
        for item in sale.items
    }


def announced(answer: internal.Sales) -> frozenset[str]:
    """Return the products of all sales that inventory tells of: they may have no page in the catalogue."""
    return frozenset(item.product_id for sale in answer.sales for item in sale.items)


def _units(lines: Sequence[Line]) -> dict[str, int]:
    return {line.product_id: line.quantity for line in lines}


def _lines(units: Mapping[str, int]) -> Lines:
    return tuple(Line(product_id=name, quantity=quantity) for name, quantity in units.items())
