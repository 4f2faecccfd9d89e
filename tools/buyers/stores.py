"""Reads the truth where it lies: this is a proof tool, so it opens every service's store itself, read-only, by intent.

No service may do this. Nothing here asks a service, so that a service that lies about its store is caught.
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

from . import checker, facts
from .history import Recorder, Sample, now_ms

CONNECT_SECONDS = 5.0
QUERY_SECONDS = 10.0
REST_POLL_SECONDS = 0.5
SAMPLE_SECONDS = 0.1
SAMPLE_RETRY_SECONDS = 0.5
OUTBOX_STORES = ("INVENTORY", "CHECKOUT", "PAYMENT")

COUNTERS = """
SELECT available_qty, reserved_qty, sold_qty, total_qty, safety_stock FROM inventory
WHERE product_id = $1
"""
SAMPLE = """
SELECT i.available_qty, i.reserved_qty, i.sold_qty, i.total_qty,
       coalesce(sum(l.qty) FILTER (WHERE r.state IN ('HELD', 'PAYING')), 0) AS ledger_reserved,
       coalesce(sum(l.qty) FILTER (WHERE r.state = 'SOLD'), 0) AS ledger_sold
FROM inventory i
LEFT JOIN reservation_line l ON l.product_id = i.product_id
LEFT JOIN reservation r ON r.order_id = l.order_id
WHERE i.product_id = $1
GROUP BY i.product_id
"""
RESERVATIONS = """
SELECT r.order_id, r.user_id, r.state, l.qty,
       extract(epoch FROM r.created_at)::float8 * 1000 AS created_ms
FROM reservation r JOIN reservation_line l USING (order_id) WHERE l.product_id = $1
"""
SALE = """
SELECT item.per_user_limit, item.strategy,
       extract(epoch FROM sale.sold_out_at)::float8 * 1000 AS sold_out_ms
FROM sale_item item JOIN sale USING (sale_uid) WHERE item.product_id = $1
"""
USER_QUANTITIES = "SELECT user_id, qty FROM user_sale_qty WHERE product_id = $1 AND qty > 0"
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

    inventory_dsn: str = dataclasses.field(repr=False)
    checkout_dsn: str = dataclasses.field(repr=False)
    payment_dsn: str = dataclasses.field(repr=False)
    order_dsn: str = dataclasses.field(repr=False)
    redis_url: str = dataclasses.field(repr=False)
    psp_admin_url: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Addresses":
        """Read the names that ``devstack env`` prints; raises StoreError naming what is missing."""
        names = {
            "inventory_dsn": "DOORBUSTER_INVENTORY_DSN",
            "checkout_dsn": "DOORBUSTER_CHECKOUT_DSN",
            "payment_dsn": "DOORBUSTER_PAYMENT_DSN",
            "order_dsn": "DOORBUSTER_ORDER_DSN",
            "redis_url": "DOORBUSTER_REDIS_URL",
            "psp_admin_url": "DOORBUSTER_PSP_ADMIN_URL",
        }
        lacking = [name for name in names.values() if not environment.get(name)]
        if lacking:
            raise StoreError(f"the environment lacks {', '.join(lacking)} (see `devstack env`)")
        return cls(**{field: environment[name] for field, name in names.items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scope:
    """What belongs to one run: its product, its buyers' user ids, and its beginning in Unix seconds."""

    product: str
    users: Collection[str]
    since: float

    @classmethod
    def of(cls, seen: facts.Facts) -> "Scope":
        """Return the scope of a history."""
        return cls(
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
    sold = {row.order for row in picture.reservations if row.state == "SOLD"}
    confirmed = {row.order for row in picture.orders if row.status == "confirmed"}
    captured = {row.order for row in picture.payments if row.state == "CAPTURED"}
    held = any(row.state in {"HELD", "PAYING"} for row in picture.reservations)
    underway = any(row.state in checker.OPEN_PAYMENT_STATES for row in picture.payments)
    if held or underway or any(picture.pending.values()):
        return False
    is_cached = picture.permits is None or picture.permits == picture.counters.available
    return is_cached and sold == confirmed == captured


async def sample_until(
    stop: asyncio.Event, addresses: Addresses, product: str, recorder: Recorder
) -> None:
    """Record the product's counters some ten times a second until ``stop``; a store that is away is waited for."""
    while not stop.is_set():
        try:
            async with _postgres(addresses.inventory_dsn) as connection:
                while not stop.is_set():
                    at, wall = now_ms()
                    row = await connection.fetchrow(SAMPLE, product)
                    if row is not None:
                        recorder.write(_sample(row, at, wall))
                    await _pause(stop, SAMPLE_SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await _pause(stop, SAMPLE_RETRY_SECONDS)


def _sample(row: asyncpg.Record, at: float, wall: float) -> Sample:
    return Sample(
        at=at,
        wall=wall,
        available=row["available_qty"],
        reserved=row["reserved_qty"],
        sold=row["sold_qty"],
        total=row["total_qty"],
        ledger_reserved=int(row["ledger_reserved"]),
        ledger_sold=int(row["ledger_sold"]),
    )


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _snapshot(addresses: Addresses, scope: Scope) -> facts.Snapshot:
    pending: dict[str, int] = {}
    async with _postgres(addresses.payment_dsn) as connection:
        all_payments = await connection.fetch(PAYMENTS, scope.since)
        pending["payment"] = await connection.fetchval(OUTBOX)
    async with _postgres(addresses.checkout_dsn) as connection:
        pending["checkout"] = await connection.fetchval(OUTBOX)
    orders = await _orders(addresses.order_dsn, scope)
    payments = [row for row in all_payments if row["user_id"] in scope.users]
    others = {row["order_id"] for row in all_payments} - {row["order_id"] for row in payments}
    intents = await _intents(addresses.psp_admin_url, scope.since, others)
    async with _postgres(addresses.inventory_dsn) as connection:
        counters = await connection.fetchrow(COUNTERS, scope.product)
        sale = await connection.fetchrow(SALE, scope.product)
        if counters is None or sale is None:
            raise StoreError("inventory does not know the product of this run")
        reservations = await connection.fetch(RESERVATIONS, scope.product)
        quantities = await connection.fetch(USER_QUANTITIES, scope.product)
        pending["inventory"] = await connection.fetchval(OUTBOX)
    permits = None
    if sale["strategy"] == "Escrow":
        permits = await _permits(addresses.redis_url, scope.product)
    return facts.Snapshot(
        counters=_counters(counters),
        per_user_limit=sale["per_user_limit"],
        reservations=[
            facts.Reservation(
                order=row["order_id"],
                user=row["user_id"],
                state=row["state"],
                quantity=row["qty"],
                created_ms=row["created_ms"],
            )
            for row in reservations
        ],
        user_quantities={row["user_id"]: row["qty"] for row in quantities},
        payments=[
            facts.PaymentRow(
                order=row["order_id"],
                attempt=row["attempt"],
                state=row["state"],
                intent=row["intent_id"],
            )
            for row in payments
        ],
        orders=orders,
        intents=intents,
        permits=permits,
        sold_out_ms=sale["sold_out_ms"],
        pending=pending,
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
async def _postgres(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, command_timeout=QUERY_SECONDS)
    try:
        yield connection
    finally:
        with contextlib.suppress(OSError, TimeoutError, asyncpg.InterfaceError):
            await connection.close(timeout=CONNECT_SECONDS)


async def _orders(dsn: str, scope: Scope) -> list[facts.OrderRow]:
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
            await cursor.execute(ORDERS, (scope.since,))
            rows = await cursor.fetchall()
    finally:
        await connection.ensure_closed()
    return [
        facts.OrderRow(order=order, user=user, status=status.lower())
        for order, user, status in rows
        if user in scope.users
    ]


async def _intents(admin_url: str, since: float, others: set[str]) -> list[facts.Intent]:
    """Return the intents made since then, but for orders of other people: an intent of no known order stays."""
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
        if entry["created"] >= since and entry["orderId"] not in others
    ]


async def _permits(url: str, product: str) -> int | None:
    """Return the permits that Redis would hand out; -1 when it is cold."""
    async with redis.asyncio.from_url(
        url, decode_responses=True, socket_timeout=QUERY_SECONDS
    ) as client:
        permits = await client.hget(f"{{{product}}}:st", "a")
    return -1 if permits is None else int(permits)
