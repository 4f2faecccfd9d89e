"""HTTP of the gateway: one handler that judges a request, passes it on and passes the answer back."""

import asyncio
import functools
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
from aiohttp import web as aiohttp_web
from multidict import CIMultiDict
from opentelemetry import trace
from prometheus_client import Counter, Gauge

from doorbuster.kit import auth, client, telemetry, web

from . import dialect, domain, openapi
from .ports import Answer, Buckets, Forwarded, Upstreams
from .wire import UnsendableError

MAX_IN_FLIGHT = 4_000
MAX_BUFFERED_BYTES = 64 * 1024 * 1024
BODY_SECONDS = 10.0
ANSWER_SECONDS = 15.0
MAX_BUFFERED_ANSWER_BYTES = 256 * 1024
STREAM_IDLE_SECONDS = 60.0
MAX_STREAM_SECONDS = 15 * 60.0
MAX_KNOWN_CLIENTS = 8_192
LIMITED = Counter(
    "doorbuster_gateway_limited", "Requests refused by a rate limit, by bucket", ["bucket"]
)
IN_FLIGHT = Gauge("doorbuster_gateway_in_flight", "Requests under way")
SHED = Counter("doorbuster_gateway_shed", "Requests refused because too many are under way")

# Everything else a client sends stays outside: cookies, trace context, proxies' and internal headers.
_PASSED_ON = (
    "Accept",
    "Accept-Language",
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Stripe-Signature",
    "User-Agent",
    "X-Cart-Token",
)
_KEPT_INSIDE = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "date",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
    }
)
_ADMISSION: aiohttp_web.RequestKey[domain.Admission] = aiohttp_web.RequestKey(
    "admission", domain.Admission
)
_REQUEST_ID: aiohttp_web.RequestKey[str] = aiohttp_web.RequestKey("request_id", str)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_DESCRIBED = openapi.document()
_DOCUMENT = msgspec.json.format(_ENCODER.encode(_DESCRIBED))
_PAGE = openapi.page(_DESCRIBED).encode()
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

ERRORS: dict[type[Exception], web.ErrorShape] = {
    domain.MalformedTargetError: web.ErrorShape(
        status=400, code="MALFORMED", title="The request cannot be parsed"
    ),
    UnsendableError: web.ErrorShape(
        status=400, code="MALFORMED", title="The request cannot be parsed"
    ),
    domain.NothingHereError: web.ErrorShape(
        status=404, code="NOT_FOUND", title="There is nothing here"
    ),
    domain.RateLimitedError: web.ErrorShape(
        status=429, code="RATE_LIMITED", title="Too many requests", retry_after=1
    ),
    domain.BusyError: web.ErrorShape(
        status=503, code="BUSY", title="Too many people at once", retry_after=1
    ),
    domain.SlowClientError: web.ErrorShape(
        status=408, code="REQUEST_TIMEOUT", title="The body did not arrive in time"
    ),
    dialect.UntranslatableError: web.ErrorShape(
        status=422, code="INVALID", title="The request is not valid"
    ),
}


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Where a request goes: whose it is, the name for metrics, the target and the dialect's translation."""

    owner: str
    name: str
    signed_in: bool
    target: str
    charged_path: str
    call: dialect.Call | None = None


class Door:
    """The handler of every public request."""

    def __init__(
        self,
        *,
        upstreams: Upstreams,
        users: auth.UserVerifier,
        buckets: Buckets,
        rates: domain.Rates,
        trusted_proxies: tuple[domain.Network, ...],
    ) -> None:
        self._upstreams = upstreams
        self._users = users
        self._buckets = buckets
        self._rates = rates
        self._in_flight = 0
        self._buffered_bytes = 0
        self._chain: Callable[[str, str], tuple[str, str]] = functools.lru_cache(
            MAX_KNOWN_CLIENTS
        )(functools.partial(_client, trusted_proxies))

    async def handle(self, request: aiohttp_web.Request) -> aiohttp_web.StreamResponse:
        """Answer one request."""
        span = trace.get_current_span().get_span_context()
        request[_REQUEST_ID] = f"{span.trace_id:032x}"
        request[web.ROUTE] = "unmatched"
        plan = self._plan(request)
        request[web.ROUTE] = plan.name
        if self._in_flight >= MAX_IN_FLIGHT:
            SHED.inc()
            raise domain.BusyError("too many requests are under way")
        self._in_flight += 1
        IN_FLIGHT.set(self._in_flight)
        try:
            forwarded_for = await self._admit(request, plan)
            async with self._body(request) as body:
                return await self._pass(request, plan, body, forwarded_for)
        finally:
            self._in_flight -= 1
            IN_FLIGHT.set(self._in_flight)

    def _plan(self, request: aiohttp_web.Request) -> _Plan:
        target = domain.parse_target(request.raw_path)
        query = f"?{target.query}" if target.query else ""
        if target.segments[0] == "api":
            call = dialect.find_call(request.method, target.segments)
            if call is None:
                allowed = dialect.methods_of(target.segments)
                if allowed:
                    raise aiohttp_web.HTTPMethodNotAllowed(request.method, allowed)
                raise domain.NothingHereError("there is nothing here")
            plan = _Plan(
                owner=call.owner,
                name=call.name,
                signed_in=call.signed_in,
                target=call.path + query,
                charged_path=call.path,
                call=call,
            )
        else:
            rule = domain.find_rule(target)
            plan = _Plan(
                owner=rule.owner,
                name=rule.name,
                signed_in=rule.signed_in,
                target=target.path + query,
                charged_path=target.path,
            )
        if not self._upstreams.knows(plan.owner):
            raise domain.NothingHereError("there is nothing here")
        if request.method not in domain.METHODS:
            raise aiohttp_web.HTTPMethodNotAllowed(request.method, domain.METHODS)
        return plan

    async def _admit(self, request: aiohttp_web.Request, plan: _Plan) -> str:
        """Check the token and the rate limits; return the X-Forwarded-For to pass on.

        A token that is no good is charged to the address before it is refused.
        """
        peer = request.transport.get_extra_info("peername") if request.transport else None
        forwarded = domain.nearest_hops(",".join(request.headers.getall("X-Forwarded-For", ())))
        bucket, chain = self._chain(str(peer[0]) if peer else "", forwarded)
        user_id: str | None = None
        refusal: auth.UnauthenticatedError | None = None
        if plan.signed_in:
            try:
                token = auth.bearer(request.headers.get("Authorization"))
                user_id = (await self._users.verify(token)).user_id
            except auth.UnauthenticatedError as error:
                refusal = error
        charges = domain.charges(
            request.method, plan.charged_path, client=bucket, user_id=user_id, rates=self._rates
        )
        admission = await self._buckets.take(charges)
        if admission is not None:
            request[_ADMISSION] = admission
            if not admission.allowed:
                LIMITED.labels(admission.kind).inc()
                raise domain.RateLimitedError(max(1, math.ceil(admission.retry_after_seconds)))
        if refusal is not None:
            raise refusal
        return chain

    @asynccontextmanager
    async def _body(self, request: aiohttp_web.Request) -> AsyncIterator[bytes]:
        """Read the body within its time, its size and the room that all bodies share."""
        if not request.body_exists:
            yield b""
            return
        declared = request.content_length
        if declared is not None and declared > web.MAX_BODY_BYTES:
            raise aiohttp_web.HTTPRequestEntityTooLarge(web.MAX_BODY_BYTES, declared)
        # What is compressed gets bigger here.
        is_known = declared is not None and "Content-Encoding" not in request.headers
        room = declared if is_known and declared is not None else web.MAX_BODY_BYTES
        if self._buffered_bytes + room > MAX_BUFFERED_BYTES:
            SHED.inc()
            raise domain.BusyError("too many bodies are under way")
        self._buffered_bytes += room
        try:
            yield await _read(request)
        finally:
            self._buffered_bytes -= room

    async def _pass(
        self, request: aiohttp_web.Request, plan: _Plan, body: bytes, forwarded_for: str
    ) -> aiohttp_web.StreamResponse:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        headers["X-Forwarded-For"] = forwarded_for
        telemetry.inject(headers)
        if plan.call is not None and plan.call.request is not None:
            if request.content_type != "application/json":
                raise web.UnsupportedMediaTypeError("send Content-Type: application/json")
            body = _ENCODER.encode(plan.call.request(web.decode(body, dict[str, Any])))
        forwarded = Forwarded(
            method=request.method,
            target=plan.target,
            headers=headers,
            body=body,
            repeatable=domain.may_repeat(
                request.method,
                plan.charged_path,
                has_key="Idempotency-Key" in request.headers,
            ),
        )
        answer = await self._upstreams.send(plan.owner, forwarded)
        try:
            return await _pass_back(request, plan, answer)
        finally:
            answer.close()


async def _read(request: aiohttp_web.Request) -> bytes:
    if request.content.is_eof():  # it came with the head, as small bodies do
        return await web.read_body(request)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await web.read_body(request)
    except TimeoutError:
        raise domain.SlowClientError("send the body faster") from None


async def _pass_back(
    request: aiohttp_web.Request, plan: _Plan, answer: Answer
) -> aiohttp_web.StreamResponse:
    headers = CIMultiDict(
        (name, value) for name, value in answer.headers if name.lower() not in _KEPT_INSIDE
    )
    is_problem = headers.get("Content-Type", "").startswith("application/problem+json")
    if answer.status in (502, 504) or (answer.status == 503 and not is_problem):
        raise client.UnavailableError(f"{plan.owner} answered {answer.status}")
    if answer.length is None or answer.length > MAX_BUFFERED_ANSWER_BYTES:
        if plan.call is not None:
            raise client.UnavailableError(f"{plan.owner} answered something else")
        return await _stream(request, answer, headers)
    raw = await _whole(answer)
    if plan.call is not None and answer.status < 300:
        try:
            canonical = _exactly(raw)
            raw = _ENCODER.encode(plan.call.answer(canonical))
            headers.update(plan.call.headers(canonical, plan.target.partition("?")[2]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise client.UnavailableError(f"{plan.owner} answered something else") from error
    return aiohttp_web.Response(status=answer.status, headers=headers, body=raw)


def _exactly(raw: bytes) -> Any:
    """Decode an answer with its numbers as they stand: money is no float."""
    return json.loads(raw, parse_float=Decimal)


async def _whole(answer: Answer) -> bytes:
    pieces = []
    async with asyncio.timeout(ANSWER_SECONDS):
        while piece := await answer.piece():
            pieces.append(piece)
    return b"".join(pieces)


async def _stream(
    request: aiohttp_web.Request, answer: Answer, headers: CIMultiDict[str]
) -> aiohttp_web.StreamResponse:
    """Pass an answer on as it comes; one that breaks off breaks off here, too."""
    response = aiohttp_web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    try:
        async with asyncio.timeout(MAX_STREAM_SECONDS):
            while piece := await _next(answer):
                await response.write(piece)
        await response.write_eof()
    except (OSError, TimeoutError):
        if request.transport is not None:
            request.transport.close()
    return response


async def _next(answer: Answer) -> bytes:
    async with asyncio.timeout(STREAM_IDLE_SECONDS):
        return await answer.piece()


def _client(trusted: tuple[domain.Network, ...], peer: str, forwarded: str) -> tuple[str, str]:
    address, chain = domain.forwarded_chain(peer, forwarded, trusted)
    return ("unknown" if address is None else domain.bucket_of(address)), chain


async def mark(request: aiohttp_web.Request, response: aiohttp_web.StreamResponse) -> None:
    """Add the headers that every answer carries: request id and rate limits."""
    response.headers["Server"] = "doorbuster"
    if _REQUEST_ID in request:
        response.headers["X-Request-Id"] = request[_REQUEST_ID]
    admission: Any = request.get(_ADMISSION)
    if admission is not None:
        response.headers["RateLimit-Limit"] = str(admission.limit)
        response.headers["RateLimit-Remaining"] = str(admission.remaining)
        response.headers["RateLimit-Reset"] = str(math.ceil(admission.reset_seconds))


async def _describe(_request: aiohttp_web.Request) -> aiohttp_web.Response:
    return _static(_DOCUMENT, "application/json")


async def _show(_request: aiohttp_web.Request) -> aiohttp_web.Response:
    return _static(_PAGE, "text/html")


def _static(body: bytes, content_type: str) -> aiohttp_web.Response:
    headers = {"Cache-Control": "public, max-age=300", "Content-Security-Policy": _POLICY}
    return aiohttp_web.Response(
        body=body, content_type=content_type, charset="utf-8", headers=headers
    )


def routes(door: Door) -> list[web.Route]:
    """Return the API's own description, and the one route for all the rest."""
    anybody = web.Public()
    return [
        web.Route(method="GET", path="/openapi.json", handler=_describe, access=anybody),
        web.Route(method="GET", path="/docs", handler=_show, access=anybody),
        web.Route(method="*", path="/{tail:.*}", handler=door.handle, access=anybody),
    ]
