"""Calls to the Redis that holds a product: one server or a cluster, and what all of them call an outage."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from doorbuster.kit import redis as kit_redis

from .model import EscrowAwayError
from .scripts import Script

MAX_CALLS = 16
FAIL_FAST_SECONDS = 0.25
AWAY = Counter("doorbuster_escrow_away", "Calls that found no Redis that serves permits")

# A Redis that answers this is no use for permits, just as one that does not answer. The library makes classes of
# some answers, and takes the code off their text; others are known by the code alone.
_USELESS: tuple[type[Exception], ...] = (
    ReadOnlyError,
    OutOfMemoryError,
    ClusterDownError,
    # A slot that is between two servers: gone for the moment.
    AskError,
    MovedError,
    TryAgainError,
)
_USELESS_CODES = ("MISCONF", "NOREPLICAS")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What one server said to a pipeline: once for itself, and once of this product."""

    server: list[Any]
    product: Any


class Servers:
    """The Redis servers behind the escrow; every call raises EscrowAwayError while its server does not serve."""

    def __init__(self, redis: "Redis | kit_redis.Cluster") -> None:
        self._redis = redis
        self._away_until: WeakKeyDictionary[Redis, float] = WeakKeyDictionary()
        # Fewer than a client's connections: a crowd must never look like an outage.
        self._calls = asyncio.Semaphore(MAX_CALLS)

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[str | int],
        *,
        is_hasty: bool = False,
    ) -> Any:
        """Run a script where its first key lives.

        ``is_hasty`` calls are made by buyers: they queue for nobody, and for a moment after their server was away
        they fail at once, so that a hanging Redis costs few of them its timeout.
        """
        if is_hasty:
            return await self._run_hastily(script, keys, arguments)
        async with self._calls, self._away_named():
            return await self._run_once(await self._client(keys[0]), script, keys, arguments)

    async def _run_hastily(
        self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]
    ) -> Any:
        client: Redis | None = None
        try:
            async with self._away_named():
                client = await self._client(keys[0])
                self._require_not_away(client)
                return await self._run_once(client, script, keys, arguments)
        except EscrowAwayError:
            if client is not None and not self._was_away(client):
                self._away_until[client] = time.monotonic() + FAIL_FAST_SECONDS
            raise

    def _was_away(self, client: Redis) -> bool:
        return time.monotonic() < self._away_until.get(client, 0.0)

    def _require_not_away(self, client: Redis) -> None:
        if self._was_away(client):
            raise EscrowAwayError("Redis was away a moment ago")

    async def _run_once(
        self, client: Redis, script: Script, keys: Sequence[str], arguments: Sequence[str | int]
    ) -> Any:
        try:
            return await script.run(client, keys, arguments)
        except MovedError as error:
            if not isinstance(self._redis, kit_redis.Cluster):
                raise
            self._redis.moved(error)
            return await script.run(await self._client(keys[0]), keys, arguments)

    async def pipelined(
        self,
        product_ids: Sequence[str],
        key_of: Callable[[str], str],
        once: Callable[[Any], None],
        each: Callable[[Any, str], None],
    ) -> dict[str, Answers]:
        """Send each server one pipeline: what ``once`` queues, then what ``each`` queues, one command a product.

        Products of servers that do not serve are absent. Raises EscrowAwayError when no server does.
        """
        groups: dict[Redis, list[str]] = defaultdict(list)
        failure: EscrowAwayError | None = None
        for product_id in product_ids:
            try:
                async with self._away_named():
                    groups[await self._client(key_of(product_id))].append(product_id)
            except EscrowAwayError as error:
                failure = error
        found: dict[str, Answers] = {}
        asked = (self._ask(client, names, once, each) for client, names in groups.items())
        for part in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(part, EscrowAwayError):
                failure = part
            elif isinstance(part, BaseException):
                raise part
            else:
                found.update(part)
        if failure is not None and not found:
            raise failure
        return found

    async def _ask(
        self,
        client: Redis,
        product_ids: Sequence[str],
        once: Callable[[Any], None],
        each: Callable[[Any, str], None],
    ) -> dict[str, Answers]:
        pipeline: Any  # queues commands; its stubs promise awaitables
        async with (
            self._calls,
            self._away_named(),
            client.pipeline(transaction=False) as pipeline,
        ):
            once(pipeline)
            for product_id in product_ids:
                each(pipeline, product_id)
            answers = await pipeline.execute(raise_on_error=False)
            server = answers[: len(answers) - len(product_ids)]
            for answer in server:
                if isinstance(answer, Exception):
                    raise answer
            own = zip(product_ids, answers[len(server) :], strict=True)
            found: dict[str, Answers] = {}
            for product_id, answer in own:
                if isinstance(answer, MovedError) and isinstance(self._redis, kit_redis.Cluster):
                    self._redis.moved(answer)
                elif isinstance(answer, Exception):
                    if not _is_useless(answer):
                        raise answer
                else:
                    found[product_id] = Answers(server=server, product=answer)
            return found

    async def _client(self, key: str) -> Redis:
        if isinstance(self._redis, kit_redis.Cluster):
            return await self._redis.client(key)
        return self._redis

    @asynccontextmanager
    async def _away_named(self) -> AsyncIterator[None]:
        try:
            yield
        except EscrowAwayError:
            raise
        except kit_redis.AWAY as error:
            self._note_away()
            raise EscrowAwayError(f"Redis: {type(error).__name__}") from error
        except ResponseError as error:
            if not _is_useless(error):
                raise
            self._note_away()
            raise EscrowAwayError(f"Redis: {type(error).__name__}") from error

    def _note_away(self) -> None:
        AWAY.inc()
        if isinstance(self._redis, kit_redis.Cluster):
            self._redis.doubt()


def _is_useless(error: Exception) -> bool:
    return isinstance(error, _USELESS) or str(error).startswith(_USELESS_CODES)
