"""The failure table of the operator, line by line, on the real API server, inventory, Redis and Kafka.

The lines about two leaders are in test_high_availability.py, those about inventory, stock below what is committed,
deletion of an open sale and of a pool in use in test_operator.py.
"""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from functools import partial

import pytest
import redis

from doorbuster.kit import auth, client, clock
from doorbuster_operator import cluster, inventory
from doorbuster_operator.reconcile import Reconciler
from doorbuster_operator.testing.cluster import Kube, RefusedByServerError
from doorbuster_operator.testing.waits import line_of, phase_is, reason_is, told
from doorbuster_operator.topics import KafkaTopics

NEVER_MONOTONIC = {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
ONCE = ("GateArmed", "SaleOpened", "SaleOpenedLate", "SaleAccepted", "SaleCancelled")


@pytest.fixture
async def api(servers):
    """The namespace of the stack's own operator."""
    environment = servers("operator")
    async with cluster.connect(environment["KUBECONFIG"]) as connection:
        yield Kube(connection)


async def until_reserved(peer, sale, *, within_seconds):
    """Buy as soon as one may; returns the orders."""
    deadline = time.monotonic() + within_seconds
    while not (orders := await peer.reserve(sale)):
        assert time.monotonic() < deadline, peer.outcomes
        await asyncio.sleep(0.02)
    return orders


async def test_an_operator_that_was_killed_at_any_time_before_the_opening_catches_up(
    room, replica, peer, sale_of, pool_of, name
):
    names = [f"{name}-{what}" for what in ("later", "armed", "late", "rejected")]
    later, armed, late, rejected = names
    one = await replica("one").until_ready()
    for each in names:
        await room.create(pool_of(each))
        await room.until("InventoryPool", each, reason_is("CapacityApplied", "Applied"))
    far = await room.create(sale_of(later, opens_in=3600, warmup={"leadSeconds": 3300}))
    near = await room.create(sale_of(armed, opens_in=8))
    await room.until("FlashSale", later, phase_is("Scheduled"))
    await room.until("FlashSale", armed, reason_is("Armed", "Loaded"))
    one.kill()

    # Nobody sees these before they should be open.
    missed = await room.create(sale_of(late, opens_in=1))
    await room.create(sale_of(rejected, opens_in=1, lateOpenPolicy="Reject"))
    # The warm-up of the far one begins while nobody is there.
    await room.patch("FlashSale", later, {"spec": {"warmup": {"leadSeconds": 86_400}}})
    opens = datetime.fromisoformat(near["spec"]["openTime"])
    await until_reserved(peer, near, within_seconds=20)
    gate = await peer.gate(near["metadata"]["uid"])
    assert timedelta(0) <= gate.first_reservation_time - opens < timedelta(seconds=5)

    one = await replica("one").until_ready()
    found = await room.until("FlashSale", armed, phase_is("Open"))
    assert line_of(found).open_time == opens
    await room.until("FlashSale", later, reason_is("Armed", "Loaded"), within_seconds=5)
    found = await room.until("FlashSale", late, phase_is("Open"))
    assert line_of(found).open_time > datetime.fromisoformat(missed["spec"]["openTime"])
    found = await room.until("FlashSale", rejected, phase_is("Cancelled"))
    assert told(found, "Open").reason == "MissedOpening"
    assert await peer.gate(found["metadata"]["uid"]) is None
    assert await peer.gate(far["metadata"]["uid"]) is not None
    reasons = {each: await room.events_of(each) for each in names}
    assert "SaleOpenedLate" in reasons[late]
    assert "OpeningMissed" in reasons[rejected]
    assert "SaleOpened" in reasons[armed]
    for each in names:
        assert all(reasons[each].count(reason) <= 1 for reason in ONCE), reasons[each]


async def test_when_redis_is_lost_the_sale_says_so_sells_and_is_loaded_again(
    api, peer, stack, sale_of, pool_of, name
):
    await api.create(pool_of(name, 50))
    sale = await api.create(sale_of(name, opens_in=2))
    await api.until("FlashSale", name, phase_is("Open"))
    await api.until("FlashSale", name, reason_is("Armed", "Loaded"))
    held = len(await peer.reserve(sale, 2))
    stack.kill("redis", signal.SIGKILL)
    found = await api.until("FlashSale", name, reason_is("Armed", "GateLost"))
    assert found["status"]["phase"] == "Open"
    held += len(await peer.reserve(sale))
    await asyncio.to_thread(stack.restart, "redis")
    with redis.Redis.from_url(stack.env()["DOORBUSTER_REDIS_URL"]) as store:
        store.flushall()
    await api.until("FlashSale", name, reason_is("Armed", "Loaded"), within_seconds=30)
    held += len(await until_reserved(peer, sale, within_seconds=10))
    pool = await peer.pool(name)
    assert (pool.available, pool.reserved, pool.sold) == (50 - held, held, 0)
    reasons = await api.events_of(name)
    assert reasons.count("GateLost") == reasons.count("GateRestored") == 1
    await _clear(api, name)


async def test_an_armed_sale_keeps_its_promises_and_an_open_one_follows_what_may_change(
    api, peer, sale_of, pool_of, name, record_property
):
    await api.create(pool_of(name, 2))
    sale = await api.create(sale_of(name, opens_in=6))
    uid = sale["metadata"]["uid"]
    await api.until("FlashSale", name, reason_is("Armed", "Loaded"))
    for change in (
        {"openTime": sale["spec"]["closeTime"], "closeTime": "2099-01-01T00:00:00Z"},
        {"items": [sale["spec"]["items"][0] | {"quantity": 1}]},
    ):
        with pytest.raises(RefusedByServerError, match="armed"):
            await api.patch("FlashSale", name, {"spec": change})
    assert (await peer.gate(uid)).open_time == datetime.fromisoformat(sale["spec"]["openTime"])

    await api.until("FlashSale", name, phase_is("Open"))
    later = datetime.fromisoformat(sale["spec"]["closeTime"]) + timedelta(hours=1)
    close = {"spec": {"closeTime": later.strftime("%Y-%m-%dT%H:%M:%SZ")}}
    await api.patch("FlashSale", name, close)
    await _until_gate(peer, uid, lambda gate: gate.close_time == later)

    await peer.pay(await peer.reserve(sale, 2))
    await api.until("FlashSale", name, phase_is("SoldOut"))
    began = time.monotonic()
    await api.scale(name, 4)
    await until_reserved(peer, sale, within_seconds=5)
    record_property("seconds_from_stock_to_sale", time.monotonic() - began)
    await api.until("FlashSale", name, phase_is("Open"))
    assert "SaleReopened" in await api.events_of(name)
    assert "StockRaised" in await api.events_of(name)
    await _clear(api, name)


async def _until_gate(peer, uid, holds):
    deadline = time.monotonic() + 5
    while not holds(await peer.gate(uid)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_a_sale_sells_on_while_the_api_server_is_down_for_longer_than_the_lease(
    room, replica, peer, stack, sale_of, pool_of, name
):
    """Longer outages change nothing more: by then the operator has left and waits to be elected again."""
    one = await replica("one").until_ready()
    await room.create(pool_of(name, 50))
    sale = await room.create(sale_of(name, opens_in=2))
    await room.until("FlashSale", name, phase_is("Open"))
    stack.kill("apiserver", signal.SIGKILL)
    assert len(await peer.reserve(sale)) == 1
    assert await one.exit_code(within_seconds=15) == 1, "the lease could not be renewed"
    two = replica("one")
    await _until_waits(two)
    assert len(await peer.reserve(sale)) == 1
    await asyncio.to_thread(stack.restart, "apiserver")
    await peer.pay(await peer.reserve(sale))
    await room.until(
        "FlashSale",
        name,
        lambda found: found["status"].get("inventory", {}).get("sold") == 1,
        within_seconds=60,
    )
    found = await room.get("FlashSale", name)
    assert found["status"]["phase"] == "Open"
    assert found["status"]["inventory"]["reserved"] == 2
    if not stack.is_running("operator"):
        return
    await asyncio.to_thread(stack.restart, "operator")


async def _until_waits(operator):
    """It lives without an API server, and says that it is not ready."""
    deadline = time.monotonic() + 90
    while (await operator.probe("/livez"))[0] != 200:
        assert time.monotonic() < deadline, operator.said()
        await asyncio.sleep(0.1)
    status, text = await operator.probe("/readyz", seconds=5)
    assert (status, "kubernetes" in text) == (503, True)


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_with_another_clock_in_the_process_a_sale_opens_on_time_all_the_same(
    room, servers, stack, peer, sale_of, pool_of, name, minutes
):
    environment = servers()
    async with AsyncExitStack() as opened:
        session = await opened.enter_async_context(client.open_session())
        connection = await opened.enter_async_context(cluster.connect(environment["KUBECONFIG"]))
        skewed = inventory.Inventory(
            client.ServiceClient(
                callee="inventory",
                urls=tuple(environment["DOORBUSTER_INVENTORY_URLS"].split(",")),
                session=session,
                signer=auth.ServiceSigner("operator", stack.layout.keys / "operator.pem"),
            ),
            lease=(room.namespace, "doorbuster-operator"),
            holder="skewed",
            utc_now=lambda: clock.utc_now() + timedelta(minutes=minutes),
        )
        subject = Reconciler(
            cluster=cluster.Cluster(connection, room.namespace),
            inventory=skewed,
            topics=KafkaTopics(environment["DOORBUSTER_KAFKA_BOOTSTRAP"]),
            holder="skewed",
            relist_seconds=0.5,
        )
        await opened.enter_async_context(subject.running())
        await _opens_on_time(room, peer, sale_of, pool_of, name, minutes)


async def test_a_machine_with_another_clock_leads_and_opens_a_sale_on_time(
    room, replica, servers, stack, peer, sale_of, pool_of, name
):
    library = servers("faketime")["DOORBUSTER_FAKETIME_LIBRARY"]
    second = Kube(room.connection, f"{name}-2")
    await second.ensure_namespace()
    rooms = {-10: room, 10: second}

    async def live(minutes):
        clock_of = {"LD_PRELOAD": library, "FAKETIME": f"{minutes:+d}m"} | NEVER_MONOTONIC
        start = partial(replica, "one", room=rooms[minutes], **clock_of)
        supervisor = asyncio.create_task(_supervise(start))
        sku = f"{name}{'m' if minutes < 0 else 'p'}"
        try:
            await _opens_on_time(rooms[minutes], peer, sale_of, pool_of, sku, minutes)
        finally:
            supervisor.cancel()
        lease = (await rooms[minutes].lease())["spec"]
        said = datetime.fromisoformat(lease["renewTime"]) - clock.utc_now()
        assert abs(said - timedelta(minutes=minutes)) < timedelta(minutes=1)
        assert lease["leaseTransitions"] == 0

    await asyncio.gather(*(live(minutes) for minutes in rooms))


async def _supervise(start):
    """Start it again when it has left, as a kubelet does: a busy machine may cost it its lease."""
    while True:
        await start().exit_code(within_seconds=600)


async def _opens_on_time(room, peer, sale_of, pool_of, name, minutes):
    await room.create(pool_of(name))
    applied = reason_is("CapacityApplied", "Applied")
    await room.until("InventoryPool", name, applied, within_seconds=120)
    sale = await room.create(sale_of(name, opens_in=12))
    opens = datetime.fromisoformat(sale["spec"]["openTime"])
    found = await room.until("FlashSale", name, reason_is("Armed", "Loaded"))
    assert clock.utc_now() < opens
    assert told(found, "ClockSynchronized").reason == "Skewed"
    shown = timedelta(milliseconds=found["status"]["clock"]["offsetMillis"])
    assert abs(shown + timedelta(minutes=minutes)) < timedelta(seconds=30)
    assert await peer.reserve(sale) == []
    await until_reserved(peer, sale, within_seconds=30)
    gate = await peer.gate(sale["metadata"]["uid"])
    assert timedelta(0) <= gate.first_reservation_time - opens < timedelta(seconds=5)
    found = await room.until("FlashSale", name, phase_is("Open"))
    assert line_of(found).open_time == opens
    assert line_of(found).armed_time < opens
    reasons = await room.events_of(name)
    assert reasons.count("ClockSkewDetected") == reasons.count("SaleOpened") == 1


async def _clear(api, name):
    allow = {"metadata": {"annotations": {"doorbuster.dev/allow-delete": "true"}}}
    await api.patch("FlashSale", name, allow)
    await api.delete("FlashSale", name)
    await api.delete("InventoryPool", name)
