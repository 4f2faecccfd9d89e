"""Orders over HTTP on the real store: one per key, exact after lost replies, nothing without inventory."""

import asyncio
import json
from datetime import timedelta

import pytest

from doorbuster.kit import clock, ids
from doorbuster.testing.shelf import build_item, build_sale

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PHONE = ids.product_id("phone")


async def test_twenty_parallel_clicks_are_one_order(open_shop):
    async with open_shop() as shop:
        answers = await asyncio.gather(*(shop.buy() for _ in range(20)))
        orders, events = await shop.stored()
    assert {status for status, _ in answers} == {201}
    assert all(body == answers[0][1] for _, body in answers)
    assert answers[0][1]["orderId"] == ids.order_id("user_1", "key-1")
    assert answers[0][1]["amount"] == 99.90
    assert len(orders) == len(events) == 1


async def test_clicks_on_two_copies_are_one_order(open_shop):
    async with open_shop() as one, open_shop(shelf=one.shelf) as two:
        answers = await asyncio.gather(*(shop.buy() for _ in range(10) for shop in (one, two)))
        orders, events = await one.stored()
    assert {status for status, _ in answers} == {201}
    assert all(body == answers[0][1] for _, body in answers)
    assert len(orders) == len(events) == 1
    assert one.shelf.units[PHONE].available == 4


async def test_the_event_says_what_the_order_says(open_shop):
    async with open_shop() as shop:
        _, answer = await shop.buy()
        orders, events = await shop.stored()
    [order], [event] = orders, events
    payload = json.loads(event["payload"])
    assert (event["topic"], event["type"]) == ("sale.shop.drop.orders", "OrderPlaced")
    assert event["event_key"] == payload["orderId"] == answer["orderId"]
    assert event["traceparent"] == order["traceparent"]
    assert TRACE_ID in event["traceparent"]
    assert payload["lines"] == json.loads(order["lines"])
    assert payload["lines"][0] | {"saleUid": ""} == {
        "productId": PHONE,
        "quantity": 1,
        "priceMinor": 9990,
        "saleUid": "",
    }


async def test_another_body_under_the_key_is_422_and_changes_nothing(open_shop):
    async with open_shop() as shop:
        await shop.buy()
        before = await shop.stored()
        status, answer = await shop.buy(price=None)
        assert await shop.stored() == before
    assert (status, answer["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_forty_buyers_five_units_over_http(open_shop):
    async with open_shop() as shop:
        answers = await asyncio.gather(
            *(shop.buy(f"user_{number}", f"key-{number}") for number in range(40))
        )
        orders, _ = await shop.stored()
    assert sum(status == 201 for status, _ in answers) == len(orders) == 5
    losers = [answer for status, answer in answers if status != 201]
    assert {(answer["code"], answer["retryAfter"]) for answer in losers} == {("WAITING", 1)}


async def test_a_refusal_says_what_when_and_which_product(open_shop):
    opens = clock.utc_now() + timedelta(seconds=30)
    async with open_shop(build_sale(opens)) as shop:
        headers = {"Idempotency-Key": "k"}
        body = {"products": [{"productId": PHONE, "quantity": 1}]}
        status, found, answer = await shop.ask(
            "POST", "/v1/checkout", token=shop.identity.token(), body=body, headers=headers
        )
    assert (status, answer["code"], answer["productId"]) == (409, "SALE_NOT_OPEN", PHONE)
    assert 28 <= int(found["Retry-After"]) <= 30
    assert found["Content-Type"].startswith("application/problem+json")


async def test_a_lost_reply_is_503_and_the_retry_gets_the_order(open_shop):
    async with open_shop() as shop:
        shop.shelf.lost_replies = 1
        status, answer = await shop.buy()
        assert (status, answer["code"], answer["retryAfter"]) == (503, "UNAVAILABLE", 1)
        assert await shop.stored() == ([], [])
        status, _ = await shop.buy()
        orders, events = await shop.stored()
    assert status == 201
    assert len(orders) == len(events) == 1
    assert shop.shelf.units[PHONE].available == 4


async def test_without_inventory_orders_are_503_and_nothing_is_stored(open_shop):
    async with open_shop() as shop:
        await shop.ask("GET", "/v1/sales")
        shop.shelf.is_away = True
        status, answer = await shop.buy()
        assert (status, answer["code"]) == (503, "UNAVAILABLE")
        assert await shop.stored() == ([], [])
        status, _, sale = await shop.ask("GET", "/v1/sales/shop.drop")
    assert (status, sale["phase"]) == (200, "Open")


async def test_a_new_process_answers_as_the_old_one(open_shop):
    async with open_shop() as shop:
        first = await shop.buy()
        shelf = shop.shelf
    async with open_shop(shelf=shelf) as shop:
        assert await shop.buy() == first
        shelf.listed = []
        assert await shop.buy() == first, "also when the sale is no longer listed"
        shelf.release(first[1]["orderId"])
        status, answer = await shop.buy()
    assert (status, answer["code"]) == (409, "HOLD_EXPIRED")


async def test_without_redis_an_escrow_sale_goes_on(open_shop):
    sale = build_sale(clock.utc_now() - timedelta(minutes=1), build_item(per_user_limit=2))
    async with open_shop(sale) as shop:
        status, _ = await shop.buy(quantity=2)
        await shop.checks["postgres"]()
    assert status == 201
    assert shop.shelf.reservations[ids.order_id("user_1", "key-1")].item.lines[0].epoch is None


async def test_a_payment_begins_with_a_pin(open_shop):
    async with open_shop() as shop:
        _, answer = await shop.buy()
        path = f"/internal/v1/orders/{answer['orderId']}"
        status, order = await shop.internally("order", "GET", path)
        assert (status, order["amountMinor"], order["userId"]) == (200, 9990, "user_1")
        for _ in range(2):
            status, begun = await shop.internally(
                "payment", "POST", path + "/begin-payment", {"attempt": 1}
            )
            assert (status, begun) == (200, order)
        status, refused = await shop.internally(
            "payment", "POST", path + "/begin-payment", {"attempt": 2}
        )
        assert (status, refused["code"]) == (409, "PAYMENT_IN_PROGRESS")
    assert TRACE_ID in order["traceparent"]


async def test_a_payment_after_the_hold_is_refused(open_shop):
    async with open_shop() as shop:
        _, answer = await shop.buy()
        shop.shelf.release(answer["orderId"])
        status, refused = await shop.internally(
            "payment",
            "POST",
            f"/internal/v1/orders/{answer['orderId']}/begin-payment",
            {"attempt": 1},
        )
    assert (status, refused["code"]) == (409, "HOLD_EXPIRED")


@pytest.mark.parametrize("caller", ["gateway", "operator", "inventory"])
async def test_internal_routes_list_their_callers(open_shop, caller):
    unknown = ids.order_id("user_1", "nothing")
    async with open_shop() as shop:
        status, answer = await shop.internally("payment", "GET", f"/internal/v1/orders/{unknown}")
        assert (status, answer["code"]) == (404, "UNKNOWN_ORDER")
        status, answer = await shop.internally(caller, "GET", f"/internal/v1/orders/{unknown}")
    assert (status, answer["code"]) == (403, "FORBIDDEN")
