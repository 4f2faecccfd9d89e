"""A small shop in process that keeps the promise, and can be told to break it: the crowd's sparring partner."""

import asyncio
import dataclasses
import datetime
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from buyers import facts, plan

SALE = "default.iphone-drop"
PRODUCT = "prod_00000000000000000000000001"


@dataclasses.dataclass
class Order:
    """What the shop knows of one order."""

    order: str
    user: str
    key: str
    state: str
    expires: float
    created_ms: float
    paid_key: str | None = None
    charges: int = 0
    attempts: dict[str, str] = dataclasses.field(default_factory=dict)


class FakeShop:
    """Units, holds that run out, cards that are declined; ``faults`` says which rules it breaks."""

    def __init__(self, units: int, opens_in: float, hold_seconds: float = 1.3) -> None:
        self.units = units
        self.open_ms = (time.time() + opens_in) * 1000
        self.hold_seconds = hold_seconds
        self.faults: set[str] = set()
        self.orders: dict[str, Order] = {}
        self.users: dict[str, tuple[str, str]] = {}
        self.refresh_tokens: dict[str, str] = {}
        self.addresses: set[str] = set()
        self.counts: dict[str, int] = {}
        self.admit_per_second: int | None = None
        self.queue: list[str] = []
        self.url = ""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/users", self.sign_up),
            web.post("/v1/sessions", self.log_in),
            web.post("/v1/sessions/refresh", self.refresh),
            web.get("/v1/sales/{sale}", self.sale),
            web.post("/v1/checkout", self.checkout),
            web.post("/v1/payment", self.payment),
            web.get("/v1/orders/{order}/status", self.status),
        ]

    # --- users ---

    async def sign_up(self, request: web.Request) -> web.Response:
        body = await self._seen(request, "sign_up")
        if body["email"] in self.users:
            return problem(409, "EMAIL_TAKEN")
        self.users[body["email"]] = (f"user_{len(self.users):05d}", body["password"])
        return web.json_response({"userId": self.users[body["email"]][0]}, status=201)

    async def log_in(self, request: web.Request) -> web.Response:
        body = await self._seen(request, "log_in")
        user, password = self.users.get(body["email"], ("", ""))
        if not user or password != body["password"]:
            return problem(401, "BAD_CREDENTIALS")
        return self._session(user)

    async def refresh(self, request: web.Request) -> web.Response:
        body = await self._seen(request, "refresh")
        user = self.refresh_tokens.pop(body["refreshToken"], None)
        return self._session(user) if user else problem(401, "BAD_REFRESH_TOKEN")

    def _session(self, user: str) -> web.Response:
        token = uuid.uuid4().hex
        self.refresh_tokens[token] = user
        return web.json_response(
            {"userId": user, "accessToken": user, "refreshToken": token}, status=201
        )

    async def _seen(self, request: web.Request, what: str) -> dict[str, Any]:
        self.counts[what] = self.counts.get(what, 0) + 1
        self.addresses.add(request.headers["X-Forwarded-For"])
        body: dict[str, Any] = json.loads(await request.text() or "{}")
        return body

    # --- the sale ---

    async def sale(self, request: web.Request) -> web.Response:
        if request.match_info["sale"] != SALE:
            return problem(404, "UNKNOWN_SALE")
        return web.json_response(
            {
                "id": SALE,
                "phase": "Scheduled",
                "openTime": iso(self.open_ms),
                "closeTime": iso(self.open_ms + 600_000),
                "serverTime": iso(time.time() * 1000),
                "products": [{"productId": PRODUCT, "price": 999.0}],
            }
        )

    async def checkout(self, request: web.Request) -> web.StreamResponse:
        await self._seen(request, "checkout")
        user = request.headers["Authorization"].removeprefix("Bearer ")
        key = request.headers["Idempotency-Key"]
        if "flaky" in self.faults and self.counts["checkout"] % 7 == 0:
            self._reserve(user, key)  # done, but nobody is told
            assert request.transport is not None
            request.transport.abort()
        if "busy" in self.faults and self.counts["checkout"] % 5 == 0:
            return problem(503, "UNAVAILABLE")
        await asyncio.sleep(0.005)
        answer = self._reserve(user, key)
        return answer

    def _reserve(self, user: str, key: str) -> web.Response:
        now = time.time()
        self._expire(now)
        order = f"order_{uuid.uuid5(uuid.NAMESPACE_OID, user + key).hex[:26]}"
        if "opens_early" not in self.faults and now * 1000 < self.open_ms:
            return problem(409, "SALE_NOT_OPEN", retry_after=0)
        known = self.orders.get(order)
        if known is not None:
            return problem(409, "HOLD_EXPIRED") if known.state == "RELEASED" else self._held(known)
        if not self._is_turn(user, now):
            return problem(429, "WAITING_ROOM", retry_after=1)
        mine = [row for row in self.orders.values() if row.state != "RELEASED"]
        limit = self.units + (2 if "oversells" in self.faults else 0)
        if len(mine) >= limit:
            terminal = all(row.state == "SOLD" for row in mine) or "impatient" in self.faults
            return problem(409, "SOLD_OUT" if terminal else "WAITING", retry_after=0)
        self.orders[order] = Order(order, user, key, "HELD", now + self.hold_seconds, now * 1000)
        return self._held(self.orders[order])

    def _is_turn(self, user: str, now: float) -> bool:
        if self.admit_per_second is None:
            return True
        if user not in self.queue:
            self.queue.append(user)
        called = (now - self.open_ms / 1000) * self.admit_per_second
        return self.queue.index(user) <= called

    def _held(self, row: Order) -> web.Response:
        body = {"orderId": row.order, "amount": 999.0, "payBy": iso(row.expires * 1000)}
        return web.json_response(body, status=201)

    def _expire(self, now: float) -> None:
        for row in self.orders.values():
            if row.state == "HELD" and row.expires < now:
                row.state = "RELEASED"

    async def payment(self, request: web.Request) -> web.Response:
        body = await self._seen(request, "payment")
        key = request.headers["Idempotency-Key"]
        row = self.orders[body["orderId"]]
        self._expire(time.time())
        if row.state == "SOLD":
            if "charges_twice" in self.faults:
                row.charges += 1
            return self._paid(row)
        if row.state != "HELD":
            return problem(409, "HOLD_EXPIRED")
        if body["cardDetails"]["number"] != plan.GOOD_CARD:
            row.attempts[key] = "DECLINED"
            return web.json_response(
                {"status": "failed", "transactionId": f"txn_{key}", "orderId": row.order}
            )
        row.state, row.paid_key, row.charges = "SOLD", key, 1
        row.attempts[key] = "CAPTURED"
        return self._paid(row)

    def _paid(self, row: Order) -> web.Response:
        return web.json_response(
            {"status": "success", "transactionId": f"txn_{row.paid_key}", "orderId": row.order}
        )

    async def status(self, request: web.Request) -> web.Response:
        row = self.orders[request.match_info["order"]]
        status = "confirmed" if row.state == "SOLD" else "pending"
        return web.json_response({"orderId": row.order, "status": status, "history": []})

    # --- the stores ---

    def snapshot(self) -> facts.Snapshot:
        """Return the shop's state the way the stores would show it."""
        self._expire(time.time() + self.hold_seconds)
        sold = [row for row in self.orders.values() if row.state == "SOLD"]
        total = self.units
        counters = facts.Counters(
            available=total - len(sold), reserved=0, sold=len(sold), total=total
        )
        return facts.Snapshot(
            counters=counters,
            per_user_limit=1,
            reservations=[
                facts.Reservation(
                    order=row.order,
                    user=row.user,
                    state=row.state,
                    quantity=1,
                    created_ms=row.created_ms,
                )
                for row in self.orders.values()
            ],
            user_quantities={row.user: 1 for row in sold},
            payments=[
                facts.PaymentRow(order=row.order, attempt=number, state=state, intent=f"pi_{key}")
                for row in self.orders.values()
                for number, (key, state) in enumerate(row.attempts.items(), 1)
            ],
            orders=[
                facts.OrderRow(order=row.order, user=row.user, status="confirmed") for row in sold
            ],
            intents=[
                facts.Intent(
                    intent=f"pi_{row.order}_{number}",
                    order=row.order,
                    status="succeeded",
                    captured_minor=99900,
                    refunded_minor=0,
                )
                for row in sold
                for number in range(row.charges)
            ],
            permits=counters.available,
        )


def problem(status: int, code: str, retry_after: int | None = None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.json_response(
        {"status": status, "code": code},
        status=status,
        headers=headers,
        content_type="application/problem+json",
    )


def iso(unix_ms: float) -> str:
    return datetime.datetime.fromtimestamp(unix_ms / 1000, datetime.UTC).isoformat()


@pytest.fixture
async def open_shop() -> AsyncIterator[Callable[..., Awaitable[FakeShop]]]:
    """Return a function that starts a shop: ``await open_shop(units=2, opens_in=1.0)``."""
    runners: list[web.AppRunner] = []

    async def start(units: int, opens_in: float, **options: float) -> FakeShop:
        shop = FakeShop(units, opens_in, **options)
        app = web.Application()
        app.add_routes(shop.routes())
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        shop.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return shop

    yield start
    for runner in runners:
        await runner.cleanup()
