"""An outbox on PostgreSQL and on MariaDB, and topics on a real broker."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy.ext.asyncio import AsyncEngine

from doorbuster.contracts import events
from doorbuster.kit import bus, clock, database, outbox
from doorbuster.kit.consumer import Consumer, Delivery
from doorbuster.testing import stories


@dataclass
class Store:
    """An engine with an empty outbox."""

    dsn: str
    engine: AsyncEngine
    table: sa.Table

    async def enqueue(self, topic: str, numbers: Iterable[int]) -> None:
        async with self.engine.begin() as connection:
            heard = [(topic, stories.paid(number)) for number in numbers]
            await outbox.enqueue(connection, self.table, heard, now=clock.utc_now())

    async def left(self) -> int:
        async with self.engine.connect() as connection:
            count = await connection.scalar(sa.select(sa.func.count()).select_from(self.table))
        return count or 0


@dataclass
class Reader:
    """A consumer that remembers what it was given; ``failures`` are raised first, one a batch."""

    bootstrap: str
    group: str
    topics: tuple[str, ...] = ()
    pattern: str | None = None

    def __post_init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.failures: list[Exception] = []
        self.consumer = Consumer(
            bootstrap=self.bootstrap,
            group=self.group,
            types=events.BY_TYPE,
            handle=self._take,
            topics=self.topics,
            pattern=self.pattern,
        )

    async def _take(self, deliveries: list[Delivery]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.deliveries += deliveries

    @property
    def order_ids(self) -> list[str]:
        return [delivery.event.order_id for delivery in self.deliveries]

    async def read(self, order_ids: set[str], *, within_seconds: float = 40.0) -> None:
        """Step until all these orders were heard of, whatever the broker does meanwhile."""
        async with asyncio.timeout(within_seconds):
            while not order_ids <= set(self.order_ids):
                with suppress(ConnectionError, TimeoutError, OSError):
                    await self.consumer.step()

    async def settle(self, *, within_seconds: float = 40.0) -> None:
        """Step until a poll and its commit succeed: a broker's first group takes a few tries."""
        async with asyncio.timeout(within_seconds):
            while True:
                with suppress(ConnectionError, TimeoutError, OSError):
                    await self.consumer.step()
                    return


@pytest.fixture(params=["postgres", "mysql"])
def dsn(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"fresh_{request.param}"))


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[Store]:
    metadata = sa.MetaData()
    table = outbox.table(metadata)
    async with database.open_engine(dsn) as engine:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.drop_all)
            await connection.run_sync(metadata.create_all)
        yield Store(dsn, engine, table)


@pytest.fixture
def bootstrap(servers: Callable[..., dict[str, str]]) -> str:
    return servers("kafka")["DOORBUSTER_KAFKA_BOOTSTRAP"]


@pytest.fixture
async def topic(bootstrap: str, topic_prefix: str) -> AsyncIterator[str]:
    name = topic_prefix + "orders"
    await bus.ensure_topic(bootstrap, name, partitions=3, replication=1)
    yield name
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([name])
    finally:
        await admin.close()


@pytest.fixture
async def reader(bootstrap: str, topic: str) -> AsyncIterator[Reader]:
    reader = Reader(bootstrap, group=f"{topic}.reader", topics=(topic,))
    yield reader
    await reader.consumer.close()


@pytest.fixture
async def pattern_reader(bootstrap: str, topic_prefix: str) -> AsyncIterator[Reader]:
    pattern = rf"^sale\.{topic_prefix.rstrip('-')}\..+\.orders$"
    reader = Reader(bootstrap, group=f"{topic_prefix}sales", pattern=pattern)
    yield reader
    await reader.consumer.close()
