"""HTTP of the user service."""

from collections.abc import Callable

from aiohttp import web as aiohttp_web

from doorbuster.contracts import api, internal
from doorbuster.kit import web

from . import domain
from .usecases import OpenSession, Users

JWKS_SECONDS = 60

ERRORS: dict[type[Exception], web.ErrorShape] = {
    domain.UnacceptableTextError: web.ErrorShape(
        status=422, code="INVALID", title="The request is not valid"
    ),
    domain.EmailTakenError: web.ErrorShape(
        status=409, code="EMAIL_TAKEN", title="This e-mail address has an account"
    ),
    domain.UnknownUserError: web.ErrorShape(
        status=404, code="UNKNOWN_USER", title="There is no such user"
    ),
    domain.WrongCredentialsError: web.ErrorShape(
        status=401, code="WRONG_CREDENTIALS", title="E-mail address or password is wrong"
    ),
    domain.RefreshRefusedError: web.ErrorShape(
        status=401, code="REFRESH_REFUSED", title="Please log in again"
    ),
    domain.BusyError: web.ErrorShape(
        status=503, code="BUSY", title="Too many people at once", retry_after=1
    ),
}


class _Handlers:
    def __init__(self, users: Users, jwks: Callable[[], bytes]) -> None:
        self._users = users
        self._jwks = jwks

    async def sign_up(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        body = await web.read_json(request, api.SignUp)
        account = await self._users.sign_up(body.name, body.email, body.password)
        return web.json_response(_user(account), status=201)

    async def log_in(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        body = await web.read_json(request, api.LogIn)
        return _session(await self._users.log_in(body.email, body.password), status=201)

    async def refresh(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        body = await web.read_json(request, api.Refresh)
        return _session(await self._users.refresh(body.refresh_token), status=200)

    async def log_out(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        await self._users.log_out(request[web.USER].session_id)
        return aiohttp_web.Response(status=204)

    async def me(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        return web.json_response(_user(await self._users.account(request[web.USER].user_id)))

    async def change_me(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        body = await web.read_json(request, api.UserChange)
        user_id = request[web.USER].user_id
        if isinstance(body.name, str):
            account = await self._users.rename(user_id, body.name)
        else:
            account = await self._users.account(user_id)
        return web.json_response(_user(account))

    async def jwks(self, _request: aiohttp_web.Request) -> aiohttp_web.Response:
        return aiohttp_web.Response(
            body=self._jwks(),
            content_type="application/jwk-set+json",
            headers={"Cache-Control": f"public, max-age={JWKS_SECONDS}"},
        )

    async def contact(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        account = await self._users.account(web.path_id(request, "user_id", "user"))
        return web.json_response(internal.Contact(name=account.name, email=account.email))


def _user(account: domain.Account) -> api.User:
    return api.User(
        user_id=account.user_id,
        name=account.name,
        email=account.email,
        role=account.role,
        created_at=account.created_at,
    )


def _session(session: OpenSession, *, status: int) -> aiohttp_web.Response:
    answer = api.Session(
        access_token=session.access_token,
        expires_in=int(domain.ACCESS_TOKEN_LIFE.total_seconds()),
        refresh_token=session.refresh_token,
        user_id=session.user_id,
    )
    return web.json_response(answer, status=status, headers={"Cache-Control": "no-store"})


def routes(users: Users, jwks: Callable[[], bytes]) -> list[web.Route]:
    """Return the routes of the user service."""
    handlers = _Handlers(users, jwks)
    anybody, signed_in = web.Public(), web.Users()
    table = (
        ("POST", "/v1/users", handlers.sign_up, anybody),
        ("GET", "/v1/users/me", handlers.me, signed_in),
        ("PATCH", "/v1/users/me", handlers.change_me, signed_in),
        ("POST", "/v1/sessions", handlers.log_in, anybody),
        ("POST", "/v1/sessions/refresh", handlers.refresh, anybody),
        ("DELETE", "/v1/sessions", handlers.log_out, signed_in),
        ("GET", "/.well-known/jwks.json", handlers.jwks, anybody),
        (
            "GET",
            "/internal/v1/users/{user_id}/contact",
            handlers.contact,
            web.callers("notification"),
        ),
    )
    return [
        web.Route(method=method, path=path, handler=handler, access=access)
        for method, path, handler, access in table
    ]
