"""One keep-alive HTTP/1.1 connection of a buyer, as light as it can be: a thousand share two cores with the shop.

It speaks only what a shop behind a proxy answers: a status, headers, and a body by Content-Length or
in chunks. Sizes are bounded. Everything that is not an answer is a :class:`WireError`.
"""

import asyncio
import dataclasses
import re
import ssl
from typing import cast

from typing_extensions import override

CONNECT_SECONDS = 5.0
HEAD_BYTES = 32 * 1024
BODY_BYTES = 256 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9}) *\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked *\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close *\r\n", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *(\d{1,6}) *\r\n", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})(?:;[^\r\n]*)?\r\n")
_BODILESS = frozenset({204, 304})


class WireError(Exception):
    """No answer came through; the message says why in one word."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Response:
    """An answer; ``retry_after`` in seconds, ``closes`` when the connection cannot be used again."""

    status: int
    body: bytes
    retry_after: float | None
    closes: bool


def parse(received: bytes | bytearray) -> Response | None:
    """Return the answer at the beginning of what was received, None while it is not whole.

    Raises WireError when it is no answer or too large.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        if len(received) > HEAD_BYTES:
            raise WireError("HeadTooLarge")
        return None
    head = bytes(received[: end + 2])
    status_line = _STATUS.match(head)
    if status_line is None:
        raise WireError("NotHttp")
    status = int(status_line[1])
    closes = _CLOSE.search(head) is not None
    body: bytes | None
    if status in _BODILESS:
        body = b""
    elif _CHUNKED.search(head):
        body = _chunks(received, end + 4)
    else:
        body, closes = _plain(received, end + 4, head, closes)
    if body is None:
        return None
    retry_after = _RETRY_AFTER.search(head)
    return Response(
        status=status,
        body=body,
        retry_after=float(retry_after[1]) if retry_after else None,
        closes=closes,
    )


def _plain(
    received: bytes | bytearray, start: int, head: bytes, closes: bool
) -> tuple[bytes | None, bool]:
    length = _LENGTH.search(head)
    if length is None:
        raise WireError("NoLength")
    size = int(length[1])
    if size > BODY_BYTES:
        raise WireError("BodyTooLarge")
    if len(received) < start + size:
        return None, closes
    return bytes(received[start : start + size]), closes


def _chunks(received: bytes | bytearray, start: int) -> bytes | None:
    body = b""
    while len(body) <= BODY_BYTES:
        line = _CHUNK.match(received, start)
        if line is None:
            if len(received) - start > HEAD_BYTES:
                raise WireError("BadChunk")
            return None
        size, start = int(line[1], 16), line.end()
        if size == 0:
            return body if received.find(b"\r\n", start) >= 0 else None
        if size > BODY_BYTES:
            break
        if len(received) < start + size + 2:
            return None
        body += bytes(received[start : start + size])
        start += size + 2
    raise WireError("BodyTooLarge")


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time; after an error or a cut it is of no more use."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._waiter: asyncio.Future[Response] | None = None

    @classmethod
    async def open(cls, host: str, port: int, tls: ssl.SSLContext | None) -> "Connection":
        """Connect; raises WireError."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await asyncio.get_running_loop().create_connection(
                    cls, host, port, ssl=tls
                )
        except (OSError, TimeoutError) as error:
            raise WireError(f"Connect{type(error).__name__}") from error
        return connection

    @property
    def is_usable(self) -> bool:
        """Whether another request may be sent."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and self._waiter is None

    async def exchange(self, request: bytes, seconds: float) -> Response:
        """Send a request and wait for its answer; raises WireError. Cancelling cuts the connection."""
        assert self._transport is not None
        assert self._waiter is None
        self._received.clear()
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            async with asyncio.timeout(seconds):
                response = await self._waiter
        except TimeoutError as error:
            self.cut()
            raise WireError("Timeout") from error
        except BaseException:
            self.cut()
            raise
        self._waiter = None
        if response.closes:
            self.cut()
        return response

    def cut(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, for uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.cut()  # nobody asked
            return
        self._received += data
        try:
            response = parse(self._received)
        except WireError as error:
            self._waiter.set_exception(error)
            return
        if response is not None:
            self._waiter.set_result(response)

    @override
    def connection_lost(self, error: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(WireError("ConnectionLost"))
