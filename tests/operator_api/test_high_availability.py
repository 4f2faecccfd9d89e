"""Two operators side by side on the real API server and inventory: one leads, and only one's writes count."""

import asyncio
import signal
import time

import pytest

from doorbuster_operator import cluster
from doorbuster_operator.sale import model
from doorbuster_operator.testing.cluster import RefusedByServerError
from doorbuster_operator.testing.waits import phase_is, reason_is
from doorbuster_operator.world import state_of

ALLOW = {"metadata": {"annotations": {"doorbuster.dev/allow-delete": "true"}}}


async def until_leads(room, *holders, within_seconds):
    """Wait until one of these has the lease; returns the seconds that it took."""
    began = time.monotonic()
    while (found := await holder_of(room)) not in holders:
        took = time.monotonic() - began
        assert took < within_seconds, f"{found!r} leads after {took:.1f} s, none of {holders}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def holder_of(room):
    try:
        return (await room.lease())["spec"]["holderIdentity"]
    except RefusedByServerError:
        return None


async def test_a_standby_cleans_nothing_up_and_follows_a_leader_that_leaves_or_is_killed(
    room, replica, peer, sale_of, pool_of, name, record_property
):
    one, two = replica("one"), replica("two")
    await asyncio.gather(one.until_ready(), two.until_ready())
    replicas = {"one": one, "two": two}
    await until_leads(room, *replicas, within_seconds=15)
    await room.create(pool_of(name))
    sale = await room.create(sale_of(name, opens_in=2, reservationTimeoutSeconds=10))
    await room.until("FlashSale", name, phase_is("Open"))
    assert len(await peer.reserve(sale)) == 1
    await _delete_while_both_run(room, peer, sale)

    leader = (await room.lease())["spec"]["holderIdentity"]
    other = {"one": "two", "two": "one"}[leader]
    await room.create(sale_of(name, opens_in=2))
    open_sale = await room.until("FlashSale", name, phase_is("Open"))
    uid = open_sale["metadata"]["uid"]
    first = (await peer.gate(uid)).fence
    replicas[leader].send(signal.SIGTERM)
    record_property("seconds_after_sigterm", await until_leads(room, other, within_seconds=6))
    assert await replicas[leader].exit_code(within_seconds=10) == 0
    await room.patch("FlashSale", name, {"spec": {"desiredState": "Suspended"}})
    await room.until("FlashSale", name, reason_is("Open", "Suspended"))
    second = (await peer.gate(uid)).fence
    assert second > first

    await replica("three").until_ready()
    replicas[other].kill()
    record_property("seconds_after_kill", await until_leads(room, "three", within_seconds=12))
    await room.patch("FlashSale", name, {"spec": {"desiredState": "Active"}})
    await room.until("FlashSale", name, reason_is("Open", "WindowOpen"))
    assert (await peer.gate(uid)).fence > second
    assert (await room.events_of(name, uid)).count("SaleOpened") == 1


async def _delete_while_both_run(room, peer, sale):
    """The object stays until its gate is shut and the hold has its fate."""
    name, uid = sale["metadata"]["name"], sale["metadata"]["uid"]
    await room.patch("FlashSale", name, ALLOW)
    await room.delete("FlashSale", name)
    seen = []
    deadline = time.monotonic() + 40
    while await room.get("FlashSale", name) is not None:
        assert time.monotonic() < deadline
        seen.append((await peer.gate(uid)).drained)
        await asyncio.sleep(0.1)
    gate = await peer.gate(uid)
    assert (gate.state, gate.drained) == ("Cancelled", True)
    assert False in seen, "it waited for the hold"


async def test_a_leader_that_was_paused_beyond_its_lease_writes_nothing_and_leaves(
    room, replica, peer, sale_of, pool_of, name
):
    one = await replica("one").until_ready()
    await until_leads(room, "one", within_seconds=5)
    await room.create(pool_of(name))
    sale = await room.create(sale_of(name, opens_in=4))
    uid = sale["metadata"]["uid"]
    await room.until("FlashSale", name, reason_is("Armed", "Loaded"))
    one.send(signal.SIGSTOP)
    await replica("two").until_ready()
    await until_leads(room, "two", within_seconds=12)
    await room.until("FlashSale", name, phase_is("Open"))
    await room.patch("FlashSale", name, {"spec": {"desiredState": "Suspended"}})
    await room.until("FlashSale", name, reason_is("Open", "Suspended"))
    await room.scale(name, 9)
    await room.until("InventoryPool", name, lambda pool: pool["status"]["capacity"] == 9)
    before = [await room.get(kind, name) for kind in ("FlashSale", "InventoryPool")]
    told, stored = await room.events_of(name), await peer.gate(uid)

    one.send(signal.SIGCONT)
    assert await one.exit_code(within_seconds=8) == 1
    after = [await room.get(kind, name) for kind in ("FlashSale", "InventoryPool")]
    # The new leader may still renew counters; what the old one would write is the state before the pause.
    for old, new in zip(before, after, strict=True):
        for part in ("phase", "observedGeneration", "gate", "timeline", "conditions"):
            assert old["status"].get(part) == new["status"].get(part), part
    gate = await peer.gate(uid)
    assert (gate.state, gate.fence, gate.generation) == (
        "Suspended",
        stored.fence,
        stored.generation,
    )
    assert (await peer.pool(name)).capacity == 9
    news = [each for each in await room.events_of(name) if each not in told]
    assert set(news) <= {"StaleEpochRejected"}
    assert await holder_of(room) == "two"


async def test_a_status_that_was_decided_on_an_older_version_is_refused(
    room, servers, sale_of, name
):
    body = await room.create(sale_of(name))
    read = model.parse(body)
    await room.patch("FlashSale", name, {"metadata": {"labels": {"someone": "else"}}})
    async with cluster.connect(servers()["KUBECONFIG"]) as connection:
        subject = cluster.Cluster(connection, name)
        about = state_of(read, model.KIND)
        with pytest.raises(cluster.GoneError, match="modified"):
            await subject.apply_status(about, model.PLURAL, {"phase": "Pending"})
        fresh = model.parse(await room.get("FlashSale", name))
        await subject.apply_status(state_of(fresh, model.KIND), model.PLURAL, {"phase": "Pending"})
        await room.until("FlashSale", name, phase_is("Pending"))


async def test_an_operator_whose_fence_is_stale_says_so_and_leaves_and_a_lease_finds_its_leader_again(
    room, replica, peer, pool_of, name
):
    one = await replica("one").until_ready()
    await room.create(pool_of(name))
    await room.until("InventoryPool", name, reason_is("CapacityApplied", "Applied"))
    await room.delete_lease()
    await until_leads(room, "one", within_seconds=5)

    await peer.take_fence(name)
    await room.scale(name, 8)
    assert await one.exit_code(within_seconds=10) == 1
    assert "StaleEpochRejected" in await room.events_of(name)
    assert (await peer.pool(name)).capacity == 5

    one = replica("one")
    await room.until(
        "InventoryPool", name, lambda pool: pool["status"]["capacity"] == 8, within_seconds=60
    )
    await room.patch_lease({"holderIdentity": "a-ghost"})
    assert await one.exit_code(within_seconds=10) == 1
    assert await holder_of(room) == "a-ghost", "the dead are not told from the living at once"
    await replica("one").until_ready()
    await until_leads(room, "one", within_seconds=15)
