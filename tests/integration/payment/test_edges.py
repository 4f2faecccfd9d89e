"""Bad input, internal callers, webhooks, cancelled orders, and what must never be written anywhere."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

CARD = {"number": "4242424242424242", "expMonth": 12, "expYear": 2040, "cvc": "123"}
ORDER = "order_00000000000000000000000000"
BAD_BODIES = [
    b"",
    b"null",
    b"[]",
    b"{",
    b'"text"',
    b"\xff\xfe",
    b"{" + b'"a":{' * 20_000,
    b"[" * 100_000,
    b'{"orderId": "' + b"x" * 300_000 + b'"}',
    json.dumps({"orderId": ORDER}).encode(),
    json.dumps({"cardDetails": CARD}).encode(),
    json.dumps({"orderId": None, "cardDetails": CARD}).encode(),
    json.dumps({"orderId": 7, "cardDetails": CARD}).encode(),
    json.dumps({"orderId": ORDER, "cardDetails": CARD, "token": "pm_card_visa"}).encode(),
    json.dumps({"orderId": ORDER, "cardDetails": CARD, "extra": 1}).encode(),
    json.dumps({"orderId": ORDER, "cardDetails": CARD | {"extra": 1}}).encode(),
    json.dumps({"orderId": ORDER, "cardDetails": CARD | {"number": 4242424242424242}}).encode(),
    json.dumps({"orderId": ORDER, "cardDetails": CARD | {"number": "4242"}}).encode(),
    json.dumps({"orderId": ORDER, "cardDetails": CARD | {"number": "٤٢" * 8}}).encode(),
    json.dumps({"orderId": ORDER, "cardDetails": CARD | {"cvc": "12\n"}}).encode(),
    json.dumps({"orderId": ORDER, "cardDetails": CARD | {"cvc": "123\n"}}).encode(),
    json.dumps({"orderId": ORDER, "cardDetails": CARD | {"expMonth": 13}}).encode(),
    json.dumps({"orderId": ORDER, "cardDetails": CARD | {"expMonth": 1.5}}).encode(),
    json.dumps({"orderId": ORDER, "cardDetails": CARD | {"expYear": 10**40}}).encode(),
    json.dumps({"orderId": ORDER, "cardDetails": CARD | {"expYear": 1999}}).encode(),
    json.dumps({"orderId": ORDER, "cardDetails": []}).encode(),
    json.dumps({"orderId": ORDER, "token": "sk_live_1"}).encode(),
    json.dumps({"orderId": ORDER, "token": "pm_" + "x" * 500}).encode(),
    json.dumps({"orderId": ORDER, "token": "pm_a/../../b"}).encode(),
    json.dumps({"orderId": ORDER, "token": "pm_card_visa", "paymentMethod": "cash"}).encode(),
    json.dumps({"orderId": ORDER, "token": "pm_card_visa", "amount": -1}).encode(),
    json.dumps({"orderId": ORDER, "token": "pm_card_visa", "amount": "NaN"}).encode(),
    json.dumps({"orderId": ORDER, "token": "pm_card_visa", "amount": "Infinity"}).encode(),
    b'{"orderId":"' + ORDER.encode() + b'","token":"pm_card_visa","amount":1e999999}',
    b'{"orderId":"' + ORDER.encode() + b'","token":"pm_card_visa","amount":1e-999999}',
    json.dumps({"orderId": ORDER, "token": "pm_card_visa", "amount": {"a": 1}}).encode(),
    json.dumps({"orderId": ORDER + "\u0000", "token": "pm_card_visa"}).encode(),
    json.dumps({"orderId": "prod_00000000000000000000000000", "token": "pm_card_visa"}).encode(),
    json.dumps({"orderId": "order_zzzzzzzzzzzzzzzzzzzzzzzzzz", "token": "pm_card_visa"}).encode(),
    json.dumps({"orderId": "order_../../internal/v1/orders/x", "token": "pm_card_visa"}).encode(),
    json.dumps({"orderId": ORDER, "token": "pm_card_visa"}).encode(),
]


@pytest.mark.parametrize("number", range(len(BAD_BODIES)))
async def test_bad_input_is_refused_and_leaves_nothing(
    world: Any, buyer: str, number: int
) -> None:
    before = await world.rows("SELECT count(*) AS n FROM payment")
    status, body = await world.post(buyer, BAD_BODIES[number])
    assert status in (400, 404, 413, 422), body
    assert body["code"] in ("MALFORMED", "INVALID", "BODY_TOO_LARGE", "UNKNOWN_ORDER")
    assert (await world.rows("SELECT count(*) AS n FROM payment")) == before


@pytest.mark.parametrize("key", ["", "x" * 201, "t\tab", "ключ"])
async def test_bad_keys_are_refused(world: Any, buyer: str, key: str) -> None:
    order_id = world.neighbours.place(buyer)
    status, body = await world.pay(buyer, order_id, key=key)
    assert (status, body["code"]) == (422, "INVALID")
    assert await world.states(order_id) == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": "Basic dTpw"},
        {"Authorization": "Bearer " + "x" * 5000},
    ],
)
async def test_strangers_are_refused(world: Any, headers: dict[str, str]) -> None:
    for path in ("/v1/payment", "/internal/v1/payments:verdicts"):
        async with world.session.post(
            world.payment.url + path, json={}, headers=headers
        ) as answer:
            assert answer.status == 401


async def _verdicts(world: Any, caller: str, body: bytes) -> tuple[int, Any]:
    headers = {
        **world.keys.as_service(caller, "payment"),
        "Content-Type": "application/json",
    }
    url = f"{world.payment.url}/internal/v1/payments:verdicts"
    async with world.session.post(url, data=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_inventory_learns_which_attempts_are_sold(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    await world.pay(buyer, order_id, card="4000000000000002")
    await world.pay(buyer, order_id)
    items = [{"orderId": order_id, "attempt": n} for n in (1, 2, 3)]
    status, body = await _verdicts(world, "inventory", json.dumps({"items": items}).encode())
    assert status == 200
    assert [v["verdict"] for v in body["verdicts"]] == ["FAILED", "SUCCEEDED", "UNKNOWN"]


async def test_only_inventory_may_ask_for_verdicts(world: Any) -> None:
    status, body = await _verdicts(world, "checkout", b'{"items": []}')
    assert (status, body["code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b'{"items": 1}',
        b'{"items": [{"orderId": 1, "attempt": 1}]}',
        b'{"items": [{"orderId": "o", "attempt": 99999999999999999999}]}',
        b'{"items": [{"orderId": "o", "attempt": 9999999999}]}',
        b'{"items": [' + b",".join([b'{"orderId": "o", "attempt": 1}'] * 1001) + b"]}",
    ],
)
async def test_bad_questions_are_no_crash(world: Any, body: bytes) -> None:
    status, _ = await _verdicts(world, "inventory", body)
    assert status in (200, 413, 422)


async def test_no_card_number_is_written_anywhere(world: Any, buyer: str) -> None:
    cards = {"4242424242424242": b"737", "4000000000009995": b"737", "5555555555554444": b"737"}
    for card in cards:
        order_id = world.neighbours.place(buyer)
        await world.pay(buyer, order_id, card=card)
        spaced = " ".join(card[i : i + 4] for i in range(0, 16, 4))
        await world.pay(buyer, world.neighbours.place(buyer), card=spaced)
        await world.pay(buyer, world.neighbours.place(buyer), card=card, token="pm_card_visa")
    state = Path(world.psp.env["DOORBUSTER_PSP_STATE"])
    written = [path.read_bytes() for path in [*state.parent.iterdir(), *world.logs]]
    for table in ("payment", "outbox"):
        rows = await world.rows(f"SELECT * FROM {table}")
        written.append(repr(rows).encode())
    assert any(b"4242" in text for text in written)  # the last four may stay
    for text in written:
        for card in cards:
            assert card.encode() not in text
            assert card[:12].encode() not in text


async def test_raw_cards_are_refused_unless_they_are_switched_on(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    allowed = world.payment.env.pop("DOORBUSTER_ALLOW_RAW_CARDS")
    await asyncio.to_thread(world.payment.restart)
    try:
        status, body = await world.pay(buyer, order_id)
        assert (status, body["code"]) == (422, "RAW_CARDS_REFUSED")
        assert CARD["number"] not in json.dumps(body)
        assert await world.states(order_id) == []
        by_token = json.dumps({"orderId": order_id, "token": "pm_card_visa"}).encode()
        status, body = await world.post(buyer, by_token)
        assert (status, body["status"]) == (200, "success")
    finally:
        world.payment.env["DOORBUSTER_ALLOW_RAW_CARDS"] = allowed
        await asyncio.to_thread(world.payment.restart)


async def test_it_is_ready_and_stops_gracefully(world: Any, buyer: str) -> None:
    orders = [world.neighbours.place(buyer) for _ in range(10)]
    await asyncio.gather(*(world.click(buyer, order_id) for order_id in orders))
    for order_id in orders:
        await world.until_states(order_id, "CAPTURED")
    async with world.session.get(f"{world.payment.admin_url}/readyz") as answer:
        assert (answer.status, await answer.text()) == (200, "ok\n")
    world.payment.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(world.payment.process.wait, 30) == 0
