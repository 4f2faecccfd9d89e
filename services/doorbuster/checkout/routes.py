"""Checkout's routes: one line deep."""

from typing import Annotated

import msgspec
from aiohttp import web as aiohttp_web
from msgspec import Meta

from doorbuster.contracts import api, internal
from doorbuster.kit import ids, money, web

from .domain.refusals import UnknownOrderError
from .ports import Inventory, OrderStore
from .usecases.begin_payment import begin_payment, show_order
from .usecases.board import SalesBoard
from .usecases.check_out import CheckOut
from .usecases.show_sales import list_sales, show_sale

_MOST_ATTEMPTS = 1_000_000


class _Page(msgspec.Struct, frozen=True, kw_only=True):
    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    size: Annotated[int, Meta(ge=1, le=100)] = 20


class Handlers:
    """The handlers of all routes."""

    def __init__(
        self, *, check_out: CheckOut, board: SalesBoard, store: OrderStore, inventory: Inventory
    ) -> None:
        self._check_out = check_out
        self._board = board
        self._store = store
        self._inventory = inventory

    def routes(self) -> list[web.Route]:
        """Return the table of routes."""
        order = "/internal/v1/orders/{orderId}"
        return [
            _route("POST", "/v1/checkout", self.post_checkout, web.Users()),
            _route("GET", "/v1/sales", self.get_sales, web.Public()),
            _route("GET", "/v1/sales/{saleId}", self.get_sale, web.Public()),
            _route("GET", order, self.get_order, web.callers("payment", "order")),
            _route(
                "POST", order + "/begin-payment", self.post_begin_payment, web.callers("payment")
            ),
        ]

    async def post_checkout(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """Hold the units; 201 with the order, the same for the same key."""
        key = web.idempotency_key(request)
        body = await web.read_json(request, api.Checkout)
        order = await self._check_out.check_out(request[web.USER].user_id, body, key)
        done = api.CheckoutDone(
            order_id=order.order_id,
            amount=money.from_minor(order.amount_minor, order.currency),
            currency=order.currency,
            totals=_totals(order),
            pay_by=order.pay_by,
        )
        return web.json_response(done, status=201)

    async def get_sales(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """Return one page of sales."""
        page = web.read_query(request, _Page)
        return web.json_response(await list_sales(self._board, page=page.page, size=page.size))

    async def get_sale(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """Return one sale."""
        sale = await show_sale(self._board, request.match_info["saleId"])
        if sale is None:
            raise web.NotFoundError("there is no such sale")
        return web.json_response(sale)

    async def get_order(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """Return a placed order."""
        return web.json_response(await show_order(self._store, _order_id(request)))

    async def post_begin_payment(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """Pin the units for a payment attempt."""
        body = await web.read_json(request, internal.BeginPayment)
        if not 1 <= body.attempt <= _MOST_ATTEMPTS:
            raise web.InvalidError(f"attempt must be 1 to {_MOST_ATTEMPTS}")
        order = await begin_payment(self._store, self._inventory, _order_id(request), body.attempt)
        return web.json_response(order)


def _totals(order: internal.PlacedOrder) -> api.Totals:
    nothing = money.from_minor(0, order.currency)
    amount = money.from_minor(order.amount_minor, order.currency)
    return api.Totals(subtotal=amount, discount=nothing, shipping=nothing, tax=nothing)


def _route(method: str, path: str, handler: web.Handler, access: web.Access) -> web.Route:
    return web.Route(method=method, path=path, handler=handler, access=access)


def _order_id(request: aiohttp_web.Request) -> str:
    value = request.match_info["orderId"]
    if not ids.is_id(value, "order"):
        raise UnknownOrderError
    return value
