"""The batching client of the permits: checkout takes and un-takes, inventory loads, settles, returns and audits.

All keys of a product share one hash slot (``{product id}``), so each call of a script serves one product and a
Redis Cluster works as well as a single server. Nothing here sells: a permit only admits an order to PostgreSQL.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from doorbuster.kit import redis as kit_redis
from doorbuster.kit.coalescer import Coalescer

from .model import (
    EscrowAwayError,
    Fate,
    Gate,
    GateState,
    Identity,
    Outcome,
    Overdue,
    Permit,
    PermitRequest,
    Return,
    Settlement,
    Snapshot,
)
from .scripts import Script

MAX_BATCH = 512
MAX_IN_FLIGHT = 2
MAX_PRODUCTS = 4096
MAX_CALLS = 16
PERMIT_SECONDS = 10.0
MEMORY_SECONDS = 60.0
LEASE_SECONDS = 3.0
FAIL_FAST_SECONDS = 0.25
PERMITS = Counter("doorbuster_escrow_permits", "Answers to permit requests", ["outcome"])
AWAY = Counter("doorbuster_escrow_away", "Calls that found no Redis that serves permits")

_OUTCOMES: dict[str, Outcome] = {
    "G": "GRANTED",
    "O": "OUT",
    "K": "COLD",
    "N": "NOT_OPEN",
    "C": "CLOSED",
    "S": "SUSPENDED",
    "U": "USER_LIMIT",
}
_FIELDS = ("e", "a", "u", "sale", "open_ms", "close_ms", "state", "limit")
# A Redis that answers this is no use for permits, just as one that does not answer.
_USELESS = ("READONLY", "LOADING", "OOM", "MISCONF", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS")


def _keys(product_id: str) -> tuple[str, str, str, str]:
    slot = f"{{{product_id}}}"
    return f"{slot}:st", f"{slot}:h", f"{slot}:r", f"{slot}:l"


@asynccontextmanager
async def _away_named() -> AsyncIterator[None]:
    try:
        yield
    except kit_redis.AWAY as error:
        AWAY.inc()
        raise EscrowAwayError(f"Redis: {type(error).__name__}") from error
    except ResponseError as error:
        if not str(error).startswith(_USELESS):
            raise
        AWAY.inc()
        raise EscrowAwayError(f"Redis: {str(error).split(' ')[0]}") from error


class Escrow:
    """Permits in one Redis; every method raises EscrowAwayError while Redis cannot serve them.

    ``permit_seconds`` is how long a permit may stay in flight before the permit reaper asks PostgreSQL about
    it; it must exceed the longest reserve call of checkout.
    """

    def __init__(self, redis: Redis, *, permit_seconds: float = PERMIT_SECONDS) -> None:
        self._redis = redis
        self._permit_millis = int(permit_seconds * 1000)
        self._slots: dict[str, Coalescer[PermitRequest, Permit]] = {}
        self._away_until = 0.0
        # Fewer than the client's connections: a crowd must never look like an outage.
        self._calls = asyncio.Semaphore(MAX_CALLS)
        self._permit = Script("permit")
        self._settle = Script("settle")
        self._give_back = Script("give_back")
        self._load = Script("load")
        self._overdue = Script("overdue")

    @asynccontextmanager
    async def _calling(self) -> AsyncIterator[None]:
        async with self._calls, _away_named():
            yield

    async def _run(self, script: Script, product_id: str, arguments: list[str | int]) -> Any:
        async with self._calling():
            return await script.run(self._redis, _keys(product_id), arguments)

    async def permit(self, request: PermitRequest) -> Permit:
        """Ask for a permit; requests for one product that wait at the same time share one script call.

        For a moment after Redis was away it fails at once, so that a hanging Redis costs few buyers its timeout.
        Raises EscrowAwayError, or coalescer.QueueFullError when too many wait for this product.
        """
        if time.monotonic() < self._away_until:
            raise EscrowAwayError("Redis was away a moment ago")
        permit = await self._slot(request.product_id).submit(request)
        PERMITS.labels(permit.outcome).inc()
        return permit

    def _slot(self, product_id: str) -> Coalescer[PermitRequest, Permit]:
        slot = self._slots.get(product_id)
        if slot is None:
            if len(self._slots) >= MAX_PRODUCTS:
                # A slot that is dropped still answers those who wait in it.
                self._slots.clear()
            slot = Coalescer(self._permit_batch, max_batch=MAX_BATCH, max_in_flight=MAX_IN_FLIGHT)
            self._slots[product_id] = slot
        return slot

    async def _permit_batch(self, batch: list[PermitRequest]) -> list[Permit | Exception]:
        arguments: list[str | int] = [self._permit_millis]
        for request in batch:
            arguments += (request.order_id, request.user_id, request.quantity)
        try:
            async with _away_named():
                answer = await self._permit.run(self._redis, _keys(batch[0].product_id), arguments)
        except EscrowAwayError:
            self._away_until = time.monotonic() + FAIL_FAST_SECONDS
            raise
        epoch, open_at, letters = answer
        open_at_millis = open_at or None
        return [
            Permit(outcome=_OUTCOMES[letter], epoch=epoch, open_at_millis=open_at_millis)
            for letter in letters.decode()
        ]

    async def untake(self, order_id: str, product_id: str, epoch: int) -> None:
        """Give a permit back that was never used to reserve (a later line of the order got none)."""
        await self.settle(
            [Settlement(order_id=order_id, product_id=product_id, epoch=epoch, fate=Fate.RETURN)]
        )

    async def settle(self, batch: Iterable[Settlement]) -> int:
        """End permits in flight by what PostgreSQL holds; returns how many were still in flight."""
        by_product: dict[str, list[Settlement]] = defaultdict(list)
        for settlement in batch:
            by_product[settlement.product_id].append(settlement)
        flipped = 0
        for product_id, settlements in by_product.items():
            for part in _parts(settlements):
                arguments: list[str | int] = [int(MEMORY_SECONDS * 1000)]
                for settlement in part:
                    arguments += (settlement.order_id, settlement.epoch, settlement.fate.value)
                flipped += await self._run(self._settle, product_id, arguments)
        return flipped

    async def give_back(self, batch: Sequence[Return]) -> list[bool]:
        """Bring released units back; True: done (or done before), False: Redis is cold or behind, try again."""
        done: dict[tuple[str, str], bool] = {}
        by_product: dict[str, list[Return]] = defaultdict(list)
        for item in batch:
            by_product[item.product_id].append(item)
        for product_id, items in by_product.items():
            for part in _parts(items):
                arguments: list[str | int] = [int(MEMORY_SECONDS * 1000)]
                for item in part:
                    arguments += (item.order_id, item.epoch, item.quantity)
                async with _away_named():
                    letters = await self._give_back.run(self._redis, _keys(product_id), arguments)
                for item, letter in zip(part, letters.decode(), strict=True):
                    done[item.order_id, product_id] = letter != "R"
        return [done[item.order_id, item.product_id] for item in batch]

    async def load(self, product_id: str, *, epoch: int, permits: int, gate: Gate) -> bool:
        """Start ``epoch`` with ``permits`` units; False when Redis has this epoch or a newer one already."""
        arguments: list[str | int] = [
            epoch,
            permits,
            gate.sale_uid,
            gate.open_at_millis,
            gate.close_at_millis,
            gate.state,
            gate.per_user_limit,
        ]
        return bool(await self._run(self._load, product_id, arguments))

    async def overdue(self, product_id: str, *, limit: int = 200) -> list[Overdue]:
        """Return permits in flight past their deadline; nobody else gets them for the next 3 s."""
        lease_millis = int(LEASE_SECONDS * 1000)
        flat = await self._run(self._overdue, product_id, [limit, lease_millis])
        return [
            Overdue(order_id=order.decode(), product_id=product_id, epoch=epoch, quantity=quantity)
            for order, epoch, quantity in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        ]

    async def watched(self, product_ids: Sequence[str]) -> list[str]:
        """Return those products that have entries somebody must look at (see :meth:`overdue`)."""
        if not product_ids:
            return []
        async with self._calling():
            seconds, micros = await self._redis.time()
            now_millis = seconds * 1000 + micros // 1000
            pipeline: Any  # queues commands; its stubs promise awaitables
            async with self._redis.pipeline(transaction=False) as pipeline:
                for product_id in product_ids:
                    pipeline.zcount(_keys(product_id)[1], "-inf", now_millis)
                counts = await pipeline.execute()
        return [name for name, count in zip(product_ids, counts, strict=True) if count]

    async def snapshot(self, product_ids: Sequence[str]) -> dict[str, Snapshot]:
        """Return what Redis holds of these products; a cold product is absent."""
        if not product_ids:
            return {}
        pipeline: Any  # queues commands; its stubs promise awaitables
        async with self._calling(), self._redis.pipeline(transaction=False) as pipeline:
            for product_id in product_ids:
                pipeline.hmget(_keys(product_id)[0], _FIELDS)
            rows = await pipeline.execute()
        return {
            product_id: _snapshot(row)
            for product_id, row in zip(product_ids, rows, strict=True)
            if None not in row
        }

    async def identity(self) -> Identity:
        """Return which Redis answers and whether it is a primary (role ``master``)."""
        async with self._calling():
            server = await self._redis.info("server")
            replication = await self._redis.info("replication")
        return Identity(run_id=str(server["run_id"]), role=str(replication["role"]))

    async def close(self) -> None:
        """Wait for the batches under way."""
        for slot in list(self._slots.values()):
            await slot.close()


def _parts(items: list[Any]) -> list[list[Any]]:
    return [items[start : start + MAX_BATCH] for start in range(0, len(items), MAX_BATCH)]


def _snapshot(row: list[bytes]) -> Snapshot:
    epoch, permits, unsettled, sale, open_at, close_at, state, limit = (
        value.decode() for value in row
    )
    return Snapshot(
        epoch=int(epoch),
        permits=int(permits),
        unsettled=int(unsettled),
        gate=Gate(
            sale_uid=sale,
            open_at_millis=int(open_at),
            close_at_millis=int(close_at),
            state=cast("GateState", state),
            per_user_limit=int(limit),
        ),
    )
