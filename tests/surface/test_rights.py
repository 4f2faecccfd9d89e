"""Who may call what: every public call by nobody, a buyer, another buyer, a merchant and an admin."""

import re
import uuid

import pytest

from doorbuster.contracts import surface
from doorbuster.kit import ids

PEOPLE = ("nobody", "buyer", "merchant", "admin")
MAY = {
    "anyone": {"nobody", "buyer", "merchant", "admin"},
    "buyer": {"buyer", "merchant", "admin"},
    "merchant": {"merchant", "admin"},
    "admin": {"admin"},
}
PREFIXES = {"productId": "prod", "orderId": "order", "addressId": "addr", "imageId": "img"}
OTHERS = {"saleId": "default.nothing", "code": "NOTHING"}
ADDRESS = {
    "recipient": "A. Buyer",
    "line1": "1 Queue Street",
    "city": "Doorville",
    "postalCode": "12345",
    "country": "DE",
}


def concrete(call: surface.Call) -> str:
    """Return a path with ids that are well-formed and name nothing."""

    def named(match: "re.Match[str]") -> str:
        name = match[1]
        return ids.new_id(PREFIXES[name]) if name in PREFIXES else OTHERS[name]

    return re.sub(r"\{(\w+)\}", named, call.path)


def ask(person, call: surface.Call):
    return person.ask(call.method, concrete(call), json={} if call.body else None)


def code(answer) -> str:
    if answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        return answer.json()["code"]
    return ""


@pytest.mark.parametrize("call", surface.CALLS, ids=lambda call: f"{call.method} {call.path}")
def test_a_call_is_open_to_those_who_may_and_to_nobody_else(call, people, enter) -> None:
    own = {own_code for _status, own_code in call.codes}
    for name in PEOPLE:
        # Whoever logs out is somebody new.
        leaves = call.path == "/v1/sessions" and call.method == "DELETE" and name == "buyer"
        answer = ask(enter(name) if leaves else people[name], call)
        if name in MAY[call.access]:
            assert answer.status_code < 500, (name, answer.text)
            assert code(answer) not in {"UNAUTHENTICATED", "FORBIDDEN"} - own, (name, answer.text)
            assert answer.status_code != 405, name
        else:
            expected = (401, "UNAUTHENTICATED") if name == "nobody" else (403, "FORBIDDEN")
            assert (answer.status_code, code(answer)) == expected, (name, answer.text)


def test_every_call_has_a_handler_behind_the_door(people) -> None:
    """A path that no service serves is NOT_FOUND whoever asks; a thing that is not there has its own code."""
    for call in surface.CALLS:
        if call.owned or "{" in call.path:
            continue
        answer = ask(people["admin"], call)
        assert code(answer) != "NOT_FOUND", f"{call.method} {call.path}"


@pytest.mark.parametrize("token", ["x", "Bearer", "a.b.c", "e" * 4000])
def test_a_token_that_is_none_opens_nothing(token, people) -> None:
    for call in surface.CALLS:
        if call.access == "anyone":
            continue
        headers = {"Authorization": f"Bearer {token}"}
        answer = people["nobody"].ask(call.method, concrete(call), headers=headers)
        assert (answer.status_code, code(answer)) == (401, "UNAUTHENTICATED"), call.path


def test_nobody_sees_or_changes_anothers_address(people) -> None:
    made = people["buyer"].ask("POST", "/v1/users/me/addresses", json=ADDRESS)
    assert made.status_code == 201, made.text
    path = f"/v1/users/me/addresses/{made.json()['addressId']}"
    for name in ("other", "merchant", "admin"):
        for method, body in (("GET", None), ("PUT", ADDRESS), ("DELETE", None)):
            answer = people[name].ask(method, path, json=body)
            assert (answer.status_code, code(answer)) == (404, "UNKNOWN_ADDRESS"), (name, method)
    assert people["buyer"].ask("GET", path).json() == made.json()


@pytest.fixture(scope="module")
def product(people) -> str:
    """A product with stock."""
    sku = f"rights-{uuid.uuid4().hex[:12]}"
    draft = {"sku": sku, "title": "Kettle", "category": "kitchen", "price": 20, "currency": "EUR"}
    made = people["merchant"].ask("POST", "/v1/admin/products", json=draft)
    assert made.status_code == 201, made.text
    product_id = made.json()["productId"]
    stocked = people["merchant"].ask("PUT", f"/v1/admin/stock/{product_id}", json={"total": 100})
    assert stocked.status_code == 200, stocked.text
    return product_id


def test_nobody_sees_pays_or_cancels_anothers_order(people, product) -> None:
    line = {"productId": product, "quantity": 1, "price": 20}
    placed = people["buyer"].ask("POST", "/v1/checkout", json={"products": [line]})
    assert placed.status_code == 201, placed.text
    order_id = placed.json()["orderId"]
    path = f"/v1/orders/{order_id}"
    for name in ("other", "merchant", "admin"):
        person = people[name]
        calls = [
            ("GET", path, None),
            ("GET", path + "/status", None),
            ("GET", path + "/events", None),
        ]
        calls += [("POST", path + "/cancel", {}), ("POST", path + "/return", {})]
        calls.append(("POST", "/v1/payment", {"orderId": order_id, "token": "pm_card_visa"}))
        for method, where, body in calls:
            answer = person.ask(method, where, json=body)
            assert (answer.status_code, code(answer)) == (404, "UNKNOWN_ORDER"), (name, where)
        listed = person.ask("GET", "/v1/orders").json()["orders"]
        assert order_id not in [order["orderId"] for order in listed]
    assert people["buyer"].ask("GET", path + "/status").json()["status"] == "pending"


def test_nobody_sees_or_empties_anothers_cart(people, product) -> None:
    item = {"productId": product, "quantity": 3}
    made = people["nobody"].ask("POST", "/v1/cart/add", json=item)
    assert made.status_code == 200, made.text
    token = {"X-Cart-Token": made.json()["cartToken"]}
    mine = people["buyer"].ask("PUT", "/v1/cart/update", json=item)
    assert mine.status_code == 200, mine.text
    for name in ("nobody", "other", "merchant", "admin"):
        seen = people[name].ask("GET", "/v1/cart").json()
        assert product not in [line["productId"] for line in seen["products"]], name
    checkout = {
        "cartId": mine.json()["cartId"],
        "products": [{"productId": product, "quantity": 3}],
    }
    refused = people["other"].ask("POST", "/v1/checkout", json=checkout)
    assert (refused.status_code, code(refused)) == (422, "UNKNOWN_CART")
    guessed = people["nobody"].ask("GET", "/v1/cart", headers={"X-Cart-Token": "x" * 43})
    assert (guessed.status_code, code(guessed)) == (404, "UNKNOWN_CART")
    [line] = people["nobody"].ask("GET", "/v1/cart", headers=token).json()["products"]
    assert (line["productId"], line["quantity"]) == (product, 3)


def test_a_role_cannot_be_taken(people) -> None:
    body = {"name": "Eve", "email": f"{uuid.uuid4().hex}@surface.example", "password": "x" * 12}
    assert (
        people["nobody"].ask("POST", "/v1/users", json=body | {"role": "admin"}).status_code == 422
    )
    assert people["buyer"].ask("PATCH", "/v1/users/me", json={"role": "admin"}).status_code == 422
    assert people["buyer"].ask("GET", "/v1/users/me").json()["role"] == "buyer"


def test_what_is_internal_is_not_there(people) -> None:
    for path in ("/internal/v1/users/user_1/contact", "/control/v1/pools", "/metrics", "/readyz"):
        for name in PEOPLE:
            assert people[name].ask("GET", path).status_code == 404, (name, path)
