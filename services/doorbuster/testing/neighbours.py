"""Payment's neighbours over real HTTP: user, checkout, inventory and order in one app that follows their rules."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
from aiohttp import web

from doorbuster.contracts import events, internal
from doorbuster.kit import auth, ids
from doorbuster.kit.clock import utc_now
from doorbuster.kit.web import Handler

from .processes import Keys

PAY_WITHIN = timedelta(minutes=2)
SALE_TOPIC = "sale.default.drop.orders"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_CALLEES = {  # all else is checkout's
    "unpins": "inventory",
    "reservations:unreturned": "inventory",
    "orders:missing": "order",
    "orders:unreversed": "order",
}


@dataclass(kw_only=True)
class PaymentNeighbours:
    """Orders that were placed, who pins them, what order knows; ``away`` holds the paths' ends that answer 503.

    A reversal is known everywhere but for the orders in ``confirmed`` (order) and ``holding`` (inventory).
    Every internal call must carry a valid token of payment for the service it is meant for.
    """

    keys: Keys
    orders: dict[str, internal.PlacedOrder] = field(default_factory=dict)
    pins: dict[str, int] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)
    unpinned: list[tuple[str, int]] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    confirmed: set[str] = field(default_factory=set)
    holding: set[str] = field(default_factory=set)
    away: set[str] = field(default_factory=set)
    begun: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        names = {"checkout", *_CALLEES.values()}
        self._verifiers: Mapping[str, auth.ServiceVerifier] = {
            name: auth.ServiceVerifier(name, self.keys.public) for name in names
        }

    def place(self, user_id: str, *, amount_minor: int = 99_900) -> str:
        """Place an order of one phone and return its id."""
        order_id = ids.order_id(user_id, ids.new_id("key"))
        line = events.Line(
            product_id=ids.product_id("phone"), quantity=1, price_minor=amount_minor
        )
        self.orders[order_id] = internal.PlacedOrder(
            order_id=order_id,
            user_id=user_id,
            lines=[line],
            amount_minor=amount_minor,
            currency="EUR",
            pay_by=utc_now() + PAY_WITHIN,
            placed_at=utc_now(),
            topic=SALE_TOPIC,
            traceparent=TRACEPARENT,
        )
        return order_id

    def app(self) -> web.Application:
        """Return the app to be served."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/.well-known/jwks.json", self._jwks)
        app.router.add_get("/internal/v1/orders/{id}", self._order)
        app.router.add_post("/internal/v1/orders/{id}/begin-payment", self._begin)
        app.router.add_post("/internal/v1/unpins", self._unpin)
        app.router.add_post("/internal/v1/orders:missing", self._missing)
        app.router.add_post("/internal/v1/orders:unreversed", self._unreversed)
        app.router.add_post("/internal/v1/reservations:unreturned", self._unreturned)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        part = request.path.rpartition("/")[2]
        if part in self.away or (part.startswith("order_") and "order" in self.away):
            return web.Response(status=503)
        if request.path.startswith("/internal/"):
            verifier = self._verifiers[_CALLEES.get(part, "checkout")]
            try:
                caller = verifier.verify(auth.bearer(request.headers.get("Authorization"))).caller
            except auth.UnauthenticatedError:
                return _refusal(401, "UNAUTHENTICATED")
            if caller != "payment":
                return _refusal(403, "FORBIDDEN")
        return await handler(request)

    async def _jwks(self, _request: web.Request) -> web.Response:
        return web.Response(body=self.keys.jwks(), content_type="application/json")

    async def _order(self, request: web.Request) -> web.Response:
        placed = self.orders.get(request.match_info["id"])
        return _refusal(404, "UNKNOWN_ORDER") if placed is None else _reply(placed)

    async def _begin(self, request: web.Request) -> web.Response:
        order_id = request.match_info["id"]
        attempt = msgspec.json.decode(await request.read(), type=internal.BeginPayment).attempt
        self.begun[order_id].append(attempt)
        if order_id in self.expired:
            return _refusal(409, "HOLD_EXPIRED")
        if self.pins.get(order_id, attempt) != attempt:
            return _refusal(409, "PAYMENT_IN_PROGRESS")
        self.pins[order_id] = attempt
        return _reply(self.orders[order_id])

    async def _unpin(self, request: web.Request) -> web.Response:
        unpin = msgspec.json.decode(await request.read(), type=internal.Unpin)
        self.unpinned.append((unpin.order_id, unpin.attempt))
        if self.pins.get(unpin.order_id) == unpin.attempt:
            del self.pins[unpin.order_id]
        return web.Response(status=204)

    async def _missing(self, request: web.Request) -> web.Response:
        asked = msgspec.json.decode(await request.read(), type=internal.OrderIds).ids
        return _reply(internal.MissingOrders(missing=[i for i in asked if i not in self.known]))

    async def _unreversed(self, request: web.Request) -> web.Response:
        asked = msgspec.json.decode(await request.read(), type=internal.OrderIds).ids
        return _reply(internal.MissingOrders(missing=[i for i in asked if i in self.confirmed]))

    async def _unreturned(self, request: web.Request) -> web.Response:
        asked = msgspec.json.decode(await request.read(), type=internal.Attempts).items
        held = [item.order_id for item in asked if item.order_id in self.holding]
        return _reply(internal.UnreturnedOrders(unreturned=held))


def _reply(body: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


def _refusal(status: int, code: str) -> web.Response:
    return web.json_response({"code": code}, status=status)
