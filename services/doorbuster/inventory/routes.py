"""HTTP of inventory: batches for checkout, payment's unpin and question, stock, the operator's control API."""

import re
from datetime import timedelta
from typing import Annotated

import msgspec
from aiohttp import web as aiohttp_web
from msgspec import Meta

from doorbuster.contracts import control, internal, shopping
from doorbuster.kit import coalescer, ids, web

from . import domain
from .ports import AvailableStock, ReservationFinder
from .usecases.control import ControlRoom, SaleBoard, StockDesk
from .usecases.pay import Payments
from .usecases.reserve import Reserver
from .usecases.warm import Warmer

MAX_ITEMS = 512
MAX_LINES = 64
MAX_WARM = 256
MAX_ASKED = 200
MAX_SALE_ITEMS = 64
MAX_ADMITTED_PER_SECOND = 100_000
MAX_WINDOW = timedelta(hours=168)
MAX_BODY_BYTES = 4 * 1024 * 1024
_NAME = re.compile(r"^[A-Za-z0-9_.\-]{1,80}$")
_TOPIC = re.compile(r"^[A-Za-z0-9_.\-]{1,249}$")
_CURRENCY = re.compile(r"^[A-Z]{3}$")
_KUBERNETES = re.compile(r"^[a-z0-9]([a-z0-9.\-]{0,251}[a-z0-9])?$")
_BIG = 2**53

ERRORS: dict[type[Exception], web.ErrorShape] = {
    domain.StaleEpochError: web.ErrorShape(
        status=409, code="STALE_EPOCH", title="Something newer is stored"
    ),
    domain.ResourceConflictError: web.ErrorShape(
        status=409, code="RESOURCE_CONFLICT", title="This belongs to somebody else"
    ),
    domain.BelowCommittedError: web.ErrorShape(
        status=409, code="BELOW_COMMITTED", title="More units are committed than that"
    ),
    domain.OverlapError: web.ErrorShape(
        status=409, code="OVERLAP", title="Another sale of the product is open at that time"
    ),
    domain.UnknownOrderError: web.ErrorShape(
        status=404, code="UNKNOWN_ORDER", title="There is no reservation of this order"
    ),
    domain.ManagedByPoolError: web.ErrorShape(
        status=409, code="MANAGED_BY_POOL", title="An InventoryPool sets this stock"
    ),
    domain.UnknownProductError: web.ErrorShape(
        status=404, code="UNKNOWN_PRODUCT", title="No stock of this product is known"
    ),
    coalescer.QueueFullError: web.ErrorShape(
        status=503, code="UNAVAILABLE", title="Too many calls wait already", retry_after=1
    ),
}


class _Since(msgspec.Struct):
    since: Annotated[int, Meta(ge=0, le=2**62)] = 0


class _Release(msgspec.Struct, rename="camel"):
    owner_uid: Annotated[str, Meta(min_length=1, max_length=80)]
    fence: Annotated[int, Meta(ge=0, le=2**62)]


def _require(is_fine: bool, what: str) -> None:
    if not is_fine:
        raise web.InvalidError(what)


def _check_batch(count: int) -> None:
    _require(0 < count <= MAX_ITEMS, f"a batch has 1 to {MAX_ITEMS} items")


def _check_names(**values: str) -> None:
    for name, value in values.items():
        _require(_NAME.fullmatch(value) is not None, f"{name} is no id")


def _check_reserve(item: internal.ReserveItem) -> None:
    _check_names(order_id=item.order_id, user_id=item.user_id)
    _require(1 <= len(item.request_hash) <= 128, "requestHash has 1 to 128 characters")
    _require(_TOPIC.fullmatch(item.topic) is not None, "topic is no topic")
    _require(len(item.traceparent or "") <= 64, "traceparent is too long")
    _require(0 < len(item.lines) <= MAX_LINES, f"an order has 1 to {MAX_LINES} lines")
    products = {line.product_id for line in item.lines}
    _require(len(products) == len(item.lines), "an order names a product once")
    for line in item.lines:
        _check_names(product_id=line.product_id)
        if line.sale_uid is not None:
            _check_names(sale_uid=line.sale_uid)
        _require(1 <= line.quantity <= 1_000_000, "quantity is 1 to 1000000")
        _require(0 <= (line.price_minor or 0) < _BIG, "priceMinor is out of range")
        _require(
            line.currency is None or _CURRENCY.fullmatch(line.currency) is not None,
            "currency has three letters",
        )
        _require(0 <= (line.epoch or 0) < _BIG, "epoch is out of range")


def _check_judge(item: internal.JudgeItem) -> None:
    _check_names(
        order_id=item.order_id,
        user_id=item.user_id,
        product_id=item.product_id,
        sale_uid=item.sale_uid,
    )
    _require(1 <= len(item.request_hash) <= 128, "requestHash has 1 to 128 characters")
    _require(1 <= item.quantity <= 1_000_000, "quantity is 1 to 1000000")
    _require(0 <= (item.epoch or 0) < _BIG, "epoch is out of range")
    _require(len(item.traceparent or "") <= 64, "traceparent is too long")


def _check_attempt(order_id: str, attempt: int) -> None:
    _check_names(order_id=order_id)
    _require(1 <= attempt <= 1_000_000, "attempt is 1 to 1000000")


def _check_gate(gate: control.SaleGate) -> None:
    _require(_KUBERNETES.fullmatch(gate.namespace) is not None, "namespace is no name")
    _require(_KUBERNETES.fullmatch(gate.name) is not None, "name is no name")
    _require(len(gate.namespace) + len(gate.name) <= 230, "namespace and name are too long")
    _require(1 <= gate.generation < _BIG, "generation is out of range")
    _require(0 <= gate.fence < _BIG, "fence is out of range")
    _require(
        gate.open_time.tzinfo is not None and gate.close_time.tzinfo is not None,
        "times have a zone",
    )
    _require(gate.close_time > gate.open_time, "closeTime is after openTime")
    _require(gate.close_time - gate.open_time <= MAX_WINDOW, "a sale lasts at most 168 h")
    _require(
        1 <= gate.reservation_timeout_seconds <= 86_400,
        "reservationTimeoutSeconds is 1 to 86400",
    )
    _require(
        gate.admit_per_second is None or 1 <= gate.admit_per_second <= MAX_ADMITTED_PER_SECOND,
        f"admitPerSecond is 1 to {MAX_ADMITTED_PER_SECOND}",
    )
    _require(0 < len(gate.items) <= MAX_SALE_ITEMS, f"a sale has 1 to {MAX_SALE_ITEMS} items")
    _require(len({item.sku for item in gate.items}) == len(gate.items), "a sale names a sku once")
    for item in gate.items:
        _check_sku(item.sku)
        _require(0 <= (item.quantity or 0) <= domain.MAX_UNITS, "quantity is out of range")
        _require(0 <= item.price_minor < _BIG, "priceMinor is out of range")
        _require(_CURRENCY.fullmatch(item.currency) is not None, "currency has three letters")
        _require(1 <= item.per_user_limit <= 1_000_000, "perUserLimit is 1 to 1000000")


def _check_sku(sku: str) -> None:
    _require(ids.SKU.fullmatch(sku) is not None, "sku is no sku")


def _check_pool(spec: control.PoolSpec) -> None:
    _check_names(owner_uid=spec.owner_uid)
    _require(0 <= spec.capacity <= domain.MAX_UNITS, "capacity is out of range")
    _require(0 <= spec.safety_stock <= domain.MAX_UNITS, "safetyStock is out of range")
    _require(0 <= spec.generation < _BIG, "generation is out of range")
    _require(0 <= spec.fence < _BIG, "fence is out of range")


class Reservations:
    """The internal API: everything a rush passes through comes in batches."""

    def __init__(
        self,
        reserver: Reserver,
        payments: Payments,
        warmer: Warmer,
        board: SaleBoard,
        finder: ReservationFinder,
    ) -> None:
        self._reserver = reserver
        self._payments = payments
        self._warmer = warmer
        self._board = board
        self._finder = finder

    async def reserve(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /internal/v1/reservations``."""
        batch = await web.read_json(request, internal.ReserveBatch)
        _check_batch(len(batch.items))
        for item in batch.items:
            _check_reserve(item)
        results = await self._reserver.reserve(batch.items)
        return web.json_response(internal.ReserveResults(results=results))

    async def judge(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /internal/v1/judgements``."""
        batch = await web.read_json(request, internal.JudgeBatch)
        _check_batch(len(batch.items))
        for item in batch.items:
            _check_judge(item)
        results = await self._reserver.judge(batch.items)
        owners = await self._reserver.owners(results)
        return web.json_response(internal.ReserveResults(results=results, owners=owners))

    async def pin(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /internal/v1/pins``."""
        batch = await web.read_json(request, internal.PinBatch)
        _check_batch(len(batch.items))
        for item in batch.items:
            _check_attempt(item.order_id, item.attempt)
            _require(len(item.traceparent or "") <= 64, "traceparent is too long")
        results = await self._reserver.pin(batch.items)
        return web.json_response(internal.PinResults(results=results))

    async def unpin(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /internal/v1/unpins``: 204 whether or not there was anything to unpin."""
        unpin = await web.read_json(request, internal.Unpin)
        _check_attempt(unpin.order_id, unpin.attempt)
        await self._payments.fail(
            [internal.Attempt(order_id=unpin.order_id, attempt=unpin.attempt)]
        )
        return aiohttp_web.Response(status=204)

    async def let_go(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /internal/v1/releases``: 204 whether or not there was anything to release."""
        release = await web.read_json(request, internal.Release)
        _check_names(order_id=release.order_id)
        await self._payments.let_go(release.order_id)
        return aiohttp_web.Response(status=204)

    async def unreturned(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /internal/v1/reservations:unreturned``."""
        batch = await web.read_json(request, internal.Attempts)
        _check_batch(len(batch.items))
        for item in batch.items:
            _check_attempt(item.order_id, item.attempt)
        found = await self._finder.unreturned(batch.items)
        return web.json_response(internal.UnreturnedOrders(unreturned=found))

    async def warm(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /internal/v1/warm``: 204 at once, the work goes on behind it."""
        wanted = await web.read_json(request, internal.Warm)
        _require(len(wanted.product_ids) <= MAX_WARM, f"at most {MAX_WARM} products")
        for product_id in wanted.product_ids:
            _check_names(product_id=product_id)
        self._warmer.suspect(wanted.product_ids)
        return aiohttp_web.Response(status=204)

    async def sales(self, _request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /internal/v1/sales``."""
        return web.json_response(await self._board.read())

    async def find(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /internal/v1/reservations/{orderId}``."""
        order_id = request.match_info["order_id"]
        found = None
        if _NAME.fullmatch(order_id):
            found = await self._finder.find(order_id)
        if found is None:
            raise domain.UnknownOrderError("no reservation has this order id")
        return web.json_response(found)

    def routes(self) -> list[web.Route]:
        """Return the routes with their callers."""
        checkout = web.callers("checkout")
        table = (
            ("POST", "reservations", self.reserve, checkout),
            ("POST", "judgements", self.judge, checkout),
            ("POST", "pins", self.pin, checkout),
            ("POST", "unpins", self.unpin, web.callers("payment")),
            ("POST", "releases", self.let_go, checkout),
            ("POST", "reservations:unreturned", self.unreturned, web.callers("payment")),
            ("POST", "warm", self.warm, checkout),
            (
                "GET",
                "sales",
                self.sales,
                web.callers("checkout", "product", "cart", "search"),
            ),
            ("GET", "reservations/{order_id}", self.find, web.callers("checkout", "order")),
        )
        return [
            web.Route(method=method, path=f"/internal/v1/{path}", handler=handler, access=access)
            for method, path, handler, access in table
        ]


class Stock:
    """What is available, for those who show it; how much there is, for merchants."""

    def __init__(self, available: AvailableStock, desk: StockDesk) -> None:
        self._available = available
        self._desk = desk

    async def availability(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /internal/v1/availability``."""
        wanted = await web.read_json(request, internal.ProductIds)
        _require(0 < len(wanted.ids) <= MAX_ASKED, f"1 to {MAX_ASKED} products")
        for product_id in wanted.ids:
            _check_names(product_id=product_id)
        items = await self._available.availability(wanted.ids)
        return web.json_response(internal.Availabilities(items=items))

    async def read(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /v1/admin/stock/{productId}``."""
        return web.json_response(await self._desk.read(_product_id(request)))

    async def put(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``PUT /v1/admin/stock/{productId}``: a level, so it may be repeated."""
        product_id = _product_id(request)
        level = await web.read_json(request, shopping.StockLevel)
        return web.json_response(await self._desk.put(product_id, level.total))

    def routes(self) -> list[web.Route]:
        """Return the routes."""
        merchant = web.Users(roles=frozenset({"merchant", "admin"}))
        table = (
            (
                "POST",
                "/internal/v1/availability",
                self.availability,
                web.callers("product", "cart", "search"),
            ),
            ("GET", "/v1/admin/stock/{product_id}", self.read, merchant),
            ("PUT", "/v1/admin/stock/{product_id}", self.put, merchant),
        )
        return [
            web.Route(method=method, path=path, handler=handler, access=access)
            for method, path, handler, access in table
        ]


def _product_id(request: aiohttp_web.Request) -> str:
    product_id = request.match_info["product_id"]
    if not ids.is_id(product_id, "prod"):
        raise domain.UnknownProductError("this is no product id")
    return product_id


class Control:
    """The control API."""

    def __init__(self, room: ControlRoom) -> None:
        self._room = room

    async def take_fence(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /control/v1/fences``."""
        wanted = await web.read_json(request, control.FenceRequest)
        for text in (wanted.lease_namespace, wanted.lease_name, wanted.holder):
            _require(1 <= len(text) <= 253, "names have 1 to 253 characters")
        return web.json_response(await self._room.take_fence(wanted))

    async def put_sale(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``PUT /control/v1/sales/{uid}``."""
        uid = request.match_info["uid"]
        _check_names(uid=uid)
        gate = await web.read_json(request, control.SaleGate)
        _check_gate(gate)
        return web.json_response(await self._room.put_sale(uid, gate))

    async def sales(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /control/v1/sales?since=``."""
        query = web.read_query(request, _Since)
        return web.json_response(await self._room.sales(query.since))

    async def put_pool(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``PUT /control/v1/pools/{sku}``."""
        sku = request.match_info["sku"]
        _check_sku(sku)
        spec = await web.read_json(request, control.PoolSpec)
        _check_pool(spec)
        return web.json_response(await self._room.put_pool(sku, spec))

    async def release_pool(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``DELETE /control/v1/pools/{sku}?ownerUid=&fence=``: the owner lets go, the stock stays."""
        sku = request.match_info["sku"]
        _check_sku(sku)
        query = web.read_query(request, _Release)
        await self._room.release_pool(sku, owner_uid=query.owner_uid, fence=query.fence)
        return aiohttp_web.Response(status=204)

    async def pools(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /control/v1/pools?since=``."""
        query = web.read_query(request, _Since)
        return web.json_response(await self._room.pools(query.since))

    def routes(self) -> list[web.Route]:
        """Return the routes; only the operator calls them."""
        operator = web.callers("operator")
        table = (
            ("POST", "fences", self.take_fence),
            ("PUT", "sales/{uid}", self.put_sale),
            ("GET", "sales", self.sales),
            ("PUT", "pools/{sku}", self.put_pool),
            ("DELETE", "pools/{sku}", self.release_pool),
            ("GET", "pools", self.pools),
        )
        return [
            web.Route(method=method, path=f"/control/v1/{path}", handler=handler, access=operator)
            for method, path, handler in table
        ]
