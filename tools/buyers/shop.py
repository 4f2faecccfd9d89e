"""The shop as one visitor's browser sees it: HTTP calls on connections of his own, with his own address."""

import asyncio
import dataclasses
import datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
import yarl

CALL_SECONDS = 15.0
ANSWER_BYTES = 64 * 1024
KEEPALIVE_SECONDS = 65.0
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
    """One browser: at most ``limit`` connections, kept alive; X-Forwarded-For carries its address."""

    def __init__(
        self, url: str, address: str, *, token: str | None = None, limit: int = 4
    ) -> None:
        self._url = yarl.URL(url)
        self._headers = {"X-Forwarded-For": address}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limit, keepalive_timeout=KEEPALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
            auto_decompress=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

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
        headers = self._headers if address is None else {"X-Forwarded-For": address}
        if key is not None:
            headers = headers | {"Idempotency-Key": key}
        data = None
        if body is not None:
            headers = headers | {"Content-Type": "application/json"}
            data = msgspec.json.encode(body)
        try:
            async with self._session.request(
                method, self._url.join(yarl.URL(path)), data=data, headers=headers
            ) as response:
                raw = await response.content.read(ANSWER_BYTES)
                while not response.content.at_eof() and len(raw) < ANSWER_BYTES:
                    raw += await response.content.read(ANSWER_BYTES)
                return _answer(response.status, raw, response.headers.get("Retry-After"))
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            raise NoAnswerError(type(error).__name__) from error

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
        page = answer.body
        if len(page["products"]) != 1:
            raise UnexpectedAnswerError(f"sale {sale} does not have one product")
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


def _answer(status: int, raw: bytes, retry_after: str | None) -> Answer:
    try:
        body = msgspec.json.decode(raw) if raw else {}
    except msgspec.DecodeError:
        if status < 500:
            raise
        body = {}  # a proxy's own error page
    if not isinstance(body, dict):
        body = {"items": body}
    seconds = None
    if retry_after is not None and retry_after.isdigit():
        seconds = min(float(retry_after), MAX_RETRY_AFTER_SECONDS)
    code = "" if status < 400 else str(body.get("code", f"HTTP_{status}"))
    return Answer(status=status, code=code, body=body, retry_after=seconds)
