"""What the API server takes and what it refuses, with the sentence that a person reads.

Two things about the API server are worth knowing when a row surprises. A list of type ``map`` is compared by its
keys: items in another order are the same items. And validation is ratcheting: a field that was stored before a rule
came and that an update does not touch is not judged again, so that only rows which change a field can fail for it.
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from doorbuster_operator import cluster
from doorbuster_operator.pool import model as pool_model
from doorbuster_operator.sale import model as sale_model
from doorbuster_operator.testing.cluster import Kube, RefusedByServerError

CRDS = Path(__file__).parents[2] / "crds"
DROP = object()  # as a value: leave the field out
LEAST_ROWS = 80
AT_ONCE = 8


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
        at[last] = value(body) if callable(value) else value
    return changed


def _after(field: str, **shift: float) -> Callable[[dict[str, Any]], str]:
    """A value: the time in ``spec`` that ``field`` names, and this much more."""

    def moved(body: dict[str, Any]) -> str:
        moment = datetime.fromisoformat(body["spec"][field]) + timedelta(**shift)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    return moved


def _target(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "checkout", "hpaName": "checkout", "warmReplicas": 4} | fields]


GOOD_SALES: list[tuple[str, Any]] = [
    ("metadata.name", "n" * 40),
    ("spec.closeTime", _after("openTime", hours=168)),
    ("spec.closeTime", _after("openTime", seconds=1)),
    ("spec.desiredState", "Suspended"),
    ("spec.lateOpenPolicy", "Reject"),
    ("spec.strategy", "Direct"),
    ("spec.strategy", "Lock"),
    ("spec.items.0.sku", "0-a"),
    ("spec.items.0.poolName", "pool.of-1"),
    ("spec.items.0.perUserLimit", 1000),
    ("spec.items.0.quantity", 1),
    ("spec.items.0.price.currency", "JPY"),
    ("spec.items.0.price.amountMinor", 1),
    ("spec.reservationTimeoutSeconds", 10),
    ("spec.reservationTimeoutSeconds", 3600),
    ("spec.admission", {"mode": "WaitingRoom", "ratePerSecond": 1}),
    ("spec.admission", {"mode": "Direct", "ratePerSecond": 100_000}),
    ("spec.warmup.leadSeconds", 10),
    ("spec.warmup", {"minReadyPercent": 0, "onNotReady": "Hold"}),
    ("spec.warmup.minReadyPercent", 100),
    ("spec.scaling.targets", _target()),
    ("spec.scaling.targets", _target(cooldownSeconds=0, hpaName="checkout.v2")),
    ("spec.messaging.partitions", 64),
    ("spec.messaging.reclaimPolicy", "Delete"),
    ("spec.settlement.graceSeconds", 0),
    ("spec.ttlSecondsAfterSettled", 0),
]

BAD_SALES: list[tuple[str, Any, str]] = [
    ("metadata.name", "n" * 41, "a FlashSale's name has at most 40 characters"),
    ("spec", DROP, "spec: Required value"),
    ("spec.openTime", DROP, "spec.openTime: Required value"),
    ("spec.closeTime", DROP, "spec.closeTime: Required value"),
    ("spec.openTime", "noon", 'spec.openTime in body must be of type date-time: "noon"'),
    ("spec.closeTime", _after("openTime"), "closeTime must be after openTime"),
    (
        "spec.closeTime",
        _after("openTime", hours=168, seconds=1),
        "a sale is open for at most 168 hours (7 days)",
    ),
    ("spec.desiredState", "Paused", 'supported values: "Active", "Suspended", "Cancelled"'),
    ("spec.lateOpenPolicy", "Maybe", 'supported values: "OpenImmediately", "Reject"'),
    ("spec.strategy", "Luck", 'supported values: "Escrow", "Direct", "Lock"'),
    ("spec.items", DROP, "spec.items: Required value"),
    ("spec.items", [], "spec.items in body should have at least 1 items"),
    ("spec.items", lambda body: body["spec"]["items"] * 2, "Duplicate value"),
    (
        "spec.items",
        lambda body: [body["spec"]["items"][0] | {"sku": f"s-{number}"} for number in range(65)],
        "spec.items: Too many: 65: must have at most 64 items",
    ),
    ("spec.items.0.sku", DROP, "spec.items[0].sku: Required value"),
    (
        "spec.items.0.sku",
        "iPhone 17",
        "a sku has lower-case letters, digits and dashes and starts with no dash",
    ),
    ("spec.items.0.sku", "-x", "starts with no dash"),
    ("spec.items.0.sku", "x" * 64, "Too long: may not be more than 63 bytes"),
    ("spec.items.0.poolName", DROP, "spec.items[0].poolName: Required value"),
    (
        "spec.items.0.poolName",
        "My Pool",
        "poolName must be the name of an InventoryPool in this namespace",
    ),
    ("spec.items.0.price", DROP, "spec.items[0].price: Required value"),
    (
        "spec.items.0.price.currency",
        "usd",
        "currency must be an ISO 4217 code of three capital letters",
    ),
    ("spec.items.0.price.currency", "DOLLAR", "may not be more than 3 bytes"),
    ("spec.items.0.price.amountMinor", 0, "should be greater than or equal to 1"),
    ("spec.items.0.price.amountMinor", 9.99, "must be of type integer"),
    ("spec.items.0.price.amountMinor", 10**8, "should be less than or equal to 99999999"),
    ("spec.items.0.quantity", 0, "should be greater than or equal to 1"),
    ("spec.items.0.perUserLimit", 0, "should be greater than or equal to 1"),
    ("spec.items.0.perUserLimit", 1001, "should be less than or equal to 1000"),
    ("spec.reservationTimeoutSeconds", 9, "should be greater than or equal to 10"),
    ("spec.reservationTimeoutSeconds", 3601, "should be less than or equal to 3600"),
    ("spec.admission.mode", "Lottery", 'supported values: "Direct", "WaitingRoom"'),
    ("spec.admission.mode", "WaitingRoom", "a WaitingRoom needs ratePerSecond"),
    ("spec.admission.ratePerSecond", 0, "should be greater than or equal to 1"),
    ("spec.admission.ratePerSecond", 100_001, "should be less than or equal to 100000"),
    ("spec.warmup.leadSeconds", 9, "should be greater than or equal to 10"),
    ("spec.warmup.leadSeconds", "soon", "must be of type integer"),
    ("spec.warmup.minReadyPercent", 101, "should be less than or equal to 100"),
    ("spec.warmup.onNotReady", "Wait", 'supported values: "OpenAnyway", "Hold"'),
    ("spec.scaling.targets", [{"name": "checkout"}], "spec.scaling.targets[0].hpaName: Required"),
    ("spec.scaling.targets", _target() * 2, "Duplicate value"),
    (
        "spec.scaling.targets",
        [_target(name=f"t-{number}")[0] for number in range(17)],
        "spec.scaling.targets: Too many: 17: must have at most 16 items",
    ),
    (
        "spec.scaling.targets",
        _target(name="Checkout"),
        "a target's name has lower-case letters, digits and dashes",
    ),
    (
        "spec.scaling.targets",
        _target(hpaName="my hpa"),
        "hpaName must be the name of a HorizontalPodAutoscaler in this namespace",
    ),
    ("spec.scaling.targets", _target(warmReplicas=0), "should be greater than or equal to 1"),
    ("spec.scaling.targets", _target(warmReplicas=1001), "should be less than or equal to 1000"),
    ("spec.scaling.targets", _target(cooldownSeconds=-1), "should be greater than or equal to 0"),
    ("spec.messaging.partitions", 0, "should be greater than or equal to 1"),
    ("spec.messaging.partitions", 65, "should be less than or equal to 64"),
    ("spec.messaging.replicationFactor", 6, "should be less than or equal to 5"),
    ("spec.messaging.retentionSeconds", 60, "should be greater than or equal to 3600"),
    ("spec.messaging.reclaimPolicy", "Keep", 'supported values: "Retain", "Delete"'),
    ("spec.settlement.graceSeconds", -1, "should be greater than or equal to 0"),
    ("spec.ttlSecondsAfterSettled", -1, "should be greater than or equal to 0"),
    ("spec.ttlSecondsAfterSettled", 31_536_001, "should be less than or equal to 31536000"),
]

GOOD_POOLS: list[tuple[str, Any]] = [
    ("spec.capacity", 0),
    ("spec.capacity", 2**31 - 1),
    ("spec.safetyStock", 7),
    ("spec.auditIntervalSeconds", 5),
    ("spec.auditIntervalSeconds", 3600),
    ("spec.reclaimPolicy", "Delete"),
]

BAD_POOLS: list[tuple[str, Any, str]] = [
    ("spec.sku", DROP, "spec.sku: Required value"),
    (
        "spec.sku",
        "No Sku",
        "a sku has lower-case letters, digits and dashes and starts with no dash",
    ),
    ("spec.sku", "x" * 64, "Too long: may not be more than 63 bytes"),
    ("spec.capacity", DROP, "spec.capacity: Required value"),
    ("spec.capacity", -1, "should be greater than or equal to 0"),
    ("spec.capacity", 2**31, "should be less than or equal to 2147483647"),
    ("spec.safetyStock", -1, "should be greater than or equal to 0"),
    ("spec.auditIntervalSeconds", 4, "should be greater than or equal to 5"),
    ("spec.auditIntervalSeconds", 3601, "should be less than or equal to 3600"),
    ("spec.reclaimPolicy", "Keep", 'supported values: "Retain", "Delete"'),
]

# --- updates: kind, the status before, the field, its new value, the words of the refusal or None ------

SALE, POOL = "FlashSale", "InventoryPool"
NEW: dict[str, Any] = {}
ARMED = {"timeline": {"armedTime": "2026-11-22T07:00:00Z"}}
SHUT = {"timeline": ARMED["timeline"] | {"closeTime": "2026-11-22T08:00:00Z"}}
SETTLED, CANCELLED = {"phase": "Settled"}, {"phase": "Cancelled"}
OPEN_LOCKED = "openTime cannot change any more, the gate of this sale is armed"
ITEMS_LOCKED = "items cannot change any more, the gate of this sale is armed"
STRATEGY_LOCKED = "strategy cannot change any more, the gate of this sale is armed"
CLOSE_LOCKED = "closeTime cannot change any more, this sale has closed"
READ_ONLY = "this sale is over, its spec is read-only"
SOONER = _after("openTime", minutes=-1)
LATER = _after("closeTime", minutes=1)


def _reversed(body: dict[str, Any]) -> list[Any]:
    return list(reversed(body["spec"]["items"]))


UPDATES: list[tuple[str, dict[str, Any], str, Any, str | None]] = [
    (SALE, NEW, "spec.openTime", SOONER, None),
    (SALE, NEW, "spec.strategy", "Direct", None),
    (SALE, NEW, "spec.items.0.price.amountMinor", 5, None),
    (SALE, NEW, "spec.messaging.partitions", 4, None),
    (SALE, NEW, "spec.messaging.partitions", 2, "partitions can only grow"),
    (
        SALE,
        NEW,
        "spec.messaging.replicationFactor",
        2,
        "replicationFactor cannot change, the topic exists with it",
    ),
    (SALE, ARMED, "spec.openTime", SOONER, OPEN_LOCKED),
    (SALE, ARMED, "spec.strategy", "Direct", STRATEGY_LOCKED),
    (SALE, ARMED, "spec.items.0.price.amountMinor", 5, ITEMS_LOCKED),
    (SALE, ARMED, "spec.items.0.perUserLimit", 5, ITEMS_LOCKED),
    (SALE, ARMED, "spec.items.0.quantity", 5, ITEMS_LOCKED),
    (SALE, ARMED, "spec.items.0.poolName", "another", ITEMS_LOCKED),
    (SALE, ARMED, "spec.items", _reversed, None),
    (SALE, ARMED, "spec.closeTime", LATER, None),
    (SALE, ARMED, "spec.desiredState", "Suspended", None),
    (SALE, ARMED, "spec.reservationTimeoutSeconds", 60, None),
    (SALE, ARMED, "spec.admission", {"mode": "WaitingRoom", "ratePerSecond": 9}, None),
    (SALE, ARMED, "spec.scaling.targets", _target(), None),
    (SALE, ARMED, "spec.warmup.onNotReady", "Hold", None),
    (SALE, SHUT, "spec.closeTime", LATER, CLOSE_LOCKED),
    (SALE, SHUT, "spec.settlement.graceSeconds", 1, None),
    (SALE, SETTLED, "spec.desiredState", "Suspended", READ_ONLY),
    (SALE, SETTLED, "spec.ttlSecondsAfterSettled", 5, READ_ONLY),
    (SALE, SETTLED, "metadata.labels", {"kept": "yes"}, None),
    (SALE, CANCELLED, "spec.reservationTimeoutSeconds", 60, READ_ONLY),
    (SALE, CANCELLED, "spec.warmup.leadSeconds", 60, READ_ONLY),
    (POOL, NEW, "spec.sku", "another", "a pool keeps its sku for life"),
    (POOL, NEW, "spec.capacity", 12, None),
    (POOL, NEW, "spec.capacity", -1, "should be greater than or equal to 0"),
    (POOL, NEW, "spec.safetyStock", 2, None),
    (POOL, NEW, "spec.auditIntervalSeconds", 4, "should be greater than or equal to 5"),
    (POOL, NEW, "spec.reclaimPolicy", "Delete", None),
]


@pytest.fixture
async def api(servers):
    """A namespace that no operator watches, so that a status stays as a test wrote it."""
    async with cluster.connect(servers("apiserver")["KUBECONFIG"]) as client:
        connection = Kube(client, namespace="crd-contract")
        await connection.ensure_namespace()
        yield connection


async def _all_of(checks: Iterable[Awaitable[str | None]]) -> list[str]:
    """Run some at once; returns what they complain about."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def bounded(check: Awaitable[str | None]) -> str | None:
        async with limit:
            return await check

    return [told for told in await asyncio.gather(*map(bounded, checks)) if told is not None]


async def _judge(what: str, words: str | None, request: Awaitable[Any]) -> str | None:
    """Complain unless the server takes the request, or refuses it in ``words``."""
    try:
        await request
    except RefusedByServerError as error:
        return None if words is not None and words in str(error) else f"{what}: refused: {error}"
    return None if words is None else f"{what}: taken"


async def test_valid_objects_are_taken(api, sale_of, pool_of, name):
    rows = [(sale_of, row) for row in GOOD_SALES] + [(pool_of, row) for row in GOOD_POOLS]
    complaints = await _all_of(
        _judge(
            f"{path}={value}", None, api.create(_change(build(name), path, value), dry_run=True)
        )
        for build, (path, value) in rows
    )
    assert complaints == []


async def test_invalid_objects_are_refused_in_words(api, sale_of, pool_of, name):
    rows = [(sale_of, row) for row in BAD_SALES] + [(pool_of, row) for row in BAD_POOLS]
    complaints = await _all_of(
        _judge(
            f"{path}={value}", words, api.create(_change(build(name), path, value), dry_run=True)
        )
        for build, (path, value, words) in rows
    )
    assert complaints == []


async def test_updates_are_taken_or_refused_in_words(api, sale_of, pool_of, name):
    async def check(number: int) -> str | None:
        kind, status, path, value, words = UPDATES[number]
        own = f"{name}-{number}"
        body = (sale_of if kind == SALE else pool_of)(own)
        if kind == SALE:
            body["spec"]["items"].append(body["spec"]["items"][0] | {"sku": f"{own}-2"})
        stored = await api.create(body)
        if status:
            await api.patch_status(kind, own, status)
        top = path.partition(".")[0]
        changed = {top: _change(stored, path, value)[top]}
        changed.get("metadata", {}).pop("resourceVersion", None)
        told = await _judge(f"{kind} {path}={value}", words, api.patch(kind, own, changed))
        found = await api.get(kind, own)
        if words is not None and found["spec"] != stored["spec"]:
            told = f"{kind} {path}={value}: refused, and changed all the same"
        await api.delete(kind, own)
        return told

    assert await _all_of(check(number) for number in range(len(UPDATES))) == []


def test_the_tables_are_as_long_as_promised_and_name_every_rule():
    rows = len(GOOD_SALES) + len(BAD_SALES) + len(GOOD_POOLS) + len(BAD_POOLS) + len(UPDATES)
    assert rows >= LEAST_ROWS
    told = [row[-1] for row in (*BAD_SALES, *BAD_POOLS, *UPDATES) if row[-1] is not None]
    told.append("a cancelled sale stays cancelled")  # takes two updates: test_crd_contract_steps
    rules = [
        rule["message"]
        for path in CRDS.glob("*.yaml")
        for rule in _rules(yaml.safe_load(path.read_text()))
    ]
    assert len(rules) >= 17
    assert [rule for rule in rules if not any(words in rule for words in told)] == []


def _rules(node: Any) -> list[dict[str, str]]:
    if isinstance(node, dict):
        own = node.get("x-kubernetes-validations", [])
        return own + [rule for child in node.values() for rule in _rules(child)]
    return [rule for child in node for rule in _rules(child)] if isinstance(node, list) else []


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
