"""Demands of sales on autoscalers, what is told of them, and the pass that sets minReplicas."""

from datetime import timedelta

import msgspec
import pytest

from doorbuster_operator import autoscaler
from doorbuster_operator.capacity_keeper import LEAST_REST_SECONDS, CapacitySubject
from doorbuster_operator.cluster import ClusterError
from doorbuster_operator.conditions import by_type
from doorbuster_operator.inventory import Inventory
from doorbuster_operator.sale import capacity, model
from doorbuster_operator.sale.facts import DropFinalizer, PutGate, TargetSeen
from doorbuster_operator.sale.lifecycle import decide
from doorbuster_operator.sale.model import Phase, Timeline
from doorbuster_operator.testing.builders import (
    CLOSE,
    OPEN,
    after,
    build_gate,
    build_sale,
    build_seen,
)
from doorbuster_operator.testing.fake_inventory import FakeInventory
from doorbuster_operator.testing.fakes import FakeCluster, FakeTopics
from doorbuster_operator.world import World

COOLDOWN = timedelta(seconds=300)
OPENED = model.Status(phase=Phase.OPEN, timeline=Timeline(armed_time=after(-9), open_time=OPEN))


def build_target(**changes):
    fields = {"name": "web", "hpa_name": "web", "warm_replicas": 10}
    return model.ScalingTarget(**(fields | changes))


def warm_sale(*, phase=Phase.WARMING, name="drop", target=None, closed_at=None, **spec):
    status = model.Status(phase=phase, timeline=Timeline(close_time=closed_at))
    scaling = model.Scaling(targets=[target or build_target()])
    sale = build_sale(**({"status": status, "scaling": scaling} | spec))
    return msgspec.structs.replace(sale, name=name, uid=f"uid-{name}")


def seen_web(**changes):
    fields = {"name": "web", "demand": 10, "minimum": 10, "ready": 9}
    return TargetSeen(**(fields | changes))


def cold_gate(state):
    return build_gate(state=state)


# --- demands --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sale", "seconds", "asked"),
    [
        (warm_sale(phase=Phase.SCHEDULED), -601, 0),
        (warm_sale(phase=Phase.SCHEDULED), -600, 10),
        (warm_sale(phase=Phase.PENDING), -60, 0),
        (warm_sale(phase=Phase.WARMING), -60, 10),
        (warm_sale(phase=Phase.SOLD_OUT), 60, 10),
        (warm_sale(phase=Phase.CLOSED, closed_at=CLOSE), 899, 10),
        (warm_sale(phase=Phase.CLOSED, closed_at=CLOSE), 900, 0),
        (warm_sale(phase=Phase.SETTLED, closed_at=CLOSE), 899, 10),
        (warm_sale(phase=Phase.CANCELLED), -60, 0),
        (warm_sale(phase=Phase.OPEN, desired_state="Cancelled"), 60, 0),
        (warm_sale(phase=Phase.OPEN, desired_state="Suspended"), 60, 10),
        (warm_sale(phase=Phase.OPEN, is_deleting=True), 60, 0),
    ],
)
def test_replicas_are_asked_for_from_the_warm_up_to_the_end_of_the_cool_down(sale, seconds, asked):
    assert capacity.demand(sale, sale.spec.scaling.targets[0], after(seconds)) == asked


def test_overlapping_sales_ask_for_the_highest_of_their_demands():
    sales = [
        warm_sale(name="a", target=build_target(warm_replicas=6)),
        warm_sale(name="b", target=build_target(name="front", warm_replicas=8)),
        warm_sale(name="c", target=build_target(hpa_name="api", warm_replicas=3)),
        warm_sale(name="d", target=build_target(warm_replicas=90), phase=Phase.SCHEDULED),
    ]
    assert capacity.demands(sales, after(-700)) == {"web": 8, "api": 3}
    assert capacity.demands(sales[::-1], after(-700)) == {"web": 8, "api": 3}
    assert capacity.demands(sales, after(-600)) == {"web": 90, "api": 3}
    assert capacity.next_change(sales, after(-700)) == after(-600)


def test_the_next_change_after_a_close_is_the_end_of_the_cool_down():
    sale = warm_sale(phase=Phase.CLOSED, closed_at=CLOSE)
    assert capacity.next_change([sale], after(700)) == CLOSE + COOLDOWN
    assert capacity.next_change([sale], after(900)) is None


# --- an autoscaler --------------------------------------------------------------------------------


def build_scaler(*, base="2", maximum=20, kind="Deployment"):
    cluster = FakeCluster()
    cluster.put_autoscaler("web", maximum=maximum)
    body = cluster.autoscalers["web"]
    body["metadata"]["annotations"] = {} if base is None else {autoscaler.BASE: base}
    body["spec"]["scaleTargetRef"]["kind"] = kind
    return autoscaler.parse(body)


@pytest.mark.parametrize(
    ("base", "demand", "minimum"),
    [("2", 10, 10), ("12", 10, 12), ("2", 0, 2), ("2", 90, 20), (None, 10, None)],
)
def test_min_replicas_are_the_highest_of_base_and_demand_within_the_maximum(base, demand, minimum):
    assert build_scaler(base=base).wanted(demand) == minimum


@pytest.mark.parametrize("mark", [None, "", "0", "-1", "two", "1.5", "٣", "1" * 9])
def test_only_a_whole_number_from_one_marks_an_autoscaler(mark):
    assert build_scaler(base=mark).base is None


def test_an_autoscaler_without_min_replicas_has_one():
    cluster = FakeCluster()
    cluster.put_autoscaler("web")
    del cluster.autoscalers["web"]["spec"]["minReplicas"]
    assert autoscaler.parse(cluster.autoscalers["web"]).minimum == 1


# --- what is told ---------------------------------------------------------------------------------


def look(scaler, *, ready=None, failure=None, **target):
    return capacity.look(build_target(**target), 10, scaler, ready=ready, failure=failure)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (look(None), "HpaMissing"),
        (look(build_scaler(base=None)), "NotMarked"),
        (look(build_scaler(maximum=9)), "BelowMaximum"),
        (look(build_scaler(), ready={}), "DeploymentMissing"),
        (look(build_scaler(kind="StatefulSet"), ready={"web": 10}), "DeploymentMissing"),
        (look(None, failure="403 Forbidden."), "AutoscalingUnavailable"),
        (seen_web(minimum=2), "NotReady"),
        (seen_web(ready=8), "NotReady"),
        (seen_web(minimum=None), "NotSeen"),
        (seen_web(ready=None), "NotSeen"),
        (seen_web(), "Warmed"),
    ],
)
def test_each_state_of_the_capacity_has_its_reason_and_sentence(found, reason):
    decision = decide(warm_sale(), build_seen(gate=build_gate(), targets=(found,)), after(-60))
    told = by_type(decision.conditions)["CapacityWarmed"]
    assert told.reason == reason
    assert told.status == {"Warmed": "True", "NotSeen": "Unknown"}.get(
        reason, "Unknown" if reason == "AutoscalingUnavailable" else "False"
    )
    assert "web" in told.message or reason == "Warmed"


def test_parts_of_a_replica_count_as_one():
    sale = warm_sale(target=build_target(warm_replicas=3))
    assert capacity.needed(sale, sale.spec.scaling.targets[0]) == 3
    none = warm_sale(warmup=model.Warmup(min_ready_percent=0))
    assert capacity.needed(none, none.spec.scaling.targets[0]) == 0


def told_of(sale, seen, now):
    return by_type(decide(sale, seen, now).conditions)["CapacityWarmed"].reason


def test_before_and_after_the_sale_the_condition_says_when():
    early = warm_sale(phase=Phase.SCHEDULED)
    assert told_of(early, build_seen(targets=(seen_web(demand=0),)), after(-3600)) == "NotYet"
    missing = look(None)
    assert told_of(early, build_seen(targets=(missing,)), after(-3600)) == "HpaMissing"
    closed = warm_sale(phase=Phase.CLOSED, closed_at=CLOSE)
    cooling = build_seen(gate=build_gate(reserved=1), targets=(seen_web(),))
    assert told_of(closed, cooling, after(700)) == "CoolingDown"
    back = build_seen(gate=build_gate(reserved=1), targets=(seen_web(demand=0),))
    assert told_of(closed, back, after(950)) == "GivenBack"
    assert told_of(build_sale(), build_seen(), after(-60)) == "NotNeeded"


def test_what_was_told_of_this_spec_stands_until_a_fresh_process_has_looked():
    seen = build_seen(gate=build_gate(), targets=(seen_web(),))
    told = [
        msgspec.structs.replace(each, observed_generation=1)
        for each in decide(warm_sale(), seen, after(-60)).conditions
    ]
    known = warm_sale(status=model.Status(phase=Phase.WARMING, conditions=told))
    fresh = build_seen(gate=build_gate(), targets=(seen_web(minimum=None, ready=None),))
    assert told_of(known, fresh, after(-50)) == "Warmed"
    edited = msgspec.structs.replace(known, generation=2)
    assert told_of(edited, fresh, after(-50)) == "NotSeen"


def reasons(decision):
    return [notice.reason for notice in decision.notices]


def test_warm_capacity_is_told_once():
    seen = build_seen(gate=build_gate(), targets=(seen_web(),))
    first = decide(warm_sale(), seen, after(-60))
    assert "CapacityWarmed" in reasons(first)
    status = model.Status(phase=Phase.WARMING, conditions=list(first.conditions))
    assert "CapacityWarmed" not in reasons(decide(warm_sale(status=status), seen, after(-50)))


def test_a_sale_that_opens_cold_says_so_once():
    seen = build_seen(gate=build_gate(), targets=(seen_web(ready=1),))
    opening = decide(warm_sale(), seen, OPEN)
    assert opening.phase is Phase.OPEN
    assert reasons(opening).count("CapacityNotReady") == 1
    assert "CapacityNotReady" not in reasons(decide(warm_sale(status=OPENED), seen, after(5)))


def test_a_sale_that_opened_and_closed_unseen_is_not_said_to_open_cold():
    seen = build_seen(gate=build_gate(reserved=1), targets=(seen_web(ready=1),))
    unseen = decide(warm_sale(phase=Phase.SCHEDULED), seen, after(700))
    assert unseen.timeline.open_time == OPEN
    assert "CapacityNotReady" not in reasons(unseen)


# --- hold -----------------------------------------------------------------------------------------

HOLD = model.Warmup(on_not_ready="Hold")
COLD, WARM = seen_web(ready=8), seen_web(ready=9)


def held(gate, target, seconds, **sale):
    return decide(
        warm_sale(warmup=HOLD, **sale), build_seen(gate=gate, targets=(target,)), after(seconds)
    )


def test_the_gate_of_a_cold_sale_is_stored_suspended_and_let_go_when_it_is_warm():
    assert held(None, COLD, -60).actions == (PutGate("Suspended", CLOSE),)
    assert held(None, WARM, -60).actions == (PutGate("Active", CLOSE),)
    assert held(cold_gate("Suspended"), COLD, -50).actions == ()
    assert held(cold_gate("Suspended"), WARM, -50).actions == (PutGate("Active", CLOSE),)
    assert held(cold_gate("Suspended"), WARM, 50).actions == (PutGate("Active", CLOSE),)


def test_without_sight_of_the_capacity_the_gate_waits():
    assert held(None, seen_web(minimum=None), -60).actions == (PutGate("Suspended", CLOSE),)


def test_a_gate_that_was_let_go_is_held_again_only_by_an_edit_well_before_the_opening():
    assert held(cold_gate("Active"), COLD, -50).actions == ()
    assert held(cold_gate("Active"), COLD, -50, generation=2).actions == (
        PutGate("Suspended", CLOSE),
    )
    assert held(cold_gate("Active"), COLD, -5, generation=2).actions == (PutGate("Active", CLOSE),)


def test_a_sale_that_has_opened_is_never_held():
    again = held(cold_gate("Suspended"), COLD, 60, status=OPENED)
    assert again.actions == (PutGate("Active", CLOSE),)
    assert held(cold_gate("Active"), COLD, 60, generation=2).actions == (PutGate("Active", CLOSE),)


def test_a_hold_ends_with_the_window():
    over = held(cold_gate("Suspended"), WARM, 600)
    assert (over.phase, over.actions) == (Phase.CLOSED, ())
    assert over.timeline.open_time is None


def test_a_held_opening_is_told_and_its_late_opening_too():
    early = held(cold_gate("Suspended"), COLD, -50)
    assert by_type(early.conditions)["Open"].reason == "HoldPrepared"
    assert "CapacityNotReady" not in reasons(early)
    late = held(cold_gate("Suspended"), COLD, 1)
    assert by_type(late.conditions)["Open"].reason == "Held"
    assert reasons(late).count("CapacityNotReady") == 1
    status = model.Status(phase=Phase.WARMING, conditions=list(late.conditions))
    assert "CapacityNotReady" not in reasons(held(cold_gate("Suspended"), COLD, 2, status=status))
    opened = held(cold_gate("Active"), WARM, 3, status=status)
    assert opened.phase is Phase.OPEN
    assert opened.timeline.open_time == after(3)
    assert "SaleOpenedLate" in reasons(opened)
    assert "SaleResumed" not in reasons(opened)


def test_a_suspended_sale_stays_suspended_however_warm_it_is():
    decision = held(None, WARM, -60, desired_state="Suspended")
    assert decision.actions == (PutGate("Suspended", CLOSE),)


def test_a_deleted_sale_goes_only_when_its_replicas_are_given_back():
    shut = build_gate(state="Cancelled", generation=2)
    deleted = warm_sale(is_deleting=True, generation=2)
    left = build_seen(gate=shut, targets=(seen_web(demand=0, is_returned=False),))
    waiting = decide(deleted, left, after(-9))
    assert waiting.actions == ()
    assert by_type(waiting.conditions)["CapacityWarmed"].reason == "GivingBack"
    refused = seen_web(is_returned=False, problem=("AutoscalingUnavailable", "403 Forbidden."))
    blocked = decide(deleted, build_seen(gate=shut, targets=(refused,)), after(-9))
    told = by_type(blocked.conditions)["CapacityWarmed"]
    assert told.reason == "AutoscalingUnavailable"
    assert told.message == "The sale goes when target web is given back. 403 Forbidden."
    back = build_seen(gate=shut, targets=(seen_web(demand=0),))
    assert decide(deleted, back, after(-9)).actions == (DropFinalizer(),)


# --- the pass -------------------------------------------------------------------------------------


class Stage:
    """One capacity subject over fakes, with a clock that the test moves."""

    def __init__(self):
        self.now = after(-60)
        self.cluster = FakeCluster()
        self.cluster.put_autoscaler("web")
        self.changed = []
        self.writes = []
        inventory = Inventory(
            FakeInventory(utc_now=lambda: self.now),
            lease=("default", "lease"),
            holder="one",
            monotonic=self._seconds,
            utc_now=lambda: self.now,
        )
        self.world = World(
            cluster=self.cluster,
            inventory=inventory,
            topics=FakeTopics(),
            holder="one",
            monotonic=self._seconds,
        )
        self.subject = CapacitySubject(self.world, self.changed.append)

    def _seconds(self):
        return (self.now - OPEN) / timedelta(seconds=1)

    def keep(self, *sales):
        for name in list(self.world.sales):
            self.world.forget_sale(name)
        for sale in sales:
            self.world.keep_sale(sale)

    async def run(self, *, after_seconds=2 * LEAST_REST_SECONDS):
        self.now += timedelta(seconds=after_seconds)
        return await self.subject.run_pass()

    @property
    def minimum(self):
        return self.cluster.autoscalers["web"]["spec"]["minReplicas"]


@pytest.fixture
async def stage():
    built = Stage()
    await built.world.inventory.greet()
    return built


async def test_the_minimum_follows_the_sales_and_comes_back(stage):
    stage.keep(warm_sale(name="a"), warm_sale(name="b", target=build_target(warm_replicas=15)))
    await stage.run()
    assert stage.minimum == 15
    stage.keep(warm_sale(name="a"))
    await stage.run()
    assert stage.minimum == 10
    stage.keep()
    await stage.run()
    assert stage.minimum == 2


async def test_a_fresh_process_gives_back_what_no_sale_asks_for(stage):
    stage.cluster.put_autoscaler("web", minimum=10)
    await stage.run()
    assert stage.minimum == 2


async def test_a_minimum_that_was_changed_by_hand_is_set_right_at_the_next_look(stage):
    await stage.run()
    stage.cluster.put_autoscaler("web", minimum=7)
    again = await stage.run(after_seconds=59)
    assert stage.minimum == 7
    assert again == stage.now + timedelta(seconds=1)
    await stage.run(after_seconds=1)
    assert stage.minimum == 2


async def test_an_autoscaler_that_is_not_marked_is_never_written(stage):
    stage.cluster.put_autoscaler("web", base=None, minimum=4)
    stage.keep(warm_sale())
    await stage.run()
    assert stage.minimum == 4


async def test_any_number_of_sales_costs_one_list_of_each_kind_a_look(stage):
    stage.keep(*(warm_sale(name=f"s-{number}") for number in range(50)))
    await stage.run()
    assert stage.cluster.lists == 2
    await stage.run()
    assert stage.cluster.lists == 2
    stage.keep()
    await stage.run()
    assert stage.cluster.lists == 3


async def test_sales_are_told_when_an_autoscaler_or_its_readiness_changes(stage):
    stage.keep(warm_sale())
    stage.cluster.deployments["web"] = 2
    await stage.run()
    assert "web" in stage.changed.pop()
    await stage.run(after_seconds=2)
    assert stage.changed == []
    stage.cluster.deployments["web"] = 3
    await stage.run(after_seconds=2)
    assert stage.changed == [{"web"}]


async def test_a_list_that_is_refused_is_told_and_tried_again(stage):
    stage.keep(warm_sale(is_deleting=True))
    stage.cluster.refuses_lists = True
    with pytest.raises(ClusterError):
        await stage.run()
    (target,) = stage.world.targets_of(stage.world.sales["drop"], stage.now)
    assert target.problem[0] == "AutoscalingUnavailable"
    assert not target.is_returned, "what cannot be seen was not given back"
    assert "" in stage.changed[-1]
    stage.cluster.refuses_lists = False
    await stage.run()
    (target,) = stage.world.targets_of(stage.world.sales["drop"], stage.now)
    assert (target.problem, target.is_returned) == (None, True)


async def test_a_write_that_is_refused_does_not_keep_the_others(stage):
    stage.cluster.put_autoscaler("api")
    stage.cluster.refused_minimums = {"api"}
    sales = [warm_sale(name=hpa, target=build_target(hpa_name=hpa)) for hpa in ("api", "web")]
    stage.keep(*sales)
    again = await stage.run()
    assert stage.minimum == 10
    assert again == stage.now + timedelta(seconds=5)
    (target,) = stage.world.targets_of(stage.world.sales["api"], stage.now)
    assert target.problem[0] == "AutoscalingUnavailable"


async def test_without_a_fence_nothing_is_touched(stage):
    stage.cluster.put_autoscaler("web", minimum=10)
    stage.world.inventory.fence = None
    await stage.run()
    assert (stage.minimum, stage.cluster.lists) == (10, 0)


def test_of_an_autoscaler_that_nobody_asked_for_yet_nothing_is_known():
    stage = Stage()
    (target,) = stage.world.targets_of(warm_sale(), stage.now)
    assert (target.minimum, target.problem, target.is_returned) == (None, None, False)


async def test_a_pass_that_follows_another_at_once_rests_first(stage):
    await stage.run()
    stage.keep(warm_sale())
    again = await stage.run(after_seconds=0.04)
    assert (stage.minimum, again) == (2, stage.now + timedelta(seconds=0.06))
    await stage.run()
    assert stage.minimum == 10


async def test_a_pass_that_failed_is_followed_by_a_rest_too(stage):
    stage.cluster.refuses_lists = True
    with pytest.raises(ClusterError):
        await stage.run()
    assert await stage.run(after_seconds=0.04) == stage.now + timedelta(seconds=0.06)


async def test_looks_of_deleted_sales_count_the_demands_once_until_a_sale_or_the_time_changes_them(
    stage, monkeypatch
):
    counts = []
    count = capacity.demands
    monkeypatch.setattr(capacity, "demands", lambda *what: counts.append(1) or count(*what))
    sales = [warm_sale(name=f"s-{number}", is_deleting=True) for number in range(20)]
    cooling = warm_sale(name="last", phase=Phase.CLOSED, closed_at=CLOSE)
    stage.keep(*sales, cooling)
    stage.now = after(700)

    def look():
        for sale in sales:
            stage.world.targets_of(sale, stage.now)
        return len(counts), stage.world.demands(stage.now)

    assert look() == (1, {"web": 10})
    settled = msgspec.structs.replace(sales[0].status, phase=Phase.SETTLED)
    stage.world.keep_sale(msgspec.structs.replace(sales[0], status=settled, version=2))
    assert look() == (1, {"web": 10}), "what asks for nothing changes nothing"
    stage.now = after(900)
    assert look() == (2, {})
    stage.world.keep_sale(warm_sale(name="new"))
    assert look() == (3, {"web": 10})
    stage.world.forget_sale("new")
    assert look() == (4, {})
