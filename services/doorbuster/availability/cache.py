"""The cached availability of products: the higher version wins, and neither Redis nor inventory is needed alone.

Redis holds ``avail:{product id}`` = "version qty" for a minute; inventory writes it after each commit that moves units,
and whoever misses it asks inventory and writes the answer down. A reservation never looks here.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import MovedError, RedisError

from doorbuster.contracts import internal
from doorbuster.kit import client, coalescer, ids
from doorbuster.kit import redis as kit_redis

MAX_ASKED = 200
MAX_WAITING = 50
TTL_SECONDS = 60
REDIS_SECONDS = 0.25
FAIL_FAST_SECONDS = 0.5
ASK_SECONDS = 2.0
LOOKUPS = Counter(
    "doorbuster_availability_lookups",
    "Products asked for: found in the cache (hit), not there (miss), or the cache did not answer (redis_away)",
    ["outcome"],
)
UNANSWERED = Counter(
    "doorbuster_availability_unanswered",
    "Products of which neither Redis nor inventory could tell",
)
_HIT, _MISS, _AWAY = (LOOKUPS.labels(outcome) for outcome in ("hit", "miss", "redis_away"))
# Stands for a product without stock until it has some: below the version of every row.
_UNKNOWN_VERSION = -1
# The same version is written again: it starts the minute anew, and two answers of one version differ only while a
# sale is opening or closing, which ends with a higher version.
_WRITE = """
local held = redis.call('GET', KEYS[1])
if held and tonumber(string.match(held, '^%S+')) > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'EX', ARGV[3])
return 1
"""

_Items = dict[str, internal.Availability]
Ask = Callable[[Sequence[str]], Awaitable[Sequence[internal.Availability]]]
_OUTAGES = (RedisError, OSError, TimeoutError)
_REFUSALS = (ConnectionError, TimeoutError, client.RefusedError, coalescer.QueueFullError)


class AvailabilityAwayError(ConnectionError):
    """Some products could not be asked about; ``known`` has those that Redis told of."""

    def __init__(self, known: dict[str, internal.Availability]) -> None:
        super().__init__("neither Redis nor inventory tells what is available")
        self.known = known


class AvailabilityCache:
    """Tells how many units anybody could reserve now, a moment old at most while inventory and Redis are well.

    ``ask`` answers for at most ``MAX_ASKED`` products and leaves out those it does not know.
    """

    def __init__(self, redis: Redis | kit_redis.Cluster, ask: Ask) -> None:
        self._redis = redis
        self._ask = ask
        self._away_until: WeakKeyDictionary[Redis, float] = WeakKeyDictionary()
        self._asking: coalescer.Coalescer[list[str], _Items] = coalescer.Coalescer(
            self._ask_batch, max_batch=MAX_WAITING
        )

    async def read(self, product_ids: Sequence[str]) -> dict[str, internal.Availability]:
        """Return what is available by product id; a product that has no stock row is missing.

        Raises AvailabilityAwayError (a ConnectionError) when inventory had to be asked and does not answer.
        """
        found = await self._read_cache(dict.fromkeys(product_ids))
        unknown = [name for name in product_ids if name not in found and ids.is_id(name, "prod")]
        known = {name: item for name, item in found.items() if item.version > _UNKNOWN_VERSION}
        if not unknown:
            return known
        try:
            return known | await self._asking.submit(unknown)
        except _REFUSALS as error:
            UNANSWERED.inc(len(unknown))
            raise AvailabilityAwayError(known) from error

    async def write(self, items: Iterable[internal.Availability]) -> int:
        """Write these down unless a higher version is there; returns how many Redis took up. Raises nothing."""

        def each(pipeline: Any, item: internal.Availability) -> None:
            pipeline.eval(_WRITE, 1, _key(item.product_id), item.version, item.qty, TTL_SECONDS)

        return len(await self._pipelined({item.product_id: item for item in items}, each))

    async def close(self) -> None:
        """Wait for the questions under way."""
        await self._asking.close()

    async def _ask_batch(self, waiting: list[list[str]]) -> list[_Items | Exception]:
        wanted = list(dict.fromkeys(name for names in waiting for name in names))
        answers: _Items = {}
        for start in range(0, len(wanted), MAX_ASKED):
            for item in await self._ask(wanted[start : start + MAX_ASKED]):
                answers[item.product_id] = item
        await self.write(
            answers.get(name)
            or internal.Availability(product_id=name, qty=0, version=_UNKNOWN_VERSION)
            for name in wanted
        )
        return [{name: answers[name] for name in names if name in answers} for names in waiting]

    async def _read_cache(self, product_ids: Iterable[str]) -> _Items:
        found: _Items = {}
        wanted = {name: name for name in product_ids}
        answers = await self._pipelined(wanted, lambda pipeline, name: pipeline.get(_key(name)))
        for product_id, text in answers.items():
            if text is None:
                _MISS.inc()
                continue
            version, qty = map(int, text.split())
            _HIT.inc()
            found[product_id] = internal.Availability(
                product_id=product_id, qty=qty, version=version
            )
        _AWAY.inc(len(wanted) - len(answers))
        return found

    async def _pipelined(
        self, items: dict[str, Any], each: Callable[[Any, Any], None]
    ) -> dict[str, Any]:
        """Send each server one pipeline with one command an item; items of servers that are away are absent."""
        groups: dict[Redis, dict[str, Any]] = defaultdict(dict)
        for product_id, item in items.items():
            try:
                async with asyncio.timeout(REDIS_SECONDS):
                    groups[await self._client(_key(product_id))][product_id] = item
            except _OUTAGES:
                continue
        parts = await asyncio.gather(*(self._send(*group, each) for group in groups.items()))
        return {name: answer for part in parts for name, answer in part.items()}

    async def _send(
        self, server: Redis, items: dict[str, Any], each: Callable[[Any, Any], None]
    ) -> dict[str, Any]:
        if time.monotonic() < self._away_until.get(server, 0.0):
            return {}
        pipeline: Any  # queues commands; its stubs promise awaitables
        try:
            async with (
                asyncio.timeout(REDIS_SECONDS),
                server.pipeline(transaction=False) as pipeline,
            ):
                for item in items.values():
                    each(pipeline, item)
                answers = await pipeline.execute(raise_on_error=False)
        except _OUTAGES:
            self._away_until[server] = time.monotonic() + FAIL_FAST_SECONDS
            if isinstance(self._redis, kit_redis.Cluster):
                self._redis.doubt()
            return {}
        served: dict[str, Any] = {}
        for product_id, answer in zip(items, answers, strict=True):
            if isinstance(answer, MovedError) and isinstance(self._redis, kit_redis.Cluster):
                self._redis.moved(answer)
            elif not isinstance(answer, Exception):
                served[product_id] = answer
        return served

    async def _client(self, key: str) -> Redis:
        if isinstance(self._redis, kit_redis.Cluster):
            return await self._redis.client(key)
        return self._redis


def _key(product_id: str) -> str:
    return f"avail:{{{product_id}}}"


def asking(inventory: client.ServiceClient) -> Ask:
    """Return the ``ask`` of a cache whose owner is not inventory itself."""

    async def ask(product_ids: Sequence[str]) -> Sequence[internal.Availability]:
        answer = await inventory.call(
            "POST",
            "/internal/v1/availability",
            internal.Availabilities,
            body=internal.ProductIds(ids=list(product_ids)),
            timeout_seconds=ASK_SECONDS,
        )
        return answer.items

    return ask


@asynccontextmanager
async def open_cache(redis_url: str, ask: Ask) -> AsyncIterator[AvailabilityCache]:
    """Open the cache on one Redis or a cluster, by the scheme of its URL; it connects when first used."""
    async with kit_redis.open_servers(redis_url, timeout_seconds=REDIS_SECONDS) as servers:
        cache = AvailabilityCache(servers, ask)
        try:
            yield cache
        finally:
            await cache.close()
