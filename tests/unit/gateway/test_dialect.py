"""The short dialect, translated."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from doorbuster.contracts import api
from doorbuster.gateway import dialect

PRODUCT = "prod_01h455vb4pex5vsknk084sn02q"
ORDER = "order_01h455vb4pex5vsknk084sn02q"
CARD = {
    "orderId": ORDER,
    "cardDetails": "4242 4242 4242 4242",
    "expirationDate": "12/31",
    "cvv": "123",
}


def as_v1(translated: Any, kind: type[Any]) -> Any:
    """Read it as the service behind it will."""
    return msgspec.json.decode(
        msgspec.json.Encoder(decimal_format="number").encode(translated), type=kind
    )


@pytest.mark.parametrize(
    "body",
    [
        {"products": [{"productId": PRODUCT, "quantity": 1, "price": 999.99}]},
        {"products": [{"productId": PRODUCT, "quantity": 1, "price": "999.99"}]},
        {"products": [{"product_id": PRODUCT, "quantity": 1, "price": "999.99"}]},
    ],
)
def test_checkout_takes_either_spelling_and_numbers_as_text(body: Any) -> None:
    checkout = as_v1(dialect.checkout_request(body), api.Checkout)
    assert checkout.products == [
        api.CheckoutLine(product_id=PRODUCT, quantity=1, price=Decimal("999.99"))
    ]


def test_checkout_passes_the_rest_on() -> None:
    body = {"cart_id": "cart_1", "address_id": "addr_1", "discountCode": "X", "products": []}
    assert dialect.checkout_request(body) == {
        "cartId": "cart_1",
        "addressId": "addr_1",
        "discountCode": "X",
        "products": [],
    }


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "x",
        {"products": ["x"]},
        {"products": [None]},
        {"products": [{"product_id": PRODUCT, "productId": PRODUCT}]},
        {"products": [{"price": "12,50"}]},
        {"products": [{"price": "-1"}]},
        {"products": [{"price": "1e3"}]},
        {"products": [{"price": "NaN"}]},
        {"products": [{"price": "\u0661"}]},
        {"products": [{"price": "9" * 5000}]},
    ],
)
def test_an_untranslatable_checkout_is_refused(body: Any) -> None:
    with pytest.raises(dialect.UntranslatableError):
        dialect.checkout_request(body)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, (12, 2031, "4242 4242 4242 4242", "123")),
        ({"cardDetails": "4242-4242-4242-4242"}, (12, 2031, "4242 4242 4242 4242", "123")),
        ({"cardDetails": 4242424242424242}, (12, 2031, "4242424242424242", "123")),
        ({"expirationDate": "1/2031"}, (1, 2031, "4242 4242 4242 4242", "123")),
        ({"cvv": 1234}, (12, 2031, "4242 4242 4242 4242", "1234")),
    ],
)
def test_a_card_is_translated(changed: Any, expected: tuple[int, int, str, str]) -> None:
    payment = as_v1(dialect.payment_request({**CARD, **changed}), api.Payment)
    card = payment.card_details
    assert (card.exp_month, card.exp_year, card.number, card.cvc) == expected
    assert payment.order_id == ORDER


def test_a_token_needs_nothing_else() -> None:
    body = {"order_id": ORDER, "cardDetails": "pm_card_visa", "amount": "999.99"}
    payment = as_v1(dialect.payment_request(body), api.Payment)
    assert (payment.token, payment.card_details) == ("pm_card_visa", None)
    assert payment.amount == Decimal("999.99")


@pytest.mark.parametrize(
    "changed",
    [
        {"cardDetails": None},
        {"cardDetails": True},
        {"cardDetails": {"number": "4242424242424242"}},
        {"cvv": None},
        {"cvv": []},
        {"expirationDate": None},
        {"expirationDate": "1231"},
        {"expirationDate": "12/311"},
        {"expirationDate": 1231},
        {"amount": "a lot"},
        {"pin": "4711"},
    ],
)
def test_an_untranslatable_card_is_refused_without_repeating_it(changed: Any) -> None:
    with pytest.raises(dialect.UntranslatableError) as refused:
        dialect.payment_request({**CARD, **changed})
    for secret in ("4242", "123", "4711", "12/31"):
        assert secret not in str(refused.value)


def test_answers_have_the_dialects_shapes() -> None:
    assert dialect.checkout_answer({"orderId": ORDER, "amount": 1}) == {"orderId": ORDER}
    assert dialect.payment_answer({"status": "success"}) == {"status": "CONFIRMED"}
    assert dialect.payment_answer({"status": "failed"}) == {"status": "FAILED"}
    assert dialect.status_answer({"orderId": ORDER, "status": "pending", "history": []}) == {
        "orderId": ORDER,
        "status": "PENDING",
    }


PRODUCT_CARD = {
    "productId": PRODUCT,
    "title": "Phone",
    "price": Decimal("999.90"),
    "thumbnail": None,
    "category": "phones",
}
PAGES = {"page": 2, "size": 20, "totalPages": 7, "totalItems": 121}


def test_results_are_a_list_with_paging_in_the_headers() -> None:
    body = {"products": [PRODUCT_CARD], "pagination": PAGES, "nextCursor": "a+b/c"}
    assert msgspec.to_builtins(dialect.search_answer(body), builtin_types=(Decimal,)) == [
        {
            "product_id": PRODUCT,
            "name": "Phone",
            "thumbnail_url": None,
            "price": Decimal("999.90"),
        }
    ]
    assert dialect.paging_headers(body, "term=red%20phone&page=2&size=5") == {
        "X-Total-Count": "121",
        "X-Total-Pages": "7",
        "X-Page": "2",
        "Link": '</api/products/search?term=red%20phone&size=5&cursor=a%2Bb%2Fc>; rel="next"',
    }


def test_the_last_page_has_no_link() -> None:
    body = {"products": [], "pagination": PAGES, "nextCursor": None}
    assert "Link" not in dialect.paging_headers(body, "term=x")


def test_a_cart_of_nobody_shows_its_token_once() -> None:
    added = dialect.cart_answer({"cartId": "cart_1", "version": 1, "cartToken": "secret"})
    assert msgspec.to_builtins(added) == {"cart_id": "cart_1", "cart_token": "secret"}
    again = dialect.cart_answer({"cartId": "cart_1", "version": 2, "cartToken": None})
    assert msgspec.to_builtins(again) == {"cart_id": "cart_1"}


@pytest.mark.parametrize(
    ("method", "path", "target", "signed_in"),
    [
        ("GET", "api/products/search", "/v1/products/search", False),
        ("GET", f"api/products/{PRODUCT}", f"/v1/products/{PRODUCT}", False),
        ("POST", "api/cart/add", "/v1/cart/add", False),
        ("POST", "api/checkout", "/v1/checkout", True),
        ("POST", "api/payment", "/v1/payment", True),
        ("GET", f"api/orders/{ORDER}/status", f"/v1/orders/{ORDER}/status", True),
    ],
)
def test_what_stands_behind_a_call(method: str, path: str, target: str, signed_in: bool) -> None:
    call = dialect.find_call(method, tuple(path.split("/")))
    assert call is not None
    assert (call.path, call.signed_in) == (target, signed_in)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "api/checkout"),
        ("POST", f"api/orders/{ORDER}/status"),
        ("GET", "api/orders"),
        ("GET", "api/cart"),
        ("POST", "api/products/search"),
        ("GET", "api/internal/v1/pins"),
    ],
)
def test_the_dialect_has_no_other_calls(method: str, path: str) -> None:
    assert dialect.find_call(method, tuple(path.split("/"))) is None
