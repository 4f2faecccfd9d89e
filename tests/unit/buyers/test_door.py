"""What `buyers` says when it is sent to the wrong place, and its exit status."""

import json
import pathlib
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from buyers import __main__ as command
from buyers import door, history
from devstack.certificates import Authority
from doorbuster.kit import clock

from .conftest import SALE, iso
from .stories import SaleStory

OpenShop = Callable[..., Awaitable[Any]]


async def test_page_of_a_sale_to_come_is_returned(open_shop: OpenShop) -> None:
    shop = await open_shop(units=1, opens_in=60)
    page = await door.look(shop.url, SALE)
    assert page.phase == "Scheduled"


async def test_unknown_sale_is_named(open_shop: OpenShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "APPEAR_SECONDS", 0.0)
    shop = await open_shop(units=1, opens_in=60)
    with pytest.raises(door.ClosedDoorError, match=r"default\.nothing: 404 UNKNOWN_SALE"):
        await door.look(shop.url, "default.nothing")


async def test_port_without_a_shop_and_host_without_a_name_are_told_apart() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(door.ClosedDoorError, match="listens to nobody"):
            await door.look(f"http://127.0.0.1:{nobody.getsockname()[1]}", SALE)
    with pytest.raises(door.ClosedDoorError, match="names no host"):
        await door.look("http://nowhere.invalid", SALE)
    with pytest.raises(ValueError, match="no address of a shop"):
        await door.look("shop.example", SALE)


async def serve(answer: dict[str, Any] | str, tls: ssl.SSLContext | None = None) -> web.AppRunner:
    async def handle(_request: web.Request) -> web.Response:
        if isinstance(answer, str):
            return web.Response(text=answer)
        return web.json_response(answer)

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    return runner


def page(**changes: Any) -> dict[str, Any]:
    return {
        "phase": "Open",
        "openTime": iso(1_000.0),
        "closeTime": iso(9_000.0),
        "serverTime": iso(2_000.0),
        "products": [{"productId": "p", "price": 1.0}],
    } | changes


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("<html>", "not JSON"),
        ({"hello": "world"}, "none of this shop's"),
        (page(phase="Closed"), "is over"),
        (page(serverTime=iso(9_000.0)), "is over"),
        (page(phase="Cancelled"), "was cancelled"),
        (page(phase="SoldOut"), "is sold out"),
        (page(products=[]), "0 products"),
        (page(products=[{}, {}]), "2 products"),
    ],
)
async def test_page_that_sends_nobody_in_says_why(answer: dict[str, Any] | str, says: str) -> None:
    runner = await serve(answer)
    try:
        with pytest.raises(door.ClosedDoorError, match=says):
            await door.look(f"http://127.0.0.1:{runner.addresses[0][1]}", SALE)
    finally:
        await runner.cleanup()


def tls_pair(folder: pathlib.Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context, and one that trusts who signed its certificate."""
    authority = Authority(folder, now=clock.utc_now())
    authority.serving("shop", ["localhost"], ["127.0.0.1"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(authority.path("shop.crt"), authority.path("shop.key"))
    return server, ssl.create_default_context(cafile=str(authority.path("ca.crt")))


async def test_certificate_is_believed_only_from_whom_we_trust(tmp_path: pathlib.Path) -> None:
    server, trusting = tls_pair(tmp_path)
    runner = await serve(page(), server)
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        assert (await door.look(url, SALE, trusting)).phase == "Open"
        with pytest.raises(door.ClosedDoorError, match=r"not trusted.*--ca-file"):
            await door.look(url, SALE)
        with pytest.raises(door.ClosedDoorError, match="https instead of http"):
            await door.look(url.replace("https", "http"), SALE)
    finally:
        await runner.cleanup()
    plain = await serve(page())
    try:
        with pytest.raises(door.ClosedDoorError, match="does not speak TLS"):
            await door.look(f"https://127.0.0.1:{plain.addresses[0][1]}", SALE)
    finally:
        await plain.cleanup()


# --- exit status --------------------------------------------------------------------------------


def status_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["buyers", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def write(path: pathlib.Path, story: SaleStory) -> str:
    recorder = history.Recorder(path)
    for record in story.records:
        recorder.write(record)
    recorder.close()
    return str(path)


def test_status_says_held_broken_or_not_told(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in command.stores.NAMES.values():
        monkeypatch.delenv(name, raising=False)
    path = write(tmp_path / "history.jsonl", SaleStory(5, 12, 3))
    check = ("check", "--history", path, "--json")
    assert status_of(monkeypatch, *check) == 2
    told = json.loads(capsys.readouterr().out)
    assert "nobody could ask inventory, redis" in told["unjudged"]["I7"]
    assert (told["promiseHeld"], told["fullyJudged"]) == (True, False)
    assert status_of(monkeypatch, *check, "--history-only") == 0
    assert status_of(monkeypatch, *check, "--history-only", "--units", "2") == 1
    assert status_of(monkeypatch, "check", "--history", str(tmp_path / "none")) == 2


def test_panel_names_what_could_not_be_judged(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "history.jsonl", SaleStory(5, 12, 3))
    assert status_of(monkeypatch, "check", "--history", path, "--history-only") == 0
    shown = capsys.readouterr().out
    assert "as far as it could be judged" in shown
    assert "I7 could not be judged" in shown


def test_run_at_a_closed_door_writes_no_history(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        path = tmp_path / "history.jsonl"
        run = ("run", "--sale", SALE, "--buyers", "2", "--history", str(path), "--url", url)
        assert status_of(monkeypatch, *run) == 2
    assert "listens to nobody" in capsys.readouterr().err
    assert not path.exists()
