"""What the API server takes and what it refuses, with the sentence that a person reads."""

import copy
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from doorbuster_operator import cluster
from doorbuster_operator.pool import model as pool_model
from doorbuster_operator.sale import model as sale_model
from doorbuster_operator.testing.cluster import Kube

CRDS = Path(__file__).parents[2] / "crds"
DROP = object()  # as a value: leave the field out


def _change(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with the field at ``path`` (dots, numbers for lists) set or dropped."""
    changed = copy.deepcopy(body)
    *way, last = path.split(".")
    at: Any = changed
    for step in way:
        at = at[int(step)] if step.isdigit() else at.setdefault(step, {})
    if value is DROP:
        del at[last]
    else:
        at[last] = value
    return changed


GOOD_SALES = [
    ("spec.desiredState", "Suspended"),
    ("spec.lateOpenPolicy", "Reject"),
    ("spec.strategy", "Direct"),
    ("spec.strategy", "Lock"),
    ("spec.reservationTimeoutSeconds", 10),
    ("spec.reservationTimeoutSeconds", 3600),
    ("spec.items.0.perUserLimit", 1000),
    ("spec.items.0.quantity", 1),
    ("spec.items.0.price.amountMinor", 1),
    ("spec.warmup.leadSeconds", 10),
    ("spec.messaging.partitions", 64),
    ("spec.messaging.reclaimPolicy", "Delete"),
    ("spec.settlement.graceSeconds", 0),
    ("spec.ttlSecondsAfterSettled", 0),
    ("metadata.name", "n" * 40),
]

BAD_SALES = [
    ("metadata.name", "n" * 41, "a FlashSale's name has at most 40 characters"),
    ("spec", DROP, "spec: Required value"),
    ("spec.openTime", DROP, "spec.openTime: Required value"),
    ("spec.closeTime", DROP, "spec.closeTime: Required value"),
    ("spec.openTime", "noon", 'spec.openTime in body must be of type date-time: "noon"'),
    ("spec.closeTime", "2000-01-01T00:00:00Z", "closeTime must be after openTime"),
    ("spec.closeTime", "2099-01-01T00:00:00Z", "a sale is open for at most 168 hours (7 days)"),
    ("spec.desiredState", "Paused", 'supported values: "Active", "Suspended", "Cancelled"'),
    ("spec.lateOpenPolicy", "Maybe", 'supported values: "OpenImmediately", "Reject"'),
    ("spec.strategy", "Luck", 'supported values: "Escrow", "Direct", "Lock"'),
    ("spec.items", DROP, "spec.items: Required value"),
    ("spec.items", [], "spec.items in body should have at least 1 items"),
    ("spec.items.0.sku", DROP, "spec.items[0].sku: Required value"),
    (
        "spec.items.0.sku",
        "iPhone 17",
        "a sku has lower-case letters, digits and dashes and starts with no dash",
    ),
    ("spec.items.0.sku", "-x", "starts with no dash"),
    ("spec.items.0.sku", "x" * 64, "Too long: may not be more than 63 bytes"),
    ("spec.items.0.poolName", DROP, "spec.items[0].poolName: Required value"),
    ("spec.items.0.poolName", "My Pool", "poolName must be the name of an InventoryPool"),
    ("spec.items.0.price", DROP, "spec.items[0].price: Required value"),
    ("spec.items.0.price.currency", "usd", "currency must be an ISO 4217 code of three capital"),
    ("spec.items.0.price.currency", "DOLLAR", "may not be more than 3 bytes"),
    ("spec.items.0.price.amountMinor", 0, "should be greater than or equal to 1"),
    ("spec.items.0.price.amountMinor", 9.99, "must be of type integer"),
    ("spec.items.0.price.amountMinor", 10**8, "should be less than or equal to 99999999"),
    ("spec.items.0.quantity", 0, "should be greater than or equal to 1"),
    ("spec.items.0.perUserLimit", 0, "should be greater than or equal to 1"),
    ("spec.items.0.perUserLimit", 1001, "should be less than or equal to 1000"),
    ("spec.reservationTimeoutSeconds", 9, "should be greater than or equal to 10"),
    ("spec.reservationTimeoutSeconds", 3601, "should be less than or equal to 3600"),
    ("spec.warmup.leadSeconds", 9, "should be greater than or equal to 10"),
    ("spec.warmup.leadSeconds", "soon", "must be of type integer"),
    ("spec.messaging.partitions", 0, "should be greater than or equal to 1"),
    ("spec.messaging.partitions", 65, "should be less than or equal to 64"),
    ("spec.messaging.replicationFactor", 6, "should be less than or equal to 5"),
    ("spec.messaging.retentionSeconds", 60, "should be greater than or equal to 3600"),
    ("spec.messaging.reclaimPolicy", "Keep", 'supported values: "Retain", "Delete"'),
    ("spec.settlement.graceSeconds", -1, "should be greater than or equal to 0"),
    ("spec.ttlSecondsAfterSettled", -1, "should be greater than or equal to 0"),
]

BAD_POOLS = [
    ("spec.sku", DROP, "spec.sku: Required value"),
    ("spec.sku", "No Sku", "a sku has lower-case letters, digits and dashes"),
    ("spec.capacity", DROP, "spec.capacity: Required value"),
    ("spec.capacity", -1, "should be greater than or equal to 0"),
    ("spec.capacity", 2**31, "should be less than or equal to 2147483647"),
    ("spec.safetyStock", -1, "should be greater than or equal to 0"),
    ("spec.auditIntervalSeconds", 4, "should be greater than or equal to 5"),
    ("spec.reclaimPolicy", "Keep", 'supported values: "Retain", "Delete"'),
]


@pytest.mark.parametrize(("path", "value"), GOOD_SALES)
async def test_a_valid_sale_is_taken(api, sale_of, name, path, value):
    await api.create(_change(sale_of(name), path, value), dry_run=True)


@pytest.mark.parametrize(("path", "value", "words"), BAD_SALES)
async def test_an_invalid_sale_is_refused_in_words(api, sale_of, name, path, value, words):
    with pytest.raises(RuntimeError) as caught:
        await api.create(_change(sale_of(name), path, value), dry_run=True)
    assert words in str(caught.value)


@pytest.mark.parametrize(("path", "value", "words"), BAD_POOLS)
async def test_an_invalid_pool_is_refused_in_words(api, pool_of, name, path, value, words):
    with pytest.raises(RuntimeError) as caught:
        await api.create(_change(pool_of(name), path, value), dry_run=True)
    assert words in str(caught.value)


async def test_defaults_are_those_of_the_operators_model(api, sale_of, pool_of, name):
    bare = sale_of(name)
    del bare["spec"]["settlement"]
    stored = await api.create(bare, dry_run=True)
    stored["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    spec = stored["spec"]
    required = {key: spec[key] for key in ("openTime", "closeTime", "items")}
    by_model = sale_model.parse({**stored, "spec": required})
    assert sale_model.parse(stored).spec == by_model.spec

    pool = await api.create(pool_of(name), dry_run=True)
    pool["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    required = {key: pool["spec"][key] for key in ("sku", "capacity")}
    assert pool_model.parse(pool).spec == pool_model.parse({**pool, "spec": required}).spec


async def test_two_items_of_one_sku_are_refused(api, sale_of, name):
    body = sale_of(name)
    body["spec"]["items"] *= 2
    with pytest.raises(RuntimeError, match="Duplicate value"):
        await api.create(body, dry_run=True)


# --- updates --------------------------------------------------------------------------------------


ALLOW = {"metadata": {"annotations": {"doorbuster.dev/allow-delete": "true"}}}


@pytest.fixture
async def api(servers):
    """A namespace that no operator watches, so that a status stays as a test wrote it."""
    async with cluster.connect(servers("apiserver")["KUBECONFIG"]) as client:
        kube = Kube(client, namespace="crd-contract")
        await kube.ensure_namespace()
        yield kube


@pytest.fixture
async def stored(api, sale_of, name):
    """A sale on the API server."""
    yield await api.create(sale_of(name))
    if await api.get("FlashSale", name) is not None:
        await api.patch("FlashSale", name, ALLOW)
        await api.delete("FlashSale", name)


ARMED = {"timeline": {"armedTime": "2026-11-22T07:00:00Z"}}
CLOSED = {"timeline": {"closeTime": "2026-11-22T08:00:00Z"}}
LOCKED = [
    (ARMED, {"openTime": "2026-01-01T00:00:00Z"}, "openTime cannot change any more"),
    (ARMED, {"strategy": "Direct"}, "strategy cannot change any more"),
    (ARMED, {"items": "dearer"}, "items cannot change any more, the gate of this sale is armed"),
    (CLOSED, {"closeTime": "later"}, "closeTime cannot change any more, this sale has closed"),
    ({"phase": "Settled"}, {"desiredState": "Suspended"}, "this sale is over, its spec is read"),
    ({"phase": "Cancelled"}, {"reservationTimeoutSeconds": 60}, "this sale is over"),
    ({}, {"messaging": {"partitions": 2}}, "partitions can only grow"),
    ({}, {"messaging": {"replicationFactor": 2}}, "replicationFactor cannot change"),
]


def _later(stamp: str) -> str:
    """Return a minute after ``stamp``."""
    return (datetime.fromisoformat(stamp) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(("status", "change", "words"), LOCKED)
async def test_what_is_locked_is_refused_in_words(api, stored, name, status, change, words):
    if status:
        await api.patch_status("FlashSale", name, status)
    if change.get("items"):
        dearer = copy.deepcopy(stored["spec"]["items"])
        dearer[0]["price"]["amountMinor"] += 1
        change = {"items": dearer}
    if change.get("closeTime"):
        change = {"closeTime": _later(stored["spec"]["closeTime"])}
    with pytest.raises(RuntimeError) as caught:
        await api.patch("FlashSale", name, {"spec": change})
    assert words in str(caught.value)


async def test_an_armed_sale_may_still_close_later_be_suspended_and_be_cancelled(
    api, stored, name
):
    await api.patch_status("FlashSale", name, ARMED)
    later = _later(stored["spec"]["closeTime"])
    for change in (
        {"closeTime": later},
        {"desiredState": "Suspended"},
        {"messaging": {"partitions": 6}},
        {"desiredState": "Cancelled"},
    ):
        await api.patch("FlashSale", name, {"spec": change})
    with pytest.raises(RuntimeError, match="a cancelled sale stays cancelled"):
        await api.patch("FlashSale", name, {"spec": {"desiredState": "Active"}})


async def test_an_open_sale_is_deleted_only_with_the_annotation(api, stored, name):
    await api.patch_status("FlashSale", name, {"phase": "Open"})
    words = await api.until_denied("FlashSale", name)
    assert "is open: set spec.desiredState to Cancelled first" in words
    await api.patch("FlashSale", name, ALLOW)
    await api.delete("FlashSale", name)
    assert await api.get("FlashSale", name) is None


async def test_a_pool_keeps_its_sku_and_is_scaled_by_its_subresource(api, pool_of, name):
    await api.create(pool_of(name))
    try:
        with pytest.raises(RuntimeError, match="a pool keeps its sku for life"):
            await api.patch("InventoryPool", name, {"spec": {"sku": "another"}})
        await api.scale(name, 12)
        found = await api.get("InventoryPool", name)
        assert found["spec"]["capacity"] == 12
        with pytest.raises(RuntimeError, match="greater than or equal to 0"):
            await api.scale(name, -1)
    finally:
        await api.delete("InventoryPool", name)


def _undescribed(schema: dict[str, Any], path: str) -> list[str]:
    missing = []
    for key, child in schema.get("properties", {}).items():
        here = f"{path}.{key}"
        if here in (".apiVersion", ".kind", ".metadata"):
            continue
        if not child.get("description"):
            missing.append(here)
        missing += _undescribed(child, here)
        missing += _undescribed(child.get("items", {}), f"{here}[]")
    return missing


@pytest.mark.parametrize("path", sorted(CRDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_field_is_described_for_kubectl_explain(path):
    crd = yaml.safe_load(path.read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert len(_undescribed({"properties": {"bare": {}}}, "")) == 1
    assert _undescribed(schema, "") == []
