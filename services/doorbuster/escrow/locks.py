"""The textbook lock of a product in Redis, for sales with the strategy Lock: one order at a time asks for units.

``SET product:{id}:lock <token> NX EX 60``, and compare-and-delete. It is a politeness: PostgreSQL decides under its
own row lock, so a lock that expires, is taken over or is lost with Redis costs nothing but order.
"""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from prometheus_client import Counter
from redis.asyncio import Redis

from doorbuster.kit import telemetry
from doorbuster.kit.redis import Cluster

from .model import EscrowAwayError
from .scripts import Script
from .servers import Servers

LOCK_SECONDS = 60
OVERDUE_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.1
LOCKS = Counter(
    "doorbuster_escrow_locks", "Locks of products, by what became of them", ["outcome"]
)
_TAKEN = {b"T": "taken", b"O": "taken_over"}


@dataclass(slots=True)
class _Line:
    """Those of this process who want one product's lock; only the first of them polls Redis."""

    head: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


class ProductLocks:
    """Locks of products; ``overdue_seconds`` must exceed the time for which any holder may go on."""

    def __init__(
        self, redis: Redis | Cluster, *, overdue_seconds: float = OVERDUE_SECONDS
    ) -> None:
        self._servers = Servers(redis)
        self._overdue_millis = int(overdue_seconds * 1000)
        self._lines: dict[str, _Line] = {}
        self._lock = Script("lock")
        self._unlock = Script("unlock")

    @asynccontextmanager
    async def hold(self, product_id: str, *, within_seconds: float) -> AsyncIterator[bool]:
        """Hold a product's lock while the context is open; gives False when it was not to be had in time.

        Raises EscrowAwayError on entry while Redis does not serve. Lines form in this process, in the order of
        their coming, so that a crowd does not poll Redis.
        """
        deadline = asyncio.get_running_loop().time() + within_seconds
        line = self._lines.setdefault(product_id, _Line())
        line.length += 1
        try:
            if not await _is_first(line, deadline):
                LOCKS.labels("not_in_time").inc()
                yield False
                return
            try:
                async with self._locked(product_id, deadline) as is_held:
                    yield is_held
            finally:
                line.head.release()
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[product_id]

    @asynccontextmanager
    async def _locked(self, product_id: str, deadline: float) -> AsyncIterator[bool]:
        token = secrets.token_hex(16)
        outcome = await self._poll(product_id, token, deadline)
        LOCKS.labels(outcome or "not_in_time").inc()
        try:
            yield outcome is not None
        finally:
            if outcome is not None:
                await self._free(product_id, token)

    async def _poll(self, product_id: str, token: str, deadline: float) -> str | None:
        pause = FIRST_PAUSE_SECONDS
        arguments: list[str | int] = [token, LOCK_SECONDS, self._overdue_millis]
        while True:
            letter = await self._servers.run(
                self._lock, [_key(product_id)], arguments, is_hasty=True
            )
            if letter in _TAKEN:
                return _TAKEN[letter]
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return None
            await asyncio.sleep(min(left, pause * random.uniform(0.5, 1.0)))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _free(self, product_id: str, token: str) -> None:
        try:
            freed = await self._servers.run(
                self._unlock, [_key(product_id)], [token], is_hasty=True
            )
        except EscrowAwayError as error:
            LOCKS.labels("not_freed").inc()
            telemetry.log().debug("lock_not_freed", error=str(error))
        else:
            LOCKS.labels("freed" if freed else "lost").inc()


def _key(product_id: str) -> str:
    return f"product:{{{product_id}}}:lock"


async def _is_first(line: _Line, deadline: float) -> bool:
    try:
        async with asyncio.timeout_at(deadline):
            await line.head.acquire()
    except TimeoutError:
        return False
    return True
