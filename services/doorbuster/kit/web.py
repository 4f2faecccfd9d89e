"""HTTP at the edge: a table of routes with their callers, strict JSON, RFC 9457 problems, one log line a request."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from aiohttp import http_exceptions, web
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram

from . import auth, failpoints, ids, telemetry

Body = TypeVar("Body")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY_BYTES = 256 * 1024
REQUESTS = Counter(
    "doorbuster_http_requests",
    "Requests answered, by route and status",
    ["route", "method", "status"],
)
SECONDS = Histogram(
    "doorbuster_http_request_seconds",
    "Time to answer, by route",
    ["route", "method"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10),
)
USER: web.RequestKey[auth.UserClaims] = web.RequestKey("user", auth.UserClaims)
CALLER: web.RequestKey[str] = web.RequestKey("caller", str)
# Set by a handler that serves many routes (a gateway): the name for metrics, one of a bounded set.
ROUTE: web.RequestKey[str] = web.RequestKey("route", str)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNNAMED = frozenset({"internal", "v1"})
_ENCODER = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True)
class Public:
    """Anybody may call."""


@dataclass(frozen=True)
class Users:
    """A signed-in user with one of these roles (none: any role) may call."""

    roles: frozenset[str] = frozenset()


@dataclass(frozen=True)
class AnyoneOrUser:
    """Anybody may call; whoever sends an Authorization header must be a user, and USER is set then."""


@dataclass(frozen=True)
class Callers:
    """Only these services may call; the list also describes the allowed network edges."""

    names: frozenset[str]


def callers(*names: str) -> Callers:
    """Return the access rule of an internal route."""
    return Callers(frozenset(names))


Access = Public | Users | AnyoneOrUser | Callers


@dataclass(frozen=True, kw_only=True)
class Route:
    """One route of a service."""

    method: str
    path: str
    handler: Handler
    access: Access


@dataclass(frozen=True, kw_only=True)
class ErrorShape:
    """How a business error looks over HTTP; the detail is the error's message.

    An error may carry ``product_id``, ``retry_after`` (seconds) and ``position`` (in a queue) as attributes; they
    are shown.
    """

    status: int
    code: str
    title: str
    retry_after: int | None = None


class MalformedError(Exception):
    """The request cannot be parsed."""


class InvalidError(Exception):
    """The request parses but breaks a rule of its shape."""


class NotFoundError(Exception):
    """There is nothing under this id."""


class UnsupportedMediaTypeError(Exception):
    """The body is no JSON."""


BASE_ERRORS: dict[type[Exception], ErrorShape] = {
    MalformedError: ErrorShape(status=400, code="MALFORMED", title="The request cannot be parsed"),
    InvalidError: ErrorShape(status=422, code="INVALID", title="The request is not valid"),
    NotFoundError: ErrorShape(status=404, code="NOT_FOUND", title="There is nothing here"),
    UnsupportedMediaTypeError: ErrorShape(
        status=415, code="UNSUPPORTED_MEDIA_TYPE", title="The body must be application/json"
    ),
    auth.UnauthenticatedError: ErrorShape(
        status=401, code="UNAUTHENTICATED", title="Please sign in"
    ),
    auth.ForbiddenError: ErrorShape(status=403, code="FORBIDDEN", title="You may not do this"),
    OSError: ErrorShape(
        status=503, code="UNAVAILABLE", title="A part of the shop does not answer", retry_after=1
    ),
    TimeoutError: ErrorShape(
        status=503, code="UNAVAILABLE", title="A part of the shop does not answer", retry_after=1
    ),
}
_MEMBERS = {"product_id": "productId", "position": "position"}
_NOTHING: Mapping[str, Any] = {}
_HTTP_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "BODY_TOO_LARGE"}


def json_response(
    data: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return ``data`` as JSON; money stays an exact number."""
    return web.Response(
        body=_ENCODER.encode(data), status=status, content_type="application/json", headers=headers
    )


def problem(
    shape: ErrorShape, detail: str, *, instance: str = "", about: Mapping[str, Any] = _NOTHING
) -> web.Response:
    """Return an RFC 9457 problem; ``about`` are further members, left out where they are None."""
    headers = {} if shape.retry_after is None else {"Retry-After": str(shape.retry_after)}
    if shape.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body: dict[str, Any] = {
        "type": f"urn:doorbuster:problem:{shape.code.lower().replace('_', '-')}",
        "title": shape.title,
        "status": shape.status,
        "code": shape.code,
    }
    optional = {"detail": detail, "instance": instance, "retryAfter": shape.retry_after, **about}
    body |= {name: value for name, value in optional.items() if value}
    return web.Response(
        body=_ENCODER.encode(body),
        status=shape.status,
        content_type="application/problem+json",
        headers=headers,
    )


async def read_json(request: web.Request, body_type: type[Body]) -> Body:
    """Parse the body strictly; raises MalformedError, InvalidError or UnsupportedMediaTypeError."""
    if request.content_type != "application/json":
        raise UnsupportedMediaTypeError("send Content-Type: application/json")
    return decode(await read_body(request), body_type)


async def read_body(request: web.Request) -> bytes:
    """Read the whole body; raises MalformedError when its transfer or content encoding is broken."""
    try:
        return await request.read()
    except (web.RequestPayloadError, http_exceptions.PayloadEncodingError) as error:
        raise MalformedError("the body is broken") from error


def decode(raw: bytes, body_type: type[Body]) -> Body:
    """Parse JSON bytes strictly; no text may hold a NUL, which no store takes."""
    if b"\x00" in raw or b"\\u0000" in raw:
        raise InvalidError("text may not contain NUL")
    try:
        return msgspec.json.decode(raw, type=body_type)
    except msgspec.ValidationError as error:
        raise InvalidError(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("the body is no valid JSON") from error


def read_query(request: web.Request, query_type: type[Body]) -> Body:
    """Parse the query string; unknown names are ignored. Raises InvalidError."""
    given = dict(request.query)
    try:
        query = msgspec.convert(given, type=query_type, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidError(str(error)) from error
    shown = msgspec.to_builtins(query)
    for name, text in given.items():
        if text.lower() == "null" and shown.get(name, "") is None:
            raise InvalidError(f"{name} is left out, not null")
    return query


def path_id(request: web.Request, name: str, prefix: str) -> str:
    """Return an id of the path; one that is malformed names nothing: NotFoundError."""
    value = request.match_info[name]
    if not ids.is_id(value, prefix):
        raise NotFoundError(f"no such {prefix}")
    return value


def idempotency_key(request: web.Request) -> str | None:
    """Return the Idempotency-Key header if there is one; raises InvalidError when it is no sane key."""
    value = request.headers.get("Idempotency-Key")
    if value is None:
        return None
    if not 1 <= len(value) <= 200 or not value.isascii() or not value.isprintable():
        raise InvalidError("Idempotency-Key must be 1 to 200 printable ASCII characters")
    return value


class Authenticator:
    """Applies a route's access rule to a request; either verifier may be absent where no route needs it."""

    def __init__(
        self,
        users: auth.UserVerifier | None = None,
        services: auth.ServiceVerifier | None = None,
    ) -> None:
        self._users = users
        self._services = services

    async def check(self, request: web.Request, access: Access) -> None:
        """Attach USER or CALLER to the request; raises UnauthenticatedError or ForbiddenError."""
        match access:
            case Public():
                return
            case AnyoneOrUser():
                if "Authorization" in request.headers:
                    request[USER] = await self._user(request)
            case Users(roles=roles):
                claims = await self._user(request)
                if roles and claims.role not in roles:
                    raise auth.ForbiddenError(
                        f"this needs one of the roles: {', '.join(sorted(roles))}"
                    )
                request[USER] = claims
            case Callers(names=names):
                if self._services is None:
                    raise auth.ForbiddenError("this service takes no internal calls")
                token = auth.bearer(request.headers.get("Authorization"))
                caller = self._services.verify(token).caller
                if caller not in names:
                    raise auth.ForbiddenError(f"{caller} may not call this")
                request[CALLER] = caller

    async def _user(self, request: web.Request) -> auth.UserClaims:
        if self._users is None:
            raise auth.ForbiddenError("this service knows no users")
        return await self._users.verify(auth.bearer(request.headers.get("Authorization")))


def create_app(
    *,
    routes: Sequence[Route],
    errors: Mapping[type[Exception], ErrorShape],
    authenticator: Authenticator,
    max_body_bytes: int = MAX_BODY_BYTES,
    joins_traces: bool = True,
) -> web.Application:
    """Build the API application of a service from its routes and its table of errors.

    ``joins_traces`` false (at the public edge): every request starts a trace, whatever the client sent.
    """
    table = {**BASE_ERRORS, **errors}
    app = web.Application(
        middlewares=[_observe(joins_traces), _problems(table)], client_max_size=max_body_bytes
    )
    for route in routes:
        app.router.add_route(route.method, route.path, _guarded(route, authenticator))
    return app


def _guarded(route: Route, authenticator: Authenticator) -> Handler:
    point = failpoint(route)
    received, handled = f"{point}.received", f"{point}.handled"

    async def handle(request: web.Request) -> web.StreamResponse:
        failpoints.reach(received)
        await authenticator.check(request, route.access)
        response = await route.handler(request)
        failpoints.reach(handled)
        try:
            failpoints.lose_reply(point)
        except failpoints.ReplyLostError:
            if request.transport is not None:
                request.transport.abort()
        return response

    return handle


def failpoint(route: Route) -> str:
    """Return the name of a route among the failpoints, such as ``http.post.orders.order_id.begin_payment``.

    It has three: ``.received`` and ``.handled`` end the process before and after a success of the handler;
    ``.reply_lost`` cuts the connection after it.
    """
    words = re.findall(r"\w+", route.path.replace("-", "_").lower())
    return ".".join(["http", route.method.lower(), *(w for w in words if w not in _UNNAMED)])


def _observe(joins_traces: bool) -> Any:
    context_headers = ("traceparent", "tracestate") if joins_traces else ()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        method = request.method if request.method in _METHODS else "other"
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unmatched"
        carrier = {
            name: request.headers[name] for name in context_headers if name in request.headers
        }
        started = time.perf_counter()
        with telemetry.span(f"{method} {route}", SpanKind.SERVER, carrier=carrier) as span:
            response = await handler(request)
            seconds = time.perf_counter() - started
            if ROUTE in request:
                route = request[ROUTE]
                span.update_name(f"{method} {route}")
            span.set_attribute("http.response.status_code", response.status)
            REQUESTS.labels(route, method, str(response.status)).inc()
            SECONDS.labels(route, method).observe(seconds)
            telemetry.log().debug(
                "http_request",
                method=method,
                route=route,
                status=response.status,
                millis=round(seconds * 1000, 1),
            )
            return response

    return middleware


def _problems(table: Mapping[type[Exception], ErrorShape]) -> Any:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        instance = quote(request.path)
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            code = _HTTP_CODES.get(error.status, "REFUSED")
            response = problem(
                ErrorShape(status=error.status, code=code, title=error.reason),
                "",
                instance=instance,
            )
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except Exception as error:  # the edge: whatever it is, the caller gets a problem
            return _to_problem(error, table, instance)

    return middleware


def _to_problem(
    error: Exception, table: Mapping[type[Exception], ErrorShape], instance: str
) -> web.Response:
    for kind in type(error).__mro__:
        shape = table.get(kind)
        if shape is None:
            continue
        if shape.status >= 500:
            telemetry.log().warning(
                "request_failed", code=shape.code, error=type(error).__name__, path=instance
            )
            return problem(shape, "", instance=instance)
        retry_after = getattr(error, "retry_after", None)
        if retry_after is not None:
            shape = ErrorShape(
                status=shape.status, code=shape.code, title=shape.title, retry_after=retry_after
            )
        about = {member: getattr(error, name, None) for name, member in _MEMBERS.items()}
        return problem(shape, str(error), instance=instance, about=about)
    telemetry.log().error(
        "request_crashed", error=type(error).__name__, path=instance, exc_info=error
    )
    internal = ErrorShape(status=500, code="INTERNAL", title="The shop made a mistake")
    return problem(internal, "", instance=instance)
