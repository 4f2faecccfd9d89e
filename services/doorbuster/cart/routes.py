"""HTTP of the cart: with a bearer token the user's cart, else the cart of X-Cart-Token."""

import msgspec
from aiohttp import web as aiohttp_web

from doorbuster.contracts import api, internal, shopping, surface
from doorbuster.kit import web

from .domain import OfUser, Owner
from .usecases import Carts, Changed, of_token

TOKEN_HEADER = "X-Cart-Token"  # noqa: S105,RUF100 - a header's name
_PRIVATE = {"Cache-Control": "no-store"}


class _WhoseQuery(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``?userId=`` of the internal call."""

    user_id: api.Identifier


class CartRoutes:
    """The calls of buyers, and checkout's."""

    def __init__(self, carts: Carts) -> None:
        self._carts = carts

    async def view(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /v1/cart``."""
        return web.json_response(await self._carts.view(_owner(request)), headers=_PRIVATE)

    async def add(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /v1/cart/add``."""
        body = await web.read_json(request, shopping.CartItem)
        return _changed(await self._carts.add(_owner(request), body.product_id, body.quantity))

    async def put(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``PUT /v1/cart/update``."""
        body = await web.read_json(request, shopping.CartItem)
        return _changed(await self._carts.put(_owner(request), body.product_id, body.quantity))

    async def remove(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``DELETE /v1/cart/remove``."""
        query = web.read_query(request, surface.RemoveQuery)
        return _changed(await self._carts.remove(_owner(request), query.product_id))

    async def merge(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /v1/cart/merge``."""
        body = await web.read_json(request, shopping.CartMerge)
        return _changed(await self._carts.merge(request[web.USER].user_id, body.cart_token))

    async def contents(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /internal/v1/carts/{cart_id}``."""
        query = web.read_query(request, _WhoseQuery)
        cart = await self._carts.contents(web.path_id(request, "cart_id", "cart"), query.user_id)
        lines = [
            internal.CartProduct(product_id=line.product_id, quantity=line.quantity)
            for line in cart.lines
        ]
        answer = internal.CartContents(cart_id=cart.cart_id, version=cart.version, products=lines)
        return web.json_response(answer)

    def table(self) -> list[web.Route]:
        """Return the routes."""
        anyone, users = web.AnyoneOrUser(), web.Users()
        table = (
            ("GET", "/v1/cart", self.view, anyone),
            ("POST", "/v1/cart/add", self.add, anyone),
            ("PUT", "/v1/cart/update", self.put, anyone),
            ("DELETE", "/v1/cart/remove", self.remove, anyone),
            ("POST", "/v1/cart/merge", self.merge, users),
            ("GET", "/internal/v1/carts/{cart_id}", self.contents, web.callers("checkout")),
        )
        return [
            web.Route(method=method, path=path, handler=handler, access=access)
            for method, path, handler, access in table
        ]


def _owner(request: aiohttp_web.Request) -> Owner | None:
    claims = request.get(web.USER)
    if claims is not None:
        return OfUser(user_id=claims.user_id)
    token = request.headers.get(TOKEN_HEADER)
    return None if token is None else of_token(token)


def _changed(changed: Changed) -> aiohttp_web.Response:
    answer = shopping.CartChanged(
        cart_id=changed.cart.cart_id, version=changed.cart.version, cart_token=changed.token
    )
    return web.json_response(answer, headers=_PRIVATE)
