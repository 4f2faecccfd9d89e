"""What the crashes at every write found: edges that a restart told again, and a restart that looked too early."""

from types import SimpleNamespace

import msgspec
import pytest

from doorbuster.contracts import control
from doorbuster.kit import client
from doorbuster_operator.conditions import condition
from doorbuster_operator.inventory import Inventory
from doorbuster_operator.pool import model as pool_model
from doorbuster_operator.reconcile import Reconciler
from doorbuster_operator.sale.facts import TargetSeen
from doorbuster_operator.sale.lifecycle import decide
from doorbuster_operator.sale.model import Phase, Scaling, ScalingTarget, Status, Timeline
from doorbuster_operator.sale_keeper import SaleSubject
from doorbuster_operator.testing.builders import OPEN, after, build_gate, build_sale, build_seen

REOPENING = ("SaleResumed", "CapacityNotReady")
OPENED = Status(phase=Phase.OPEN, timeline=Timeline(armed_time=after(-60), open_time=OPEN))


def at_epoch(gate, epoch):
    items = [msgspec.structs.replace(item, epoch=epoch) for item in gate.items]
    return msgspec.structs.replace(gate, items=items)


def keys(status, gate):
    decision = decide(build_sale(status=status), build_seen(gate=gate), after(30))
    return {notice.reason: notice.key for notice in decision.notices}


def test_an_edge_has_one_key_whatever_epoch_a_process_sees():
    gate = build_gate(available=0, sold=5, sold_out_time=after(20))
    assert (
        keys(OPENED, at_epoch(gate, 1))["SaleSoldOut"]
        == (keys(OPENED, at_epoch(gate, 2))["SaleSoldOut"])
    )
    lost = build_gate(armed=False, armed_reason="RedisAway")
    armed = msgspec.structs.replace(OPENED, conditions=[condition("Armed", True, "Loaded", "-")])
    assert keys(armed, at_epoch(lost, 1))["GateLost"] == keys(armed, at_epoch(lost, 2))["GateLost"]


def test_the_next_time_that_a_sale_is_sold_out_is_another_edge():
    told = [
        msgspec.structs.replace(
            condition("SoldOut", False, "UnitsLeft", "-"), last_transition_time=after(seconds)
        )
        for seconds in (0, 20)
    ]
    first, second = (
        keys(
            msgspec.structs.replace(OPENED, conditions=[each]),
            build_gate(available=0, sold=5, sold_out_time=after(20)),
        )
        for each in told
    )
    assert first["SaleSoldOut"] != second["SaleSoldOut"]


def body(name, spec):
    return {
        "metadata": {
            "namespace": "default",
            "name": name,
            "uid": name,
            "resourceVersion": "1",
        },
        "spec": spec,
    }


POOL = body("pool", {"sku": "phone", "capacity": 5})
SALE = body(
    "sale",
    {
        "openTime": "2026-11-27T12:00:00Z",
        "closeTime": "2026-11-27T12:10:00Z",
        "items": [
            {
                "sku": "phone",
                "poolName": "pool",
                "price": {"currency": "USD", "amountMinor": 100},
            }
        ],
    },
)


class Lists:
    async def list(self, plural):
        return [POOL] if plural == pool_model.PLURAL else [SALE]


@pytest.fixture
async def reconciler():
    silent = SimpleNamespace(silence="-", fence=None, offset=None, stocks={}, gates={})
    silent.now = lambda: OPEN
    subject = Reconciler(cluster=Lists(), inventory=silent, topics=SimpleNamespace(), holder="one")
    yield subject
    await subject.stop()


async def test_nothing_is_looked_at_before_everything_was_listed_once(reconciler):
    reconciler.on_sale("ADDED", SALE)
    assert reconciler.known_names == (set(), set()), "its pool would be taken for missing"
    await reconciler.relist()
    assert reconciler.known_names == ({"pool"}, {"sale"})


async def test_what_was_made_anew_while_the_lists_were_read_is_not_forgotten(
    reconciler, monkeypatch
):
    await reconciler.relist()
    again = {
        kind: {**old, "metadata": {**old["metadata"], "uid": "again", "resourceVersion": "9"}}
        for kind, old in (("pool", POOL), ("sale", SALE))
    }

    async def list_nothing(plural):
        if plural != pool_model.PLURAL:  # both went before the lists and came back after them
            reconciler.on_pool("DELETED", POOL)
            reconciler.on_sale("DELETED", SALE)
            reconciler.on_pool("ADDED", again["pool"])
            reconciler.on_sale("ADDED", again["sale"])
        return []

    monkeypatch.setattr(reconciler._cluster, "list", list_nothing)
    await reconciler.relist()
    assert reconciler.known_names == ({"pool"}, {"sale"})

    async def list_none(plural):
        return []

    monkeypatch.setattr(reconciler._cluster, "list", list_none)
    await reconciler.relist()
    assert reconciler.known_names == (set(), set()), "what is gone is forgotten all the same"


def test_permits_that_are_loaded_anew_are_not_lost_for_a_moment():
    world = SimpleNamespace(monotonic=lambda: now)
    subject = SaleSubject(world, "drop", "sale-uid", lambda name: None)
    sale = build_sale(status=Status(conditions=[condition("Armed", True, "Loaded", "-")]))
    reloading = build_gate(armed=False, armed_reason="NotLoaded")
    now = 100.0
    assert subject._steady(sale, reloading).armed
    now += 1.9
    assert subject._steady(sale, reloading).armed
    now += 0.2
    assert not subject._steady(sale, reloading).armed
    assert not subject._steady(sale, build_gate(armed=False, armed_reason="RedisAway")).armed
    assert subject._steady(sale, reloading).armed, "it was something else in between"


def test_a_sale_is_resumed_when_its_gate_is_and_never_held_in_between():
    suspended = msgspec.structs.replace(
        OPENED, conditions=[condition("Open", False, "Suspended", "-")]
    )
    told = []
    for generation, state in ((3, "Suspended"), (4, "Active")):
        gate = build_gate(generation=generation, state=state)
        sale = build_sale(status=suspended, generation=4)
        decision = decide(sale, build_seen(gate=gate), after(30))
        told += [each.reason for each in decision.notices if each.reason in REOPENING]
    assert told == ["SaleResumed"]


class Flaky:
    """An inventory service that answers with nothing, or not at all."""

    is_down = False

    async def call(self, method, path, answer, **_):
        if self.is_down:
            raise client.UnavailableError("away")
        if answer is control.Fence:
            return control.Fence(fence=1)
        empty = {"revision": 1, "server_time": OPEN}
        if answer is control.SaleStates:
            return control.SaleStates(sales=[], **empty)
        return control.PoolStates(pools=[], **empty)


async def test_an_outage_that_came_and_went_between_two_polls_is_no_secret():
    now = 100.0
    service = Flaky()
    inventory = Inventory(
        service, lease=("default", "l"), holder="one", monotonic=lambda: now, utc_now=lambda: OPEN
    )
    await inventory.greet()
    assert (inventory.silence, inventory.silences_ended) == (None, 0)
    service.is_down = True
    with pytest.raises(client.UnavailableError):
        await inventory.read_pools(is_full=True)
    now += 3.0
    assert inventory.silence == "The inventory service does not answer."
    service.is_down = False
    await inventory.read_pools(is_full=True)
    assert (inventory.silence, inventory.silences_ended) == (None, 1)


def test_warm_capacity_is_told_once_for_what_is_asked_whatever_a_new_process_saw_before():
    def key(old, replicas):
        status = Status(timeline=Timeline(armed_time=after(-60)), conditions=[old])
        web = ScalingTarget(name="web", hpa_name="web", warm_replicas=replicas)
        sale = build_sale(status=status, scaling=Scaling(targets=[web]))
        warm = TargetSeen(name="web", demand=replicas, minimum=replicas, ready=replicas)
        seen = build_seen(gate=build_gate(), targets=(warm,))
        notices = decide(sale, seen, after(-30)).notices
        return next(each.key for each in notices if each.reason == "CapacityWarmed")

    cold = condition("CapacityWarmed", False, "NotReady", "-")
    unseen = condition("CapacityWarmed", "Unknown", "NotSeen", "-")
    assert key(cold, 4) == key(unseen, 4) != key(cold, 5)
