"""The transactional outbox: events leave in the transaction that made them true, the relay brings them to Kafka.

The relay is the same on PostgreSQL and MySQL: SELECT .. FOR UPDATE SKIP LOCKED LIMIT n; produce (acks=all, at most
5 s); DELETE by ids; COMMIT. Never ``WHERE id > last_seen``: sequence gaps lose rows. A topic that does not take
messages is left alone until Kafka has it, so that it does not hold up the others.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import uuid4

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from . import failpoints, telemetry, workers
from .bus import Bus, Message, TopicAwayError
from .database import Moment

BATCH = 200
TOPIC_PAUSE_SECONDS = 2.0
POLL_SECONDS = 0.2
WORKER = workers.Worker("relay", outcomes=("sent",), reasons=("kafka_away", "topic_away"))
_ENCODER = msgspec.json.Encoder()
_DELETE_BY_KEY = sa.text(
    "DELETE o FROM JSON_TABLE(:ids, '$[*]' COLUMNS (id BIGINT PATH '$')) AS done"
    " STRAIGHT_JOIN outbox AS o FORCE INDEX (PRIMARY) ON o.id = done.id"
)


class AnyEvent(Protocol):
    """What an event needs to be sent: its type and version, and the order that is its Kafka key."""

    @property
    def type(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def order_id(self) -> str: ...


def table(metadata: sa.MetaData) -> sa.Table:
    """Declare the outbox table of a service."""
    return sa.Table(
        "outbox",
        metadata,
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.String(36), nullable=False),
        sa.Column("topic", sa.String(249), nullable=False),
        sa.Column("event_key", sa.String(80), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("traceparent", sa.String(64), nullable=True),
        sa.Column("tracestate", sa.String(512), nullable=True),
        sa.Column("occurred_at", Moment, nullable=False),
    )


async def enqueue(
    connection: AsyncConnection,
    outbox: sa.Table,
    events: Sequence[tuple[str, AnyEvent]],
    *,
    now: datetime,
    carriers: Sequence[Mapping[str, str]] | None = None,
) -> None:
    """Write (topic, event) pairs in the caller's transaction.

    ``carriers`` gives each event's trace context; absent, it is the current span's.
    """
    if not events:
        return
    current = telemetry.inject({})
    rows = [
        {
            "event_id": str(uuid4()),
            "topic": topic,
            "event_key": event.order_id,
            "type": event.type,
            "version": event.version,
            "payload": _ENCODER.encode(event).decode(),
            "traceparent": (carriers[index] if carriers else current).get("traceparent"),
            "tracestate": (carriers[index] if carriers else current).get("tracestate"),
            "occurred_at": now,
        }
        for index, (topic, event) in enumerate(events)
    ]
    await connection.execute(sa.insert(outbox), rows)


class Relay:
    """Brings the outbox to Kafka; any number of copies may run. Step it with ``process.repeating``."""

    def __init__(self, engine: AsyncEngine, outbox: sa.Table, bus: Bus) -> None:
        self._engine = engine
        self._outbox = outbox
        self._bus = bus
        self._paused: dict[str, float] = {}
        self.wake = asyncio.Event()

    async def step(self) -> bool:
        """Send one batch; true when there may be more. Raises what the store or Kafka raised.

        A topic that is missing is nobody's failure but its own: the loop, which pauses after a failure, goes on
        with the others at once.
        """
        await self._look_for_topics()
        async with self._engine.begin() as connection:
            rows = await self._take(connection)
            if not rows:
                return False
            failpoints.reach("outbox.taken")
            sent, error = await self._produce(rows)
            if sent:
                failpoints.reach("outbox.produced")
                await self._delete(connection, sent)
        WORKER.repaired("sent", len(sent))
        if isinstance(error, TopicAwayError):
            WORKER.postponed("topic_away", len(rows) - len(sent))
            telemetry.log().warning("topic_away", topics=sorted(self._paused))
            return True
        if error is not None:
            WORKER.postponed("kafka_away", len(rows) - len(sent))
            raise error
        return len(rows) == BATCH

    async def oldest_seconds(self) -> float:
        """Return the age of the oldest event that waits, 0 when there is none; raises what the store raised."""
        query = sa.select(self._outbox.c.occurred_at).order_by(self._outbox.c.id).limit(1)
        async with self._engine.connect() as connection:
            oldest = await connection.scalar(query)
        return 0.0 if oldest is None else time.time() - oldest.timestamp()

    async def _look_for_topics(self) -> None:
        """End the pauses of topics that are there again.

        Asking costs one call for all of them. Sending to one that is missing costs seconds, in which nothing else
        is sent.
        """
        now = time.monotonic()
        due = [topic for topic, until in self._paused.items() if until <= now]
        if not due:
            return
        try:
            known = await self._bus.topics()
        except (TimeoutError, ConnectionError):
            known = frozenset(due)  # Kafka itself is away: sending says so
        for topic in due:
            if topic in known:
                del self._paused[topic]
            else:
                self._paused[topic] = now + TOPIC_PAUSE_SECONDS

    async def _take(self, connection: AsyncConnection) -> Sequence[sa.RowMapping]:
        query = sa.select(self._outbox).order_by(self._outbox.c.id).limit(BATCH)
        if self._paused:
            query = query.where(self._outbox.c.topic.not_in(list(self._paused)))
        result = await connection.execute(query.with_for_update(skip_locked=True))
        return result.mappings().all()

    async def _delete(self, connection: AsyncConnection, ids: list[int]) -> None:
        if connection.dialect.name == "postgresql":
            await connection.execute(sa.delete(self._outbox).where(self._outbox.c.id.in_(ids)))
        else:
            # Row by row through the key: IN (..) scans a small table, the scan waits for rows that another relay
            # holds, and two relays deadlock and send their batches twice.
            await connection.execute(_DELETE_BY_KEY, {"ids": _ENCODER.encode(ids).decode()})

    async def _produce(self, rows: Sequence[sa.RowMapping]) -> tuple[list[int], Exception | None]:
        by_topic: dict[str, list[sa.RowMapping]] = defaultdict(list)
        for row in rows:
            by_topic[row["topic"]].append(row)
        sent: list[int] = []
        failure: Exception | None = None
        for topic, group in by_topic.items():
            try:
                await self._bus.send([_message(row) for row in group])
            except (TimeoutError, ConnectionError) as error:
                self._paused[topic] = time.monotonic() + TOPIC_PAUSE_SECONDS
                failure = error
                break
            sent.extend(row["id"] for row in group)
        return sent, failure


def _message(row: sa.RowMapping) -> Message:
    headers = [
        ("id", row["event_id"]),
        ("type", row["type"]),
        ("version", str(row["version"])),
        ("occurredAt", row["occurred_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")),
    ]
    headers += [(name, row[name]) for name in ("traceparent", "tracestate") if row[name]]
    return Message(
        topic=row["topic"],
        key=row["event_key"],
        value=row["payload"].encode(),
        headers=tuple(headers),
    )
