"""The services behind the door: round robin over their copies, the next one when nothing reached the first."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from doorbuster.kit import client, telemetry

from .ports import Forwarded

CALL_SECONDS = 15.0
CONNECT_SECONDS = 1.0
STREAM_IDLE_SECONDS = 60.0
CONNECTIONS = 2_000
KEEP_ALIVE_SECONDS = 20.0
_OUR_HEADERS_ONLY = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class HttpUpstreams:
    """Sends requests to services; use :func:`open_upstreams`."""

    def __init__(
        self, session: aiohttp.ClientSession, urls: Mapping[str, tuple[str, ...]]
    ) -> None:
        self._session = session
        self._endpoints = {name: client.Endpoints(of_it) for name, of_it in urls.items()}

    def knows(self, owner: str) -> bool:
        """Tell whether there is such a service here."""
        return owner in self._endpoints

    async def send(self, owner: str, forwarded: Forwarded) -> aiohttp.ClientResponse:
        """Return the head of the answer, its body unread; the caller releases it.

        Raises client.UnavailableError when no copy answered within 15 s.
        """
        endpoints = self._endpoints[owner]
        deadline = asyncio.get_running_loop().time() + CALL_SECONDS
        for url in await endpoints.candidates():
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._once(url, forwarded)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                may_go_on = True  # nothing was sent
                failure: Exception = error
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                may_go_on = forwarded.repeatable and not isinstance(error, TimeoutError)
                failure = error
            endpoints.leave_out(url)
            client.FAILURES.labels(owner).inc()
            telemetry.log().warning("call_failed", callee=owner, error=type(failure).__name__)
            if not may_go_on:
                break
        raise client.UnavailableError(f"{owner} does not answer")

    async def _once(self, url: str, forwarded: Forwarded) -> aiohttp.ClientResponse:
        return await self._session.request(
            forwarded.method,
            URL(url + forwarded.target, encoded=True),
            data=forwarded.body or None,
            headers=forwarded.headers,
            allow_redirects=False,
        )


@asynccontextmanager
async def open_upstreams(urls: Mapping[str, tuple[str, ...]]) -> AsyncIterator[HttpUpstreams]:
    """Open the connections to the services."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE_SECONDS)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_OUR_HEADERS_ONLY,
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=STREAM_IDLE_SECONDS
        ),
    ) as session:
        yield HttpUpstreams(session, urls)
