"""The order service over HTTP: a buyer's own orders, and payment's questions what is missing."""

from dataclasses import dataclass
from typing import Annotated

import msgspec
from aiohttp import web as aiohttp_web
from msgspec import Meta

from doorbuster.contracts import api, internal
from doorbuster.kit import ids, web

from . import domain
from .streams import Bells, news
from .usecases import LONGEST_QUESTION, Orders


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """``?page=&size=``; pages count from 1."""

    page: Annotated[int, Meta(ge=1, le=1000)] = 1
    size: Annotated[int, Meta(ge=1, le=100)] = 20


@dataclass(frozen=True)
class OrderRoutes:
    """Handlers over the use cases."""

    orders: Orders
    bells: Bells

    def table(self) -> list[web.Route]:
        """Return the routes with their callers."""
        users = web.Users()
        return [
            web.Route(method="GET", path="/v1/orders", handler=self.list_orders, access=users),
            web.Route(
                method="GET", path="/v1/orders/{order_id}", handler=self.get_order, access=users
            ),
            web.Route(
                method="GET",
                path="/v1/orders/{order_id}/status",
                handler=self.get_status,
                access=users,
            ),
            web.Route(
                method="GET",
                path="/v1/orders/{order_id}/events",
                handler=self.stream_news,
                access=users,
            ),
            web.Route(
                method="POST",
                path="/internal/v1/orders:missing",
                handler=self.find_missing,
                access=web.callers("payment"),
            ),
            web.Route(
                method="POST",
                path="/internal/v1/orders:unreversed",
                handler=self.find_unreversed,
                access=web.callers("payment"),
            ),
        ]

    async def list_orders(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /v1/orders``: newest first."""
        query = web.read_query(request, PageQuery)
        page = await self.orders.page(
            request[web.USER].user_id, offset=(query.page - 1) * query.size, limit=query.size
        )
        answer = api.OrderList(
            orders=[
                domain.show_order(order, order.details)
                for order in page.orders
                if order.details is not None
            ],
            pagination=api.Pagination(
                page=query.page,
                size=query.size,
                total_pages=-(-page.total // query.size),
                total_items=page.total,
            ),
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
        with self.bells.listening(order_id) as bell:
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


async def _asked(request: aiohttp_web.Request) -> list[str]:
    question = await web.read_json(request, internal.OrderIds)
    if len(question.ids) > LONGEST_QUESTION:
        raise web.InvalidError(f"ask about at most {LONGEST_QUESTION} orders at once")
    if not all(ids.is_id(order_id, "order") for order_id in question.ids):
        raise web.InvalidError("ids must be order ids")
    return question.ids
