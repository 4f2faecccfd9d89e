"""Whatever is sent, the answer is a 4xx problem with a stable code, and nothing changes."""

import json

import pytest

from doorbuster.kit import ids

PHONE = ids.product_id("phone")
LINE = {"productId": PHONE, "quantity": 1, "price": 99.9}
ORDER = ids.order_id("user_1", "nothing")


def body(**changed):
    return json.dumps({"products": [LINE]} | changed).encode()


def line(**changed):
    return body(products=[LINE | changed])


def price(text):
    return body().replace(b"99.9", text)


BODIES = {
    "empty": (b"", 400),
    "no json": (b"{", 400),
    "no utf-8": (b'{"products": "\xff\xfe"}', 422),
    "null": (b"null", 422),
    "list": (b"[]", 422),
    "number": (b"1e9999", 422),
    "deep": (b"[" * 30_000, 422),
    "deep inside": (b'{"products":' + b"[" * 20_000 + b"]" * 20_000 + b"}", 422),
    "nothing": (b"{}", 422),
    "no lines": (body(products=[]), 422),
    "too many lines": (body(products=[LINE] * 51), 422),
    "lines of another type": (body(products="phone"), 422),
    "unknown field": (body(userId="user_2"), 422),
    "unknown field in a line": (line(priceMinor=1), 422),
    "a product twice": (body(products=[LINE, LINE]), 422),
    "no product": (body(products=[{"quantity": 1}]), 422),
    "product of another kind": (line(productId="cart_01h455vb4pex5vsknk084sn02q"), 422),
    "product with a NUL": (line(productId="prod_\x00"), 422),
    "product with a newline": (line(productId=PHONE + "\n"), 422),
    "product of unicode": (line(productId="prod_" + "\N{ARABIC-INDIC DIGIT ONE}" * 26), 422),
    "injection": (line(productId="' OR 1=1 --"), 422),
    "endless product": (line(productId="p" * 10_000), 422),
    "unknown product": (line(productId=ids.product_id("nothing")), 422),
    "quantity 0": (line(quantity=0), 422),
    "quantity -1": (line(quantity=-1), 422),
    "quantity 1001": (line(quantity=1001), 422),
    "quantity 1.5": (line(quantity=1.5), 422),
    "quantity true": (line(quantity=True), 422),
    "quantity text": (line(quantity="1"), 422),
    "quantity huge": (line(quantity=10**40), 422),
    "price negative": (price(b"-1"), 422),
    "price nan": (price(b'"NaN"'), 422),
    "price snan": (price(b'"sNaN"'), 422),
    "price infinity": (price(b'"Infinity"'), 422),
    "price huge": (price(b"1e400"), 422),
    "price tiny": (price(b"1e-400"), 422),
    "price long": (price(b"9" * 20_000), 422),
    "price text": (price(b'"cheap"'), 422),
    "price list": (price(b"[1]"), 422),
    "price too fine": (price(b"99.901"), 409),
    "price old": (price(b"1"), 409),
    "bad cart": (body(cartId="cart"), 422),
    "cart of another type": (body(cartId=7), 422),
    "address": (body(addressId="addr_01h455vb4pex5vsknk084sn02q"), 422),
    "discount": (body(discountCode="SAVE10"), 422),
    "discount empty": (body(discountCode=""), 422),
    "too large": (b" " * 70_000 + body(), 413),
}


async def test_bad_bodies(open_shop):
    async with open_shop() as shop:
        token = shop.identity.token()
        seen = {}
        for name, (raw, _) in BODIES.items():
            status, _, answer = await shop.ask(
                "POST", "/v1/checkout", token=token, raw=raw, headers={"Idempotency-Key": name}
            )
            seen[name] = status
            assert answer["code"], name
            assert answer["status"] == status, name
        assert seen == {name: status for name, (_, status) in BODIES.items()}
        assert await shop.stored() == ([], [])
        assert not shop.shelf.reservations


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Idempotency-Key": ""}, 422),
        ({"Idempotency-Key": "x" * 201}, 422),
        ({"Idempotency-Key": "caf\N{LATIN SMALL LETTER E WITH ACUTE}"}, 422),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Authorization": ""}, 401),
        ({"Authorization": "Basic YTpi"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Bearer a.b.c"}, 401),
    ],
)
async def test_bad_headers(open_shop, headers, status):
    async with open_shop() as shop:
        sent = {"Authorization": f"Bearer {shop.identity.token()}"} | headers
        found, _, answer = await shop.ask("POST", "/v1/checkout", raw=body(), headers=sent)
        assert (found, bool(answer["code"])) == (status, True)
        assert await shop.stored() == ([], [])


@pytest.mark.parametrize(
    "changed", [{"exp": 1}, {"aud": "checkout"}, {"iss": "somebody"}, {"sub": None}]
)
async def test_bad_tokens(open_shop, changed):
    async with open_shop() as shop:
        token = shop.identity.token(**changed)
        status, _, answer = await shop.ask("POST", "/v1/checkout", token=token, raw=body())
    assert (status, answer["code"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/sales?page=0", 422),
        ("GET", "/v1/sales?page=abc", 422),
        ("GET", "/v1/sales?page=99999999999999999999", 422),
        ("GET", "/v1/sales?size=101", 422),
        ("GET", "/v1/sales?size=", 422),
        ("GET", "/v1/sales?size=%00", 422),
        ("GET", "/v1/sales?page=5&nonsense=1", 200),
        ("GET", "/v1/sales/nothing", 404),
        ("GET", "/v1/sales/%00", 404),
        ("GET", "/v1/sales/..%2f..%2fetc", 404),
        ("GET", "/v1/sales/" + "x" * 5_000, 404),
        ("DELETE", "/v1/sales", 405),
        ("PUT", "/v1/checkout", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", f"/internal/v1/orders/{ORDER}", 401),
        ("POST", f"/internal/v1/orders/{ORDER}/begin-payment", 401),
    ],
)
async def test_bad_paths(open_shop, method, path, status):
    async with open_shop() as shop:
        found, _, _ = await shop.ask(method, path)
    assert found == status


@pytest.mark.parametrize("attempt", [0, -1, 10**30, 1.5, "1", None, True])
async def test_bad_attempts(open_shop, attempt):
    async with open_shop() as shop:
        status, answer = await shop.internally(
            "payment",
            "POST",
            f"/internal/v1/orders/{ORDER}/begin-payment",
            {"attempt": attempt},
        )
    assert (status, answer["code"]) == (422, "INVALID")


@pytest.mark.parametrize(
    "order_id", ["x", "order_", "%00", "order_" + "z" * 26, "prod_" + "0" * 26]
)
async def test_bad_order_ids_name_no_order(open_shop, order_id):
    async with open_shop() as shop:
        status, answer = await shop.internally("order", "GET", f"/internal/v1/orders/{order_id}")
    assert (status, answer["code"]) == (404, "UNKNOWN_ORDER")
