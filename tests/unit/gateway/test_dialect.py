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


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("POST", "api/checkout", "/v1/checkout"),
        ("POST", "api/payment", "/v1/payment"),
        ("GET", f"api/orders/{ORDER}/status", f"/v1/orders/{ORDER}/status"),
        ("GET", "api/checkout", None),
        ("POST", f"api/orders/{ORDER}/status", None),
        ("GET", "api/orders", None),
        ("GET", "api/internal/v1/pins", None),
    ],
)
def test_the_dialect_has_three_calls(method: str, path: str, target: str | None) -> None:
    call = dialect.find_call(method, tuple(path.split("/")))
    assert (call and call.path) == target
