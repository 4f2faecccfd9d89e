"""Webhooks only make payment look sooner: signed or not, late, repeated, out of order, lying, unknown, huge.

Recovery is put off for a minute here, so that what moves within seconds was moved by a webhook.
"""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from doorbuster.kit import ids

SETTINGS = {
    "DOORBUSTER_PAYMENT_RECOVER_SECONDS": "60",
    "DOORBUSTER_PAYMENT_ANSWER_SECONDS": "2.5",
}
SECRET = "whsec_integration"
WITHIN_SECONDS = 30.0
AUTHORISED = "payment_intent.amount_capturable_updated"
HINTS = (
    *(AUTHORISED, "payment_intent.succeeded", "payment_intent.payment_failed"),
    "payment_intent.canceled",
)


def event(kind: str, order_id: str, attempt: object = "1", **more: Any) -> bytes:
    """Return a webhook's body as the provider writes it, as far as it matters."""
    metadata = {"order_id": order_id, "attempt": attempt}
    shown = {"id": "evt_1", "type": kind, "data": {"object": {"metadata": metadata}}}
    return json.dumps(shown | more).encode()


def signed(payload: bytes, *, at: int | None = None, secret: str = SECRET) -> str:
    at = int(time.time()) if at is None else at
    text = f"{at}.".encode() + payload
    return f"t={at},v1={hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()}"


async def hook(world: Any, payload: bytes, signature: str | None = None) -> tuple[int, Any]:
    """POST a webhook, signed well unless a signature is given."""
    headers = {"Content-Type": "application/json"}
    headers["Stripe-Signature"] = signed(payload) if signature is None else signature
    url = f"{world.payment.url}/v1/webhooks/psp"
    async with world.session.post(url, data=payload, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


DECLINED = "4000000000000002"
NEVER_HEARD = {
    "dropReplyNext": {"count": 100_000, "on": "confirm"},
    "failNext": {"count": 100_000, "on": "retrieve", "status": 503},
}
NEVER_ASKED = {"failNext": {"count": 100_000, "on": "confirm", "status": 503}}


async def left_confirming(world: Any, buyer: str, faults: dict[str, Any], **more: Any) -> str:
    """Return an order whose payment is CONFIRMING and left to itself, longer than hints are ignored for."""
    order_id: str = world.neighbours.place(buyer)
    world.neighbours.known.add(order_id)
    await world.behave(**faults)
    status, body = await world.pay(buyer, order_id, key="a", **more)
    assert (status, body["code"]) == (409, "PAYMENT_IN_PROGRESS")
    await world.behave()
    assert await world.states(order_id) == ["CONFIRMING"]
    return order_id


@pytest.mark.parametrize("kind", HINTS)
async def test_whatever_it_says_the_truth_is_looked_up_and_told_once(
    world: Any, buyer: str, kind: str
) -> None:
    """Late, repeated at once and again, and mostly not true: the charge is authorised."""
    order_id = await left_confirming(world, buyer, NEVER_HEARD)
    payload = event(kind, order_id)
    answers = await asyncio.gather(*(hook(world, payload) for _ in range(5)))
    assert {status for status, _ in answers} == {200}
    await world.until_states(order_id, "CAPTURED", within_seconds=WITHIN_SECONDS)
    assert (await hook(world, payload))[0] == 200
    await world.one_charge(order_id)
    told = [name for name, _ in await world.events(order_id)]
    assert sorted(told) == ["PaymentCaptured", "PaymentSucceeded"]


@pytest.mark.parametrize("kind", [AUTHORISED, "payment_intent.succeeded"])
async def test_a_declined_charge_is_declined_though_a_webhook_calls_it_paid(
    world: Any, buyer: str, kind: str
) -> None:
    order_id = await left_confirming(world, buyer, NEVER_HEARD, card=DECLINED)
    assert (await hook(world, event(kind, order_id)))[0] == 200
    await world.until_states(order_id, "DECLINED", within_seconds=WITHIN_SECONDS)
    assert [name for name, _ in await world.events(order_id)] == ["PaymentFailed"]


@pytest.mark.parametrize("kind", HINTS)
async def test_nothing_is_decided_by_a_webhook_while_the_card_was_not_asked(
    world: Any, buyer: str, kind: str
) -> None:
    order_id = await left_confirming(world, buyer, NEVER_ASKED)
    assert (await hook(world, event(kind, order_id)))[0] == 200
    assert await world.states(order_id) == ["CONFIRMING"]
    assert [i["status"] for i in await world.intents(order_id)] == ["requires_payment_method"]
    status, body = await world.pay(buyer, order_id, key="a")  # who asks again goes on from there
    assert (status, body.get("code")) in ((200, None), (409, "PAYMENT_IN_PROGRESS"))
    await world.until_states(order_id, "CAPTURED", within_seconds=WITHIN_SECONDS)
    await world.one_charge(order_id)


async def test_news_out_of_order_change_nothing_that_is_decided(world: Any, buyer: str) -> None:
    order_id = world.neighbours.place(buyer)
    world.neighbours.known.add(order_id)
    await world.pay(buyer, order_id, card=DECLINED)
    await world.pay(buyer, order_id)
    await world.until_states(order_id, "DECLINED", "CAPTURED")
    before = await world.rows("SELECT * FROM payment WHERE order_id = :id", id=order_id)
    told = await world.events(order_id)
    for kind in reversed(HINTS):
        for attempt in ("2", "1"):
            assert (await hook(world, event(kind, order_id, attempt)))[0] == 200
    assert await world.rows("SELECT * FROM payment WHERE order_id = :id", id=order_id) == before
    assert await world.events(order_id) == told


@pytest.mark.parametrize(
    "attempt", ["1", "2", "0", "-1", "", "x", "\u0661", "1e3", "99999", "9" * 30]
)
async def test_news_of_what_we_do_not_know_are_taken_and_forgotten(
    world: Any, buyer: str, attempt: str
) -> None:
    known = world.neighbours.place(buyer)
    unknown = (world.neighbours.place(buyer), "order_1", "", "' OR 1=1 --")
    for order_id in (*unknown, known):
        for kind in (AUTHORISED, "customer.created"):
            assert (await hook(world, event(kind, order_id, attempt)))[0] == 200
    assert await world.states(known) == []


async def test_bodies_that_are_no_event_are_refused_though_they_are_signed(world: Any) -> None:
    order_id = ids.order_id("user_1", "k")
    for nonsense in (
        *(b"", b"\xff", b"{}", b"[]", b'{"type": 1, "data": 2}', b"nope", b"{" * 100_000),
        event(AUTHORISED, order_id, attempt=1),
        event(AUTHORISED, order_id, attempt=None),
        event(AUTHORISED, order_id, attempt={"a": "b"}),
        event(AUTHORISED, order_id + "\x00"),
    ):
        status, body = await hook(world, nonsense)
        assert status in (400, 422), (nonsense[:80], body)


async def test_a_huge_body_is_not_read(world: Any) -> None:
    payload = event(AUTHORISED, "order_1", padding="x" * 1_000_000)
    status, body = await hook(world, payload)
    assert (status, body["code"]) == (413, "BODY_TOO_LARGE")


async def test_only_the_providers_own_and_recent_webhooks_are_heard(
    world: Any, buyer: str
) -> None:
    order_id = await left_confirming(world, buyer, NEVER_HEARD)
    payload = event(AUTHORISED, order_id)
    now = int(time.time())
    good = signed(payload)
    for signature in (
        *("", "t=1,v1=00", "v1=", "t=x,v1=\u00e9", "t=,v1=", "t=1", "x" * 5000),
        signed(payload, secret="whsec_other"),
        signed(payload, secret=""),
        signed(payload, at=now - 3600),
        signed(payload, at=now - 310),
        signed(payload + b" "),
        signed(event(AUTHORISED, order_id, "2")),
        good.replace(f"t={good[2:12]}", f"t={int(good[2:12]) + 1}"),
        good.replace("v1=", "v0="),
    ):
        status, body = await hook(world, payload, signature)
        assert (status, body["code"]) == (400, "BAD_SIGNATURE"), signature
    assert await world.states(order_id) == ["CONFIRMING"]
    rolled = f"{good},v1={'0' * 64}"  # while a secret is rolled the provider signs with both
    assert (await hook(world, payload, rolled))[0] == 200
    await world.until_states(order_id, "CAPTURED", within_seconds=WITHIN_SECONDS)


async def test_a_hint_that_cannot_be_looked_up_is_to_be_sent_again(world: Any, buyer: str) -> None:
    order_id = await left_confirming(world, buyer, NEVER_HEARD)
    await asyncio.to_thread(world.psp.kill)
    status, body = await hook(world, event(AUTHORISED, order_id))
    assert (status, body["code"]) == (503, "UNAVAILABLE")
    assert await world.states(order_id) == ["CONFIRMING"]
    await asyncio.to_thread(world.psp.start)
    assert (await hook(world, event(AUTHORISED, order_id)))[0] == 200
    await world.until_states(order_id, "CAPTURED", within_seconds=WITHIN_SECONDS)


@pytest.fixture
async def telling(world: Any) -> AsyncIterator[None]:
    """The provider tells payment itself what happens."""
    quiet = dict(world.psp.env)
    url = f"{world.payment.url}/v1/webhooks/psp"
    world.psp.env["DOORBUSTER_PSP_WEBHOOK_URL"] = url
    await asyncio.to_thread(world.psp.restart)
    yield
    world.psp.env.clear()
    world.psp.env.update(quiet)
    await asyncio.to_thread(world.psp.restart)


@pytest.mark.usefixtures("telling")
async def test_the_providers_own_news_finish_what_a_dead_service_left(
    world: Any, buyer: str
) -> None:
    order_id = world.neighbours.place(buyer)
    await world.die_at("payment.charge.authorised", buyer, order_id, key="a")
    assert await world.states(order_id) == ["CONFIRMING"]
    await asyncio.to_thread(world.payment.start)
    await world.until_states(order_id, "CAPTURED", within_seconds=WITHIN_SECONDS)
    await world.one_charge(order_id)
