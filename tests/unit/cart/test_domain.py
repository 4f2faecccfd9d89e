"""What a cart may hold, and what purchases, other carts and today's prices make of it."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal

import pytest

from doorbuster.cart import domain
from doorbuster.cart.domain import CartFullError, Line, Lines, Market, Price, StoredCart
from doorbuster.contracts import internal
from doorbuster.testing.carts import NOON, product, quote, sale

FULL: Lines = tuple(Line(product_id=product(n), quantity=1) for n in range(domain.MAX_LINES))


def lines(**units: int) -> Lines:
    return tuple(Line(product_id=name, quantity=quantity) for name, quantity in units.items())


def test_adding_adds_to_what_is_there_and_putting_sets_it() -> None:
    assert domain.add(lines(a=2), "a", 3) == lines(a=5)
    assert domain.add(lines(a=2), "b", 3) == lines(a=2, b=3)
    assert domain.put(lines(a=2, b=1), "a", 3) == lines(a=3, b=1)


def test_a_line_and_a_cart_are_full_at_their_limits() -> None:
    most = domain.MAX_UNITS_OF_A_LINE
    assert domain.add(lines(a=most - 1), "a", 1) == lines(a=most)
    with pytest.raises(CartFullError):
        domain.add(lines(a=most), "a", 1)
    with pytest.raises(CartFullError):
        domain.add(FULL, product(domain.MAX_LINES), 1)
    assert len(domain.add(FULL, product(0), 1)) == domain.MAX_LINES


def test_what_is_removed_is_gone_and_the_rest_stays_in_its_order() -> None:
    assert domain.remove(lines(a=1, b=2, c=3), "b") == lines(a=1, c=3)
    assert domain.remove(lines(a=1), "b") == lines(a=1)


def test_joined_carts_add_up_to_the_limits() -> None:
    assert domain.join(lines(a=1, b=2), lines(b=3, c=4)) == lines(a=1, b=5, c=4)
    assert domain.join(lines(a=900), lines(a=900)) == lines(a=domain.MAX_UNITS_OF_A_LINE)
    joined = domain.join(FULL, (Line(product_id=product(3), quantity=2), *lines(late=1)))
    assert [one.product_id for one in joined] == [one.product_id for one in FULL]
    assert joined[3].quantity == 3


def test_what_was_bought_leaves_the_cart_and_no_more_than_was_in_it() -> None:
    assert domain.take_out(lines(a=3, b=1, c=2), lines(a=1, b=5, d=1)) == lines(a=2, c=2)


def show(cart: Lines, **known: Mapping[str, object] | None) -> domain.shopping.Cart:
    defaults: dict[str, object] = {
        "quotes": {product(1): quote(1), product(2): quote(2, price_minor=500)},
        "sale_prices": {},
        "stock": {product(1): 10, product(2): 1},
    }
    stored = StoredCart(cart_id="cart_1", version=3, lines=cart)
    return domain.show(stored, Market(**(defaults | known)))  # type: ignore[arg-type]  # by name


def of(*units: tuple[int, int]) -> Lines:
    return tuple(Line(product_id=product(number), quantity=many) for number, many in units)


def test_a_cart_shows_live_prices_their_total_and_what_can_be_had() -> None:
    seen = show(of((1, 3), (2, 2)))
    assert [one.price for one in seen.products] == [Decimal("19.99"), Decimal("5.00")]
    assert [one.line_total for one in seen.products] == [Decimal("59.97"), Decimal("10.00")]
    assert (seen.total, seen.currency) == (Decimal("69.97"), "EUR")
    assert [(one.availability, one.available_qty) for one in seen.products] == [
        ("available", 10),
        ("insufficient", 1),
    ]


def test_the_price_of_an_open_sale_overrides_the_list_price_and_needs_no_page() -> None:
    prices = {product(n): Price(amount_minor=999, currency="EUR") for n in (1, 7)}
    first, unlisted = show(of((1, 1), (7, 1)), sale_prices=prices).products
    assert (first.price, first.title) == (Decimal("9.99"), "Thing 1")
    assert (unlisted.price, unlisted.title) == (Decimal("9.99"), None)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"stock": {product(1): 0}}, ("sold_out", 0)),
        ({"stock": {}}, ("sold_out", 0)),
        ({"stock": None}, ("unknown", None)),
        ({"quotes": {}}, ("gone", None)),
        ({"quotes": None}, ("unknown", None)),
    ],
)
def test_a_line_says_what_is_known_of_it(
    known: dict[str, None], expected: tuple[str, int | None]
) -> None:
    [line] = show(of((1, 1)), **known).products
    assert (line.availability, line.available_qty) == expected
    assert (line.price is None) == ("quotes" in known)


def test_there_is_no_total_of_two_currencies_nor_of_nothing() -> None:
    mixed = {product(1): quote(1), product(2): quote(2, currency="JPY")}
    seen = show(of((1, 1), (2, 1)), quotes=mixed)
    assert (seen.total, seen.currency) == (None, None)
    assert seen.products[1].price == Decimal("1999")
    assert show(of((1, 1)), quotes=None).total is None
    empty = domain.show(None, Market(quotes={}, sale_prices={}, stock={}))
    assert (empty.cart_id, empty.version, empty.products, empty.total) == (None, 0, [], None)


@pytest.mark.parametrize(
    ("opens_in", "is_open"), [(1.0, False), (0.0, True), (-599.0, True), (-600.0, False)]
)
def test_a_sale_has_its_price_from_its_opening_until_it_closes(
    opens_in: float, is_open: bool
) -> None:
    answer = internal.Sales(sales=[sale(1, opens_in=opens_in)], server_time=NOON)
    assert bool(domain.open_prices(answer, NOON)) == is_open
    assert domain.announced(answer) == {product(1)}
    later = NOON + timedelta(seconds=1)
    assert bool(domain.open_prices(answer, later)) == (opens_in in (1.0, 0.0))
