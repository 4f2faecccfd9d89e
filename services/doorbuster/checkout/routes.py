"""Checkout's routes: one line deep."""

import msgspec
from aiohttp import web as aiohttp_web

from doorbuster.contracts import api, internal, shopping, surface
from doorbuster.kit import ids, money, web

from .domain import discounts
from .domain.refusals import NoDiscountError, UnknownOrderError
from .ports import Inventory, OrderStore
from .usecases.begin_payment import begin_payment, show_order
from .usecases.board import SalesBoard
from .usecases.check_out import CheckOut
from .usecases.discounting import Discounting
from .usecases.show_sales import list_sales, show_sale

_MOST_ATTEMPTS = 1_000_000


class Handlers:
    """The handlers of all routes."""

    def __init__(
        self,
        *,
        check_out: CheckOut,
        board: SalesBoard,
        store: OrderStore,
        inventory: Inventory,
        discounting: Discounting,
    ) -> None:
        self._check_out = check_out
        self._board = board
        self._store = store
        self._inventory = inventory
        self._discounting = discounting

    def routes(self) -> list[web.Route]:
        """Return the table of routes."""
        order = "/internal/v1/orders/{orderId}"
        merchants = web.Users(frozenset({"merchant", "admin"}))
        discount = "/v1/admin/discounts/{code}"
        return [
            _route("POST", "/v1/checkout", self.post_checkout, web.Users()),
            _route("GET", "/v1/sales", self.get_sales, web.Public()),
            _route("GET", "/v1/sales/{saleId}", self.get_sale, web.Public()),
            _route("GET", "/v1/admin/discounts", self.get_discounts, merchants),
            _route("GET", discount, self.get_discount, merchants),
            _route("PUT", discount, self.put_discount, merchants),
            _route("DELETE", discount, self.delete_discount, merchants),
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
        page = web.read_query(request, surface.PageQuery)
        return web.json_response(await list_sales(self._board, page=page.page, size=page.size))

    async def get_sale(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """Return one sale."""
        sale = await show_sale(self._board, request.match_info["saleId"])
        if sale is None:
            raise web.NotFoundError("there is no such sale")
        return web.json_response(sale)

    async def get_order(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """Return a placed order; where it goes is only order's business."""
        order = await show_order(self._store, _order_id(request))
        return web.json_response(_for(request[web.CALLER], order))

    async def post_begin_payment(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """Pin the units for a payment attempt."""
        body = await web.read_json(request, internal.BeginPayment)
        if not 1 <= body.attempt <= _MOST_ATTEMPTS:
            raise web.InvalidError(f"attempt must be 1 to {_MOST_ATTEMPTS}")
        order = await begin_payment(self._store, self._inventory, _order_id(request), body.attempt)
        return web.json_response(_for(request[web.CALLER], order))

    async def get_discounts(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """Return one page of discounts."""
        query = web.read_query(request, surface.PageQuery)
        found = await self._discounting.page(page=query.page, size=query.size)
        answer = shopping.DiscountList(
            discounts=[discounts.show(one) for one in found.discounts],
            pagination=api.Pagination(
                page=query.page,
                size=query.size,
                total_pages=-(-found.total // query.size),
                total_items=found.total,
            ),
        )
        return web.json_response(answer)

    async def get_discount(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """Return one discount."""
        found = await self._discounting.find(_code(request, NoDiscountError()))
        return web.json_response(discounts.show(found))

    async def put_discount(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """Make or replace a discount; the same again changes nothing."""
        code = _code(request, web.InvalidError("a code has 2 to 32 letters, digits, - and _"))
        draft = await web.read_json(request, shopping.DiscountDraft)
        return web.json_response(discounts.show(await self._discounting.put(code, draft)))

    async def delete_discount(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """End a discount."""
        await self._discounting.end(_code(request, NoDiscountError()))
        return aiohttp_web.Response(status=204)


def _for(caller: str, order: internal.PlacedOrder) -> internal.PlacedOrder:
    return order if caller == "order" else msgspec.structs.replace(order, address=None)


def _code(request: aiohttp_web.Request, otherwise: Exception) -> str:
    """Return the code of the path; raises ``otherwise`` when it can be none."""
    try:
        return msgspec.convert(request.match_info["code"], shopping.DiscountCode)
    except msgspec.ValidationError:
        raise otherwise from None


def _totals(order: internal.PlacedOrder) -> api.Totals:
    totals = order.totals or internal.TotalsMinor(
        subtotal_minor=order.amount_minor, discount_minor=0, shipping_minor=0, tax_minor=0
    )
    return api.Totals(
        subtotal=money.from_minor(totals.subtotal_minor, order.currency),
        discount=money.from_minor(totals.discount_minor, order.currency),
        shipping=money.from_minor(totals.shipping_minor, order.currency),
        tax=money.from_minor(totals.tax_minor, order.currency),
    )


def _route(method: str, path: str, handler: web.Handler, access: web.Access) -> web.Route:
    return web.Route(method=method, path=path, handler=handler, access=access)


def _order_id(request: aiohttp_web.Request) -> str:
    value = request.match_info["orderId"]
    if not ids.is_id(value, "order"):
        raise UnknownOrderError
    return value
