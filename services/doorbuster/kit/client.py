"""Calls to other services: discovery, round robin over endpoints, deadlines, our service token, trace context."""

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from opentelemetry.trace import SpanKind
from prometheus_client import Counter

from . import auth, telemetry

Answer = TypeVar("Answer")

LEFT_OUT_SECONDS = 1.0
RESOLVE_SECONDS = 5.0
FAILURES = Counter(
    "doorbuster_client_failures", "Calls to a service that got no answer, by callee", ["callee"]
)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class UnavailableError(ConnectionError):
    """No endpoint of the service answered in time; the call may or may not have happened."""


class RefusedError(Exception):
    """The service answered with a problem; ``status``, ``code``, ``detail`` and ``product_id`` tell which."""

    def __init__(self, status: int, code: str, detail: str, product_id: str | None = None) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.product_id = product_id


class _ProblemBody(msgspec.Struct, rename="camel"):
    code: str = "UNKNOWN"
    detail: str = ""
    product_id: str | None = None


class Endpoints:
    """The addresses of a service: a fixed list, or a headless DNS name that is resolved again every 5 s."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        if not urls:
            raise ValueError("a service needs at least one URL")
        self._names = [url for url in urls if url.startswith("dns+")]
        self._urls = [url.rstrip("/") for url in urls if not url.startswith("dns+")]
        self._resolved: list[str] = []
        self._resolved_at = float("-inf")
        self._left_out: dict[str, float] = {}
        self._turn = itertools.count()

    async def candidates(self) -> list[str]:
        """Return all endpoints, the next one in turn first, those that failed lately last."""
        await self._resolve()
        urls = self._urls + self._resolved
        if not urls:
            return []
        start = next(self._turn) % len(urls)
        rotated = urls[start:] + urls[:start]
        now = time.monotonic()
        return sorted(rotated, key=lambda url: self._left_out.get(url, 0.0) > now)

    def leave_out(self, url: str) -> None:
        """Put an endpoint that failed at the end for a while."""
        self._left_out[url] = time.monotonic() + LEFT_OUT_SECONDS

    async def _resolve(self) -> None:
        now = time.monotonic()
        if not self._names or now - self._resolved_at < RESOLVE_SECONDS:
            return
        self._resolved_at = now
        found: list[str] = []
        for name in self._names:
            parts = urlsplit(name.removeprefix("dns+"))
            try:
                infos = await asyncio.get_running_loop().getaddrinfo(
                    parts.hostname or "", parts.port or 80, type=socket.SOCK_STREAM
                )
            except OSError:
                telemetry.log().warning("endpoint_not_resolved", name=parts.hostname)
                return
            for _family, _type, _proto, _canonical, address in infos:
                numeric: Any = address[0]
                host = f"[{numeric}]" if ":" in numeric else numeric
                found.append(f"{parts.scheme}://{host}:{address[1]!s}")
        self._resolved = sorted(set(found))


@asynccontextmanager
async def open_session(*, connections: int = 200) -> AsyncIterator[aiohttp.ClientSession]:
    """Open the process's HTTP client session."""
    connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=20)
    async with aiohttp.ClientSession(
        connector=connector, auto_decompress=True, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield session


class ServiceClient:
    """Calls one other service as this service.

    Every internal call is safe to repeat by design, so a call that got no answer from one endpoint goes to
    the next one, each endpoint once, within one deadline.
    """

    def __init__(
        self,
        *,
        callee: str,
        urls: tuple[str, ...],
        session: aiohttp.ClientSession,
        signer: auth.ServiceSigner | None,
        timeout_seconds: float = 5.0,
    ) -> None:
        self.callee = callee
        self._endpoints = Endpoints(urls)
        self._session = session
        self._signer = signer
        self._timeout_seconds = timeout_seconds

    async def call(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        *,
        body: Any = None,
        timeout_seconds: float | None = None,
    ) -> Answer:
        """Return the decoded answer; raises RefusedError (4xx) or UnavailableError (no answer, 5xx)."""
        headers = {"Content-Type": "application/json"}
        payload = None if body is None else _ENCODER.encode(body)
        deadline = time.monotonic() + (timeout_seconds or self._timeout_seconds)
        with telemetry.span(f"{method} {self.callee}", SpanKind.CLIENT):
            telemetry.inject(headers)
            for url in await self._endpoints.candidates():
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                try:
                    raw = await self._once(method, url + path, payload, headers, left)
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    FAILURES.labels(self.callee).inc()
                    self._endpoints.leave_out(url)
                    telemetry.log().warning(
                        "call_failed", callee=self.callee, error=type(error).__name__
                    )
                    continue
                return msgspec.json.decode(raw or b"null", type=answer)
        raise UnavailableError(f"{self.callee} does not answer")

    async def _once(
        self,
        method: str,
        url: str,
        payload: bytes | None,
        headers: dict[str, str],
        seconds: float,
        *,
        may_follow: bool = True,
    ) -> bytes:
        deadline = time.monotonic() + seconds
        if self._signer is not None:
            headers["Authorization"] = f"Bearer {self._signer.token(self.callee)}"
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(1.0, seconds))
        async with self._session.request(
            method, url, data=payload, headers=headers, timeout=timeout
        ) as response:
            raw = await response.read()
        if response.status < 400:
            return raw
        if response.status == 401 and may_follow and self._follows(response.headers.get("Date")):
            left = deadline - time.monotonic()
            if left <= 0:  # a total of 0 would be no limit at all
                raise TimeoutError
            return await self._once(method, url, payload, headers, left, may_follow=False)
        if response.status >= 500:
            raise UnavailableError(f"{self.callee} answered {response.status}")
        try:
            refusal = msgspec.json.decode(raw, type=_ProblemBody)
        except msgspec.MsgspecError:
            refusal = _ProblemBody()
        raise RefusedError(response.status, refusal.code, refusal.detail, refusal.product_id)

    def _follows(self, date: str | None) -> bool:
        """Tell whether the callee's clock is another one than we signed by, and sign by it from now on."""
        if self._signer is None or date is None:
            return False
        try:
            changes = self._signer.follow(self.callee, parsedate_to_datetime(date))
        except (ValueError, OverflowError):
            return False
        if changes:
            telemetry.log().warning("clock_differs", callee=self.callee, date=date)
        return changes


def jwks_fetcher(client: ServiceClient) -> Any:
    """Return the function that a UserVerifier needs: it fetches the user service's JWKS."""

    async def fetch() -> dict[str, Any]:
        return await client.call("GET", "/.well-known/jwks.json", dict)

    return fetch
