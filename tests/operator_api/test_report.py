"""What outlives a sale on the real servers: its report, and whatever was somebody else's before it."""

import asyncio
import json

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from doorbuster.contracts import events
from doorbuster_operator import cluster
from doorbuster_operator.testing.cluster import Kube
from doorbuster_operator.testing.workloads import Workloads
from doorbuster_operator.topics import KafkaTopics


@pytest.fixture
async def kube(servers):
    """The operator's namespace, with the operator and all its peers up."""
    environment = servers("inventory", "operator")
    async with cluster.connect(environment["KUBECONFIG"]) as connection:
        yield Kube(connection), Workloads(connection)


@pytest.fixture
async def admin(servers):
    """Kafka as its administrator."""
    client = AIOKafkaAdminClient(bootstrap_servers=servers("kafka")["DOORBUSTER_KAFKA_BOOTSTRAP"])
    await client.start()
    yield client
    await client.close()


def is_settled(found):
    return found.get("status", {}).get("phase") == "Settled"


def topics_are(reason):
    def holds(found):
        parts = {each["type"]: each for each in found.get("status", {}).get("conditions", [])}
        return parts.get("TopicsReady", {}).get("reason") == reason

    return holds


async def until_gone(topics, topic):
    for _ in range(50):
        if not await topics.exists(topic):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{topic} is still there")


async def test_a_settled_sale_leaves_a_report_and_no_config_map_of_others_is_touched(
    kube, sale_of, pool_of, name
):
    api, workloads = kube
    first, second = f"{name}-a", f"{name}-b"
    await workloads.put_config_map(f"{second}-report", {"recipe": "cake"})
    for each in (first, second):
        await api.create(pool_of(each))
        await api.create(sale_of(each, opens_in=3, lasts=2, warmup={"leadSeconds": 10}))
    for each in (first, second):
        await api.until("FlashSale", each, is_settled)
    written = await workloads.config_map(f"{first}-report")
    assert written.metadata.labels["doorbuster.dev/flashsale"] == first
    assert written.metadata.owner_references is None
    figures = json.loads(written.data["report.json"])
    assert figures["totals"] == {"capacity": 5, "sold": 0, "revenueMinor": {"USD": 0}}
    assert figures["openDelayMillis"] == 0
    assert written.data["report.txt"].startswith(f"FlashSale default/{first}\n")
    kept = await workloads.config_map(f"{second}-report")
    assert (kept.data, kept.metadata.labels) == ({"recipe": "cake"}, None)
    assert "ReportConflict" in await api.events_of(second)
    for each in (first, second):
        await api.delete("FlashSale", each)
        await api.until_gone("FlashSale", each)
        await api.delete("InventoryPool", each)
        assert await workloads.config_map(f"{each}-report") is not None
        await workloads.drop_config_map(f"{each}-report")


async def test_a_topic_of_others_is_used_but_never_changed_or_deleted_unless_it_is_handed_over(
    kube, admin, servers, sale_of, pool_of, name
):
    api, _ = kube
    topic = events.sale_topic("default", name)
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await api.create(pool_of(name))
    messaging = {"partitions": 2, "reclaimPolicy": "Delete"}
    sale = sale_of(name, opens_in=600, warmup={"leadSeconds": 700}, messaging=messaging)
    await api.create(sale)
    found = await api.until("FlashSale", name, topics_are("ResourceConflict"))
    assert found["status"]["phase"] == "Warming"
    assert found["status"]["gate"]["state"] == "Active"
    assert found["metadata"]["finalizers"] == ["doorbuster.dev/gate"]
    await api.delete("FlashSale", name)
    await api.until_gone("FlashSale", name)
    topics = KafkaTopics(servers("kafka")["DOORBUSTER_KAFKA_BOOTSTRAP"])
    assert await topics.exists(topic)
    (described,) = await admin.describe_topics([topic])
    assert len(described["partitions"]) == 1

    sale["metadata"]["annotations"] = {"doorbuster.dev/adopt-topic": "true"}
    await api.create(sale)
    await api.until("FlashSale", name, topics_are("Provisioned"))
    await api.delete("FlashSale", name)
    await api.until_gone("FlashSale", name)
    await until_gone(topics, topic)
    await api.delete("InventoryPool", name)
