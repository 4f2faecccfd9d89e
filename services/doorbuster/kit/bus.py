"""Kafka for producers: an idempotent producer that is made anew when it has failed, and topics."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from . import telemetry

PRODUCE_SECONDS = 5.0
STOP_SECONDS = 1.0


class TopicAwayError(ConnectionError):
    """Kafka answers, but has no such topic (yet, or any more)."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One record: key and headers are text, the value is encoded JSON."""

    topic: str
    key: str
    value: bytes
    headers: tuple[tuple[str, str], ...]


class Bus:
    """Sends batches with acks=all; use :func:`open_bus`.

    A producer that failed may hold half-sent batches and a broken sequence, so it is dropped: whoever calls
    again after a failure gets a new one. Duplicates are the consumers' business.
    """

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()

    async def send(self, messages: Sequence[Message]) -> None:
        """Send all or raise (TimeoutError after 5 s, ConnectionError, TopicAwayError); some may have been sent then."""
        try:
            async with asyncio.timeout(PRODUCE_SECONDS):
                producer = await self._ready()
                futures = [
                    await producer.send(
                        message.topic,
                        message.value,
                        key=message.key.encode(),
                        headers=[(name, value.encode()) for name, value in message.headers],
                    )
                    for message in messages
                ]
                await asyncio.gather(*futures)
        except TimeoutError:
            await self.close()
            raise
        except UnknownTopicOrPartitionError as error:
            await self.close()
            raise TopicAwayError("Kafka: UnknownTopicOrPartitionError") from error
        except Exception as error:
            await self.close()
            raise ConnectionError(f"Kafka: {type(error).__name__}") from error

    async def _ready(self) -> AIOKafkaProducer:
        async with self._lock:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=0,
                    request_timeout_ms=4000,
                    metadata_max_age_ms=10_000,
                )
                try:
                    await producer.start()
                except BaseException:
                    await _stop(producer)
                    raise
                self._producer = producer
            return self._producer

    async def topics(self) -> frozenset[str]:
        """Return the names of all topics; raises TimeoutError after 5 s, ConnectionError."""
        try:
            async with asyncio.timeout(PRODUCE_SECONDS):
                producer = await self._ready()
                cluster = await producer.client.fetch_all_metadata()
                return frozenset(cluster.topics())
        except TimeoutError:
            await self.close()
            raise
        except Exception as error:
            await self.close()
            raise ConnectionError(f"Kafka: {type(error).__name__}") from error

    async def ping(self) -> None:
        """Raise unless the cluster answers."""
        producer = await self._ready()
        await producer.client.fetch_all_metadata()

    async def close(self) -> None:
        """Drop the producer; the next send makes a new one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)


async def _stop(producer: AIOKafkaProducer) -> None:
    """Close a producer without waiting for what it could not send; whoever sent it was told already.

    Left to itself, stop() waits for the broker, and when that wait ends early, leaves the sending task and
    the connections behind for ever.
    """
    with suppress(Exception):
        producer._message_accumulator.fail_all(ConnectionError("closed"))
        await asyncio.wait_for(producer.stop(), STOP_SECONDS)
        return
    with suppress(Exception):
        await asyncio.wait_for(producer.client.close(), STOP_SECONDS)


@asynccontextmanager
async def open_bus(bootstrap: str) -> AsyncIterator[Bus]:
    """Open a bus; it connects when first used."""
    bus = Bus(bootstrap)
    try:
        yield bus
    finally:
        await bus.close()


async def ensure_topic(bootstrap: str, name: str, *, partitions: int, replication: int) -> bool:
    """Make a topic unless it exists; tells whether it was made."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=10_000)
    try:
        await asyncio.wait_for(admin.start(), 30.0)
        answer = await admin.create_topics([NewTopic(name, partitions, replication)])
        for _topic, code, *_ in answer.topic_errors:
            if code:
                raise for_code(code)
    except TopicAlreadyExistsError:
        return False
    finally:
        with suppress(Exception):
            await admin.close()
    telemetry.log().info("topic_created", topic=name, partitions=partitions)
    return True
