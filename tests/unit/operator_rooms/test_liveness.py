"""What proves that the watch lives, what a list may overrule, and who may still write."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY

from doorbuster_operator import app, cluster, metrics
from doorbuster_operator.election import Election
from doorbuster_operator.pool import model as pool_model
from doorbuster_operator.reconcile import Reconciler
from doorbuster_operator.testing.fakes import FakeLeases
from doorbuster_operator.watch_debt import WatchDebt


class Time:
    """A monotonic clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_silent_watch_over_objects_that_do_not_change_is_no_sign_of_anything():
    time = Time()
    debt = WatchDebt(time)
    debt.tell("uid", 5)
    debt.owe("uid", 5)
    time.now += 3600
    assert debt.age_seconds == 0


def test_a_watch_that_does_not_tell_what_is_known_from_elsewhere_grows_old():
    time = Time()
    debt = WatchDebt(time)
    debt.tell("uid", 5)
    debt.owe("uid", 6)
    time.now += 10
    debt.owe("uid", 7)
    assert debt.age_seconds == 10
    debt.tell("uid", 6)
    assert debt.age_seconds == 0, "it is behind, but it moves"
    time.now += 3
    assert debt.age_seconds == 3
    debt.tell("uid", 7)
    time.now += 3
    assert debt.age_seconds == 0


def test_the_watch_owes_nothing_about_an_object_that_is_gone():
    time = Time()
    debt = WatchDebt(time)
    debt.owe("uid", 6)
    time.now += 10
    debt.forget("uid")
    assert debt.age_seconds == 0


class FakeLists:
    """The API server's lists; ``meanwhile`` runs after they were taken."""

    def __init__(self) -> None:
        self.pools = []
        self.meanwhile = lambda: None

    async def list(self, plural):
        if plural == pool_model.PLURAL:
            return list(self.pools)
        self.meanwhile()
        return []


def pool_body(name, uid, version=1):
    return {
        "metadata": {
            "namespace": "default",
            "name": name,
            "uid": uid,
            "resourceVersion": str(version),
        },
        "spec": {"sku": name, "capacity": 5},
    }


class FakeInventory:
    """Nobody answers."""

    silence = "The inventory service was not reached yet."
    fence = None
    offset = None
    stocks: dict = {}  # noqa: RUF012, nobody writes to it
    gates: dict = {}  # noqa: RUF012

    def now(self):
        raise AssertionError("no pass shall run in these tests")


@pytest.fixture
async def reconciler():
    lists = FakeLists()
    subject = Reconciler(
        cluster=lists, inventory=FakeInventory(), topics=SimpleNamespace(), holder="h"
    )
    yield subject, lists
    await subject.stop()


async def test_a_list_does_not_bring_back_what_the_watch_told_to_be_gone(reconciler):
    subject, lists = reconciler
    body = pool_body("p", "u1")
    lists.pools = [body]
    lists.meanwhile = lambda: subject.on_pool("DELETED", body)
    await subject.relist()
    assert subject.known_names == (set(), set())


async def test_a_list_does_not_forget_what_the_watch_told_to_be_made_meanwhile(reconciler):
    subject, lists = reconciler
    lists.meanwhile = lambda: subject.on_pool("ADDED", pool_body("p", "u1"))
    await subject.relist()
    assert subject.known_names == ({"p"}, set())


async def test_a_late_word_of_the_end_of_a_namesake_does_not_forget_its_successor(reconciler):
    subject, _ = reconciler
    await subject.relist()
    subject.on_pool("ADDED", pool_body("p", "u2", 7))
    subject.on_pool("DELETED", pool_body("p", "u1", 6))
    assert subject.known_names == ({"p"}, set())


async def test_what_only_the_list_told_makes_the_watch_old_until_it_tells_it(reconciler):
    subject, lists = reconciler
    lists.pools = [pool_body("p", "u1", 6)]
    subject.on_pool("ADDED", pool_body("p", "u1", 5))
    await subject.relist()
    assert subject.watch_age_seconds > 0
    subject.on_pool("MODIFIED", pool_body("p", "u1", 6))
    assert subject.watch_age_seconds == 0


async def test_a_stuck_watch_and_a_stuck_lease_are_signs_of_death():
    time = Time()
    election = Election(FakeLeases(), "one", monotonic=time)
    assert await election.try_once()
    signs = app.signs_of_life(election, SimpleNamespace(watch_age_seconds=19), 20)
    await signs["watch"]()
    await signs["lease"]()
    time.now += 60
    signs = app.signs_of_life(election, SimpleNamespace(watch_age_seconds=21), 20)
    for sign in signs.values():
        with pytest.raises(app.StuckError):
            await sign()


async def test_a_process_whose_lease_ran_out_writes_nothing_but_its_last_word():
    sent = []
    leads = [True]

    class Core:
        async def create_namespaced_event(self, *_args, **_options):
            sent.append("event")

    subject = cluster.Cluster(object(), "default", may_write=lambda: leads[0])
    subject._core = Core()
    await subject.tell({})
    leads[0] = False
    with pytest.raises(cluster.NotLeadingError):
        await subject.tell({})
    await subject.tell({}, is_last_word=True)
    assert sent == ["event", "event"]


def test_the_metrics_have_the_names_and_labels_that_dashboards_ask_for():
    metrics.SALE_PHASE.labels("default.a", "Open").set(1)
    found = {family.name: family.type for family in REGISTRY.collect()}
    expected = {
        "controller_runtime_reconcile": "counter",
        "controller_runtime_reconcile_errors": "counter",
        "controller_runtime_reconcile_time_seconds": "histogram",
        "workqueue_depth": "gauge",
        "leader_election_master_status": "gauge",
        "doorbuster_sale_open_delay_seconds": "histogram",
        "doorbuster_sale_phase": "gauge",
        "doorbuster_clock_offset_seconds": "gauge",
        "doorbuster_inventory_conservation_error": "gauge",
        "doorbuster_operator_watch_age_seconds": "gauge",
    }
    assert {name: found.get(name) for name in expected} == expected
    labels = {
        metrics.RECONCILES: ("controller", "result"),
        metrics.RECONCILE_ERRORS: ("controller",),
        metrics.RECONCILE_SECONDS: ("controller",),
        metrics.QUEUE_DEPTH: ("name",),
        metrics.LEADER: ("name",),
        metrics.SALE_PHASE: ("sale", "phase"),
        metrics.CONSERVATION: ("pool",),
    }
    for metric, names in labels.items():
        assert metric._labelnames == names


async def test_a_standby_wakes_at_the_moment_at_which_a_silent_leader_is_over(monkeypatch):
    time, leases = Time(), FakeLeases()
    assert await Election(leases, "one", monotonic=time).try_once()
    standby = Election(leases, "two", monotonic=time)
    time.now += 0.3
    began, pauses = time.now, []

    async def sleep(seconds):
        pauses.append(seconds)
        time.now += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    await standby.acquire()
    assert standby.is_leader
    assert time.now - began == pytest.approx(6.0, abs=0.1)
    assert max(pauses) == 1.0


async def test_a_lease_that_was_written_by_hand_for_a_day_is_waited_for_a_minute():
    time, leases = Time(), FakeLeases()
    assert await Election(leases, "one", monotonic=time).try_once()
    leases.record = replace(leases.record, holder="somebody", duration_seconds=86_400)
    standby = Election(leases, "two", monotonic=time)
    assert not await standby.try_once()
    time.now += 61
    assert await standby.try_once()
