"""Autoscalers of a real API server: raised for sales, held for, given back; what cannot be warmed is told."""

import asyncio
import signal
from datetime import datetime

import pytest

from doorbuster_operator import cluster
from doorbuster_operator.testing.cluster import Kube
from doorbuster_operator.testing.workloads import Workloads

ALLOW = {"metadata": {"annotations": {"doorbuster.dev/allow-delete": "true"}}}


@pytest.fixture
async def kube(servers):
    """The operator's namespace, with the operator and all its peers up."""
    environment = servers("inventory", "operator")
    async with cluster.connect(environment["KUBECONFIG"]) as connection:
        yield Kube(connection), Workloads(connection)


def target(hpa, replicas, *, cooldown=0):
    fields = {"name": "web", "hpaName": hpa, "warmReplicas": replicas}
    return {"targets": [fields | {"cooldownSeconds": cooldown}]}


def reason_of(kind, reason):
    def holds(found):
        parts = {each["type"]: each for each in found.get("status", {}).get("conditions", [])}
        return kind in parts and parts[kind]["reason"] == reason

    return holds


async def test_overlapping_sales_share_an_autoscaler_and_give_it_back(
    kube, stack, sale_of, pool_of, name
):
    api, workloads = kube
    await workloads.make(name)
    warm = {"leadSeconds": 700}
    for each, replicas in ((f"{name}-a", 6), (f"{name}-b", 10)):
        await api.create(pool_of(each))
        sale = sale_of(each, opens_in=600, warmup=warm, scaling=target(name, replicas))
        await api.create(sale)
    await workloads.until_minimum(name, 10)
    assert await api.until("FlashSale", f"{name}-b", reason_of("CapacityWarmed", "NotReady"))
    await workloads.set_ready(name, 9)
    found = await api.until("FlashSale", f"{name}-b", reason_of("CapacityWarmed", "Warmed"))
    assert found["status"]["scaling"] == [
        {"name": "web", "hpaName": name, "demand": 10, "minReplicas": 10, "readyReplicas": 9}
    ]
    owners = await workloads.owners(name)
    assert owners["doorbuster-operator-capacity"] == {"f:minReplicas": {}}

    await workloads.change(name, {"spec": {"minReplicas": 3}})
    await workloads.until_minimum(name, 10)
    await api.delete("FlashSale", f"{name}-b")
    await api.until_gone("FlashSale", f"{name}-b")
    assert await workloads.minimum(name) == 6, "given back before the sale was gone"

    stack.kill("operator", signal.SIGKILL)
    await api.patch("FlashSale", f"{name}-a", {"spec": {"scaling": {"targets": []}}})
    await asyncio.to_thread(stack.restart, "operator")
    await workloads.until_minimum(name, 2)
    found = await api.until("FlashSale", f"{name}-a", reason_of("CapacityWarmed", "NotNeeded"))
    assert "scaling" not in found["status"]
    await api.delete("FlashSale", f"{name}-a")
    for each in ("a", "b"):
        await api.delete("InventoryPool", f"{name}-{each}")
    await workloads.remove(name)


async def test_a_cold_sale_is_held_over_its_opening_and_never_again(kube, sale_of, pool_of, name):
    api, workloads = kube
    await workloads.make(name)
    await workloads.set_ready(name, 2)
    await api.create(pool_of(name))
    warm = {"leadSeconds": 10, "onNotReady": "Hold", "minReadyPercent": 50}
    await api.create(sale_of(name, opens_in=4, warmup=warm, scaling=target(name, 4)))
    await workloads.set_ready(name, 1)
    held = await api.until("FlashSale", name, reason_of("Open", "Held"))
    assert (held["status"]["phase"], held["status"]["gate"]["state"]) == ("Warming", "Suspended")
    await workloads.set_ready(name, 2)
    opened = await api.until("FlashSale", name, reason_of("Open", "WindowOpen"))
    assert opened["status"]["gate"]["state"] == "Active"
    opened_at = datetime.fromisoformat(opened["status"]["timeline"]["openTime"])
    assert opened_at > datetime.fromisoformat(opened["spec"]["openTime"])
    await workloads.set_ready(name, 0)
    cold = await api.until("FlashSale", name, reason_of("CapacityWarmed", "NotReady"))
    assert (cold["status"]["phase"], cold["status"]["gate"]["state"]) == ("Open", "Active")
    told = await api.events_of(name)
    for once in ("CapacityNotReady", "CapacityWarmed", "SaleOpenedLate"):
        assert told.count(once) == 1, told
    await api.patch("FlashSale", name, {"spec": {"desiredState": "Cancelled"}})
    await workloads.until_minimum(name, 2)
    await api.patch("FlashSale", name, ALLOW)
    await api.delete("FlashSale", name)
    await api.delete("InventoryPool", name)
    await workloads.remove(name)


async def test_what_cannot_be_warmed_is_told_and_followed_when_it_is_mended(
    kube, sale_of, pool_of, name
):
    api, workloads = kube
    await api.create(pool_of(name))
    warm = {"leadSeconds": 700}
    await api.create(sale_of(name, opens_in=600, warmup=warm, scaling=target(name, 10)))
    await api.until("FlashSale", name, reason_of("CapacityWarmed", "HpaMissing"))
    await workloads.make(name, base=None, maximum=4)
    await api.until("FlashSale", name, reason_of("CapacityWarmed", "NotMarked"))
    assert await workloads.minimum(name) == 1
    marks = {"metadata": {"annotations": {"doorbuster.dev/base-min-replicas": "2"}}}
    await workloads.change(name, marks)
    found = await api.until("FlashSale", name, reason_of("CapacityWarmed", "BelowMaximum"))
    assert "raise its maxReplicas" in found["status"]["summary"]
    await workloads.until_minimum(name, 4)
    await workloads.change(name, {"spec": {"maxReplicas": 10}})
    await api.until("FlashSale", name, reason_of("CapacityWarmed", "NotReady"))
    await workloads.until_minimum(name, 10)
    told = await api.events_of(name)
    assert [each for each in told if each in {"HpaMissing", "NotMarked", "BelowMaximum"}] == [
        *("HpaMissing", "NotMarked", "BelowMaximum")
    ]
    await api.delete("FlashSale", name)
    await api.until_gone("FlashSale", name)
    assert await workloads.minimum(name) == 2
    await api.delete("InventoryPool", name)
    await workloads.remove(name)
