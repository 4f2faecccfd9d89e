"""Reads the truth where it lies: this is a proof tool, so it opens every service's store itself, read-only, by intent.

No service may do this. Nothing here asks a service, so that a service that lies about its store is caught. A store
whose address nobody gave is named in the snapshot, and the checker says what it could not judge without it.
"""

import asyncio
import contextlib
import dataclasses
import time
import urllib.parse
from collections.abc import AsyncIterator, Collection, Mapping

import aiohttp
import asyncmy
import asyncpg
import redis.asyncio

from . import facts

CONNECT_SECONDS = 5.0
QUERY_SECONDS = 10.0
REST_POLL_SECONDS = 0.5
NAMES: Mapping[facts.Store, str] = {
    "inventory": "DOORBUSTER_INVENTORY_DSN",
    "checkout": "DOORBUSTER_CHECKOUT_DSN",
    "payment": "DOORBUSTER_PAYMENT_DSN",
    "order": "DOORBUSTER_ORDER_DSN",
    "redis": "DOORBUSTER_REDIS_URL",
    "psp": "DOORBUSTER_PSP_ADMIN_URL",
}

COUNTERS = """
SELECT available_qty, reserved_qty, sold_qty, total_qty, safety_stock FROM inventory
WHERE product_id = $1
"""
RESERVATIONS = """
SELECT r.order_id, r.user_id, r.state, l.qty,
       extract(epoch FROM r.created_at)::float8 * 1000 AS created_ms
FROM reservation r JOIN reservation_line l USING (order_id) WHERE l.product_id = $1
"""
SALE = """
SELECT item.sale_uid, item.per_user_limit, item.strategy, item.allocated, stock.sellable,
       extract(epoch FROM sale.sold_out_at)::float8 * 1000 AS sold_out_ms
FROM sale_item item
JOIN sale USING (sale_uid)
JOIN sale_stock stock USING (sale_uid, product_id)
WHERE item.product_id = $1 AND ($2::text IS NULL OR sale.namespace || '.' || sale.name = $2)
ORDER BY sale.open_at DESC LIMIT 1
"""
USER_QUANTITIES = """
SELECT user_id, qty FROM user_sale_qty WHERE product_id = $1 AND sale_uid = $2 AND qty > 0
"""
ELSEWHERE = """
SELECT DISTINCT order_id FROM reservation_line l
WHERE order_id = ANY ($2) AND NOT EXISTS (
    SELECT 1 FROM reservation_line mine
    WHERE mine.order_id = l.order_id AND mine.product_id = $1
)
"""
PAYMENTS = """
SELECT order_id, user_id, attempt, state, intent_id FROM payment
WHERE created_at >= to_timestamp($1)
"""
ORDERS = "SELECT order_id, user_id, state FROM orders WHERE placed_at >= FROM_UNIXTIME(%s)"
OUTBOX = "SELECT count(*) FROM outbox"


class StoreError(Exception):
    """A store cannot be read, or does not know the product."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the stores are; DSNs hold passwords and are never shown."""

    inventory_dsn: str = dataclasses.field(default="", repr=False)
    checkout_dsn: str = dataclasses.field(default="", repr=False)
    payment_dsn: str = dataclasses.field(default="", repr=False)
    order_dsn: str = dataclasses.field(default="", repr=False)
    redis_url: str = dataclasses.field(default="", repr=False)
    psp_admin_url: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Addresses":
        """Read the names that ``devstack env`` prints; raises StoreError naming what is missing."""
        found = cls.partly(environment)
        if found.missing:
            lacking = ", ".join(NAMES[store] for store in NAMES if store in found.missing)
            raise StoreError(f"the environment lacks {lacking} (see `devstack env`)")
        return found

    @classmethod
    def partly(cls, environment: Mapping[str, str]) -> "Addresses":
        """Read the same names; those that are not there are missing."""
        return cls(
            inventory_dsn=environment.get(NAMES["inventory"], ""),
            checkout_dsn=environment.get(NAMES["checkout"], ""),
            payment_dsn=environment.get(NAMES["payment"], ""),
            order_dsn=environment.get(NAMES["order"], ""),
            redis_url=environment.get(NAMES["redis"], ""),
            psp_admin_url=environment.get(NAMES["psp"], ""),
        )

    @property
    def missing(self) -> frozenset[facts.Store]:
        """The stores whose address nobody gave."""
        given: dict[facts.Store, str] = {
            "inventory": self.inventory_dsn,
            "checkout": self.checkout_dsn,
            "payment": self.payment_dsn,
            "order": self.order_dsn,
            "redis": self.redis_url,
            "psp": self.psp_admin_url,
        }
        return frozenset(store for store, address in given.items() if not address)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scope:
    """What belongs to one run: its product, its buyers' user ids, its beginning in Unix seconds, its sale.

    Without a sale it is the latest one of the product.
    """

    product: str
    users: Collection[str]
    since: float
    sale: str | None = None

    @classmethod
    def of(cls, seen: facts.Facts) -> "Scope":
        """Return the scope of a history."""
        return cls(
            sale=seen.run.sale,
            product=seen.run.product,
            users=frozenset(buyer.user for buyer in seen.buyers.values()),
            since=(seen.run.wall + seen.run.offset_ms) / 1000 - 1.0,
        )


async def snapshot(addresses: Addresses, scope: Scope) -> facts.Snapshot:
    """Read all stores once; raises StoreError. The stores are at rest or the picture is blurred."""
    try:
        async with asyncio.timeout(QUERY_SECONDS * 3):
            return await _snapshot(addresses, scope)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreError(f"PostgreSQL: {type(error).__name__}: {error}") from error
    except asyncmy.errors.MySQLError as error:
        raise StoreError(f"MySQL: {type(error).__name__}") from error
    except redis.RedisError as error:
        raise StoreError(f"Redis: {type(error).__name__}") from error
    except aiohttp.ClientError as error:
        raise StoreError(f"PSP: {type(error).__name__}") from error


async def at_rest(addresses: Addresses, scope: Scope, seconds: float) -> facts.Snapshot:
    """Read the stores until nothing is in flight, at most ``seconds`` long; return the last picture.

    What is still in flight then is for the checker to name.
    """
    deadline = time.monotonic() + seconds
    while True:
        picture: facts.Snapshot | None = None
        error: StoreError | None = None
        try:
            picture = await snapshot(addresses, scope)
        except StoreError as failed:
            error = failed
        if picture is not None and is_at_rest(picture):
            return picture
        if time.monotonic() > deadline:
            if picture is None:
                raise StoreError("the stores could not be read to the end") from error
            return picture
        await asyncio.sleep(REST_POLL_SECONDS)


def is_at_rest(picture: facts.Snapshot) -> bool:
    """Whether no hold, no open payment, no event and no unconfirmed order is in flight."""
    sold = picture.orders_in({"SOLD"})
    confirmed = {row.order for row in picture.orders if row.status == "confirmed"}
    captured = {row.order for row in picture.payments if row.state == "CAPTURED"}
    held = any(row.state in {"HELD", "PAYING"} for row in picture.reservations)
    underway = any(row.state in facts.OPEN_PAYMENT_STATES for row in picture.payments)
    if held or underway or any(picture.pending.values()):
        return False
    is_cached = picture.permits is None or picture.permits == picture.free
    known = [
        orders
        for store, orders in (("inventory", sold), ("order", confirmed), ("payment", captured))
        if store not in picture.missing
    ]
    return is_cached and all(orders == known[0] for orders in known)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Stock:
    """What inventory's store says of the run's product."""

    counters: facts.Counters
    sale: asyncpg.Record
    reservations: list[facts.Reservation]
    user_quantities: dict[str, int]


async def _snapshot(addresses: Addresses, scope: Scope) -> facts.Snapshot:
    """Events and payments first, units last: what arrives meanwhile is seen further down, never nowhere."""
    missing = addresses.missing
    pending: dict[str, int] = {}
    all_payments: list[asyncpg.Record] = []
    if "payment" not in missing:
        async with postgres(addresses.payment_dsn) as connection:
            all_payments = await connection.fetch(PAYMENTS, scope.since)
            pending["payment"] = await connection.fetchval(OUTBOX)
    if "checkout" not in missing:
        async with postgres(addresses.checkout_dsn) as connection:
            pending["checkout"] = await connection.fetchval(OUTBOX)
    all_orders = [] if "order" in missing else await _orders(addresses.order_dsn, scope.since)
    all_intents = [] if "psp" in missing else await _intents(addresses.psp_admin_url, scope.since)
    stock: _Stock | None = None
    elsewhere: set[str] = set()
    if "inventory" not in missing:
        async with postgres(addresses.inventory_dsn) as connection:
            stock = await _stock(connection, scope)
            pending["inventory"] = await connection.fetchval(OUTBOX)
            orders = {row["order_id"] for row in all_payments}
            orders |= {row.order for row in all_orders}
            orders |= {intent.order for intent in all_intents if intent.order}
            rows = await connection.fetch(ELSEWHERE, scope.product, sorted(orders))
            elsewhere = {row["order_id"] for row in rows}
    permits = None
    if stock is not None and stock.sale["strategy"] == "Escrow" and "redis" not in missing:
        permits = await _permits(addresses.redis_url, scope.product)
    mine = _Mine(scope.users, stock, elsewhere)
    strangers = {
        row["order_id"] for row in all_payments if not mine(row["order_id"], row["user_id"])
    }
    return facts.Snapshot(
        counters=facts.Counters(available=0, reserved=0, sold=0, total=0)
        if stock is None
        else stock.counters,
        per_user_limit=1 if stock is None else stock.sale["per_user_limit"],
        reservations=[] if stock is None else stock.reservations,
        user_quantities={} if stock is None else stock.user_quantities,
        payments=[
            facts.PaymentRow(
                order=row["order_id"],
                attempt=row["attempt"],
                state=row["state"],
                intent=row["intent_id"],
            )
            for row in all_payments
            if row["order_id"] not in strangers
        ],
        orders=[row for row in all_orders if mine(row.order, row.user)],
        intents=[
            intent
            for intent in all_intents
            if intent.order not in strangers and intent.order not in elsewhere
        ],
        permits=permits,
        sold_out_ms=None if stock is None else stock.sale["sold_out_ms"],
        pending=pending,
        allocated=None if stock is None else stock.sale["allocated"],
        sellable=None if stock is None else stock.sale["sellable"],
        missing=missing,
    )


class _Mine:
    """Whether an order belongs to this run: it reserved the product, or one of the crowd made it and not elsewhere."""

    def __init__(
        self, users: Collection[str], stock: _Stock | None, elsewhere: Collection[str]
    ) -> None:
        self._users = users
        self._reserved = {row.order for row in stock.reservations} if stock is not None else set()
        self._elsewhere = elsewhere

    def __call__(self, order: str, user: str) -> bool:
        return order in self._reserved or (user in self._users and order not in self._elsewhere)


async def _stock(connection: asyncpg.Connection, scope: Scope) -> _Stock:
    counters = await connection.fetchrow(COUNTERS, scope.product)
    sale = await connection.fetchrow(SALE, scope.product, scope.sale)
    if counters is None or sale is None:
        raise StoreError("inventory does not know the sale of this run")
    reservations = await connection.fetch(RESERVATIONS, scope.product)
    quantities = await connection.fetch(USER_QUANTITIES, scope.product, sale["sale_uid"])
    return _Stock(
        counters=_counters(counters),
        sale=sale,
        reservations=[
            facts.Reservation(
                order=row["order_id"],
                user=row["user_id"],
                state=row["state"],
                quantity=row["qty"],
                created_ms=row["created_ms"],
                is_earlier=row["created_ms"] < scope.since * 1000,
            )
            for row in reservations
        ],
        user_quantities={row["user_id"]: row["qty"] for row in quantities},
    )


def _counters(row: asyncpg.Record) -> facts.Counters:
    return facts.Counters(
        available=row["available_qty"],
        reserved=row["reserved_qty"],
        sold=row["sold_qty"],
        total=row["total_qty"],
        safety_stock=row["safety_stock"],
    )


@contextlib.asynccontextmanager
async def postgres(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection; raises OSError, TimeoutError, asyncpg's errors."""
    connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, command_timeout=QUERY_SECONDS)
    try:
        yield connection
    finally:
        with contextlib.suppress(OSError, TimeoutError, asyncpg.InterfaceError):
            await connection.close(timeout=CONNECT_SECONDS)


async def _orders(dsn: str, since: float) -> list[facts.OrderRow]:
    url = urllib.parse.urlsplit(dsn)
    connection = await asyncmy.connect(
        host=url.hostname,
        port=url.port or 3306,
        user=urllib.parse.unquote(url.username or ""),
        password=urllib.parse.unquote(url.password or ""),
        db=url.path.lstrip("/"),
        connect_timeout=CONNECT_SECONDS,
        init_command="SET time_zone = '+00:00'",
        autocommit=True,
    )
    try:
        async with connection.cursor() as cursor:
            await cursor.execute(ORDERS, (since,))
            rows = await cursor.fetchall()
    finally:
        await connection.ensure_closed()
    return [
        facts.OrderRow(order=order, user=user, status=status.lower())
        for order, user, status in rows
    ]


async def _intents(admin_url: str, since: float) -> list[facts.Intent]:
    timeout = aiohttp.ClientTimeout(total=QUERY_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        async with session.get(f"{admin_url}/intents") as response:
            response.raise_for_status()
            listing = await response.json()
    return [
        facts.Intent(
            intent=entry["id"],
            order=entry["orderId"],
            status=entry["status"],
            captured_minor=entry["amountCaptured"],
            refunded_minor=entry["amountRefunded"],
        )
        for entry in listing["intents"]
        if entry["created"] >= since
    ]


async def _permits(url: str, product: str) -> int | None:
    """Return the permits that Redis would hand out; -1 when it is cold."""
    async with redis.asyncio.from_url(
        url, decode_responses=True, socket_timeout=QUERY_SECONDS
    ) as client:
        permits = await client.hget(f"{{{product}}}:st", "a")
    return -1 if permits is None else int(permits)
