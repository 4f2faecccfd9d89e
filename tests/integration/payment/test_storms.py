"""Twenty clicks at once on one order, over two copies of the service: one charge, and true answers to all."""

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest

CLICKS = 20
GOOD_CARDS = (
    *("4242424242424242", "4000056655665556", "5555555555554444", "2223003122003222"),
    *("5105105105105100", "378282246310005", "6011111111111117", "3566002020360505"),
)
BAD_CARDS = ("4000000000000002", "4000000000009995")
UNTIL_SECONDS = 60.0


@pytest.fixture(scope="module")
def both(programs: dict[str, Any], second_program: Any) -> Iterator[tuple[Any, Any]]:
    """Two copies of the service on one database."""
    second_program.start()
    yield programs["payment"], second_program
    second_program.kill()


async def _until_answered(
    world: Any, buyer: str, order_id: str, **more: Any
) -> tuple[int, dict[str, Any]]:
    """Ask again, as a buyer does, while a payment is in progress."""
    async with asyncio.timeout(UNTIL_SECONDS):
        while True:
            status, body = await world.pay(buyer, order_id, **more)
            if status not in (409, 503) or body["code"] == "HOLD_EXPIRED":
                return status, body
            assert body["code"] in ("PAYMENT_IN_PROGRESS", "UNAVAILABLE")
            await asyncio.sleep(0.2)


async def _one_sale(world: Any, order_id: str, transactions: set[str]) -> None:
    """Assert one charge, one sold attempt, and that every success named it."""
    assert len(transactions) == 1
    query = "SELECT state, payment_id FROM payment WHERE order_id = :id"
    async with asyncio.timeout(UNTIL_SECONDS):
        while True:
            rows = await world.rows(query, id=order_id)
            ended = {row["state"] for row in rows} <= {"CAPTURED", "DECLINED", "ABANDONED"}
            if ended:
                break
            await asyncio.sleep(0.1)
    captured = [row["payment_id"] for row in rows if row["state"] == "CAPTURED"]
    assert captured == list(transactions)
    await world.one_charge(order_id)
    told = [kind for kind, _ in await world.events(order_id)]
    assert told.count("PaymentCaptured") == 1


@pytest.mark.parametrize("key", ["once", None])
async def test_clicks_with_one_key_are_one_charge_and_one_answer(
    world: Any, both: Any, buyer: str, key: str | None
) -> None:
    """Without a key the order and the card make one."""
    order_id = world.neighbours.place(buyer)
    world.neighbours.known.add(order_id)
    answers = await asyncio.gather(
        *(
            _until_answered(world, buyer, order_id, key=key, at=both[click % 2])
            for click in range(CLICKS)
        )
    )
    assert {(status, body["status"]) for status, body in answers} == {(200, "success")}
    await _one_sale(world, order_id, {body["transactionId"] for _, body in answers})
    assert await world.states(order_id) == ["CAPTURED"]
    assert len(await world.intents(order_id)) == 1


async def test_one_key_with_a_declined_card_is_one_decline(
    world: Any, both: Any, buyer: str
) -> None:
    order_id = world.neighbours.place(buyer)
    answers = await asyncio.gather(
        *(
            _until_answered(
                world, buyer, order_id, key="no", card=BAD_CARDS[0], at=both[click % 2]
            )
            for click in range(CLICKS)
        )
    )
    assert {(status, body["status"]) for status, body in answers} == {(200, "failed")}
    assert len({body["transactionId"] for _, body in answers}) == 1
    assert await world.states(order_id) == ["DECLINED"]
    assert len(await world.intents(order_id)) == 1


async def test_many_keys_and_cards_are_one_charge(world: Any, both: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    world.neighbours.known.add(order_id)
    cards = [GOOD_CARDS[click % len(GOOD_CARDS)] for click in range(CLICKS)]
    answers = await asyncio.gather(
        *(
            world.pay(buyer, order_id, key=f"key-{click}", card=card, at=both[click % 2])
            for click, card in enumerate(cards)
        )
    )
    for status, body in answers:
        assert (status, body["status"] if status == 200 else body["code"]) in (
            (200, "success"),
            (409, "PAYMENT_IN_PROGRESS"),
        )
    again = await asyncio.gather(
        *(
            _until_answered(world, buyer, order_id, key=f"key-{click}", card=card)
            for click, card in enumerate(cards)
        )
    )
    successes = {body["transactionId"] for status, body in [*answers, *again] if status == 200}
    await _one_sale(world, order_id, successes)


async def test_good_and_bad_cards_at_once_are_one_charge_and_true_answers(
    world: Any, both: Any, buyer: str
) -> None:
    order_id = world.neighbours.place(buyer)
    world.neighbours.known.add(order_id)
    cards = [(BAD_CARDS if click % 2 else GOOD_CARDS)[click % 2] for click in range(CLICKS)]
    answers = await asyncio.gather(
        *(
            world.pay(buyer, order_id, key=f"key-{click}", card=card, at=both[click // 2 % 2])
            for click, card in enumerate(cards)
        )
    )
    for (status, body), card in zip(answers, cards, strict=True):
        if status == 200 and body["status"] == "failed":
            assert card in BAD_CARDS
        elif status != 200:
            assert body["code"] in ("PAYMENT_IN_PROGRESS", "RATE_LIMITED")
    status, body = await _until_answered(world, buyer, order_id, key="last")
    assert (status, body["status"]) == (200, "success")
    answers.append((status, body))
    paid = {b["transactionId"] for s, b in answers if s == 200 and b["status"] == "success"}
    await _one_sale(world, order_id, paid)


async def test_a_storm_on_a_provider_that_loses_replies_is_one_charge(
    world: Any, both: Any, buyer: str
) -> None:
    order_id = world.neighbours.place(buyer)
    world.neighbours.known.add(order_id)
    await world.behave(
        delayMillis=150, dropReplyNext={"count": 6}, failNext={"count": 3, "acted": True}
    )
    answers = await asyncio.gather(
        *(
            _until_answered(world, buyer, order_id, key="once", at=both[click % 2])
            for click in range(CLICKS)
        )
    )
    assert {(status, body["status"]) for status, body in answers} == {(200, "success")}
    await _one_sale(world, order_id, {body["transactionId"] for _, body in answers})


async def test_a_storm_in_which_one_copy_dies_is_one_charge(
    world: Any, both: Any, buyer: str
) -> None:
    """The copy that asked the card is killed; the other one finishes and answers its own clicks."""
    order_id = world.neighbours.place(buyer)
    world.neighbours.known.add(order_id)
    first, second = both
    await world.behave(delayMillis=1500, delayOn="confirm")
    doomed = asyncio.create_task(world.pay(buyer, order_id, key="once", at=second))
    await world.until_states(order_id, "CONFIRMING")
    clicks = [
        asyncio.create_task(_until_answered(world, buyer, order_id, key="once", at=first))
        for _ in range(CLICKS)
    ]
    await asyncio.to_thread(second.stop, signal.SIGKILL)
    try:
        answers = await asyncio.gather(*clicks)
        await asyncio.wait({doomed}, timeout=10)
        assert doomed.done()
        assert doomed.exception() is not None  # the connection was cut: it learned nothing false
    finally:
        await asyncio.to_thread(second.start)
    ends = {(status, body["status"]) for status, body in answers}
    assert len(ends) == 1
    if ends == {(200, "success")}:
        await _one_sale(world, order_id, {body["transactionId"] for _, body in answers})
    else:
        # Recovery came before the confirmation: the provider must hold nothing then.
        assert ends == {(200, "failed")}
        assert {i["status"] for i in await world.intents(order_id)} == {"canceled"}
