"""HTTP/1.1 towards the services: every split of an answer reads the same, and nonsense breaks off."""

import asyncio
from typing import Any, cast

import pytest

from doorbuster.gateway import wire

PLAIN = b"HTTP/1.1 201 Created\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n"
    b"3\r\nhel\r\n2;name=value\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
)


class FakeTransport:
    """Takes what is written; remembers whether reading is paused and whether it was ended."""

    def __init__(self) -> None:
        self.written = b""
        self.is_paused = False
        self.is_ended = False

    def write(self, data: bytes) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def abort(self) -> None:
        self.is_ended = True


def connected() -> tuple[wire.Connection, FakeTransport]:
    connection, transport = wire.Connection(), FakeTransport()
    connection.connection_made(cast(Any, transport))
    return connection, transport


async def ask(connection: wire.Connection) -> "asyncio.Task[wire.Head]":
    task = asyncio.create_task(connection.exchange(b"request"))
    await asyncio.sleep(0)
    return task


async def body(connection: wire.Connection) -> bytes:
    pieces = []
    while piece := await connection.piece():
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize(("raw", "status"), [(PLAIN, 201), (CHUNKED, 200)])
async def test_every_split_of_an_answer_reads_the_same(raw: bytes, status: int) -> None:
    for first in range(1, len(raw)):
        for second in range(first, len(raw), 7):
            connection, transport = connected()
            asked = await ask(connection)
            for part in (raw[:first], raw[first:second], raw[second:]):
                if part:
                    connection.data_received(part)
            assert (await asked).status == status
            assert await body(connection) == b"hello"
            assert connection.is_free
            assert transport.written == b"request"


async def test_a_connection_serves_one_answer_after_the_other() -> None:
    connection, _ = connected()
    for _ in range(3):
        asked = await ask(connection)
        connection.data_received(b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN)
        assert (await asked).length == 5
        assert await body(connection) == b"hello"


async def test_a_body_may_end_with_the_connection() -> None:
    connection, _ = connected()
    asked = await ask(connection)
    connection.data_received(b"HTTP/1.0 200 OK\r\n\r\nhel")
    head = await asked
    assert (head.length, head.keeps_alive) == (None, False)
    connection.data_received(b"lo")
    connection.connection_lost(None)
    assert await body(connection) == b"hello"
    assert not connection.is_free


@pytest.mark.parametrize("status", [204, 304])
async def test_some_answers_have_no_body(status: int) -> None:
    connection, _ = connected()
    asked = await ask(connection)
    connection.data_received(f"HTTP/1.1 {status} X\r\nContent-Length: 9\r\n\r\n".encode())
    assert (await asked).status == status
    assert await body(connection) == b""
    assert connection.is_free


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"x" * (wire.MAX_HEAD_BYTES + 1),
    ],
)
async def test_a_senseless_head_breaks_off(raw: bytes) -> None:
    connection, transport = connected()
    asked = await ask(connection)
    connection.data_received(raw)
    with pytest.raises(wire.BrokenOffError):
        await asked
    assert transport.is_ended
    assert not connection.is_free


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 2000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 2100,
    ],
)
async def test_a_senseless_body_breaks_off(raw: bytes) -> None:
    connection, transport = connected()
    asked = await ask(connection)
    connection.data_received(raw)
    await asked
    with pytest.raises(wire.BrokenOffError):
        await body(connection)
    assert transport.is_ended


async def test_it_is_told_whether_any_answer_had_come() -> None:
    for before, answered in ((b"", False), (b"HTTP/1.1 2", True)):
        connection, _ = connected()
        asked = await ask(connection)
        if before:
            connection.data_received(before)
        connection.connection_lost(None)
        with pytest.raises(wire.BrokenOffError) as broken:
            await asked
        assert broken.value.answered is answered


async def test_what_nobody_asked_for_ends_the_connection() -> None:
    connection, transport = connected()
    connection.data_received(PLAIN)
    assert transport.is_ended
    assert not connection.is_free


async def test_a_connection_that_will_be_closed_is_not_used_again() -> None:
    connection, _ = connected()
    asked = await ask(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    await asked
    assert not connection.is_free


async def test_a_flood_is_held_back_until_it_is_read() -> None:
    connection, transport = connected()
    asked = await ask(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n")
    await asked
    for _ in range(9):
        connection.data_received(b"x" * 100_000)
    assert transport.is_paused
    assert len(await body(connection)) == 900_000
    assert not transport.is_paused


def test_a_request_is_written_as_it_should_be() -> None:
    raw = wire.request_bytes("POST", "/v1/x?a=b", "127.0.0.1:1", {"Accept": "\u00fc"}, b"{}")
    assert raw == (
        b"POST /v1/x?a=b HTTP/1.1\r\nHost: 127.0.0.1:1\r\nAccept: \xc3\xbc\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )
    assert b"Content-Length: 0" in wire.request_bytes("POST", "/", "x", {}, b"")
    assert b"Content-Length" not in wire.request_bytes("GET", "/", "x", {}, b"")


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nX: y", "a\rX: y", "a\0"])
def test_no_header_breaks_out_of_its_line(value: str) -> None:
    with pytest.raises(wire.UnsendableError):
        wire.request_bytes("GET", "/", "x", {"Accept": value}, b"")
