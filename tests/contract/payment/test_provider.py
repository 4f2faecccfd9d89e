"""The provider, fake and real (Stripe's package against the sandbox): what acts once, what is refused, what is seen."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from doorbuster.kit import ids
from doorbuster.payment.clients import open_provider
from doorbuster.payment.domain import Attempt, State, Token
from doorbuster.payment.ports import ProviderAwayError, ProviderRefusedError
from doorbuster.sandbox.psp import behaviour
from doorbuster.sandbox.psp.endpoints import Endpoints
from doorbuster.sandbox.psp.ledger import Ledger
from doorbuster.sandbox.psp.routes import Front
from doorbuster.testing import payments

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


class RealSide:
    """Loses replies at the sandbox, as the fake does."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def lose_reply(self, operation: str) -> None:
        fault = behaviour.Fault(count=1, on=operation)  # type: ignore[arg-type]  # by our own tests
        self._front.behaviour = behaviour.Behaviour(drop_reply_next=fault)


class FakeSide:
    def __init__(self, provider: payments.FakeProvider) -> None:
        self._provider = provider

    def lose_reply(self, operation: str) -> None:
        self._provider.fail_after[operation] = 1


@pytest.fixture(params=["fake", "stripe"])
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Any, Any]]:
    if request.param == "fake":
        fake = payments.FakeProvider()
        yield fake, FakeSide(fake)
        return
    ledger = Ledger(tmp_path / "psp.db")
    front = Front(ledger=ledger, endpoints=Endpoints(ledger, "v"), key="sk_test_1")
    app = web.Application()
    app.add_routes(front.routes())
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with open_provider(f"http://127.0.0.1:{port}", "sk_test_1") as provider:
        yield provider, RealSide(front)
    await runner.cleanup()
    ledger.close()


@pytest.fixture
def provider(both: tuple[Any, Any]) -> Any:
    return both[0]


@pytest.fixture
def faults(both: tuple[Any, Any]) -> Any:
    return both[1]


@pytest.fixture
def attempt() -> Attempt:
    return Attempt(
        purchase=payments.purchase(key=ids.new_id("key")),
        attempt=1,
        payment_id=ids.new_id("txn"),
        idempotency_key="k",
        fingerprint="f",
        state=State.NEW,
        created_at=NOW,
        updated_at=NOW,
    )


async def ready(provider: Any, attempt: Attempt, method: Any = payments.GOOD_CARD) -> Attempt:
    """Return the attempt with its token and its intent."""
    token = await provider.tokenise(method, attempt.provider_key("method"))
    return replace(attempt, token=token, intent_id=await provider.create(attempt))


async def seen(provider: Any, attempt: Attempt) -> str:
    status: str = (await provider.retrieve(attempt.intent_id)).status
    return status


async def test_a_good_card_is_authorised_then_captured_once(
    provider: Any, attempt: Attempt
) -> None:
    attempt = await ready(provider, attempt)
    assert await seen(provider, attempt) == "open"
    charge = await provider.confirm(attempt)
    assert (charge.status, charge.brand, charge.last4) == ("authorised", "visa", "4242")
    assert await provider.confirm(attempt) == charge
    await provider.capture(attempt)
    assert await seen(provider, attempt) == "captured"
    with pytest.raises(ProviderRefusedError, match="payment_intent_unexpected_state"):
        await provider.capture(attempt)


async def test_a_decline_is_an_answer_that_stays(provider: Any, attempt: Attempt) -> None:
    attempt = await ready(provider, attempt, payments.DECLINED_CARD)
    for _ in range(2):
        charge = await provider.confirm(attempt)
        assert (charge.status, charge.decline_code) == ("declined", "generic_decline")
    charge = await provider.retrieve(attempt.intent_id)
    assert (charge.status, charge.decline_code) == ("declined", "generic_decline")


async def test_the_same_attempt_is_the_same_intent_and_token(
    provider: Any, attempt: Attempt
) -> None:
    first = await ready(provider, attempt)
    second = await ready(provider, attempt)
    assert (first.intent_id, first.token) == (second.intent_id, second.token)
    third = await ready(provider, replace(attempt, attempt=2))
    assert third.intent_id != first.intent_id


async def test_a_cancelled_intent_is_never_authorised(provider: Any, attempt: Attempt) -> None:
    attempt = await ready(provider, attempt)
    await provider.cancel(attempt)
    assert await seen(provider, attempt) == "cancelled"
    with pytest.raises(ProviderRefusedError):
        await provider.confirm(attempt)
    with pytest.raises(ProviderRefusedError):
        await provider.cancel(attempt)
    assert await seen(provider, attempt) == "cancelled"


async def test_an_authorisation_can_be_let_go(provider: Any, attempt: Attempt) -> None:
    attempt = await ready(provider, attempt)
    await provider.confirm(attempt)
    await provider.cancel(attempt)
    assert await seen(provider, attempt) == "cancelled"
    with pytest.raises(ProviderRefusedError):
        await provider.capture(attempt)


async def test_money_is_given_back_after_it_was_taken(provider: Any, attempt: Attempt) -> None:
    attempt = await ready(provider, attempt)
    await provider.confirm(attempt)
    with pytest.raises(ProviderRefusedError):
        await provider.refund(replace(attempt, attempt=7))
    await provider.capture(attempt)
    await provider.refund(attempt)
    await provider.refund(attempt)
    await provider.refund(replace(attempt, attempt=8))  # as when the key is forgotten


async def test_shared_tokens_pay_and_unknown_ones_are_refused(
    provider: Any, attempt: Attempt
) -> None:
    paid = await ready(provider, attempt, Token(value="pm_card_visa"))
    assert (await provider.confirm(paid)).status == "authorised"
    second = replace(attempt, attempt=2)
    unknown = await ready(provider, second, Token(value="pm_nobodyknows"))
    with pytest.raises(ProviderRefusedError, match="resource_missing"):
        await provider.confirm(unknown)
    assert await seen(provider, unknown) == "open"


async def test_an_unknown_intent_is_refused(provider: Any, attempt: Attempt) -> None:
    with pytest.raises(ProviderRefusedError, match="resource_missing"):
        await provider.retrieve("pi_unknown")


@pytest.mark.parametrize("operation", ["create", "confirm", "capture", "cancel"])
async def test_a_lost_reply_is_no_answer_though_it_was_done(
    provider: Any, faults: Any, attempt: Attempt, operation: str
) -> None:
    if operation == "create":
        faults.lose_reply(operation)
        with pytest.raises(ProviderAwayError):
            await provider.create(attempt)
        assert await provider.create(attempt) == await provider.create(attempt)
        return
    attempt = await ready(provider, attempt)
    if operation == "capture":
        await provider.confirm(attempt)
    faults.lose_reply(operation)
    with pytest.raises(ProviderAwayError):
        await getattr(provider, operation)(attempt)
    done = {"confirm": "authorised", "capture": "captured", "cancel": "cancelled"}
    assert await seen(provider, attempt) == done[operation]
