"""The shop as one visitor's browser sees it: HTTP calls on connections of his own, with his own address."""

import asyncio
import dataclasses
import datetime
import functools
import ssl
import urllib.parse
from types import TracebackType
from typing import Any, Self

import msgspec

from . import wire

CALL_SECONDS = 15.0
MAX_RETRY_AFTER_SECONDS = 5.0


class NoAnswerError(Exception):
    """The connection broke or the answer did not come in time: what happened is not known."""


class UnexpectedAnswerError(Exception):
    """The shop said something that stops the whole run, such as an unknown sale."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer; ``code`` is the problem's code, empty on success; times in seconds."""

    status: int
    code: str
    body: dict[str, Any] = dataclasses.field(repr=False)
    retry_after: float | None

    @property
    def is_success(self) -> bool:
        """Whether the status is a 2xx."""
        return 200 <= self.status < 300

    @property
    def is_definite(self) -> bool:
        """Whether the call certainly had, or certainly had not, its effect."""
        return self.status < 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class SalePage:
    """What the page of a sale says; times are Unix milliseconds of the authority's clock."""

    product_id: str
    price: float
    open_ms: int
    close_ms: int
    server_ms: float
    phase: str


class Visitor:
    """One browser: connections of its own, kept alive; X-Forwarded-For carries its address.

    ``tls`` is whom to trust at an https address, by default whom this machine trusts.
    """

    def __init__(
        self,
        url: str,
        address: str,
        *,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url} is no address of a shop")
        self._tls = (tls or _trusted_here()) if parts.scheme == "https" else None
        self._host = parts.hostname
        self._port = parts.port or (443 if self._tls else 80)
        self._base = parts.path.rstrip("/")
        self._address = address
        self._fixed = f" HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n"
        if token is not None:
            self._fixed += f"Authorization: Bearer {token}\r\n"
        self._idle: list[wire.Connection] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for connection in self._idle:
            connection.cut()
        self._idle.clear()

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        key: str | None = None,
        address: str | None = None,
    ) -> Answer:
        """Send one call and return its answer; raises NoAnswerError when there was none."""
        request = self._request(method, path, body, key, address or self._address)
        try:
            connection = await self._connection()
            response = await connection.exchange(request, CALL_SECONDS)
            if connection.is_usable:
                self._idle.append(connection)
            return _answer(response)
        except (wire.WireError, msgspec.DecodeError) as error:
            raise NoAnswerError(str(error)) from error

    async def _connection(self) -> wire.Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
        return await wire.Connection.open(self._host, self._port, self._tls)

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None, key: str | None, address: str
    ) -> bytes:
        head = f"{method} {self._base}{path}{self._fixed}X-Forwarded-For: {address}\r\n"
        if key is not None:
            head += f"Idempotency-Key: {key}\r\n"
        if body is None:
            return f"{head}\r\n".encode("ascii")
        data = msgspec.json.encode(body)
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        return head.encode("ascii") + data

    async def call_and_cut(
        self, after_millis: int, method: str, path: str, *, body: dict[str, Any], key: str
    ) -> Answer:
        """As ``call``, but the connection is cut after so long unless the answer was there already."""
        try:
            async with asyncio.timeout(after_millis / 1000):
                return await self.call(method, path, body=body, key=key)
        except TimeoutError as error:
            raise NoAnswerError("cut") from error

    async def sale_page(self, sale: str) -> SalePage:
        """Read the page of a sale with one product; raises UnexpectedAnswerError when there is none."""
        answer = await self.call("GET", f"/v1/sales/{sale}")
        if not answer.is_success:
            raise UnexpectedAnswerError(f"sale {sale}: {answer.status} {answer.code}")
        try:
            return _sale_page(sale, answer.body)
        except (KeyError, TypeError, ValueError) as error:
            raise UnexpectedAnswerError(f"sale {sale}: its page is none of this shop's") from error


@functools.cache
def _trusted_here() -> ssl.SSLContext:
    """One for all visitors: reading this machine's authorities takes longer than a connection."""
    return ssl.create_default_context()


def _sale_page(sale: str, page: dict[str, Any]) -> SalePage:
    count = len(page["products"])
    if count != 1:
        raise UnexpectedAnswerError(
            f"sale {sale} has {count} products: a crowd fights over exactly one"
        )
    (product,) = page["products"]
    return SalePage(
        product_id=product["productId"],
        price=product["price"],
        open_ms=round(_unix_ms(page["openTime"])),
        close_ms=round(_unix_ms(page["closeTime"])),
        server_ms=_unix_ms(page["serverTime"]),
        phase=page["phase"],
    )


def _unix_ms(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp() * 1000


def _answer(response: wire.Response) -> Answer:
    status, code = response.status, ""
    try:
        body = msgspec.json.decode(response.body) if response.body else {}
    except msgspec.DecodeError:
        if status < 500:
            raise
        body = {}  # a proxy's own error page
    if not isinstance(body, dict):
        body = {"items": body}
    if status >= 400:
        code = str(body.get("code", f"HTTP_{status}"))
    retry_after = response.retry_after
    if retry_after is not None:
        retry_after = min(retry_after, MAX_RETRY_AFTER_SECONDS)
    return Answer(status=status, code=code, body=body, retry_after=retry_after)
