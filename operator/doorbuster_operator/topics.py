"""Kafka's admin API: the topics of sales, and how much of them is still unread."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    BrokerResponseError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from doorbuster.kit import telemetry
from doorbuster.kit.coalescer import Coalescer
from doorbuster_operator.sale.facts import TopicSeen, TopicWanted

ADMIN_SECONDS = 5.0
READ_BACK_ATTEMPTS = 20
READ_BACK_PAUSE_SECONDS = 0.1
# Sales that end together count together, and each count opens connections of its own.
COUNTS_AT_ONCE = 4
# Where a setting comes from, as brokers describe it: it was set on this very topic.
SET_ON_TOPIC = 1


class TopicRefusedError(Exception):
    """Kafka answered and does not do it; ``reason`` is its error in one word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TopicsUnavailableError(ConnectionError):
    """Kafka did not answer in time."""


class KafkaTopics:
    """Makes, grows, measures and deletes topics. All requests that wait share one call.

    ``may_write`` is asked right before a write, as in cluster.Cluster.
    """

    def __init__(self, bootstrap: str, *, may_write: Callable[[], bool] = lambda: True) -> None:
        self._may_write = may_write
        # An outage is told once a try, by us; the library would tell it in its own words as well.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self._bootstrap = bootstrap
        self._turns = asyncio.Semaphore(COUNTS_AT_ONCE)
        self._coalescer: Coalescer[TopicWanted, TopicSeen] = Coalescer(
            self._ensure_all, max_batch=200, max_in_flight=1
        )
        self._looks: Coalescer[str, bool] = Coalescer(
            self._look_all, max_batch=200, max_in_flight=1
        )

    async def ensure(self, wanted: TopicWanted) -> TopicSeen:
        """Make the topic or bring it up to date, and read it back.

        Raises TopicRefusedError or TopicsUnavailableError.
        """
        return await self._coalescer.submit(wanted)

    async def _ensure_all(self, batch: list[TopicWanted]) -> list[TopicSeen | Exception]:
        async with self._admin() as admin:
            self._check_lead()
            refused = await _create(admin, batch)
            refused |= await _shape(admin, [want for want in batch if want.name not in refused])
            seen = await _read_back(admin, [want for want in batch if want.name not in refused])
            return [
                refused.get(want.name)
                or seen.get(want.name)
                or TopicsUnavailableError("The topic does not show what was asked for yet.")
                for want in batch
            ]

    async def exists(self, name: str) -> bool:
        """Tell whether somebody has made a topic of this name. Raises TopicsUnavailableError."""
        return await self._looks.submit(name)

    async def _look_all(self, names: list[str]) -> list[bool | Exception]:
        async with self._admin() as admin:
            described = await admin.describe_topics(names)
            codes = {topic["topic"]: for_code(topic["error_code"]) for topic in described}
            return [_is_there(codes[name]) for name in names]

    async def unread(self, name: str) -> int:
        """Count the events of a topic that some consumer group has not committed yet; 0 without the topic.

        A group counts when it has read anything of the topic; events that nobody has read count once.
        """
        async with self._turns, self._admin() as admin:
            described = await admin.describe_topics([name])
            partitions = [
                TopicPartition(name, each["partition"])
                for topic in described
                if not topic["error_code"]
                for each in topic["partitions"]
            ]
            if not partitions:
                return 0
            ends = await self._ends(partitions)
            total = sum(ends.values())
            if total == 0:
                return 0
            behind = []
            for group, _protocol in await admin.list_consumer_groups():
                committed = await admin.list_consumer_group_offsets(group, partitions=partitions)
                offsets = {place: found.offset for place, found in committed.items()}
                if any(offset >= 0 for offset in offsets.values()):
                    behind.append(
                        sum(max(0, end - max(0, offsets.get(at, 0))) for at, end in ends.items())
                    )
            return sum(behind) if behind else total

    async def delete(self, name: str) -> None:
        """Delete a topic; one that is not there is fine."""
        async with self._turns, self._admin() as admin:
            self._check_lead()
            answer = await admin.delete_topics([name])
            for _topic, code in answer.topic_error_codes:
                error = for_code(code)
                if code and error is not UnknownTopicOrPartitionError:
                    raise TopicRefusedError(error.__name__, f"Kafka keeps topic {name}")

    def _check_lead(self) -> None:
        if not self._may_write():
            raise TopicsUnavailableError("this process does not hold the lease any more")

    async def _ends(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        async with AsyncExitStack() as stack:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap, enable_auto_commit=False, group_id=None
            )
            stack.push_async_callback(consumer.stop)
            await consumer.start()
            found: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
            return found

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """Open a connection for one piece of work: sales are rare, an idle connection would not be."""
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self._bootstrap, request_timeout_ms=int(ADMIN_SECONDS * 1000)
        )
        try:
            async with asyncio.timeout(2 * ADMIN_SECONDS):
                await admin.start()
                yield admin
        except (KafkaError, OSError, TimeoutError) as error:
            telemetry.log().warning("kafka_admin_failed", error=type(error).__name__)
            raise TopicsUnavailableError(
                f"Kafka does not answer ({type(error).__name__})."
            ) from error
        finally:
            await admin.close()


def _is_there(error: type[Exception]) -> bool | Exception:
    """Read a topic's error code: only a clear answer says that a name is free."""
    if error is UnknownTopicOrPartitionError:
        return False
    return True if error is NoError else TopicsUnavailableError(f"Kafka says {error.__name__}.")


async def _create(admin: AIOKafkaAdminClient, batch: list[TopicWanted]) -> dict[str, Exception]:
    """Create what is missing; returns what Kafka refuses, by name."""
    answer = await admin.create_topics(
        [
            NewTopic(
                name=want.name,
                num_partitions=want.partitions,
                replication_factor=want.replication_factor,
                topic_configs=_configs(want),
            )
            for want in batch
        ]
    )
    refused: dict[str, Exception] = {}
    for name, code, *text in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            why = next((each for each in text if each), None) or error.__name__
            refused[name] = TopicRefusedError(error.__name__.removesuffix("Error"), str(why))
    return refused


async def _shape(admin: AIOKafkaAdminClient, batch: list[TopicWanted]) -> dict[str, Exception]:
    """Grow partitions and set the retention of topics that were there before; never shrink.

    Returns what Kafka refuses, by name; whether partitions grew is seen when they are read back.
    """
    if not batch:
        return {}
    refused = await _grow(admin, batch)
    settings = await _settings(admin, batch)
    # What is not named is reset, so everything else that was set on the topic is sent along.
    changes = [
        ConfigResource(
            ConfigResourceType.TOPIC, want.name, settings[want.name].own | _configs(want)
        )
        for want in batch
        if want.name in settings and not settings[want.name].fit(want)
    ]
    answers = await admin.alter_configs(changes) if changes else []
    for answer in answers:
        for code, text, _kind, name in answer.resources:
            if code and for_code(code) is not UnknownTopicOrPartitionError:
                reason = for_code(code).__name__.removesuffix("Error")
                refused[name] = TopicRefusedError(reason, text or "refused")
    return refused


async def _grow(admin: AIOKafkaAdminClient, batch: list[TopicWanted]) -> dict[str, Exception]:
    """Grow partitions one topic at a time: one that is refused keeps no other from growing."""
    counts = await _partitions(admin, batch)
    refused: dict[str, Exception] = {}
    for want in batch:
        if counts.get(want.name, want.partitions) >= want.partitions:
            continue
        try:
            await admin.create_partitions({want.name: NewPartitions(want.partitions)})
        except BrokerResponseError as error:
            reason = type(error).__name__.removesuffix("Error")
            refused[want.name] = (
                TopicsUnavailableError(f"Kafka says {reason}.")
                if error.retriable
                else TopicRefusedError(reason, str(error))
            )
    return refused


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """A topic's settings: all that hold, and those that were set on the topic itself."""

    all: dict[str, str]
    own: dict[str, str]

    def fit(self, want: TopicWanted) -> bool:
        """Tell whether they are what is wanted."""
        return _configs(want).items() <= self.all.items()


async def _settings(admin: AIOKafkaAdminClient, batch: list[TopicWanted]) -> dict[str, _Settings]:
    """Read settings by topic; a topic that cannot be described is absent."""
    if not batch:
        return {}
    answers = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, want.name) for want in batch]
    )
    return {
        name: _Settings(
            all={key: value for key, value, *_ in entries},
            own={key: value for key, value, _, source, *_ in entries if source == SET_ON_TOPIC},
        )
        for answer in answers
        for code, _text, _kind, name, entries in answer.resources
        if not code
    }


async def _read_back(admin: AIOKafkaAdminClient, batch: list[TopicWanted]) -> dict[str, TopicSeen]:
    """Read topics until they are as they were asked for; those that are not by then are absent."""
    seen: dict[str, TopicSeen] = {}
    for _ in range(READ_BACK_ATTEMPTS):
        counts, settings = await _partitions(admin, batch), await _settings(admin, batch)
        seen = {
            want.name: TopicSeen(
                name=want.name,
                partitions=counts[want.name],
                retention_seconds=int(settings[want.name].all["retention.ms"]) // 1000,
            )
            for want in batch
            if counts.get(want.name, 0) >= want.partitions
            and want.name in settings
            and settings[want.name].fit(want)
        }
        if len(seen) == len(batch):
            break
        await asyncio.sleep(READ_BACK_PAUSE_SECONDS)
    return seen


async def _partitions(admin: AIOKafkaAdminClient, batch: list[TopicWanted]) -> dict[str, int]:
    if not batch:
        return {}
    described: list[dict[str, Any]] = await admin.describe_topics([want.name for want in batch])
    return {
        topic["topic"]: len(topic["partitions"]) for topic in described if not topic["error_code"]
    }


def _configs(want: TopicWanted) -> dict[str, str]:
    return {"retention.ms": str(want.retention_seconds * 1000), "cleanup.policy": "delete"}
