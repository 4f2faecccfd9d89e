"""Calls between services: each endpoint in its turn, a silent one left out for a while, one deadline for all."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from doorbuster.kit import auth, client, clock


class Answer(msgspec.Struct):
    name: str


class Shop:
    """Three endpoints of one service that count their calls; what they do can be changed."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.ill: dict[str, str] = {}
        self.headers: dict[str, str] = {}

    def app(self, name: str) -> web.Application:
        async def answer(request: web.Request) -> web.Response:
            self.calls[name] = self.calls.get(name, 0) + 1
            self.headers = dict(request.headers)
            match self.ill.get(name):
                case "crash":
                    request.transport and request.transport.close()
                case "500":
                    return web.Response(status=500)
                case "refuse":
                    body = {"code": "SOLD_OUT", "detail": "gone", "productId": "prod_1"}
                    return web.json_response(body, status=409)
                case "page":
                    return web.Response(status=404, text="<html>")
            return web.json_response({"name": name})

        app = web.Application()
        app.router.add_get("/", answer)
        return app


@pytest.fixture
async def shop() -> AsyncIterator[tuple[Shop, client.ServiceClient]]:
    shop = Shop()
    servers = [TestServer(shop.app(name)) for name in ("a", "b", "c")]
    for server in servers:
        await server.start_server()
    async with aiohttp.ClientSession() as session:
        yield (
            shop,
            client.ServiceClient(
                callee="shop",
                urls=tuple(str(server.make_url("/")) for server in servers),
                session=session,
                signer=None,
                timeout_seconds=2.0,
            ),
        )
    for server in servers:
        await server.close()


async def ask(caller: client.ServiceClient) -> str:
    return (await caller.call("GET", "/", Answer)).name


async def test_endpoints_take_turns(shop: Any) -> None:
    _, caller = shop
    names = [await ask(caller) for _ in range(6)]
    assert names == ["a", "b", "c", "a", "b", "c"]


@pytest.mark.parametrize("illness", ["crash", "500"])
async def test_an_endpoint_that_fails_is_passed_over_and_left_out(shop: Any, illness: str) -> None:
    endpoints, caller = shop
    endpoints.ill["a"] = illness
    names = [await ask(caller) for _ in range(9)]
    assert set(names) == {"b", "c"}
    # A connection that was cut is tried once more by the HTTP library itself.
    assert endpoints.calls["a"] <= 2


async def test_a_left_out_endpoint_is_still_the_last_resort(shop: Any) -> None:
    endpoints, caller = shop
    endpoints.ill |= dict.fromkeys("abc", "500")
    with pytest.raises(client.UnavailableError):
        await ask(caller)
    endpoints.ill.clear()
    assert await ask(caller) in "abc"


async def test_a_refusal_is_an_answer_and_is_not_asked_elsewhere(shop: Any) -> None:
    endpoints, caller = shop
    endpoints.ill |= dict.fromkeys("abc", "refuse")
    with pytest.raises(client.RefusedError) as caught:
        await ask(caller)
    refused = caught.value
    assert (refused.status, refused.code, refused.product_id) == (409, "SOLD_OUT", "prod_1")
    assert sum(endpoints.calls.values()) == 1


async def test_a_refusal_without_a_problem_is_still_one(shop: Any) -> None:
    endpoints, caller = shop
    endpoints.ill |= dict.fromkeys("abc", "page")
    with pytest.raises(client.RefusedError) as caught:
        await ask(caller)
    assert (caught.value.status, caught.value.code) == (404, "UNKNOWN")


async def test_all_endpoints_share_one_deadline() -> None:
    with ExitStack() as stack:
        deaf = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(9)]
        urls = tuple(f"http://127.0.0.1:{one.getsockname()[1]}" for one in deaf)
        async with aiohttp.ClientSession() as session:
            caller = client.ServiceClient(
                callee="shop", urls=urls, session=session, signer=None, timeout_seconds=0.3
            )
            started = time.monotonic()
            with pytest.raises(client.UnavailableError):
                await ask(caller)
            assert time.monotonic() - started < 2.0


async def test_endpoints_are_taken_without_their_final_slash() -> None:
    endpoints = client.Endpoints(("http://a:1/", "http://b:2"))
    assert await endpoints.candidates() == ["http://a:1", "http://b:2"]
    assert await endpoints.candidates() == ["http://b:2", "http://a:1"]


def test_a_service_without_endpoints_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        client.Endpoints(())


def signer_in(folder: Path) -> auth.ServiceSigner:
    path = folder / "operator.pem"
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return auth.ServiceSigner("operator", path)


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_a_caller_whose_clock_is_wrong_signs_by_the_clock_of_the_service(
    tmp_path: Path, minutes: int
) -> None:
    ahead = timedelta(minutes=minutes)
    asked = []

    async def answer(request: web.Request) -> web.Response:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        claims = jwt.decode(token, options={"verify_signature": False})
        asked.append(claims)
        there = clock.utc_now() + ahead
        is_good = claims["iat"] <= there.timestamp() + 5 and there.timestamp() < claims["exp"]
        headers = {"Date": format_datetime(there, usegmt=True)}
        status = 200 if is_good else 401
        return web.json_response({"name": "a"}, status=status, headers=headers)

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        caller = client.ServiceClient(
            callee="shop",
            urls=(str(server.make_url("/")),),
            session=session,
            signer=signer_in(tmp_path),
        )
        assert await ask(caller) == "a"
        assert await ask(caller) == "a"
    assert len(asked) == 3, "it was refused once and knew from then on"


async def test_a_refusal_by_a_clock_like_ours_is_not_asked_again(tmp_path: Path) -> None:
    asked = []

    async def refuse(_request: web.Request) -> web.Response:
        asked.append(1)
        return web.json_response({"code": "UNAUTHENTICATED"}, status=401)

    app = web.Application()
    app.router.add_get("/", refuse)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        caller = client.ServiceClient(
            callee="shop",
            urls=(str(server.make_url("/")),),
            session=session,
            signer=signer_in(tmp_path),
        )
        with pytest.raises(client.RefusedError):
            await ask(caller)
    assert len(asked) == 1


class Refusing:
    """A service that refuses everything; ``minutes`` ahead is its clock, ``seconds`` each answer takes."""

    def __init__(self) -> None:
        self.asked = 0
        self.minutes = 5.0
        self.seconds = 0.0

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        await asyncio.sleep(self.seconds)
        there = clock.utc_now() + timedelta(minutes=self.minutes)
        headers = {"Date": format_datetime(there, usegmt=True)}
        return web.json_response({"code": "UNAUTHENTICATED"}, status=401, headers=headers)


@pytest.fixture
async def refusing(tmp_path: Path) -> AsyncIterator[tuple[Refusing, client.ServiceClient]]:
    service = Refusing()
    app = web.Application()
    app.router.add_get("/", service.answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield (
            service,
            client.ServiceClient(
                callee="shop",
                urls=(str(server.make_url("/")),),
                session=session,
                signer=signer_in(tmp_path),
            ),
        )


@pytest.mark.parametrize(("minutes", "asked"), [(-16, 1), (-14, 2), (14, 2), (16, 1)])
async def test_a_clock_that_is_far_away_is_not_followed(
    refusing: Any, minutes: int, asked: int
) -> None:
    service, caller = refusing
    service.minutes = minutes
    with pytest.raises(client.RefusedError):
        await ask(caller)
    assert service.asked == asked


async def test_a_clock_is_followed_at_most_once_a_minute(
    refusing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, caller = refusing
    for minutes in (5, -5, 5):
        service.minutes = minutes
        with pytest.raises(client.RefusedError):
            await ask(caller)
    assert service.asked == 2 + 1 + 1
    monkeypatch.setattr(auth, "FOLLOW_EVERY_SECONDS", 0.0)
    service.minutes = -5
    with pytest.raises(client.RefusedError):
        await ask(caller)
    assert service.asked == 2 + 1 + 1 + 2


async def test_the_second_try_has_only_the_time_that_is_left(
    refusing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, caller = refusing
    service.seconds = 0.2
    limits: list[float] = []
    request = caller._session.request

    def watched(*about: Any, timeout: aiohttp.ClientTimeout, **more: Any) -> Any:
        limits.append(timeout.total or 0.0)
        return request(*about, timeout=timeout, **more)

    monkeypatch.setattr(caller._session, "request", watched)
    with pytest.raises(client.RefusedError):
        await ask(caller)
    first, second = limits
    assert second <= first - 0.19
