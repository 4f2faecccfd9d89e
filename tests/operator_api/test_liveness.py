"""Liveness, by really sticking what it watches: a watch whose stream is swallowed, a process that is stopped."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from doorbuster_operator.testing.waits import phase_is, reason_is

SILENT_SECONDS = 4.0
WATCH_SECONDS = 5.0


class Swallower:
    """A TCP proxy that can swallow what comes down the connections on which nobody asks for anything.

    Those are the watches: whoever lists or writes asks again and again.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._asked: dict[int, float] = {}
        self._frozen: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def freeze(self) -> int:
        """Swallow from now on; returns how many connections that are."""
        now = time.monotonic()
        self._frozen = {each for each, at in self._asked.items() if now - at > SILENT_SECONDS}
        return len(self._frozen)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        me = id(writer)
        self._asked[me] = time.monotonic()

        async def ask() -> None:
            while data := await reader.read(65_536):
                self._asked[me] = time.monotonic()
                up_writer.write(data)
                await up_writer.drain()

        async def answer() -> None:
            while data := await up_reader.read(65_536):
                if me not in self._frozen:
                    writer.write(data)
                    await writer.drain()

        pumps = {asyncio.create_task(ask()), asyncio.create_task(answer())}
        self._tasks |= pumps
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._asked.pop(me, None)
            for each in (writer, up_writer):
                each.close()


def _read(kubeconfig: Path) -> Any:
    return yaml.safe_load(kubeconfig.read_text())


@pytest.fixture
async def swallower(servers, tmp_path) -> AsyncIterator[tuple[Swallower, str]]:
    """The proxy and a kubeconfig that leads through it."""
    config = await asyncio.to_thread(_read, Path(servers("apiserver")["KUBECONFIG"]))
    place = config["clusters"][0]["cluster"]
    host, _, port = place["server"].removeprefix("https://").partition(":")
    proxy = Swallower(host, int(port))
    place["server"] = f"https://127.0.0.1:{await proxy.start()}"
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    yield proxy, str(path)
    await proxy.stop()


async def test_a_watch_whose_stream_is_swallowed_fails_liveness_while_lists_cover_for_it(
    room, replica, swallower, sale_of, pool_of, name
):
    proxy, kubeconfig = swallower
    one = await replica(
        "one",
        KUBECONFIG=kubeconfig,
        DOORBUSTER_OPERATOR_RELIST_SECONDS="1.5",
        DOORBUSTER_OPERATOR_WATCH_SECONDS=str(WATCH_SECONDS),
    ).until_ready()
    await room.create(pool_of(name))
    await room.create(sale_of(name))
    await room.until("FlashSale", name, phase_is("Scheduled"))
    quiet_until = time.monotonic() + WATCH_SECONDS + SILENT_SECONDS
    while time.monotonic() < quiet_until:
        status, text = await one.probe("/livez", seconds=5)
        assert status == 200, f"a watch with nothing to tell is no stuck one: {text}"
        await asyncio.sleep(0.25)

    assert proxy.freeze() >= 2, "one watch for each kind"
    await room.patch("FlashSale", name, {"spec": {"warmup": {"leadSeconds": 86_400}}})
    await room.until("FlashSale", name, reason_is("Armed", "Loaded"))
    deadline = time.monotonic() + 30
    while (await one.probe("/livez", seconds=5))[0] == 200:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert await one.probe("/healthz", seconds=5) == (503, "stuck watch: StuckError\n")


async def test_a_process_that_is_stopped_answers_no_probe_and_goes_on_afterwards(
    room, replica, pool_of, name
):
    one = await replica("one").until_ready()
    assert (await one.probe("/livez", seconds=5))[0] == 200
    one.send(signal.SIGSTOP)
    assert (await one.probe("/livez"))[0] == 0
    one.send(signal.SIGCONT)
    await room.create(pool_of(name))
    await room.until("InventoryPool", name, reason_is("CapacityApplied", "Applied"))
    assert await one.probe("/livez", seconds=5) == (200, "ok\n")
