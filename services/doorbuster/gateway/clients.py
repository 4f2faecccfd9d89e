"""The services behind the door: round robin over their copies, the next one when nothing reached the first."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from urllib.parse import urlsplit

from doorbuster.kit import client, telemetry

from .ports import Answer, Forwarded
from .wire import BrokenOffError, Connection, Head, request_bytes

CALL_SECONDS = 15.0
CONNECT_SECONDS = 1.0
KEEP_SECONDS = 20.0  # shorter than a service keeps its side, so that it is we who let go
MAX_KEPT_PER_COPY = 512


class NotReachedError(ConnectionError):
    """Nothing of the request reached the copy."""


class _Pool:
    """Kept connections by URL, the one used last first."""

    def __init__(self) -> None:
        self._free: defaultdict[str, list[Connection]] = defaultdict(list)

    def take(self, url: str) -> Connection | None:
        """Return a kept connection, if one stands and is fresh enough."""
        free = self._free[url]
        oldest = asyncio.get_running_loop().time() - KEEP_SECONDS
        while free:
            connection = free.pop()
            if connection.is_free and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    def put(self, url: str, connection: Connection) -> None:
        """Keep a connection whose exchange is over, close any other; the oldest stale ones go."""
        free = self._free[url]
        if not connection.is_free or len(free) >= MAX_KEPT_PER_COPY:
            connection.close()
            return
        now = asyncio.get_running_loop().time()
        connection.idle_since = now
        while free and free[0].idle_since <= now - KEEP_SECONDS:
            free.pop(0).close()
        free.append(connection)

    def close(self) -> None:
        """Close all that are kept."""
        for free in self._free.values():
            for connection in free:
                connection.close()
        self._free.clear()


class _HttpAnswer:
    """An answer on its connection, which goes back to the pool when it is closed."""

    def __init__(self, head: Head, connection: Connection, pool: _Pool, url: str) -> None:
        self._head = head
        self._connection = connection
        self._pool = pool
        self._url = url

    @property
    def status(self) -> int:
        """The status code."""
        return self._head.status

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All headers as they came."""
        return self._head.headers

    @property
    def length(self) -> int | None:
        """Bytes of the body; None when it comes as it is made."""
        return self._head.length

    async def piece(self) -> bytes:
        """Return the next piece of the body, b"" after the last one; raises ConnectionError."""
        return await self._connection.piece()

    def close(self) -> None:
        """Free the connection."""
        self._pool.put(self._url, self._connection)


class HttpUpstreams:
    """Sends requests to services; use :func:`open_upstreams`."""

    def __init__(self, urls: Mapping[str, tuple[str, ...]]) -> None:
        self._endpoints = {name: client.Endpoints(of_it) for name, of_it in urls.items()}
        self._pool = _Pool()

    def knows(self, owner: str) -> bool:
        """Tell whether there is such a service here."""
        return owner in self._endpoints

    async def send(self, owner: str, forwarded: Forwarded) -> Answer:
        """Return the head of the answer; raises client.UnavailableError when no copy answered within 15 s."""
        endpoints = self._endpoints[owner]
        url = ""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                for url in await endpoints.candidates():
                    try:
                        return await self._ask(url, forwarded)
                    except (OSError, TimeoutError) as error:
                        endpoints.leave_out(url)
                        _count(owner, error)
                        if not (forwarded.repeatable or isinstance(error, NotReachedError)):
                            break
        except TimeoutError as error:
            endpoints.leave_out(url)
            _count(owner, error)
        raise client.UnavailableError(f"{owner} does not answer")

    async def _ask(self, url: str, forwarded: Forwarded) -> Answer:
        """Ask one copy, on a kept connection first.

        A kept connection may have been let go by the copy just now: what may be repeated is sent again on a
        new one, once.
        """
        host, port = _address(url)
        request = request_bytes(
            *(forwarded.method, forwarded.target, f"{host}:{port}"),
            forwarded.headers,
            forwarded.body,
        )
        kept = self._pool.take(url)
        if kept is not None:
            try:
                return await self._exchange(url, kept, request)
            except BrokenOffError as error:
                if error.answered or not forwarded.repeatable:
                    raise
        return await self._exchange(url, await _connect(host, port), request)

    async def _exchange(self, url: str, connection: Connection, request: bytes) -> Answer:
        try:
            head = await connection.exchange(request)
        except BaseException:
            connection.close()
            raise
        return _HttpAnswer(head, connection, self._pool, url)

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.close()


async def _connect(host: str, port: int) -> Connection:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await asyncio.get_running_loop().create_connection(
                Connection, host, port
            )
    except (OSError, TimeoutError) as error:
        raise NotReachedError(f"no connection ({type(error).__name__})") from error
    return connection


@lru_cache(256)
def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def _count(owner: str, error: Exception) -> None:
    client.FAILURES.labels(owner).inc()
    telemetry.log().warning("call_failed", callee=owner, error=type(error).__name__)


@asynccontextmanager
async def open_upstreams(urls: Mapping[str, tuple[str, ...]]) -> AsyncIterator[HttpUpstreams]:
    """Open the way to the services."""
    upstreams = HttpUpstreams(urls)
    try:
        yield upstreams
    finally:
        upstreams.close()
