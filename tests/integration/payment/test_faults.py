"""Lost replies, errors, dead providers and dead processes: nobody is charged twice, nothing stays undecided."""

import asyncio
import signal
import time
from typing import Any

import pytest


@pytest.mark.parametrize("operation", ["method", "create", "confirm", "capture"])
async def test_a_lost_reply_is_made_good_within_the_call(
    world: Any, buyer: str, operation: str
) -> None:
    order_id = world.neighbours.place(buyer)
    await world.behave(dropReplyNext={"count": 1, "on": operation})
    status, body = await world.pay(buyer, order_id)
    assert (status, body["status"]) == (200, "success")
    await world.until_states(order_id, "CAPTURED")
    await world.one_charge(order_id)


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ("4000000000000002", "generic_decline"),
        ("4000000000000069", "expired_card"),
        ("4000002500003155", "authentication_required"),
    ],
)
async def test_a_lost_reply_of_a_decline_is_still_a_decline(
    world: Any, buyer: str, card: str, code: str
) -> None:
    order_id = world.neighbours.place(buyer)
    await world.behave(dropReplyNext={"count": 1, "on": "confirm"})
    status, body = await world.pay(buyer, order_id, card=card)
    assert (status, body["declineCode"]) == (200, code)
    assert world.neighbours.unpinned == [(order_id, 1)]


@pytest.mark.parametrize("operation", ["method", "create", "confirm", "capture"])
async def test_a_slow_step_is_waited_for(world: Any, buyer: str, operation: str) -> None:
    order_id = world.neighbours.place(buyer)
    await world.behave(delayMillis=800, delayOn=operation)
    status, body = await world.pay(buyer, order_id)
    assert (status, body["status"]) == (200, "success")
    await world.until_states(order_id, "CAPTURED")
    await world.one_charge(order_id)


async def test_a_confirmation_slower_than_every_deadline_is_no_failure(
    world: Any, buyer: str
) -> None:
    order_id = world.neighbours.place(buyer)
    await world.behave(delayMillis=5000, delayOn="confirm")
    status, body = await world.pay(buyer, order_id, key="a")
    assert (status, body["code"]) == (409, "PAYMENT_IN_PROGRESS")
    states = await _decided(world, order_id, within_seconds=60)
    status, body = await world.pay(buyer, order_id, key="a")
    assert (status, body["status"]) == (
        200,
        "success" if states == ["CAPTURED"] else "failed",
    )
    charged = [i for i in await world.intents(order_id) if i["status"] == "succeeded"]
    assert len(charged) == states.count("CAPTURED")
    assert all(i["status"] != "requires_capture" for i in await world.intents(order_id))


CANCEL_FAULTS: dict[str, dict[str, Any]] = {
    "reply lost": {"dropReplyNext": {"count": 1, "on": "cancel"}},
    "500 before": {"failNext": {"count": 1, "on": "cancel", "status": 500}},
    "500 after": {"failNext": {"count": 1, "on": "cancel", "status": 500, "acted": True}},
    "429": {"failNext": {"count": 2, "on": "cancel", "status": 429}},
    "dead before": {"crashNext": {"count": 1, "on": "cancel", "when": "before"}},
    "dead after": {"crashNext": {"count": 1, "on": "cancel", "when": "after"}},
}


@pytest.mark.parametrize("name", CANCEL_FAULTS)
async def test_a_given_up_payment_is_cancelled_whatever_the_provider_does(
    world: Any, buyer: str, name: str
) -> None:
    """The confirmation never arrives; recovery gives the attempt up and its cancel meets a fault."""
    order_id = world.neighbours.place(buyer)
    await world.behave(failNext={"count": 100_000, "on": "confirm", "status": 503})
    status, body = await world.pay(buyer, order_id, key="a")
    assert (status, body["code"]) == (409, "PAYMENT_IN_PROGRESS")
    await world.behave(**CANCEL_FAULTS[name])
    if name.startswith("dead"):
        await asyncio.to_thread(world.psp.process.wait, 60)
        await asyncio.to_thread(world.psp.start)
    assert await _decided(world, order_id, within_seconds=60) == ["DECLINED"]
    assert [i["status"] for i in await world.intents(order_id)] == ["canceled"]
    status, body = await world.pay(buyer, order_id, key="a")
    assert (status, body["status"], body["declineCode"]) == (200, "failed", "not_finished")


@pytest.mark.parametrize(
    ("fault", "operation"),
    [
        (429, "method"),
        (503, "create"),
        (429, "confirm"),
        (500, "confirm"),
        (500, "capture"),
    ],
)
async def test_an_error_that_passes_is_made_good(
    world: Any, buyer: str, fault: int, operation: str
) -> None:
    order_id = world.neighbours.place(buyer)
    await world.behave(failNext={"count": 1, "on": operation, "status": fault})
    status, body = await world.pay(buyer, order_id)
    assert (status, body["status"]) == (200, "success")
    await world.until_states(order_id, "CAPTURED")
    await world.one_charge(order_id)


async def test_a_500_that_acted_and_is_replayed_for_ever_still_sells(
    world: Any, buyer: str
) -> None:
    order_id = world.neighbours.place(buyer)
    await world.behave(
        failNext={"count": 1, "on": "confirm", "status": 500, "acted": True, "saved": True}
    )
    status, body = await world.pay(buyer, order_id)
    assert (status, body["status"]) == (200, "success")
    await world.until_states(order_id, "CAPTURED")
    await world.one_charge(order_id)


async def test_a_500_that_did_nothing_and_is_replayed_for_ever_charges_nobody(
    world: Any, buyer: str
) -> None:
    order_id = world.neighbours.place(buyer)
    await world.behave(failNext={"count": 1, "on": "confirm", "status": 500, "saved": True})
    status, body = await world.pay(buyer, order_id, key="a")
    assert (status, body["code"]) == (409, "PAYMENT_IN_PROGRESS")
    await world.until_states(order_id, "DECLINED")
    assert [intent["status"] for intent in await world.intents(order_id)] == ["canceled"]
    status, body = await world.pay(buyer, order_id, key="b")
    assert (status, body["status"]) == (200, "success")
    await world.until_states(order_id, "DECLINED", "CAPTURED")
    await world.one_charge(order_id)


async def test_a_slow_provider_is_never_called_a_failure(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    await world.behave(delayMillis=1500)
    status, body = await world.pay(buyer, order_id, key="slow")
    assert (status, body["code"]) == (409, "PAYMENT_IN_PROGRESS")
    assert await world.states(order_id) != ["DECLINED"]
    await world.behave()
    await world.until_states(order_id, *await _decided(world, order_id))
    status, body = await world.pay(buyer, order_id, key="slow")
    assert status == 200
    charged = await world.intents(order_id)
    assert (body["status"] == "success") == any(i["status"] == "succeeded" for i in charged)


async def _decided(world: Any, order_id: str, *, within_seconds: float = 30.0) -> list[str]:
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        states: list[str] = await world.states(order_id)
        if set(states) <= {"CAPTURED", "DECLINED", "ABANDONED"}:
            return states
        await asyncio.sleep(0.05)
    raise AssertionError(await world.states(order_id))


async def test_a_frozen_provider_is_waited_for(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    world.psp.process.send_signal(signal.SIGSTOP)
    try:
        paying = asyncio.create_task(world.pay(buyer, order_id, key="a"))
        await world.until_states(order_id, "NEW")
    finally:
        world.psp.process.send_signal(signal.SIGCONT)
    status, body = await paying
    assert (status, body["status"]) == (200, "success")
    await world.until_states(order_id, "CAPTURED")


async def test_a_provider_that_stays_dead_leaves_an_abandoned_attempt(
    world: Any, buyer: str
) -> None:
    order_id = world.neighbours.place(buyer)
    world.psp.kill()
    status, body = await world.pay(buyer, order_id, key="a")
    assert (status, body["code"]) == (409, "PAYMENT_IN_PROGRESS")
    await world.until_states(order_id, "ABANDONED")
    await asyncio.to_thread(world.psp.start)
    status, body = await world.pay(buyer, order_id, key="a")
    assert (status, body["status"], body["declineCode"]) == (200, "failed", "not_finished")
    status, body = await world.pay(buyer, order_id, key="b")
    assert (status, body["status"]) == (200, "success")


@pytest.mark.parametrize(
    ("operation", "when"),
    [("create", "after"), ("confirm", "before"), ("confirm", "after"), ("capture", "after")],
)
async def test_a_provider_that_dies_in_the_middle_keeps_its_word(
    world: Any, buyer: str, operation: str, when: str
) -> None:
    order_id = world.neighbours.place(buyer)
    await world.behave(crashNext={"count": 1, "on": operation, "when": when})
    paying = asyncio.create_task(world.pay(buyer, order_id, key="a"))
    await asyncio.to_thread(world.psp.process.wait, 60)
    await asyncio.to_thread(world.psp.start)
    await paying
    states = await _decided(world, order_id)
    captured = [i for i in await world.intents(order_id) if i["status"] == "succeeded"]
    assert len(captured) == states.count("CAPTURED")
    assert all(i["status"] != "requires_capture" for i in await world.intents(order_id))


@pytest.mark.parametrize(
    ("delay_millis", "wait_for"),
    [(900, "NEW"), (900, "CONFIRMING"), (0, "AUTHORISED")],
)
async def test_a_killed_service_finishes_its_payments_when_it_is_back(
    world: Any, buyer: str, delay_millis: int, wait_for: str
) -> None:
    order_id = world.neighbours.place(buyer)
    await world.behave(delayMillis=delay_millis)
    paying = asyncio.create_task(world.pay(buyer, order_id, key="a"))
    if wait_for == "AUTHORISED":
        await paying
    else:
        await world.until_states(order_id, wait_for)
    await asyncio.to_thread(world.payment.kill)
    await asyncio.wait({paying}, timeout=5)
    assert paying.done()
    paying.exception()  # the connection was cut, or the answer had come before
    await world.behave()
    await asyncio.to_thread(world.payment.start)
    states = await _decided(world, order_id)
    status, body = await world.pay(buyer, order_id, key="a")
    assert status == 200
    assert (body["status"] == "success") == (states == ["CAPTURED"])
    charged = [i for i in await world.intents(order_id) if i["status"] == "succeeded"]
    assert len(charged) == states.count("CAPTURED")


async def test_units_pinned_by_the_attempt_before_are_waited_for(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    world.neighbours.away.add("unpins")
    status, body = await world.pay(buyer, order_id, card="4000000000000002")
    assert (status, body["status"]) == (200, "failed")
    paying = asyncio.create_task(world.pay(buyer, order_id))
    await world.until_states(order_id, "DECLINED", "NEW")
    assert world.neighbours.pins.pop(order_id) == 1  # as inventory's sweep would
    status, body = await paying
    assert (status, body["status"]) == (200, "success")


async def test_checkout_away_at_the_start_leaves_nothing(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    world.neighbours.away.add("order")
    status, body = await world.pay(buyer, order_id, key="a")
    assert (status, body["code"]) == (503, "UNAVAILABLE")
    assert await world.states(order_id) == []
    world.neighbours.away.clear()
    status, body = await world.pay(buyer, order_id, key="a")
    assert (status, body["status"]) == (200, "success")


async def test_a_stored_outcome_needs_no_neighbour(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    _, first = await world.pay(buyer, order_id, key="a")
    world.neighbours.away |= {"order", "begin-payment"}
    assert await world.pay(buyer, order_id, key="a") == (200, first)


async def test_sold_orders_that_order_does_not_know_are_told_again(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    await world.pay(buyer, order_id)
    for _ in range(200):
        told = [kind for kind, _ in await world.events(order_id)]
        if told.count("PaymentSucceeded") > 1:
            break
        await asyncio.sleep(0.05)
    assert told.count("PaymentSucceeded") > 1
    world.neighbours.known.add(order_id)
    query = "SELECT ask_order_at FROM payment WHERE order_id = :id"
    for _ in range(200):
        [row] = await world.rows(query, id=order_id)
        if row["ask_order_at"] is None:
            break
        await asyncio.sleep(0.05)
    assert row["ask_order_at"] is None
