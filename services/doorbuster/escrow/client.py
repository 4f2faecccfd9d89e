"""The batching client of the permits: checkout takes and un-takes, inventory loads, settles, returns and audits.

All keys of a product share one hash slot (``{product id}``), so each call of a script serves one product and a
Redis Cluster works as well as a single server. Nothing here sells: a permit only admits an order to PostgreSQL.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, cast

from prometheus_client import Counter
from redis.asyncio import Redis

from doorbuster.kit.coalescer import Coalescer
from doorbuster.kit.redis import Cluster

from .model import (
    EscrowAwayError,
    Fate,
    Gate,
    GateState,
    Outcome,
    Overdue,
    Permit,
    PermitRequest,
    Return,
    Settlement,
    Snapshot,
    Survey,
)
from .scripts import Script
from .servers import Servers

MAX_BATCH = 512
MAX_IN_FLIGHT = 2
MAX_PRODUCTS = 4096
PERMIT_SECONDS = 10.0
MEMORY_SECONDS = 60.0
LEASE_SECONDS = 3.0
PERMITS = Counter("doorbuster_escrow_permits", "Answers to permit requests", ["outcome"])

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


def _keys(product_id: str) -> tuple[str, str, str, str]:
    slot = f"{{{product_id}}}"
    return f"{slot}:st", f"{slot}:h", f"{slot}:r", f"{slot}:l"


def _state_key(product_id: str) -> str:
    return _keys(product_id)[0]


class Escrow:
    """Permits in Redis; every method raises EscrowAwayError while Redis cannot serve them.

    In a cluster that is so for the products of a server that is down, and for no others. ``permit_seconds`` is how
    long a permit may stay in flight before the permit reaper asks PostgreSQL about it; it must exceed the longest
    reserve call of checkout.
    """

    def __init__(self, redis: Redis | Cluster, *, permit_seconds: float = PERMIT_SECONDS) -> None:
        self._servers = Servers(redis)
        self._permit_millis = int(permit_seconds * 1000)
        self._slots: dict[str, Coalescer[PermitRequest, Permit]] = {}
        self._permit = Script("permit")
        self._settle = Script("settle")
        self._give_back = Script("give_back")
        self._load = Script("load")
        self._overdue = Script("overdue")

    async def _run(self, script: Script, product_id: str, arguments: list[str | int]) -> Any:
        return await self._servers.run(script, _keys(product_id), arguments)

    async def permit(self, request: PermitRequest) -> Permit:
        """Ask for a permit; requests for one product that wait at the same time share one script call.

        Raises EscrowAwayError, or coalescer.QueueFullError when too many wait for this product.
        """
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
        epoch, open_at, letters = await self._servers.run(
            self._permit, _keys(batch[0].product_id), arguments, is_hasty=True
        )
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
        """End permits in flight by what PostgreSQL holds; returns how many were still in flight.

        Every product is tried before EscrowAwayError is raised for one of them.
        """
        by_product: dict[str, list[Settlement]] = defaultdict(list)
        for settlement in batch:
            by_product[settlement.product_id].append(settlement)
        flipped = 0
        failure: EscrowAwayError | None = None
        for product_id, settlements in by_product.items():
            try:
                for part in _parts(settlements):
                    arguments: list[str | int] = [int(MEMORY_SECONDS * 1000)]
                    for settlement in part:
                        arguments += (settlement.order_id, settlement.epoch, settlement.fate.value)
                    flipped += await self._run(self._settle, product_id, arguments)
            except EscrowAwayError as error:
                failure = error
        if failure is not None:
            raise failure
        return flipped

    async def give_back(self, batch: Sequence[Return]) -> list[bool]:
        """Bring released units back; True: done (or done before), False: Redis is cold, behind or away, try again.

        Raises EscrowAwayError when it is away for all of them.
        """
        done: dict[tuple[str, str], bool] = {}
        by_product: dict[str, list[Return]] = defaultdict(list)
        for item in batch:
            by_product[item.product_id].append(item)
        failure: EscrowAwayError | None = None
        for product_id, items in by_product.items():
            try:
                for part in _parts(items):
                    arguments: list[str | int] = [int(MEMORY_SECONDS * 1000)]
                    for item in part:
                        arguments += (item.order_id, item.epoch, item.quantity)
                    letters = await self._run(self._give_back, product_id, arguments)
                    for item, letter in zip(part, letters.decode(), strict=True):
                        done[item.order_id, product_id] = letter != "R"
            except EscrowAwayError as error:
                failure = error
        if failure is not None and not done:
            raise failure
        return [done.get((item.order_id, item.product_id), False) for item in batch]

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

    async def watched(self, product_ids: Sequence[str]) -> dict[str, float]:
        """Return for how many seconds the oldest entry of each product has been due, where one is (see overdue).

        Products of a server that is away are left out; raises EscrowAwayError when all are.
        """
        answers = await self._servers.pipelined(
            product_ids,
            _state_key,
            lambda pipeline: pipeline.time(),
            lambda pipeline, name: pipeline.zrange(_keys(name)[1], 0, 0, withscores=True),
        )
        watched: dict[str, float] = {}
        for product_id, answer in answers.items():
            [(seconds, micros)] = answer.server
            now_millis = seconds * 1000 + micros // 1000
            if answer.product and answer.product[0][1] <= now_millis:
                watched[product_id] = (now_millis - answer.product[0][1]) / 1000
        return watched

    async def survey(self, product_ids: Sequence[str]) -> Survey:
        """Look at products on the servers that hold them; raises EscrowAwayError when all of those are away."""

        def look(pipeline: Any) -> None:
            pipeline.info("server")
            pipeline.info("replication")

        answers = await self._servers.pipelined(
            product_ids,
            _state_key,
            look,
            lambda pipeline, name: pipeline.hmget(_state_key(name), _FIELDS),
        )
        runs: dict[str, str] = {}
        held: dict[str, Snapshot] = {}
        for product_id, answer in answers.items():
            server, replication = answer.server
            if replication["role"] != "master":
                continue
            runs[product_id] = str(server["run_id"])
            if None not in answer.product:
                held[product_id] = _snapshot(answer.product)
        if product_ids and not runs:
            raise EscrowAwayError("Redis: a replica answers")
        return Survey(runs=runs, held=held)

    async def snapshot(self, product_ids: Sequence[str]) -> dict[str, Snapshot]:
        """Return what Redis holds of these products; one that is cold, or whose server is away, is absent."""
        return dict((await self.survey(product_ids)).held)

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
