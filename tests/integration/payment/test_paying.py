"""Paying an order, as a buyer sees it: real service, real database, real provider sandbox."""

import asyncio
from typing import Any

import pytest

from doorbuster.kit import ids

GOOD_CARD = "4242424242424242"
DECLINED_CARD = "4000000000000002"
TOPIC = "sale.default.drop.orders"


async def test_a_good_card_sells_once_and_is_captured(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    status, body = await world.pay(buyer, order_id, key="k1")
    assert (status, body["status"]) == (200, "success")
    assert body["transactionId"].startswith("txn_")
    await world.until_states(order_id, "CAPTURED")
    [intent] = await world.intents(order_id)
    assert (intent["status"], intent["amountCaptured"], intent["attempt"]) == (
        "succeeded",
        99_900,
        1,
    )
    told = await world.events(order_id)
    assert told[:2] == [("PaymentSucceeded", TOPIC), ("PaymentCaptured", "orders")]
    [row] = await world.rows("SELECT * FROM payment WHERE order_id = :id", id=order_id)
    assert (row["brand"], row["last4"]) == ("visa", "4242")


async def test_the_event_carries_the_trace_of_the_order(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    await world.pay(buyer, order_id)
    rows = await world.rows("SELECT traceparent FROM outbox WHERE event_key = :id", id=order_id)
    assert rows[0]["traceparent"].split("-")[1] == "0af7651916cd43dd8448eb211c80319c"


async def test_a_declined_card_gives_the_units_back_and_another_card_may_pay(
    world: Any, buyer: str
) -> None:
    order_id = world.neighbours.place(buyer)
    status, body = await world.pay(buyer, order_id, card=DECLINED_CARD)
    assert (status, body["status"], body["declineCode"]) == (200, "failed", "generic_decline")
    assert world.neighbours.unpinned == [(order_id, 1)]
    status, body = await world.pay(buyer, order_id, card=GOOD_CARD)
    assert (status, body["status"]) == (200, "success")
    await world.until_states(order_id, "DECLINED", "CAPTURED")
    assert (await world.events(order_id))[0] == ("PaymentFailed", TOPIC)


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ("4000000000000002", "generic_decline"),
        ("4000000000009995", "insufficient_funds"),
        ("4000000000009987", "lost_card"),
        ("4000000000009979", "stolen_card"),
        ("4000000000000119", "processing_error"),
        ("4000000000000069", "expired_card"),
        ("4000000000000127", "incorrect_cvc"),
        ("4000002500003155", "authentication_required"),
        ("4000002760003184", "authentication_required"),
        ("4242424242424241", "incorrect_number"),
        ("4111111111111111", "card_declined"),
    ],
)
async def test_each_kind_of_decline_has_its_code(
    world: Any, buyer: str, card: str, code: str
) -> None:
    order_id = world.neighbours.place(buyer)
    status, body = await world.pay(buyer, order_id, card=card)
    assert (status, body["status"], body["declineCode"]) == (200, "failed", code)
    assert await world.states(order_id) == ["DECLINED"]


async def test_twenty_clicks_are_one_charge_and_one_answer(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    answers = await asyncio.gather(*(world.click(buyer, order_id, key="once") for _ in range(20)))
    assert {status for status, _ in answers} == {200}
    assert len({body["transactionId"] for _, body in answers}) == 1
    await world.until_states(order_id, "CAPTURED")
    assert len(await world.intents(order_id)) == 1


async def test_twenty_clicks_without_a_key_are_one_charge(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    answers = await asyncio.gather(*(world.click(buyer, order_id) for _ in range(20)))
    assert {body["transactionId"] for _, body in answers if body.get("status") == "success"}
    assert {status for status, _ in answers} == {200}
    assert len(await world.intents(order_id)) == 1


async def test_many_keys_at_once_are_at_most_one_charge(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    answers = await asyncio.gather(
        *(world.pay(buyer, order_id, key=f"k{number}") for number in range(10))
    )
    paid = {body["transactionId"] for status, body in answers if status == 200}
    assert len(paid) == 1
    codes = {body["code"] for status, body in answers if status != 200}
    assert codes <= {"PAYMENT_IN_PROGRESS"}
    await world.until_states(order_id, "CAPTURED")
    assert len(await world.intents(order_id)) == 1


async def test_another_key_after_success_is_the_same_success(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    _, first = await world.pay(buyer, order_id, key="a")
    status, second = await world.pay(buyer, order_id, key="b", card="5555555555554444")
    assert (status, second) == (200, first)
    assert len(await world.intents(order_id)) == 1


async def test_another_key_while_one_is_under_way_is_refused(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    await world.behave(delayMillis=300)
    first = asyncio.create_task(world.pay(buyer, order_id, key="a"))
    await world.until_states(order_id, "NEW")
    status, body = await world.pay(buyer, order_id, key="b")
    assert (status, body["code"]) == (409, "PAYMENT_IN_PROGRESS")
    assert (await first)[1]["status"] == "success"


async def test_a_key_is_bound_to_its_card(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    await world.pay(buyer, order_id, key="a", card=DECLINED_CARD)
    status, body = await world.pay(buyer, order_id, key="a")
    assert (status, body["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    status, body = await world.pay(buyer, order_id, key="a", card=DECLINED_CARD)
    assert (status, body["status"]) == (200, "failed")


async def test_an_expired_hold_is_not_charged(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    world.neighbours.expired.add(order_id)
    for _ in range(2):
        status, body = await world.pay(buyer, order_id, key="late")
        assert (status, body["code"]) == (409, "HOLD_EXPIRED")
    assert await world.states(order_id) == ["ABANDONED"]
    assert await world.intents(order_id) == []


async def test_tokens_pay_like_cards(world: Any, buyer: str) -> None:
    for token, status in (
        ("pm_card_visa", "success"),
        ("tok_visa", "success"),
        ("pm_card_chargeDeclined", "failed"),
        ("pm_1NoSuchMethod", "failed"),
        ("tok_nosuch", "failed"),
    ):
        order_id = world.neighbours.place(buyer)
        body = f'{{"orderId": "{order_id}", "token": "{token}"}}'.encode()
        code, answer = await world.post(buyer, body)
        assert (token, code, answer["status"]) == (token, 200, status)


async def test_the_order_of_another_buyer_does_not_exist(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(ids.new_id("user"))
    status, body = await world.pay(buyer, order_id)
    assert (status, body["code"]) == (404, "UNKNOWN_ORDER")
    assert await world.states(order_id) == []
    owner = world.neighbours.orders[order_id].user_id
    await world.pay(owner, order_id, key="mine")
    status, body = await world.pay(buyer, order_id, key="mine")
    assert (status, body["code"]) == (404, "UNKNOWN_ORDER")


async def test_the_amount_must_be_the_amount_of_the_order(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    for amount in (999.01, 998, 0, 999.001, "1e3"):
        status, body = await world.pay(buyer, order_id, amount=amount)
        assert (amount, status, body["code"]) == (amount, 422, "AMOUNT_MISMATCH")
    assert await world.states(order_id) == []
    status, body = await world.pay(buyer, order_id, amount=999.0)
    assert (status, body["status"]) == (200, "success")


async def test_too_many_cards_for_one_order_are_stopped(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    for number in range(10):
        await world.pay(buyer, order_id, card=DECLINED_CARD, key=f"k{number}")
    status, body = await world.pay(buyer, order_id, key="k10")
    assert (status, body["code"]) == (429, "RATE_LIMITED")
