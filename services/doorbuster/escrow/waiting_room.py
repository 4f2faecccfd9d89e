"""The waiting rooms of sales in Redis: who may go on to ask for units now, and when it is the others' turn.

A room decides nothing about units: it stands in front of permits and PostgreSQL. Its two keys share one hash slot
(``{sale uid}``) and are gone an hour after the sale closes; they hold at most one short entry for each buyer who came.
"""

from datetime import timedelta

from prometheus_client import Counter
from redis.asyncio import Redis

from doorbuster.kit.coalescer import Coalescer
from doorbuster.kit.redis import Cluster

from .model import Arrival, Place
from .scripts import Script
from .servers import Servers

MAX_BATCH = 512
MAX_ROOMS = 4096
MOST_WAITING = 1_000_000
KEPT = timedelta(hours=1)
ARRIVALS = Counter(
    "doorbuster_escrow_arrivals",
    "Answers of waiting rooms: admitted (for the first time), known (let in before), waits",
    ["outcome"],
)
_OUTCOMES = ("known", "admitted", "waits")


class WaitingRooms:
    """Rooms by sale. Buyers who ask at the same time share one script call a sale.

    ``most_waiting`` is how many may have a place in one room; who comes when it is full has none yet.
    """

    def __init__(self, redis: Redis | Cluster, *, most_waiting: int = MOST_WAITING) -> None:
        self._servers = Servers(redis)
        self._most_waiting = most_waiting
        self._doors: dict[str, Coalescer[Arrival, Place]] = {}
        self._admit = Script("admit")

    async def ask(self, arrival: Arrival) -> Place:
        """Take a place, or find the one that this buyer has; whoever was let in once is let in.

        Raises EscrowAwayError while Redis does not serve, coalescer.QueueFullError when too many ask at once.
        """
        return await self._door(arrival.sale_uid).submit(arrival)

    def _door(self, sale_uid: str) -> Coalescer[Arrival, Place]:
        door = self._doors.get(sale_uid)
        if door is None:
            if len(self._doors) >= MAX_ROOMS:
                # One that is dropped still answers those who wait in it.
                self._doors.clear()
            # One call at a time keeps the order in which buyers came.
            door = Coalescer(self._admit_batch, max_batch=MAX_BATCH, max_in_flight=1)
            self._doors[sale_uid] = door
        return door

    async def _admit_batch(self, batch: list[Arrival]) -> list[Place | Exception]:
        newest = batch[-1]
        slot = f"sale:{{{newest.sale_uid}}}"
        arguments: list[str | int] = [
            newest.admit_per_second,
            int(newest.open_time.timestamp() * 1000),
            int(newest.close_time.timestamp() * 1000),
            KEPT // timedelta(milliseconds=1),
            self._most_waiting,
            *(arrival.user_id for arrival in batch),
        ]
        flat = await self._servers.run(
            self._admit, [f"{slot}:room", f"{slot}:places"], arguments, is_hasty=True
        )
        for kind in flat[::3]:
            ARRIVALS.labels(_OUTCOMES[kind]).inc()
        return [
            Place(position=position, wait_seconds=wait_us / 1_000_000)
            for position, wait_us in zip(flat[1::3], flat[2::3], strict=True)
        ]

    async def close(self) -> None:
        """Wait for the batches under way."""
        for door in list(self._doors.values()):
            await door.close()
