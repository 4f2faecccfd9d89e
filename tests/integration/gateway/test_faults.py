"""Copies that die, Redis that is gone, crowds: what the door does then."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from doorbuster.testing import processes

from .conftest import Street, Upstream


async def break_off(request: web.Request) -> web.StreamResponse:
    """Take the request and close the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def test_requests_go_round_and_pass_a_dead_copy(street: Street) -> None:
    first, second = street.checkouts
    for _ in range(10):
        assert (await street.call("GET", "/v1/sales"))[0] == 200
    assert (len(first.arrived), len(second.arrived)) == (5, 5)
    await second.stop()
    for _ in range(10):
        status, _, _ = await street.call("POST", "/v1/checkout", json={}, headers=street.as_user())
        assert status == 200
    await second.start()
    for _ in range(300):
        await street.call("GET", "/v1/sales")
        if len(second.arrived) > 5:
            break
        await asyncio.sleep(0.02)
    assert len(second.arrived) > 5


async def test_what_may_have_arrived_is_repeated_only_with_a_key(street: Street) -> None:
    first, second = street.checkouts
    first.handler = second.handler = break_off
    bare, keyed = street.as_user(), street.as_user() | {"Idempotency-Key": "k"}
    for method, path, headers, times in (
        ("POST", "/v1/checkout", bare, 1),
        ("POST", "/v1/checkout", keyed, 2),
        ("GET", "/v1/sales", {}, 2),
        ("PATCH", "/v1/sales", keyed, 1),
    ):
        first.arrived.clear()
        second.arrived.clear()
        status, body, answered = await street.call(method, path, headers=headers)
        assert (status, body["code"], answered["Retry-After"]) == (503, "UNAVAILABLE", "1")
        # aiohttp's own client asks a copy again for GET when a kept connection breaks.
        reached = {upstream.port for upstream in street.checkouts if upstream.arrived}
        assert len(reached) == times


async def test_a_service_without_copies_is_unavailable(street: Street) -> None:
    await street.order.stop()
    status, body, headers = await street.call("GET", "/v1/orders", headers=street.as_user())
    assert (status, body["code"], headers["Retry-After"]) == (503, "UNAVAILABLE", "1")
    assert headers["Content-Type"].startswith("application/problem+json")


async def test_a_proxys_error_is_told_as_ours_and_a_problem_passes(street: Street) -> None:
    async def broken(request: web.Request) -> web.Response:
        status = int(request.query["status"])
        kind = request.query.get("kind", "text/html")
        return web.Response(status=status, text='{"code":"X"}', content_type=kind)

    street.order.handler = broken
    for status in (502, 503, 504):
        answer = await street.call("GET", f"/v1/orders?status={status}", headers=street.as_user())
        assert (answer[0], answer[1]["code"]) == (503, "UNAVAILABLE")
    for status in (400, 409, 500, 503):
        path = f"/v1/orders?status={status}&kind=application/problem%2Bjson"
        answer = await street.call("GET", path, headers=street.as_user())
        assert (answer[0], answer[1]["code"]) == (status, "X")


async def test_a_redirect_is_passed_on_and_not_followed(street: Street) -> None:
    async def elsewhere(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": street.payment.url + "/internal"})

    street.order.handler = elsewhere
    status, _, headers = await street.call(
        "GET", "/v1/orders", headers=street.as_user(), allow_redirects=False
    )
    assert (status, headers["Location"]) == (302, street.payment.url + "/internal")
    assert street.payment.arrived == []


async def test_limits_are_shared_by_all_gateways_and_told(street: Street) -> None:
    rates = {"DOORBUSTER_RATE_SIGN_UP": "0.001/4", "DOORBUSTER_RATE_USER": "0.001/6"}
    answers: list[tuple[int, Any, Mapping[str, str]]] = []
    async with street.another(**rates):
        for _ in range(3):
            answers.append(await street.call("POST", "/v1/users", json={}))
    async with street.another(**rates):
        for _ in range(3):
            answers.append(await street.call("POST", "/v1/users", json={}))
        assert [one[0] for one in answers] == [200, 200, 200, 200, 429, 429]
        _, body, headers = answers[-1]
        assert body["code"] == "RATE_LIMITED"
        assert 500 <= int(headers["Retry-After"]) <= 1000
        assert (headers["RateLimit-Limit"], headers["RateLimit-Remaining"]) == ("4", "0")
        assert (await street.call("POST", "/v1/users", address="198.51.100.8", json={}))[0] == 200
        assert (await street.call("GET", "/v1/sales"))[0] == 200
        for number in (1, 2):
            got = [
                (await street.call("GET", "/v1/orders", headers=street.as_user(number)))[0]
                for _ in range(7)
            ]
            assert got == [200] * 6 + [429]
        assert await street.metric("doorbuster_gateway_limited_total") == 4


async def test_without_redis_the_door_is_open_and_it_is_counted(
    street: Street, stack: Any
) -> None:
    async with street.another(DOORBUSTER_RATE_ADDRESS="0.01/2"):
        assert [(await street.call("GET", "/v1/sales"))[0] for _ in range(3)] == [200, 200, 429]
        await asyncio.to_thread(stack.kill, "redis")
        try:
            started = time.monotonic()
            statuses = [
                (await street.call("GET", "/v1/sales", address=f"203.0.113.{number}"))[0]
                for number in range(50)
            ]
            assert statuses == [200] * 50
            assert time.monotonic() - started < 10
            assert await street.metric("doorbuster_gateway_unchecked_total") == 50
        finally:
            await asyncio.to_thread(stack.restart, "redis")
        for _ in range(100):
            status, _, _ = await street.call("GET", "/v1/sales", address="203.0.113.99")
            if status == 429:
                break
            await asyncio.sleep(0.1)
        assert status == 429


async def test_a_crowd_with_its_own_addresses_passes(street: Street) -> None:
    users = [street.as_user(number) for number in range(300)]

    async def buyer(number: int) -> list[int]:
        statuses = []
        for _ in range(3):
            status, _, _ = await street.call(
                *("POST", "/v1/checkout"),
                address=f"198.18.{number // 250}.{number % 250 + 1}",
                json={},
                headers=users[number],
            )
            statuses.append(status)
            await asyncio.sleep(1.0)  # as Retry-After asks: this is the rate that is tested
        return statuses

    answers = await asyncio.gather(*(buyer(number) for number in range(300)))
    assert {status for statuses in answers for status in statuses} == {200}
    assert len(street.arrived()) == 900


async def test_it_is_ready_once_it_knows_the_keys(street: Street) -> None:
    nobody = Upstream(processes.free_port(), break_off)
    env = {**street.env, "DOORBUSTER_USER_URLS": nobody.url}
    log = street.folder / "unready.log"
    started = asyncio.create_task(_run_until_ready(env, log))
    try:
        async with asyncio.timeout(20):
            while not (log.exists() and "service_started" in log.read_text()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert not started.done()
        nobody.handler = street.user.handler
        await nobody.start()
        assert await asyncio.wait_for(started, 20) == "ready"
    finally:
        started.cancel()
        await nobody.stop()


async def _run_until_ready(env: dict[str, str], log: Any) -> str:
    async with processes.running("gateway", env, log):
        return "ready"
