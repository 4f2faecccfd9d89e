"""Single facts of one order or product, read straight from the stores: what a crash has left behind."""

import contextlib
import dataclasses
import json
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import asyncmy
import asyncpg
import redis
import redis.asyncio

from buyers import stores

SECONDS = 5.0
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncmy.errors.MySQLError,
    redis.RedisError,
    aiohttp.ClientError,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Permits:
    """What Redis holds of a product; ``entry`` is the asked order's state letter and returned bit, such as "I0"."""

    epoch: int
    free: int
    unsettled: int
    entry: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Units:
    """The inventory row."""

    available: int
    reserved: int
    sold: int
    epoch: int


class Stores:
    """Reads; every method opens and closes its own connection and raises one of ``AWAY``."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.addresses = stores.Addresses.from_environment(environment)

    async def fetch(self, service: str, query: str, *arguments: Any) -> list[Any]:
        """Rows of one of the services that live in PostgreSQL."""
        dsn = self._environment[f"DOORBUSTER_{service.upper()}_DSN"]
        connection = await asyncpg.connect(dsn, timeout=SECONDS, command_timeout=SECONDS)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.InterfaceError):
                await connection.close(timeout=SECONDS)

    async def reservation(self, order_id: str) -> str | None:
        """The state of an order's reservation."""
        query = "SELECT state FROM reservation WHERE order_id = $1"
        rows = await self.fetch("inventory", query, order_id)
        return rows[0]["state"] if rows else None

    async def units(self, product: str) -> Units:
        """The counters of a product."""
        query = (
            "SELECT available_qty AS available, reserved_qty AS reserved, sold_qty AS sold, epoch"
            " FROM inventory WHERE product_id = $1"
        )
        (row,) = await self.fetch("inventory", query, product)
        return Units(**dict(row))

    async def returns(self, product: str) -> int:
        """How many returns to Redis are on their way."""
        query = "SELECT count(*) AS n FROM permit_return WHERE product_id = $1"
        return int((await self.fetch("inventory", query, product))[0]["n"])

    async def is_placed(self, order_id: str) -> bool:
        """Whether checkout has stored the order."""
        query = "SELECT 1 FROM placed_order WHERE order_id = $1"
        return bool(await self.fetch("checkout", query, order_id))

    async def attempts(self, order_id: str) -> list[str]:
        """The states of an order's payment attempts, first to last."""
        query = "SELECT state FROM payment WHERE order_id = $1 ORDER BY attempt"
        return [row["state"] for row in await self.fetch("payment", query, order_id)]

    async def waiting_events(self, service: str, order_id: str) -> list[str]:
        """The types of an order's events that no relay has brought to Kafka."""
        query = "SELECT type FROM outbox WHERE event_key = $1 ORDER BY id"
        return [row["type"] for row in await self.fetch(service, query, order_id)]

    async def unsent(self, service: str) -> int:
        """How many events of a service wait for its relay."""
        [row] = await self.fetch(service, "SELECT count(*) AS events FROM outbox")
        return int(row["events"])

    async def letters(self, order_id: str) -> list[tuple[str, str]]:
        """Kind and state of an order's letters."""
        query = "SELECT kind, state FROM letter WHERE order_id = $1 ORDER BY kind"
        rows = await self.fetch("notification", query, order_id)
        return [(row["kind"], row["state"]) for row in rows]

    async def order(self, order_id: str) -> str | None:
        """The state that the order service has stored."""
        url = urllib.parse.urlsplit(self._environment["DOORBUSTER_ORDER_DSN"])
        connection = await asyncmy.connect(
            host=url.hostname,
            port=url.port,
            user=urllib.parse.unquote(url.username or ""),
            password=urllib.parse.unquote(url.password or ""),
            db=url.path.lstrip("/"),
            connect_timeout=SECONDS,
            autocommit=True,
        )
        try:
            async with connection.cursor() as cursor:
                await cursor.execute("SELECT state FROM orders WHERE order_id = %s", (order_id,))
                row = await cursor.fetchone()
        finally:
            await connection.ensure_closed()
        return str(row[0]) if row else None

    async def intents(self, order_id: str) -> list[str]:
        """The states of an order's intents at the provider, oldest first."""
        async with self._psp() as session:
            url = f"{self._environment['DOORBUSTER_PSP_ADMIN_URL']}/intents"
            async with session.get(url) as answer:
                listing = json.loads(await answer.read())
        mine = [entry for entry in listing["intents"] if entry["orderId"] == order_id]
        return [entry["status"] for entry in sorted(mine, key=lambda entry: entry["attempt"])]

    async def behave(self, **behaviour: Any) -> None:
        """Tell the provider's sandbox how to behave; nothing given is its usual self."""
        async with self._psp() as session:
            url = f"{self._environment['DOORBUSTER_PSP_ADMIN_URL']}/behaviour"
            async with session.put(url, json=behaviour) as answer:
                answer.raise_for_status()

    async def permits(self, product: str, order_id: str = "") -> Permits | None:
        """What Redis holds of a product; None while it is cold."""
        async with self.redis() as client:
            state = await client.hmget(f"{{{product}}}:st", ["e", "a", "u"])
            entry = await client.hget(f"{{{product}}}:r", order_id)
        if None in state:
            return None
        fields = (entry or "").split(":")
        epoch, free, unsettled = (int(value) for value in state)
        shown = f"{fields[3]}{fields[4]}" if len(fields) > 4 else ""
        return Permits(epoch=epoch, free=free, unsettled=unsettled, entry=shown)

    @contextlib.asynccontextmanager
    async def redis(self, url: str = "") -> AsyncIterator[Any]:
        """A client of Redis, or of the one at ``url``."""
        async with redis.asyncio.from_url(
            url or self._environment["DOORBUSTER_REDIS_URL"],
            decode_responses=True,
            socket_timeout=SECONDS,
        ) as client:
            yield client

    @contextlib.asynccontextmanager
    async def _psp(self) -> AsyncIterator[aiohttp.ClientSession]:
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            yield session
