"""The order service over HTTP: a buyer's own orders, everybody's for admins, payment's questions what is missing."""

from dataclasses import dataclass

from aiohttp import web as aiohttp_web

from doorbuster.contracts import api, fulfilment, internal, surface
from doorbuster.kit import ids, web

from . import domain
from .streams import Bells, news
from .usecases import LONGEST_QUESTION, Orders


@dataclass(frozen=True)
class OrderRoutes:
    """Handlers over the use cases."""

    orders: Orders
    bells: Bells

    def table(self) -> list[web.Route]:
        """Return the routes with their callers."""
        users, admins = web.Users(), web.Users(frozenset({"admin"}))
        payment = web.callers("payment")
        order, any_order = "/v1/orders/{order_id}", "/v1/admin/orders/{order_id}"
        rows: tuple[tuple[str, str, web.Handler, web.Access], ...] = (
            ("GET", "/v1/orders", self.list_orders, users),
            ("GET", order, self.get_order, users),
            ("GET", f"{order}/status", self.get_status, users),
            ("GET", f"{order}/events", self.stream_news, users),
            ("POST", f"{order}/cancel", self.cancel, users),
            ("POST", f"{order}/return", self.ask_return, users),
            ("GET", "/v1/admin/orders", self.list_all, admins),
            ("GET", any_order, self.get_any, admins),
            ("POST", f"{any_order}/shipments", self.ship, admins),
            ("POST", f"{any_order}/deliveries", self.deliver, admins),
            ("POST", f"{any_order}/cancel", self.cancel_any, admins),
            ("POST", f"{any_order}/returns", self.accept_return, admins),
            ("POST", "/internal/v1/orders:missing", self.find_missing, payment),
            ("POST", "/internal/v1/orders:unreversed", self.find_unreversed, payment),
        )
        return [
            web.Route(method=method, path=path, handler=handler, access=access)
            for method, path, handler, access in rows
        ]

    async def list_orders(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /v1/orders``: newest first."""
        query = web.read_query(request, surface.PageQuery)
        page = await self.orders.page(
            request[web.USER].user_id, offset=(query.page - 1) * query.size, limit=query.size
        )
        answer = api.OrderList(
            orders=[
                domain.show_order(order, order.details)
                for order in page.orders
                if order.details is not None
            ],
            pagination=_pagination(query, page.total),
        )
        return web.json_response(answer)

    async def get_order(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /v1/orders/{orderId}``."""
        order_id = web.path_id(request, "order_id", "order")
        return web.json_response(await self.orders.show(order_id, request[web.USER].user_id))

    async def get_status(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /v1/orders/{orderId}/status``."""
        order_id = web.path_id(request, "order_id", "order")
        status = await self.orders.show_status(order_id, request[web.USER].user_id)
        return web.json_response(status, headers={"Cache-Control": "no-store"})

    async def stream_news(self, request: aiohttp_web.Request) -> aiohttp_web.StreamResponse:
        """``GET /v1/orders/{orderId}/events``: the status as server-sent events, for a minute at most."""
        order_id = web.path_id(request, "order_id", "order")
        user_id = request[web.USER].user_id
        with self.bells.listening(order_id, user_id) as bell:
            first = await self.orders.show_status(order_id, user_id)
            response = aiohttp_web.StreamResponse(
                headers={
                    "Content-Type": "text/event-stream; charset=utf-8",
                    "Cache-Control": "no-store",
                    "X-Accel-Buffering": "no",
                }
            )
            await response.prepare(request)
            try:
                async for piece in news(self.orders, self.bells, bell, first, user_id):
                    await response.write(piece)
                await response.write_eof()
            except OSError:  # the buyer has left
                return response
        return response

    async def cancel(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /v1/orders/{orderId}/cancel``."""
        order_id = web.path_id(request, "order_id", "order")
        body = await web.read_json(request, fulfilment.Cancel)
        user_id = request[web.USER].user_id
        return web.json_response(await self.orders.cancel(order_id, user_id, body.reason))

    async def ask_return(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /v1/orders/{orderId}/return``."""
        order_id = web.path_id(request, "order_id", "order")
        body = await web.read_json(request, fulfilment.Return)
        user_id = request[web.USER].user_id
        return web.json_response(await self.orders.ask_return(order_id, user_id, body.reason))

    async def list_all(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /v1/admin/orders``: newest first, without totals and addresses."""
        query = web.read_query(request, fulfilment.AdminOrderQuery)
        page = await self.orders.page_all(
            domain.State(query.status.upper()) if query.status else None,
            offset=(query.page - 1) * query.size,
            limit=query.size,
        )
        answer = fulfilment.AdminOrderList(
            orders=[
                domain.show_to_admin(order, order.details)
                for order in page.orders
                if order.details is not None
            ],
            pagination=_pagination(query, page.total),
        )
        return web.json_response(answer)

    async def get_any(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /v1/admin/orders/{orderId}``."""
        order_id = web.path_id(request, "order_id", "order")
        return web.json_response(await self.orders.show_to_admin(order_id))

    async def ship(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /v1/admin/orders/{orderId}/shipments``."""
        order_id = web.path_id(request, "order_id", "order")
        body = await web.read_json(request, fulfilment.Shipment)
        return web.json_response(await self.orders.ship(order_id, body))

    async def deliver(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /v1/admin/orders/{orderId}/deliveries``."""
        order_id = web.path_id(request, "order_id", "order")
        body = await web.read_json(request, fulfilment.Delivered)
        return web.json_response(await self.orders.deliver(order_id, body))

    async def cancel_any(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /v1/admin/orders/{orderId}/cancel``."""
        order_id = web.path_id(request, "order_id", "order")
        body = await web.read_json(request, fulfilment.Cancel)
        return web.json_response(await self.orders.cancel(order_id, None, body.reason))

    async def accept_return(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /v1/admin/orders/{orderId}/returns``."""
        order_id = web.path_id(request, "order_id", "order")
        body = await web.read_json(request, fulfilment.Return)
        return web.json_response(await self.orders.accept_return(order_id, body.reason))

    async def find_missing(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /internal/v1/orders:missing``: at most 1,000 ids."""
        asked = await _asked(request)
        missing = await self.orders.missing(asked) if asked else []
        return web.json_response(internal.MissingOrders(missing=missing))

    async def find_unreversed(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /internal/v1/orders:unreversed``: at most 1,000 ids."""
        asked = await _asked(request)
        missing = await self.orders.unreversed(asked) if asked else []
        return web.json_response(internal.MissingOrders(missing=missing))


def _pagination(
    query: surface.PageQuery | fulfilment.AdminOrderQuery, total: int
) -> api.Pagination:
    return api.Pagination(
        page=query.page,
        size=query.size,
        total_pages=-(-total // query.size),
        total_items=total,
    )


async def _asked(request: aiohttp_web.Request) -> list[str]:
    question = await web.read_json(request, internal.OrderIds)
    if len(question.ids) > LONGEST_QUESTION:
        raise web.InvalidError(f"ask about at most {LONGEST_QUESTION} orders at once")
    if not all(ids.is_id(order_id, "order") for order_id in question.ids):
        raise web.InvalidError("ids must be order ids")
    return question.ids
