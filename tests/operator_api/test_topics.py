"""Topics of sales on a real Kafka: made, grown, measured, deleted, and what an outage looks like."""

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from doorbuster.kit import bus
from doorbuster_operator.sale.facts import TopicWanted
from doorbuster_operator.topics import KafkaTopics, TopicRefusedError, TopicsUnavailableError


@pytest.fixture
def bootstrap(servers):
    return servers("kafka")["DOORBUSTER_KAFKA_BOOTSTRAP"]


@pytest.fixture
def topic(topic_prefix):
    return f"{topic_prefix}drop"


def wanted(name, *, partitions=2, replication_factor=1, retention_seconds=7200):
    return TopicWanted(
        name=name,
        partitions=partitions,
        replication_factor=replication_factor,
        retention_seconds=retention_seconds,
    )


async def retention_millis(bootstrap, name):
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (answer,) = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": None})]
        )
        return int(answer.resources[0][4][0][1])
    finally:
        await admin.close()


async def test_a_topic_is_made_once_and_follows_its_sale(bootstrap, topic):
    topics = KafkaTopics(bootstrap)
    assert not await topics.exists(topic)
    assert (await topics.ensure(wanted(topic))).partitions == 2
    assert await topics.exists(topic)
    assert (await topics.ensure(wanted(topic))).partitions == 2
    assert await retention_millis(bootstrap, topic) == 7_200_000
    grown = await topics.ensure(wanted(topic, partitions=4, retention_seconds=3600))
    assert grown.partitions == 4
    assert await retention_millis(bootstrap, topic) == 3_600_000
    assert (await topics.ensure(wanted(topic, partitions=1))).partitions == 4
    await topics.delete(topic)
    await topics.delete(topic)


async def test_a_topic_that_cannot_be_is_refused_in_words(bootstrap, topic):
    topics = KafkaTopics(bootstrap)
    with pytest.raises(TopicRefusedError, match=r"[Rr]eplication") as caught:
        await topics.ensure(wanted(topic, replication_factor=5))
    assert caught.value.reason == "InvalidReplicationFactor"


async def test_unread_counts_what_some_group_has_not_committed(bootstrap, topic):
    topics = KafkaTopics(bootstrap)
    assert await topics.unread(topic) == 0
    await topics.ensure(wanted(topic, partitions=1))
    assert await topics.unread(topic) == 0
    async with bus.open_bus(bootstrap) as producer:
        await producer.send(
            [bus.Message(topic=topic, key="k", value=b"{}", headers=()) for _ in range(3)]
        )
    assert await topics.unread(topic) == 3
    place = TopicPartition(topic, 0)
    for group, offset in ((f"{topic}.a", 3), (f"{topic}.b", 1)):
        reader = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
        )
        await reader.start()
        reader.assign([place])
        await reader.commit({place: offset})
        await reader.stop()
    assert await topics.unread(topic) == 2
    await topics.delete(topic)


async def test_an_outage_is_no_refusal(topic):
    topics = KafkaTopics("127.0.0.1:1")
    with pytest.raises(TopicsUnavailableError):
        await topics.ensure(wanted(topic))
    with pytest.raises(TopicsUnavailableError):
        await topics.exists(topic)
    with pytest.raises(TopicsUnavailableError):
        await topics.unread(topic)
