"""One purchase through the everyday shop on its real servers, from the merchant's first word to the buyer's review."""

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from devstack.errors import StackError

# Bounded for any machine; `make bench-freshness` measures what a change takes to reach the search page.
WITHIN_SECONDS = 60.0
ADDRESS = {
    "recipient": "Ada Lovelace",
    "line1": "Main Street 1",
    "city": "Berlin",
    "postalCode": "10115",
    "country": "DE",
}


@pytest.fixture(scope="module")
def captured(shop, stack) -> None:
    """Changes of stock and products are captured."""
    try:
        stack.up(only=("connectors", "cdc"))
    except StackError as error:
        pytest.fail(str(error), pytrace=False)


def eventually(look: Callable[[], Any], what: str) -> Any:
    """Return the first answer that is true; fails after a while with the last one."""
    until = time.monotonic() + WITHIN_SECONDS
    while not (seen := look()):
        assert time.monotonic() < until, f"{what}; last seen: {seen}"
        time.sleep(0.1)
    return seen


def done(answer, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


@pytest.fixture
def word() -> str:
    """A word that only this test's product has."""
    return "qu" + uuid.uuid4().hex[:10].translate(str.maketrans("0123456789", "ghijklmnop"))


def found(people, word: str, **filters: str) -> list[dict[str, Any]]:
    """Return what the index finds, once it answers in time."""

    def look() -> dict[str, Any] | None:
        query = {"term": word, **filters}
        answer = done(people["nobody"].ask("GET", "/v1/products/search", params=query))
        return None if answer["degraded"] else answer

    return eventually(look, "the index answers")["products"]


def make_product(people, word: str, *, total: int | None) -> dict[str, Any]:
    draft = {
        "sku": f"walk-{word}",
        "title": f"Kettle {word}",
        "category": "kitchen",
        "price": 19.99,
        "currency": "EUR",
    }
    made = people["merchant"].ask("POST", "/v1/admin/products", json=draft)
    product = done(made, 201) | {"etag": made.headers["ETag"]}
    if total is not None:
        set_stock(people, product["productId"], total)
    return product


def set_stock(people, product_id: str, total: int) -> None:
    done(people["merchant"].ask("PUT", f"/v1/admin/stock/{product_id}", json={"total": total}))


def test_stock_and_deletion_reach_the_search_page(people, captured, word) -> None:
    product = make_product(people, word, total=None)
    product_id = product["productId"]
    eventually(lambda: found(people, word), "a new product is found")
    assert found(people, word, available="true") == []
    set_stock(people, product_id, 3)
    [card] = eventually(
        lambda: found(people, word, available="true"), "stock brings it among what is available"
    )
    assert (card["productId"], card["availableQty"]) == (product_id, 3)
    set_stock(people, product_id, 0)
    eventually(lambda: found(people, word, available="false"), "it is sold out in the index too")
    path = f"/v1/admin/products/{product_id}"
    done(people["merchant"].ask("DELETE", path, headers={"If-Match": product["etag"]}), 204)
    eventually(lambda: not found(people, word), "a deleted product disappears")
    assert people["nobody"].ask("GET", f"/v1/products/{product_id}").status_code == 404


def test_a_purchase_from_the_first_look_to_the_review_and_back(
    people, captured, enter, word
) -> None:
    product_id = make_product(people, word, total=2)["productId"]
    buyer = enter("walker")
    code = f"WALK-{word[:12]}".upper()
    draft = {"kind": "percentage", "percent": 10, "totalUses": 1}
    done(people["merchant"].ask("PUT", f"/v1/admin/discounts/{code}", json=draft))

    [card] = eventually(lambda: found(people, f"ketle {word}"), "found in spite of a mistake")
    assert (card["productId"], card["price"]) == (product_id, 19.99)
    order = fill_cart(people["nobody"], buyer, product_id) | {"discountCode": code}
    placed = place(buyer, order)
    pay(buyer, placed)
    refused = buyer.ask("POST", "/v1/checkout", json={**order, "cartId": None, "addressId": None})
    assert done(refused, 409)["code"] == "DISCOUNT_USED_UP"
    receive_and_review(people, buyer, placed["orderId"], product_id)
    give_back(people, buyer, placed["orderId"], product_id)


def fill_cart(nobody, buyer, product_id: str) -> dict[str, Any]:
    """Fill a cart before log-in, take it over; returns what checkout is asked."""
    item = {"productId": product_id, "quantity": 1}
    added = done(nobody.ask("POST", "/v1/cart/add", json=item))
    merged = done(buyer.ask("POST", "/v1/cart/merge", json={"cartToken": added["cartToken"]}))
    [line] = done(buyer.ask("GET", "/v1/cart"))["products"]
    assert (line["productId"], line["availability"]) == (product_id, "available")
    address = done(buyer.ask("POST", "/v1/users/me/addresses", json=ADDRESS), 201)
    return {
        "cartId": merged["cartId"],
        "products": [item | {"price": 19.99}],
        "addressId": address["addressId"],
    }


def place(buyer, order: dict[str, Any]) -> dict[str, Any]:
    """Check out with a double click."""
    placed = done(buyer.ask("POST", "/v1/checkout", json=order), 201)
    assert done(buyer.ask("POST", "/v1/checkout", json=order), 201) == placed
    assert (placed["amount"], placed["totals"]["discount"]) == (17.99, 2.00)
    assert done(buyer.ask("GET", "/v1/cart"))["products"], "emptied only when it is paid"
    return placed


def status_of(buyer, order_id: str) -> str:
    return done(buyer.ask("GET", f"/v1/orders/{order_id}/status"))["status"]


def pay(buyer, placed: dict[str, Any]) -> None:
    """Pay with a card that is declined, then with one that is not."""
    order_id = placed["orderId"]
    assert status_of(buyer, order_id) == "pending"
    for token, outcome in (("pm_card_chargeDeclined", "failed"), ("pm_card_visa", "success")):
        body = {"orderId": order_id, "token": token}
        assert done(buyer.ask("POST", "/v1/payment", json=body))["status"] == outcome
    eventually(lambda: status_of(buyer, order_id) == "confirmed", "the order is confirmed")
    eventually(lambda: not done(buyer.ask("GET", "/v1/cart"))["products"], "the cart is empty")
    shown = done(buyer.ask("GET", f"/v1/orders/{order_id}"))
    assert shown["address"]["recipient"] == "Ada Lovelace"
    assert shown["totals"] == placed["totals"]


def receive_and_review(people, buyer, order_id: str, product_id: str) -> None:
    """Ship and deliver; only then may he review it."""
    review = {"rating": 4, "title": "It boils"}
    reviews = f"/v1/products/{product_id}/reviews"
    assert done(buyer.ask("POST", reviews, json=review), 403)["code"] == "NOT_RECEIVED"
    parcel = {"carrier": "Swift Parcels", "trackingNumber": "SP-1"}
    done(people["admin"].ask("POST", f"/v1/admin/orders/{order_id}/shipments", json=parcel))
    seen = done(buyer.ask("GET", f"/v1/orders/{order_id}/status"))
    assert (seen["status"], seen["trackingNumber"]) == ("shipped", "SP-1")
    refused = buyer.ask("POST", f"/v1/orders/{order_id}/cancel", json={})
    assert done(refused, 409)["code"] == "NOT_CANCELLABLE"
    done(people["admin"].ask("POST", f"/v1/admin/orders/{order_id}/deliveries", json={}))
    eventually(
        lambda: buyer.ask("POST", reviews, json=review).status_code in (201, 409),
        "he may review it",
    )
    details = done(people["nobody"].ask("GET", f"/v1/products/{product_id}"))
    assert details["rating"] == {"average": 4.0, "count": 1}
    assert details["reviews"][0]["author"] == "Walker"
    assert details["availableQty"] == 1


def give_back(people, buyer, order_id: str, product_id: str) -> None:
    """Ask to return it and have that accepted: money and unit go back."""
    done(buyer.ask("POST", f"/v1/orders/{order_id}/return", json={"reason": "too loud"}))
    done(people["admin"].ask("POST", f"/v1/admin/orders/{order_id}/returns", json={}))
    eventually(lambda: status_of(buyer, order_id) == "returned", "the return is known")
    stock = f"/v1/admin/stock/{product_id}"
    eventually(
        lambda: done(people["merchant"].ask("GET", stock))["available"] == 2, "the unit is back"
    )
