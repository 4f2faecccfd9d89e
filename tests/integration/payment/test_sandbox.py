"""The sandbox over HTTP: keys, idempotency, bad input, death at any moment, signed webhooks."""

import asyncio
import hashlib
import hmac
from typing import Any

import pytest
from aiohttp import web

from doorbuster.kit import migrations

KEY = "sk_test_integration"


@pytest.fixture(scope="module")
def payment_dsn(fresh_postgres: str) -> str:
    """One kind is enough: the sandbox keeps its own file."""
    asyncio.run(migrations.upgrade("doorbuster.payment", fresh_postgres))
    return fresh_postgres


async def _call(
    world: Any, method: str, path: str, *, key: str | None = None, auth: str = KEY, **form: Any
) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {auth}"}
    if key is not None:
        headers["Idempotency-Key"] = key
    data = form.pop("data", None) or form
    async with world.session.request(
        method, world.psp.url + path, data=data, headers=headers
    ) as answer:
        return answer.status, await answer.json()


async def test_a_key_replays_its_answer_and_refuses_another_request(world: Any) -> None:
    path = "/v1/payment_intents"
    first = await _call(world, "POST", path, key="a", amount="5", currency="eur")
    assert await _call(world, "POST", path, key="a", amount="5", currency="eur") == first
    status, body = await _call(world, "POST", path, key="a", amount="6", currency="eur")
    assert (status, body["error"]["type"]) == (400, "idempotency_error")


async def test_a_busy_key_is_told_so(world: Any) -> None:
    await world.behave(delayMillis=300)
    path = "/v1/payment_intents"
    answers = await asyncio.gather(
        *(_call(world, "POST", path, key="busy", amount="5", currency="eur") for _ in range(5))
    )
    assert sorted(status for status, _ in answers) == [200, 409, 409, 409, 409]


async def test_a_refused_request_does_not_use_its_key_up(world: Any) -> None:
    path = "/v1/payment_intents"
    assert (await _call(world, "POST", path, key="bad", amount="x", currency="eur"))[0] == 400
    assert (await _call(world, "POST", path, key="bad", amount="5", currency="eur"))[0] == 200


async def test_what_was_answered_survives_its_death(world: Any) -> None:
    path = "/v1/payment_intents"
    first = await _call(world, "POST", path, key="kept", amount="5", currency="eur")
    await asyncio.to_thread(world.psp.kill)
    await asyncio.to_thread(world.psp.start)
    assert await _call(world, "POST", path, key="kept", amount="5", currency="eur") == first
    assert await _call(world, "GET", f"{path}/{first[1]['id']}") == (200, first[1])


@pytest.mark.parametrize(
    ("method", "path", "data", "status"),
    [
        ("POST", "/v1/payment_intents", b"", 400),
        ("POST", "/v1/payment_intents", b"amount=-1&currency=eur", 400),
        ("POST", "/v1/payment_intents", b"amount=1e9&currency=eur", 400),
        ("POST", "/v1/payment_intents", b"amount=1&currency=" + b"x" * 1000, 400),
        ("POST", "/v1/payment_intents", b"amount=1&currency=eur&metadata=x", 400),
        ("POST", "/v1/payment_intents", b"amount=1&currency=eur&metadata[a][b]=x", 400),
        ("POST", "/v1/payment_intents", b"amount[a]=1&currency=eur", 400),
        ("POST", "/v1/payment_intents", b"amount=1&currency=eur&capture_method=never", 400),
        ("POST", "/v1/payment_intents", b"amount=1&currency=eur&payment_method=pm_x", 400),
        ("POST", "/v1/payment_intents", b"\xff\xfe=1", 400),
        ("POST", "/v1/payment_intents", b"a=" + b"x" * 100_000, 413),
        ("POST", "/v1/payment_intents", b"a[" * 5000, 400),
        ("POST", "/v1/payment_methods", b"type=card", 400),
        ("POST", "/v1/payment_methods", b"type=sepa_debit", 400),
        ("POST", "/v1/payment_methods", b"type=card&card[number]=1", 400),
        ("POST", "/v1/payment_methods", b"type=card&card[token]=tok_none", 400),
        ("POST", "/v1/payment_intents/pi_none/confirm", b"", 404),
        ("POST", "/v1/payment_intents/pi_none/capture", b"", 404),
        ("POST", "/v1/payment_intents/%00/cancel", b"", 404),
        ("GET", "/v1/payment_intents/pi_none", b"", 404),
        ("GET", "/v1/payment_intents?limit=0x", b"", 400),
        ("GET", "/v1/payment_intents?limit=1000", b"", 400),
        ("GET", "/v1/refunds/re_none", b"", 404),
        ("POST", "/v1/refunds", b"", 400),
        ("POST", "/v1/refunds", b"payment_intent=pi_none", 400),
        ("DELETE", "/v1/payment_intents", b"", 405),
        ("GET", "/v1/nothing", b"", 404),
    ],
)
async def test_bad_requests_are_refused_in_stripes_words(
    world: Any, method: str, path: str, data: bytes, status: int
) -> None:
    found, body = await _call(world, method, path, data=data)
    assert found == status, body
    assert body["error"]["type"] == "invalid_request_error"


async def test_strangers_are_refused(world: Any) -> None:
    status, _ = await _call(world, "GET", "/v1/payment_intents", auth="sk_test_other")
    assert status == 401


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"delayMillis": -1}', b'{"failNext": {"count": 1, "on": "x"}}', b"{" * 9],
)
async def test_behaviour_is_checked(world: Any, body: bytes) -> None:
    url = f"{world.psp.url}/admin/behaviour"
    async with world.session.put(url, data=body) as answer:
        assert answer.status == 400


async def test_events_are_signed_and_sent_until_they_are_taken(
    world: Any, tmp_path: Any, unused_port: int
) -> None:
    heard: list[tuple[str, bytes]] = []
    taken = asyncio.Event()

    async def hear(request: web.Request) -> web.Response:
        heard.append((request.headers["Stripe-Signature"], await request.read()))
        if len(heard) == 1:
            return web.Response(status=500)
        taken.set()
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hear)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_port).start()
    await asyncio.to_thread(world.psp.kill)
    quiet = dict(world.psp.env)
    world.psp.env |= {
        "DOORBUSTER_PSP_STATE": str(tmp_path / "psp.db"),
        "DOORBUSTER_PSP_WEBHOOK_URL": f"http://127.0.0.1:{unused_port}/hook",
        "DOORBUSTER_PSP_WEBHOOK_SECRET": "whsec_1",
    }
    try:
        await asyncio.to_thread(world.psp.start)
        await _call(world, "POST", "/v1/payment_intents", amount="5", currency="eur")
        await asyncio.wait_for(taken.wait(), 20)
    finally:
        await asyncio.to_thread(world.psp.kill)
        world.psp.env.clear()
        world.psp.env.update(quiet)
        await runner.cleanup()
    signature, payload = heard[1]
    assert payload == heard[0][1]
    at, _, given = signature.removeprefix("t=").partition(",v1=")
    expected = hmac.new(b"whsec_1", f"{at}.".encode() + payload, hashlib.sha256).hexdigest()
    assert given == expected
