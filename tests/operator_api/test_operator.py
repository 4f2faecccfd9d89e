"""The operator as a process, on the real API server, inventory service, PostgreSQL, Redis and Kafka."""

import asyncio
import json
import signal
import time
from datetime import datetime, timedelta

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from doorbuster.contracts import events
from doorbuster.kit import clock
from doorbuster_operator import cluster
from doorbuster_operator.testing.cluster import Kube, RefusedByServerError
from doorbuster_operator.testing.waits import line_of, phase_is, reason_is, told
from doorbuster_operator.testing.workloads import Workloads

ALLOW = {"metadata": {"annotations": {"doorbuster.dev/allow-delete": "true"}}}


@pytest.fixture
async def api(servers):
    """The namespace that the operator watches, with the operator and all its peers up."""
    environment = servers("operator")
    async with cluster.connect(environment["KUBECONFIG"]) as connection:
        yield Kube(connection)


async def topics(bootstrap):
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return set(await admin.list_topics())
    finally:
        await admin.close()


async def report_of(servers, name):
    """The final report of a sale, as a merchant keeps it."""
    async with cluster.connect(servers()["KUBECONFIG"]) as connection:
        kept = await Workloads(connection).config_map(f"{name}-report")
    return json.loads(kept.data["report.json"])


async def test_a_sale_lives_from_scheduled_to_settled(api, peer, servers, sale_of, pool_of, name):
    await api.create(pool_of(name))
    sale = await api.create(
        sale_of(name, opens_in=14, lasts=25, warmup={"leadSeconds": 10}, ttlSecondsAfterSettled=3)
    )
    uid = sale["metadata"]["uid"]
    await api.until("FlashSale", name, phase_is("Scheduled"), within_seconds=4)
    assert await peer.gate(uid) is None
    armed = await api.until("FlashSale", name, reason_is("Armed", "Loaded"))
    assert armed["status"]["phase"] == "Warming"
    assert (await peer.gate(uid)).items[0].price_minor == 99_900
    assert await peer.reserve(sale) == []
    assert peer.outcomes == ["NOT_OPEN"]
    assert events.sale_topic("default", name) in await topics(
        servers()["DOORBUSTER_KAFKA_BOOTSTRAP"]
    )

    await api.until("FlashSale", name, phase_is("Open"))
    orders = await peer.reserve(sale, 7)
    assert len(orders) == 5
    await peer.pay(orders)
    out = await api.until("FlashSale", name, phase_is("SoldOut"))
    assert out["status"]["inventory"] == {"capacity": 5, "available": 0, "reserved": 0, "sold": 5}

    await api.scale(name, 7)
    await api.until("FlashSale", name, phase_is("Open"))
    await peer.pay(await peer.reserve(sale, 2))
    await api.until("FlashSale", name, phase_is("SoldOut"))

    done = await api.until("FlashSale", name, phase_is("Settled"), within_seconds=30)
    opened = datetime.fromisoformat(sale["spec"]["openTime"])
    line = line_of(done)
    assert line.open_time == opened
    assert line.armed_time < opened
    assert line.first_reservation_time >= opened
    assert line.close_time == datetime.fromisoformat(sale["spec"]["closeTime"])
    assert done["status"]["summary"] == "Settled: 7 of 7 units sold."
    await api.until_gone("FlashSale", name)
    totals = (await report_of(servers, name))["totals"]
    assert totals == {"capacity": 7, "sold": 7, "revenueMinor": {"USD": 7 * 99_900}}
    reasons = await api.events_of(name)
    for reason in ("SaleAccepted", "GateArmed", "SaleOpened", "SaleSoldOut", "SaleReopened"):
        assert reason in reasons
    for once in ("GateArmed", "SaleOpened", "SaleClosed", "SaleSettled"):
        assert reasons.count(once) == 1
    await api.delete("InventoryPool", name)
    await api.until_gone("InventoryPool", name)


async def test_a_sale_opens_on_time_while_the_operator_is_dead(
    api, peer, stack, sale_of, pool_of, name
):
    await api.create(pool_of(name))
    sale = await api.create(sale_of(name, opens_in=8, lasts=600))
    await api.until("FlashSale", name, reason_is("Armed", "Loaded"))
    stack.kill("operator", signal.SIGKILL)
    opens = datetime.fromisoformat(sale["spec"]["openTime"])
    orders = []
    while not orders and clock.utc_now() < opens + timedelta(seconds=5):
        orders = await peer.reserve(sale)
        await asyncio.sleep(0.01)
    assert orders, "the sale opened without its operator"
    gate = await peer.gate(sale["metadata"]["uid"])
    assert timedelta(0) <= gate.first_reservation_time - opens < timedelta(seconds=1)

    began = time.monotonic()
    await asyncio.to_thread(stack.restart, "operator")
    found = await api.until("FlashSale", name, phase_is("Open"), within_seconds=5)
    assert time.monotonic() - began < 15
    assert line_of(found).open_time == opens
    assert (await api.events_of(name)).count("GateArmed") == 1
    await _clear(api, name)


async def test_stock_is_raised_and_never_lowered_below_what_is_committed(
    api, peer, sale_of, pool_of, name
):
    await api.create(pool_of(name, 3))
    sale = await api.create(sale_of(name, opens_in=2))
    await api.until("FlashSale", name, phase_is("Open"))
    assert len(await peer.reserve(sale, 4)) == 3
    await api.scale(name, 1)
    refused = await api.until(
        "InventoryPool", name, reason_is("CapacityApplied", "BelowCommitted")
    )
    assert refused["status"]["capacity"] == 3
    assert (await peer.pool(name)).capacity == 3
    began = time.monotonic()
    await api.scale(name, 4)
    while (await peer.pool(name)).capacity != 4:
        assert time.monotonic() - began < 5
        await asyncio.sleep(0.02)
    await api.until("InventoryPool", name, reason_is("CapacityApplied", "Applied"))
    assert len(await peer.reserve(sale, 2)) == 1
    assert "StockReductionRefused" in await api.events_of(name)
    await _clear(api, name)


async def test_a_sale_is_suspended_resumed_and_cancelled(api, peer, sale_of, pool_of, name):
    await api.create(pool_of(name))
    sale = await api.create(sale_of(name, opens_in=2))
    await api.until("FlashSale", name, phase_is("Open"))
    await api.patch("FlashSale", name, {"spec": {"desiredState": "Suspended"}})
    found = await api.until("FlashSale", name, reason_is("Open", "Suspended"))
    assert found["status"]["phase"] == "Open"
    assert await peer.reserve(sale) == []
    assert peer.outcomes == ["SUSPENDED"]
    await api.patch("FlashSale", name, {"spec": {"desiredState": "Active"}})
    await api.until("FlashSale", name, reason_is("Open", "WindowOpen"))
    assert len(await peer.reserve(sale)) == 1
    await api.patch("FlashSale", name, {"spec": {"desiredState": "Cancelled"}})
    await api.until("FlashSale", name, phase_is("Closed"))
    assert await peer.reserve(sale) == []
    assert (await peer.gate(sale["metadata"]["uid"])).state == "Cancelled"
    reasons = await api.events_of(name)
    assert reasons.count("SaleSuspended") == reasons.count("SaleResumed") == 1
    await _clear(api, name)


async def test_a_close_time_in_the_past_closes_an_open_sale_now(api, peer, sale_of, pool_of, name):
    await api.create(pool_of(name))
    sale = await api.create(sale_of(name, opens_in=2))
    await api.until("FlashSale", name, phase_is("Open"))
    soon = datetime.fromisoformat(sale["spec"]["openTime"]) + timedelta(seconds=1)
    await asyncio.sleep(max(0.0, (soon - clock.utc_now()).total_seconds()) + 0.1)
    change = {"spec": {"closeTime": soon.strftime("%Y-%m-%dT%H:%M:%SZ")}}
    await api.patch("FlashSale", name, change)
    await api.until("FlashSale", name, phase_is("Closed", "Settled"))
    assert await peer.reserve(sale) == []
    assert peer.outcomes == ["CLOSED"]
    await _clear(api, name)


async def test_two_sales_of_one_product_at_one_time_the_later_is_not_accepted(
    api, sale_of, pool_of, name
):
    await api.create(pool_of(name))
    await api.create(sale_of(name))
    await api.until("FlashSale", name, reason_is("Accepted", "Valid"))
    second = sale_of(name, warmup={"leadSeconds": 86_400})
    second["metadata"]["name"] = f"{name}-2"
    first_lead = {"spec": {"warmup": {"leadSeconds": 86_400}}}
    await api.patch("FlashSale", name, first_lead)
    await api.until("FlashSale", name, reason_is("Armed", "Loaded"))
    await api.create(second)
    found = await api.until("FlashSale", f"{name}-2", reason_is("Accepted", "Overlap"))
    assert found["status"]["phase"] == "Pending"
    assert "SaleRefused" in await api.events_of(f"{name}-2")
    await api.delete("FlashSale", name)
    await api.until_gone("FlashSale", name)
    await api.until("FlashSale", f"{name}-2", reason_is("Armed", "Loaded"))
    await _clear(api, f"{name}-2", pool=name)


async def test_an_open_sale_and_its_pool_go_in_order(api, peer, servers, sale_of, pool_of, name):
    await api.create(pool_of(name))
    sale = await api.create(sale_of(name, opens_in=2, reservationTimeoutSeconds=10))
    await api.until("FlashSale", name, phase_is("Open"))
    assert len(await peer.reserve(sale)) == 1
    with pytest.raises(RefusedByServerError, match="is open: set spec"):
        await api.delete("FlashSale", name)
    await api.delete("InventoryPool", name)
    await api.until("InventoryPool", name, reason_is("Ready", "DeletionBlocked"))
    await api.patch("FlashSale", name, ALLOW)
    await api.delete("FlashSale", name)
    await asyncio.sleep(1.0)
    assert await api.get("FlashSale", name) is not None, "a hold is still under way"
    assert (await peer.gate(sale["metadata"]["uid"])).state == "Cancelled"
    await api.until_gone("FlashSale", name, within_seconds=30)
    assert (await report_of(servers, name))["gateState"] == "Cancelled"
    await api.until_gone("InventoryPool", name)
    again = await api.create(pool_of(name, 9))
    found = await api.until("InventoryPool", name, reason_is("CapacityApplied", "Applied"))
    assert found["status"]["capacity"] == 9
    assert (await peer.pool(name)).owner_uid == again["metadata"]["uid"]
    await api.delete("InventoryPool", name)


async def test_a_sale_without_its_pool_says_so_and_goes_on_when_it_comes(
    api, sale_of, pool_of, name
):
    await api.create(sale_of(name))
    found = await api.until("FlashSale", name, reason_is("PoolsBound", "PoolMissing"))
    assert found["status"]["phase"] == "Pending"
    assert told(found, "Ready").message == f"InventoryPool {name} does not exist."
    await api.create(pool_of(name))
    await api.until("FlashSale", name, phase_is("Scheduled"))
    await _clear(api, name)


async def test_without_inventory_the_conditions_say_so_and_the_sale_catches_up(
    api, stack, sale_of, pool_of, name
):
    await api.create(pool_of(name))
    await api.create(sale_of(name, opens_in=600, warmup={"leadSeconds": 700}))
    await api.until("FlashSale", name, reason_is("Armed", "Loaded"))
    stack.kill("inventory", signal.SIGKILL)
    found = await api.until("FlashSale", name, reason_is("Armed", "InventoryUnavailable"))
    assert found["status"]["phase"] == "Warming"
    await asyncio.to_thread(stack.restart, "inventory")
    await api.until("FlashSale", name, reason_is("Armed", "Loaded"))
    await _clear(api, name)


async def test_on_sigterm_the_lease_is_given_back_at_once(api, stack):
    before = (await api.lease())["spec"]
    assert before["holderIdentity"]
    stack.kill("operator", signal.SIGTERM)
    began = time.monotonic()
    while (await api.lease())["spec"]["holderIdentity"]:
        assert time.monotonic() - began < 2.0
        await asyncio.sleep(0.02)
    await asyncio.to_thread(stack.restart, "operator")
    assert (await api.lease())["spec"]["holderIdentity"] == before["holderIdentity"]


async def test_an_idle_cluster_sees_no_writes_but_the_lease(api, sale_of, pool_of, name):
    await api.create(pool_of(name, auditIntervalSeconds=5))
    await api.create(sale_of(name))
    await api.until("FlashSale", name, phase_is("Scheduled"))
    await api.until("InventoryPool", name, reason_is("Bound", "InUse"))
    await asyncio.sleep(1.0)
    kinds = ("FlashSale", "InventoryPool")
    before = [(await api.get(kind, name))["metadata"]["resourceVersion"] for kind in kinds]
    lease = (await api.lease())["metadata"]["resourceVersion"]
    await asyncio.sleep(8.0)
    after = [(await api.get(kind, name))["metadata"]["resourceVersion"] for kind in kinds]
    assert before == after
    assert (await api.lease())["metadata"]["resourceVersion"] != lease
    await _clear(api, name)


async def _clear(api, name, *, pool=None):
    """Take a sale and its pool away, so that the next test finds a quiet operator."""
    await api.patch("FlashSale", name, ALLOW)
    await api.delete("FlashSale", name)
    await api.delete("InventoryPool", pool or name)
