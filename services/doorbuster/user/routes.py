"""HTTP of the user service."""

import ipaddress
from collections.abc import Callable

import msgspec
from aiohttp import web as aiohttp_web

from doorbuster.contracts import api, internal, shopping
from doorbuster.kit import ids, web

from . import domain
from .usecases import AddressBook, OpenSession, Users

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
    domain.WrongPasswordError: web.ErrorShape(
        status=403, code="WRONG_PASSWORD", title="The current password is wrong"
    ),
    domain.TooManyAttemptsError: web.ErrorShape(
        status=429, code="RATE_LIMITED", title="Too many attempts", retry_after=60
    ),
    domain.UnknownAddressError: web.ErrorShape(
        status=404, code="UNKNOWN_ADDRESS", title="There is no such address"
    ),
    domain.TooManyAddressesError: web.ErrorShape(
        status=409, code="TOO_MANY_ADDRESSES", title="The address book is full"
    ),
    domain.BusyError: web.ErrorShape(
        status=503, code="BUSY", title="Too many people at once", retry_after=1
    ),
}


class _Handlers:
    def __init__(self, users: Users, book: AddressBook, jwks: Callable[[], bytes]) -> None:
        self._users = users
        self._book = book
        self._jwks = jwks

    async def sign_up(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        body = await web.read_json(request, api.SignUp)
        account = await self._users.sign_up(body.name, body.email, body.password)
        return web.json_response(_user(account), status=201)

    async def log_in(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        body = await web.read_json(request, api.LogIn)
        session = await self._users.log_in(body.email, body.password, _place(request))
        return _session(session, status=201)

    async def refresh(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        body = await web.read_json(request, api.Refresh)
        return _session(await self._users.refresh(body.refresh_token), status=200)

    async def log_out(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        if web.read_query(request, api.LogOutQuery).everywhere:
            await self._users.log_out_everywhere(request[web.USER].user_id)
        else:
            await self._users.log_out(request[web.USER].session_id)
        return aiohttp_web.Response(status=204)

    async def me(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        return web.json_response(_user(await self._users.account(request[web.USER].user_id)))

    async def change_me(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        body = await web.read_json(request, api.UserChange)
        change: domain.ProfileChange = {}
        if body.name is not msgspec.UNSET:
            change["name"] = body.name
        if body.phone is not msgspec.UNSET:
            change["phone"] = body.phone
        return web.json_response(
            _user(await self._users.change(request[web.USER].user_id, change))
        )

    async def change_password(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        body = await web.read_json(request, shopping.PasswordChange)
        user = request[web.USER]
        await self._users.change_password(
            *(user.user_id, user.session_id),
            *(body.current_password, body.new_password, _place(request)),
        )
        return aiohttp_web.Response(status=204)

    async def addresses(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        book = await self._book.all(request[web.USER].user_id)
        answer = shopping.AddressList(addresses=[_address(one) for one in book])
        return web.json_response(answer)

    async def add_address(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        draft = await web.read_json(request, shopping.AddressDraft)
        address = await self._book.add(request[web.USER].user_id, draft)
        return web.json_response(_address(address), status=201)

    async def address(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        address = await self._book.one(request[web.USER].user_id, _address_id(request))
        return web.json_response(_address(address))

    async def put_address(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        draft = await web.read_json(request, shopping.AddressDraft)
        whose = request[web.USER].user_id
        return web.json_response(
            _address(await self._book.put(whose, _address_id(request), draft))
        )

    async def remove_address(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        await self._book.remove(request[web.USER].user_id, _address_id(request))
        return aiohttp_web.Response(status=204)

    async def jwks(self, _request: aiohttp_web.Request) -> aiohttp_web.Response:
        return aiohttp_web.Response(
            body=self._jwks(),
            content_type="application/jwk-set+json",
            headers={"Cache-Control": f"public, max-age={JWKS_SECONDS}"},
        )

    async def contact(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        account = await self._users.account(web.path_id(request, "user_id", "user"))
        contact = internal.Contact(name=account.name, email=account.email, phone=account.phone)
        return web.json_response(contact)

    async def author(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        account = await self._users.account(web.path_id(request, "user_id", "user"))
        return web.json_response(internal.Author(name=domain.first_name(account.name)))

    async def delivery_address(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        address = await self._book.one(request.match_info["user_id"], _address_id(request))
        fields = msgspec.structs.asdict(address.details)
        del fields["label"]
        return web.json_response(api.DeliveryAddress(**fields))


def _place(request: aiohttp_web.Request) -> str:
    """Return where the caller is: the gateway, which alone can reach this, puts the client first.

    An IPv6 customer has a whole /64.
    """
    client = request.headers.get("X-Forwarded-For", "").partition(",")[0].strip()
    try:
        address = ipaddress.ip_address(client or request.remote or "")
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)


def _address_id(request: aiohttp_web.Request) -> str:
    address_id = request.match_info["address_id"]
    if not ids.is_id(address_id, "addr"):
        raise domain.UnknownAddressError("there is no such address")
    return address_id


def _address(address: domain.Address) -> shopping.Address:
    return shopping.Address(
        address_id=address.address_id, **msgspec.structs.asdict(address.details)
    )


def _user(account: domain.Account) -> api.User:
    return api.User(
        user_id=account.user_id,
        name=account.name,
        email=account.email,
        phone=account.phone,
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


def routes(users: Users, book: AddressBook, jwks: Callable[[], bytes]) -> list[web.Route]:
    """Return the routes of the user service."""
    handlers = _Handlers(users, book, jwks)
    anybody, signed_in = web.Public(), web.Users()
    addresses, user = "/v1/users/me/addresses", "/internal/v1/users/{user_id}"
    one = addresses + "/{address_id}"
    table = (
        ("POST", "/v1/users", handlers.sign_up, anybody),
        ("GET", "/v1/users/me", handlers.me, signed_in),
        ("PATCH", "/v1/users/me", handlers.change_me, signed_in),
        ("PUT", "/v1/users/me/password", handlers.change_password, signed_in),
        ("GET", addresses, handlers.addresses, signed_in),
        ("POST", addresses, handlers.add_address, signed_in),
        ("GET", one, handlers.address, signed_in),
        ("PUT", one, handlers.put_address, signed_in),
        ("DELETE", one, handlers.remove_address, signed_in),
        ("POST", "/v1/sessions", handlers.log_in, anybody),
        ("POST", "/v1/sessions/refresh", handlers.refresh, anybody),
        ("DELETE", "/v1/sessions", handlers.log_out, signed_in),
        ("GET", "/.well-known/jwks.json", handlers.jwks, anybody),
        ("GET", user + "/contact", handlers.contact, web.callers("notification")),
        ("GET", user + "/author", handlers.author, web.callers("product")),
        (
            "GET",
            user + "/addresses/{address_id}",
            handlers.delivery_address,
            web.callers("checkout"),
        ),
    )
    return [
        web.Route(method=method, path=path, handler=handler, access=access)
        for method, path, handler, access in table
    ]
