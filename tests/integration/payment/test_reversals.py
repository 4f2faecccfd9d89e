"""Money that goes back: voids, refunds and authorisations that lapsed, on a real broker, with a provider at fault."""

import asyncio
from typing import Any

import pytest

from doorbuster.contracts import events

KAFKA = True
WITHIN_SECONDS = 60.0


async def _sold(world: Any, buyer: str) -> str:
    """Pay an order, wait until its money is taken, and return its id."""
    order_id: str = world.neighbours.place(buyer)
    world.neighbours.known.add(order_id)
    status, body = await world.pay(buyer, order_id, key="first")
    assert (status, body["status"]) == (200, "success")
    await world.until_states(order_id, "CAPTURED", within_seconds=WITHIN_SECONDS)
    return order_id


async def _authorised(world: Any, broker: Any, buyer: str) -> str:
    """Return an order that is AUTHORISED and stays so for about three seconds.

    The capture of another order keeps the capture loop waiting; that payment hears cancellations is seen before,
    so that it hears the next one in time.
    """
    first = await _sold(world, buyer)
    await broker.cancel(first, buyer)
    await world.until_states(first, "REFUNDED", within_seconds=WITHIN_SECONDS)
    await world.behave(delayMillis=3000, delayOn="capture")
    slow, order_id = world.neighbours.place(buyer), world.neighbours.place(buyer)
    world.neighbours.known |= {slow, order_id}
    await world.pay(buyer, slow)
    await world.until_states(slow, "CAPTURING")
    await world.pay(buyer, order_id, key="first")
    assert await world.states(order_id) == ["AUTHORISED"]
    found: str = order_id
    return found


async def _reversals(broker: Any, order_id: str) -> list[events.PaymentReversed]:
    told = await broker.heard(order_id, "PaymentReversed")
    return [event for event in told if isinstance(event, events.PaymentReversed)]


async def test_an_order_cancelled_before_its_capture_is_voided(
    world: Any, broker: Any, buyer: str
) -> None:
    order_id = await _authorised(world, broker, buyer)
    await broker.cancel(order_id, buyer, times=2)
    await world.until_states(order_id, "VOIDED", within_seconds=WITHIN_SECONDS)
    [intent] = await world.intents(order_id)
    assert (intent["status"], intent["amountCaptured"]) == ("canceled", 0)
    [told] = await _reversals(broker, order_id)
    assert (told.attempt, told.reason) == (1, "changed my mind")


async def test_an_order_cancelled_during_its_capture_is_refunded_after_it(
    world: Any, broker: Any, buyer: str
) -> None:
    order_id = world.neighbours.place(buyer)
    world.neighbours.known.add(order_id)
    await world.behave(delayMillis=3000, delayOn="capture")
    await world.pay(buyer, order_id)
    await world.until_states(order_id, "CAPTURING")
    await broker.cancel(order_id, buyer, times=3)
    await world.until_states(order_id, "REFUNDED", within_seconds=WITHIN_SECONDS)
    [intent] = await world.intents(order_id)
    assert (intent["amountCaptured"], intent["amountRefunded"]) == (99_900, 99_900)
    told = [event.type for event in await broker.heard(order_id, "PaymentReversed")]
    assert (told.count("PaymentCaptured"), told.count("PaymentReversed")) == (1, 1)


async def test_an_order_cancelled_after_its_capture_is_refunded_once(
    world: Any, broker: Any, buyer: str
) -> None:
    order_id = await _sold(world, buyer)
    await broker.cancel(order_id, buyer, times=5)
    await world.until_states(order_id, "REFUNDED", within_seconds=WITHIN_SECONDS)
    [intent] = await world.intents(order_id)
    assert (intent["amountCaptured"], intent["amountRefunded"]) == (99_900, 99_900)
    assert len(await _reversals(broker, order_id)) == 1


async def test_an_authorisation_that_lapsed_takes_the_sale_back(
    world: Any, broker: Any, buyer: str
) -> None:
    order_id = world.neighbours.place(buyer)
    world.neighbours.known.add(order_id)
    await world.behave(delayMillis=2000, delayOn="capture")
    await world.pay(buyer, order_id)
    await world.until_states(order_id, "CAPTURING")
    await world.expire(order_id)
    await world.until_states(order_id, "CAPTURE_FAILED", within_seconds=WITHIN_SECONDS)
    [told] = await _reversals(broker, order_id)
    assert told.reason == "authorisation_lost"
    [intent] = await world.intents(order_id)
    assert (intent["status"], intent["amountCaptured"]) == ("canceled", 0)


async def test_an_order_that_was_given_back_is_not_paid_again(
    world: Any, broker: Any, buyer: str
) -> None:
    order_id = await _sold(world, buyer)
    await broker.cancel(order_id, buyer)
    await world.until_states(order_id, "REFUNDED", within_seconds=WITHIN_SECONDS)
    status, body = await world.pay(buyer, order_id, key="second")
    assert (status, body["code"]) == (409, "HOLD_EXPIRED")
    status, body = await world.pay(buyer, order_id, key="first")
    assert (status, body["status"]) == (200, "success")  # what this key was answered stays
    assert await world.states(order_id) == ["REFUNDED"]


FAULTS: dict[str, dict[str, Any]] = {
    "reply lost": {"dropReplyNext": {"count": 1}},
    "500 before": {"failNext": {"count": 1, "status": 500}},
    "500 after": {"failNext": {"count": 1, "status": 500, "acted": True}},
    "500 for ever": {"failNext": {"count": 1, "status": 500, "saved": True}},
    "429": {"failNext": {"count": 2, "status": 429}},
    "dead before": {"crashNext": {"count": 1, "when": "before"}},
    "dead after": {"crashNext": {"count": 1, "when": "after"}},
}


def _fault(name: str, operation: str) -> dict[str, Any]:
    return {kind: {**more, "on": operation} for kind, more in FAULTS[name].items()}


async def _revive(world: Any, name: str) -> None:
    if name.startswith("dead"):
        assert await asyncio.to_thread(world.psp.process.wait, 30) == 137
        await asyncio.to_thread(world.psp.start)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_refund_is_made_once_whatever_the_provider_does(
    world: Any, broker: Any, buyer: str, name: str
) -> None:
    order_id = await _sold(world, buyer)
    await world.behave(**_fault(name, "refund"))
    await broker.cancel(order_id, buyer)
    await _revive(world, name)
    await world.until_states(order_id, "REFUNDED", within_seconds=WITHIN_SECONDS)
    [intent] = await world.intents(order_id)
    assert (intent["amountCaptured"], intent["amountRefunded"]) == (99_900, 99_900)
    assert len(await _reversals(broker, order_id)) == 1


@pytest.mark.parametrize("name", ["reply lost", "500 before", "dead after"])
async def test_a_void_is_made_whatever_the_provider_does(
    world: Any, broker: Any, buyer: str, name: str
) -> None:
    order_id = await _authorised(world, broker, buyer)
    slow = {"delayMillis": 3000, "delayOn": "capture"}
    await world.behave(**_fault(name, "cancel"), **slow)
    await broker.cancel(order_id, buyer)
    await _revive(world, name)
    await world.until_states(order_id, "VOIDED", within_seconds=WITHIN_SECONDS)
    [intent] = await world.intents(order_id)
    assert (intent["status"], intent["amountCaptured"]) == ("canceled", 0)
    assert len(await _reversals(broker, order_id)) == 1


@pytest.mark.parametrize("name", FAULTS)
async def test_a_capture_is_made_once_whatever_the_provider_does(
    world: Any, buyer: str, name: str
) -> None:
    order_id = world.neighbours.place(buyer)
    world.neighbours.known.add(order_id)
    await world.behave(**_fault(name, "capture"))
    status, body = await world.pay(buyer, order_id)
    assert (status, body["status"]) == (200, "success")
    await _revive(world, name)
    await world.until_states(order_id, "CAPTURED", within_seconds=WITHIN_SECONDS)
    await world.one_charge(order_id)
