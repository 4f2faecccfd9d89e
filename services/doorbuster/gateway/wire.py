"""HTTP/1.1 as the gateway speaks it to our own services: a connection that is kept, one exchange at a time.

aiohttp's client costs more than everything else that the gateway does for a request; this knows only what the
services behind the door send: a head, then a body by Content-Length, in chunks, or until the connection ends.
Whatever else arrives breaks the connection off, never the process.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from typing_extensions import override

MAX_HEAD_BYTES = 64 * 1024
MAX_LINE_BYTES = 1_024
MAX_TRAILER_BYTES = 8 * 1024
PAUSE_ABOVE_BYTES = 256 * 1024
_NO_BODY = frozenset({204, 304})


class BrokenOffError(ConnectionError):
    """The connection ended or made no sense; ``answered`` tells whether any of an answer had come."""

    def __init__(self, why: str, *, answered: bool) -> None:
        super().__init__(why)
        self.answered = answered


class UnsendableError(ValueError):
    """A header would break out of its line."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """Status and headers of an answer; ``length`` of its body in bytes, None when only its end will tell."""

    status: int
    headers: list[tuple[str, str]]
    length: int | None
    is_chunked: bool
    keeps_alive: bool


def request_bytes(
    method: str, target: str, host: str, headers: dict[str, str], body: bytes
) -> bytes:
    """Return a request as it goes over the wire; raises UnsendableError."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        raise UnsendableError("a header has more than one line")
    return text.encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def parse_head(raw: bytes) -> Head:
    """Read a head without its last empty line; raises ValueError."""
    first, *lines = raw.decode("utf-8", "replace").split("\r\n")
    version, _, rest = first.partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0") or not rest[:3].isdecimal():
        raise ValueError("no HTTP/1.1 status line")
    status, headers = int(rest[:3]), []
    length: int | None = None
    is_chunked, connection = False, ""
    for line in lines:
        name, colon, value = line.partition(":")
        value = value.strip(" \t")
        if not colon or not name:
            raise ValueError("a header without a name")
        headers.append((name, value))
        match name.lower():
            case "content-length":
                if not (value.isascii() and value.isdecimal()) or len(value) > 12:
                    raise ValueError("a senseless Content-Length")
                length = int(value)
            case "transfer-encoding":
                if value.lower() != "chunked":
                    raise ValueError("an unknown Transfer-Encoding")
                is_chunked = True
            case "connection":
                connection = value.lower()
            case _:
                pass
    if status in _NO_BODY:
        length, is_chunked = 0, False
    ends_with_connection = length is None and not is_chunked
    keeps_alive = version == "HTTP/1.1" and connection != "close" and not ends_with_connection
    return Head(
        status=status,
        headers=headers,
        length=None if is_chunked else length,
        is_chunked=is_chunked,
        keeps_alive=keeps_alive,
    )


class Chunks:
    """Takes a chunked body apart as it arrives."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left = 0  # bytes of the current chunk, with its line end
        self._in_trailer = False
        self._trailer_bytes = 0
        self.is_done = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the pieces of body in ``data``; raises ValueError when it makes no sense."""
        self._buffer += data
        pieces = []
        while self._buffer and not self.is_done:
            if self._left > 0:
                piece = bytes(self._buffer[: self._left])
                del self._buffer[: len(piece)]
                content = piece[: max(0, self._left - 2)]
                self._left -= len(piece)
                if content:
                    pieces.append(content)
                continue
            end = self._buffer.find(b"\r\n", 0, MAX_LINE_BYTES)
            if end < 0:
                if len(self._buffer) >= MAX_LINE_BYTES:
                    raise ValueError("a chunk's line is too long")
                break
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            self._line(line)
        return pieces

    def _line(self, line: bytes) -> None:
        if self._in_trailer:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > MAX_TRAILER_BYTES:
                raise ValueError("the trailer is too long")
            self.is_done = not line
            return
        size = line.partition(b";")[0].strip()
        if not size or len(size) > 8 or size.strip(b"0123456789abcdefABCDEF"):
            raise ValueError("a chunk without a size")
        length = int(size, 16)
        self._in_trailer = length == 0
        self._left = length + 2 if length else 0


class Connection(asyncio.Protocol):
    """One connection to a service; ``is_free`` when another exchange may begin."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._head: Head | None = None
        self._chunks: Chunks | None = None
        self._left = 0
        self._pieces: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: BrokenOffError | None = None
        self._is_complete = True
        self._is_paused = False
        self.idle_since = 0.0

    @property
    def is_free(self) -> bool:
        """Whether the last exchange is over and the connection stands."""
        return (
            self._transport is not None
            and self._error is None
            and self._is_complete
            and not self._pieces
            and (self._head is None or self._head.keeps_alive)
        )

    async def exchange(self, request: bytes) -> Head:
        """Send a request and return the head of its answer; raises BrokenOffError."""
        assert self.is_free, "one exchange at a time"
        assert self._transport is not None
        self._head, self._chunks, self._is_complete = None, None, False
        self._transport.write(request)
        while self._head is None:
            await self._more()
        return self._head

    async def piece(self) -> bytes:
        """Return the next piece of the body, b"" after the last one; raises BrokenOffError."""
        while not self._pieces and not self._is_complete:
            await self._more()
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        self._waiting_bytes -= len(piece)
        if self._is_paused and self._waiting_bytes <= PAUSE_ABOVE_BYTES // 2:
            self._is_paused = False
            if self._transport is not None:
                self._transport.resume_reading()
        return piece

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def close(self) -> None:
        """Break the connection off."""
        self._break("closed here")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _break(self, why: str) -> None:
        if self._error is None:
            self._error = BrokenOffError(
                why, answered=self._head is not None or bool(self._buffer)
            )
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        self._wake()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's has another base

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        head = self._head
        if head is not None and head.length is None and not head.is_chunked:
            self._is_complete = True  # its end is the body's end
        self._break("the connection ended")

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_complete:
            self._break("something came that nobody asked for")
            return
        try:
            if self._head is None:
                data = self._take_head(data)
            if self._head is not None and data:
                self._take_body(data)
        except ValueError as error:
            self._break(str(error))
        self._wake()

    def _take_head(self, data: bytes) -> bytes:
        """Collect a head; return what follows it."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise ValueError("the head is too long")
            return b""
        head = parse_head(bytes(self._buffer[:end]))
        rest = bytes(self._buffer[end + 4 :])
        self._buffer.clear()
        if 100 <= head.status < 200:
            return self._take_head(rest)
        self._head = head
        self._chunks = Chunks() if head.is_chunked else None
        self._left = head.length or 0
        self._is_complete = head.length == 0
        if self._is_complete and rest:
            raise ValueError("a body that was not announced")
        return rest

    def _take_body(self, data: bytes) -> None:
        assert self._head is not None
        if self._chunks is not None:
            for piece in self._chunks.feed(data):
                self._keep(piece)
            self._is_complete = self._chunks.is_done
        elif self._head.length is None:
            self._keep(data)
        elif len(data) > self._left:
            raise ValueError("the body is longer than announced")
        else:
            self._left -= len(data)
            self._keep(data)
            self._is_complete = self._left == 0

    def _keep(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes > PAUSE_ABOVE_BYTES and not self._is_paused:
            self._is_paused = True
            if self._transport is not None:
                self._transport.pause_reading()
