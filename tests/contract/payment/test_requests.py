"""What we send the provider is what Stripe takes: the same calls against the sandbox and against stripe-mock.

stripe-mock checks each request against Stripe's own OpenAPI and answers with samples, so it proves the form of
what we send and that we can read what it answers, not what becomes of it: that is ``test_provider``.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from doorbuster.kit import ids
from doorbuster.payment import ports
from doorbuster.payment.clients import open_provider
from doorbuster.payment.domain import Attempt, State, Token
from doorbuster.sandbox.psp.endpoints import Endpoints
from doorbuster.sandbox.psp.ledger import Ledger
from doorbuster.sandbox.psp.routes import Front
from doorbuster.testing import payments

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEY = "sk_test_123"
Step = Callable[[Any, Attempt], Awaitable[object]]


async def confirmed(provider: Any, attempt: Attempt) -> None:
    await provider.confirm(attempt)


async def captured(provider: Any, attempt: Attempt) -> None:
    await provider.confirm(attempt)
    await provider.capture(attempt)


async def nothing(provider: Any, attempt: Attempt) -> None:
    return None


# Each call of the port: what must have happened before it (the sandbox minds), and the call.
STEPS: Mapping[str, tuple[Step, Step]] = {
    "tokenise": (nothing, lambda p, a: p.tokenise(payments.GOOD_CARD, a.provider_key("method"))),
    "create": (nothing, lambda p, a: p.create(replace(a, attempt=2))),
    "confirm": (nothing, lambda p, a: p.confirm(a)),
    "retrieve": (confirmed, lambda p, a: p.retrieve(a.intent_id)),
    "capture": (confirmed, lambda p, a: p.capture(a)),
    "cancel": (confirmed, lambda p, a: p.cancel(a)),
    "refund": (captured, lambda p, a: p.refund(a)),
}


@asynccontextmanager
async def sandbox(folder: Path) -> AsyncIterator[str]:
    """Serve the sandbox and yield its address."""
    with closing(Ledger(folder / "psp.db")) as ledger:
        app = web.Application()
        app.add_routes(Front(ledger=ledger, endpoints=Endpoints(ledger, "v"), key=KEY).routes())
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()


@pytest.fixture
def stripe_mock(servers: Any) -> str:
    address: str = servers("stripe-mock")["DOORBUSTER_STRIPE_MOCK_URL"]
    return address


@pytest.fixture(params=["sandbox", "stripe-mock"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "stripe-mock":
        yield request.getfixturevalue("stripe_mock")
        return
    async with sandbox(tmp_path) as address:
        yield address


@pytest.fixture
async def provider(url: str) -> AsyncIterator[Any]:
    async with open_provider(url, KEY) as opened:
        yield opened


@pytest.fixture
async def attempt(provider: Any) -> Attempt:
    """An attempt whose card and intent the provider knows."""
    fresh = Attempt(
        purchase=payments.purchase(key=ids.new_id("key")),
        attempt=1,
        payment_id=ids.new_id("txn"),
        idempotency_key="k",
        fingerprint="f",
        state=State.NEW,
        created_at=NOW,
        updated_at=NOW,
    )
    token = await provider.tokenise(payments.GOOD_CARD, fresh.provider_key("method"))
    return replace(fresh, token=token, intent_id=await provider.create(fresh))


@pytest.mark.parametrize("name", STEPS)
async def test_every_request_of_ours_is_one_that_stripe_takes(
    provider: Any, attempt: Attempt, name: str
) -> None:
    before, call = STEPS[name]
    await before(provider, attempt)
    await call(provider, attempt)


async def test_a_token_of_stripes_own_form_is_taken(provider: Any, attempt: Attempt) -> None:
    made = await provider.tokenise(Token(value="tok_visa"), attempt.provider_key("token"))
    assert made.startswith("pm_")


def test_no_call_of_the_port_is_left_out() -> None:
    calls = inspect.getmembers(ports.Provider, inspect.isfunction)
    assert {name for name, _ in calls if not name.startswith("_")} == set(STEPS)


async def _post(url: str, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + path, data=form, headers=headers) as answer,
    ):
        return answer.status, await answer.json(content_type=None)


GOOD_FORMS: Mapping[str, dict[str, str]] = {
    "/v1/payment_methods": {"type": "card", "card[token]": "tok_visa"},
    "/v1/payment_intents": {"amount": "5", "currency": "eur"},
    "/v1/payment_intents/{id}/confirm": {"payment_method": "pm_card_visa"},
    "/v1/payment_intents/{id}/capture": {},
    "/v1/payment_intents/{id}/cancel": {},
    "/v1/refunds": {"payment_intent": "{id}"},
}


@pytest.mark.parametrize("path", GOOD_FORMS)
async def test_a_field_that_stripe_does_not_know_is_refused(url: str, path: str) -> None:
    _, made = await _post(url, "/v1/payment_intents", GOOD_FORMS["/v1/payment_intents"])
    form = {name: value.format(**made) for name, value in GOOD_FORMS[path].items()}
    status, body = await _post(url, path.format(**made), form | {"no_such_field": "1"})
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    "wrong",
    [
        {"capture_method": "sometimes"},
        {"amount": "five"},
        {"automatic_payment_methods[allowed]": "true"},
        {"metadata": "text"},
    ],
)
async def test_a_field_of_the_wrong_kind_is_refused(url: str, wrong: dict[str, str]) -> None:
    status, body = await _post(
        url, "/v1/payment_intents", {"amount": "5", "currency": "eur"} | wrong
    )
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")


async def test_the_sandbox_shows_nothing_that_stripe_does_not_have(
    stripe_mock: str, tmp_path: Path
) -> None:
    """Field by field: whatever we learn to read in the sandbox is there at Stripe, too."""
    paths = [path for path in GOOD_FORMS if not path.endswith("cancel")]
    async with sandbox(tmp_path) as ours:
        form = GOOD_FORMS["/v1/payment_intents"] | {"capture_method": "manual"}
        _, made = await _post(ours, "/v1/payment_intents", form)
        for path in paths:
            form = {name: value.format(**made) for name, value in GOOD_FORMS[path].items()}
            status, shown = await _post(ours, path.format(**made), form)
            real_status, real = await _post(stripe_mock, path.format(**made), form)
            assert (status, real_status) == (200, 200), path
            assert set(shown) <= set(real), path
