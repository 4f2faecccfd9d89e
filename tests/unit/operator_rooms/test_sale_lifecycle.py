"""The reducer of a sale: every phase, every refusal, by example."""

from datetime import timedelta

import msgspec
import pytest

from doorbuster_operator.conditions import by_type, condition, rfc3339
from doorbuster_operator.sale import model
from doorbuster_operator.sale.facts import (
    AddFinalizer,
    CountUnread,
    DeleteSale,
    DropFinalizer,
    DropTopic,
    EnsureTopic,
    Failure,
    PoolSeen,
    PutGate,
)
from doorbuster_operator.sale.lifecycle import decide
from doorbuster_operator.sale.model import Phase, Timeline
from doorbuster_operator.testing.builders import (
    CLOSE,
    OPEN,
    SKU,
    after,
    build_gate,
    build_sale,
    build_seen,
)

OPENED = model.Status(phase=Phase.OPEN, timeline=Timeline(armed_time=after(-9), open_time=OPEN))
CLOSED = model.Status(
    phase=Phase.CLOSED,
    timeline=Timeline(armed_time=after(-9), open_time=OPEN, close_time=CLOSE),
)


@pytest.mark.parametrize(("policy", "moment"), [("Reject", OPEN), ("OpenImmediately", CLOSE)])
def test_a_sale_without_its_pool_looks_again_when_it_has_missed_its_opening(policy, moment):
    sale = build_sale(late_open_policy=policy)
    assert decide(sale, build_seen(pools={}), after(-3600)).wake_at == moment
    assert decide(sale, build_seen(pools={}), moment).phase is Phase.CANCELLED


def test_a_sale_without_its_pool_is_pending_and_touches_nothing():
    decision = decide(build_sale(), build_seen(pools={}), after(-3600))
    assert decision.phase is Phase.PENDING
    assert decision.actions == ()
    assert by_type(decision.conditions)["PoolsBound"].reason == "PoolMissing"
    assert decision.summary == "Waiting: InventoryPool iphone does not exist."


@pytest.mark.parametrize(
    ("pool", "reason"),
    [
        (PoolSeen(sku="other"), "SkuMismatch"),
        (PoolSeen(sku=SKU, is_deleting=True), "PoolDeleting"),
        (PoolSeen(sku=SKU, is_applied=False), "StockNotApplied"),
    ],
)
def test_a_sale_is_bound_only_to_a_pool_that_fits(pool, reason):
    decision = decide(build_sale(), build_seen(pools={"iphone": pool}), after(-60))
    assert decision.phase is Phase.PENDING
    assert by_type(decision.conditions)["PoolsBound"].reason == reason


def test_a_far_sale_is_scheduled_makes_its_topic_and_sleeps_until_the_warm_up():
    sale = build_sale(is_finalized=False)
    decision = decide(sale, build_seen(topic=None, is_topic_free=True), after(-3600))
    assert decision.phase is Phase.SCHEDULED
    assert decision.actions == (AddFinalizer(owns_topic=True), EnsureTopic())
    assert (decision.next_phase, decision.next_time) == (Phase.WARMING, after(-600))
    assert decision.wake_at == after(-600)


def test_the_gate_is_armed_as_soon_as_the_lead_begins():
    decision = decide(build_sale(), build_seen(), after(-600))
    assert decision.phase is Phase.WARMING
    assert decision.actions == (PutGate("Active", CLOSE),)


def test_near_the_opening_the_gate_is_armed_before_the_topic_is_made():
    far = decide(build_sale(), build_seen(topic=None), after(-100))
    near = decide(build_sale(), build_seen(topic=None), after(-5))
    assert far.actions == (EnsureTopic(), PutGate("Active", CLOSE))
    assert near.actions == (PutGate("Active", CLOSE), EnsureTopic())


def test_without_kafka_the_gate_is_armed_all_the_same():
    failure = Failure(reason="KafkaUnavailable", message="-", retry_at=after(-90), generation=1)
    decision = decide(build_sale(), build_seen(topic=None, topic_failure=failure), after(-91))
    assert decision.actions == (PutGate("Active", CLOSE),)
    assert decision.wake_at == after(-90)


def test_an_armed_sale_wants_nothing_and_wakes_at_the_opening():
    decision = decide(build_sale(), build_seen(gate=build_gate()), after(-10))
    assert decision.phase is Phase.WARMING
    assert decision.actions == ()
    assert decision.wake_at == OPEN
    assert decision.is_watched
    assert decision.timeline.armed_time == after(-10)


def test_the_sale_is_open_from_the_very_instant():
    seen = build_seen(gate=build_gate())
    assert decide(build_sale(), seen, OPEN - timedelta(microseconds=1)).phase is Phase.WARMING
    decision = decide(build_sale(), seen, OPEN)
    assert decision.phase is Phase.OPEN
    assert decision.timeline.open_time == OPEN
    assert [notice.reason for notice in decision.notices] == [
        "GateArmed",
        "SaleOpened",
        "SaleAccepted",
    ]


def test_a_gate_that_was_armed_late_opened_when_it_was_armed():
    seen = build_seen(gate=build_gate(), armed_at=after(7))
    decision = decide(build_sale(), seen, after(8))
    assert decision.timeline.open_time == after(7)
    late = next(notice for notice in decision.notices if notice.key == "opened")
    assert (late.reason, late.message) == ("SaleOpenedLate", "The sale opened 7.0 s late.")


def test_reject_never_opens_a_sale_that_missed_its_opening():
    decision = decide(build_sale(late_open_policy="Reject"), build_seen(), OPEN)
    assert decision.phase is Phase.CANCELLED
    assert decision.actions == ()
    assert by_type(decision.conditions)["Open"].reason == "MissedOpening"


def test_reject_does_not_mind_a_gate_that_is_there():
    seen = build_seen(gate=build_gate())
    assert decide(build_sale(late_open_policy="Reject"), seen, after(60)).phase is Phase.OPEN


def test_open_immediately_arms_a_late_sale():
    decision = decide(build_sale(), build_seen(), after(60))
    assert decision.phase is Phase.WARMING
    assert decision.actions == (PutGate("Active", CLOSE),)


def test_a_window_that_is_over_without_a_gate_was_missed():
    assert decide(build_sale(), build_seen(), CLOSE).phase is Phase.CANCELLED


def test_sold_out_needs_every_unit_paid_and_ends_with_new_stock():
    held = build_gate(available=0, reserved=1, sold=4, sold_out_time=after(3))
    gone = build_gate(available=0, sold=5, sold_out_time=after(3), first_reservation_time=after(1))
    sale = build_sale(status=OPENED)
    assert decide(sale, build_seen(gate=held), after(5)).phase is Phase.OPEN
    decision = decide(sale, build_seen(gate=gone), after(5))
    assert decision.phase is Phase.SOLD_OUT
    assert decision.timeline.sold_out_time == after(3)
    assert decision.timeline.open_latency_millis == 1000
    more = build_gate(available=3, sold=5)
    sold_out = build_sale(status=msgspec.structs.replace(OPENED, phase=Phase.SOLD_OUT))
    reopened = decide(sold_out, build_seen(gate=more), after(6))
    assert reopened.phase is Phase.OPEN
    assert [notice.reason for notice in reopened.notices if notice.key.startswith("reop")] == [
        "SaleReopened"
    ]


def test_a_jump_from_scheduled_to_closed_fills_in_the_timeline():
    sale = build_sale(status=model.Status(phase=Phase.SCHEDULED))
    gate = build_gate(
        available=0, sold=5, first_reservation_time=after(0.004), sold_out_time=after(2)
    )
    decision = decide(sale, build_seen(gate=gate), CLOSE + timedelta(hours=8))
    line = decision.timeline
    assert decision.phase is Phase.CLOSED
    assert (line.armed_time, line.open_time, line.close_time) == (OPEN, OPEN, CLOSE)
    assert (line.open_latency_millis, line.sold_out_time) == (4, after(2))


def test_settled_needs_the_grace_the_drain_the_readers_and_the_books():
    sale = build_sale(status=CLOSED)
    late, drained = CLOSE + timedelta(seconds=30), build_gate(available=0, sold=5)
    waiting = {
        "grace": (build_seen(gate=drained, unread=0), late - timedelta(seconds=1)),
        "drain": (build_seen(gate=build_gate(reserved=1, sold=4), unread=0), late),
        "readers": (build_seen(gate=drained, unread=3), late),
        "unknown readers": (build_seen(gate=drained), late),
        "books": (
            build_seen(
                gate=drained, unread=0, pools={"iphone": PoolSeen(sku=SKU, is_conserved=False)}
            ),
            late,
        ),
    }
    for why, (seen, now) in waiting.items():
        assert decide(sale, seen, now).phase is Phase.CLOSED, why
    done = decide(sale, build_seen(gate=drained, unread=0), late)
    assert done.phase is Phase.SETTLED
    assert done.timeline.settle_time == late
    assert done.summary == "Settled: 5 of 5 units sold."


def test_what_is_unread_is_asked_only_after_the_drain_and_the_grace():
    sale, drained = build_sale(status=CLOSED), build_gate(available=5)
    due = CLOSE + timedelta(seconds=30)
    early = decide(sale, build_seen(gate=drained), CLOSE)
    assert (early.actions, early.wake_at) == ((), due)
    assert decide(sale, build_seen(gate=drained), due).actions == (CountUnread(),)
    undrained = build_gate(available=4, reserved=1)
    assert decide(sale, build_seen(gate=undrained), due).actions == ()


def test_cancelled_before_the_opening_is_cancelled_after_it_is_closed():
    cancelled = build_sale(desired_state="Cancelled", generation=2)
    seen = build_seen(gate=build_gate())
    before = decide(cancelled, seen, after(-10))
    assert before.phase is Phase.CANCELLED
    assert before.actions == (PutGate("Cancelled", CLOSE),)
    during = decide(cancelled, seen, after(10))
    assert during.phase is Phase.CLOSED
    assert during.actions == (PutGate("Cancelled", CLOSE),)
    assert during.timeline.open_time == OPEN
    shut = build_gate(state="Cancelled", generation=2)
    opened = model.Status(phase=Phase.OPEN, timeline=during.timeline)
    done = decide(
        msgspec.structs.replace(cancelled, status=opened), build_seen(gate=shut), after(10)
    )
    assert (done.phase, done.timeline.close_time) == (Phase.CLOSED, after(10))


def test_a_later_close_time_opens_a_sale_again_that_closed_unseen():
    longer = build_sale(close_time=after(7200), generation=2, status=OPENED)
    unseen = decide(longer, build_seen(gate=build_gate()), after(620))
    assert unseen.actions == (PutGate("Active", after(7200)),)
    assert unseen.timeline.close_time is None
    gate = build_gate(generation=2, close_time=after(7200))
    assert decide(longer, build_seen(gate=gate), after(900)).phase is Phase.OPEN


def test_cancelled_without_a_gate_leaves_inventory_alone():
    decision = decide(build_sale(desired_state="Cancelled"), build_seen(), after(-10))
    assert (decision.phase, decision.actions) == (Phase.CANCELLED, ())


def test_suspended_keeps_the_phase_and_says_so():
    sale = build_sale(desired_state="Suspended", generation=2, status=OPENED)
    first = decide(sale, build_seen(gate=build_gate()), after(20))
    assert first.actions == (PutGate("Suspended", CLOSE),)
    shut = build_gate(state="Suspended", generation=2)
    decision = decide(sale, build_seen(gate=shut), after(20))
    assert (decision.phase, decision.actions) == (Phase.OPEN, ())
    told = by_type(decision.conditions)["Open"]
    assert (told.status, told.reason) == ("False", "Suspended")


def test_a_sale_that_was_suspended_over_its_opening_opens_when_it_is_resumed():
    shut = build_gate(state="Suspended")
    sale = build_sale(desired_state="Suspended", status=model.Status(phase=Phase.WARMING))
    asleep = decide(sale, build_seen(gate=shut), after(50))
    assert asleep.phase is Phase.WARMING
    assert asleep.timeline.open_time is None
    status = model.Status(phase=Phase.WARMING, conditions=list(asleep.conditions))
    resumed = build_sale(generation=2, status=status)
    awake = decide(resumed, build_seen(gate=build_gate(generation=2)), after(60))
    assert awake.phase is Phase.OPEN
    assert awake.timeline.open_time == after(60)


def test_a_close_time_in_the_past_closes_now_and_a_later_one_is_passed_on():
    past = build_sale(close_time=after(5), generation=2, status=OPENED)
    assert decide(past, build_seen(gate=build_gate()), after(60)).actions == (
        PutGate("Active", after(60)),
    )
    longer = build_sale(close_time=after(7200), generation=2, status=OPENED)
    assert decide(longer, build_seen(gate=build_gate()), after(60)).actions == (
        PutGate("Active", after(7200)),
    )


def test_while_inventory_is_silent_a_sale_keeps_its_phase_and_asks_nothing():
    for phase in (Phase.SCHEDULED, Phase.WARMING, Phase.OPEN, Phase.CLOSED):
        sale = build_sale(status=model.Status(phase=phase))
        seen = build_seen(silence="The inventory service does not answer.")
        decision = decide(sale, seen, after(5000))
        assert decision.phase is phase
        assert not any(isinstance(each, PutGate) for each in decision.actions)
        armed = by_type(decision.conditions)["Armed"]
        assert (armed.status, armed.reason) == ("False", "InventoryUnavailable")


def test_a_refused_sale_is_pending_and_asks_again_later():
    failure = Failure(
        reason="Overlap", message="drop-2", retry_at=after(-50), generation=1, is_refusal=True
    )
    waiting = decide(build_sale(), build_seen(gate_failure=failure), after(-60))
    assert waiting.phase is Phase.PENDING
    assert (waiting.actions, waiting.wake_at) == ((), after(-50))
    assert by_type(waiting.conditions)["Accepted"].reason == "Overlap"
    assert waiting.notices[0].reason == "SaleRefused"
    again = decide(build_sale(), build_seen(gate_failure=failure), after(-50))
    assert again.actions == (PutGate("Active", CLOSE),)


def test_a_new_generation_is_tried_at_once_whatever_the_old_one_met():
    failure = Failure(
        reason="Overlap", message="-", retry_at=after(900), generation=1, is_refusal=True
    )
    decision = decide(build_sale(generation=2), build_seen(gate_failure=failure), after(-60))
    assert decision.phase is Phase.WARMING
    assert decision.actions == (PutGate("Active", CLOSE),)


def test_what_failed_for_an_older_generation_is_not_told_of_the_new_one():
    old = Failure(
        reason="Overlap", message="-", retry_at=after(900), generation=1, is_refusal=True
    )
    seen = build_seen(gate_failure=old, topic_failure=old)
    told = by_type(decide(build_sale(generation=1), seen, after(-3600)).conditions)
    assert {told["Armed"].reason, told["TopicsReady"].reason} == {"Overlap"}
    told = by_type(decide(build_sale(generation=2), seen, after(-3600)).conditions)
    assert (told["Armed"].reason, told["TopicsReady"].reason) == ("NotYet", "Provisioned")


def test_a_lost_gate_is_told_and_its_return_too():
    armed = [condition("Armed", True, "Loaded", "-")]
    status = msgspec.structs.replace(OPENED, conditions=armed)
    lost = build_gate(armed=False, armed_reason="Redis is empty.")
    decision = decide(build_sale(status=status), build_seen(gate=lost), after(9))
    assert decision.phase is Phase.OPEN
    assert by_type(decision.conditions)["Armed"].reason == "GateLost"
    assert "GateLost" in [notice.reason for notice in decision.notices]
    after_loss = msgspec.structs.replace(OPENED, conditions=list(decision.conditions))
    back = decide(build_sale(status=after_loss), build_seen(gate=build_gate()), after(10))
    assert "GateRestored" in [notice.reason for notice in back.notices]


def test_a_skewed_clock_is_told_and_changes_nothing():
    seen = build_seen(gate=build_gate(), offset=timedelta(minutes=10))
    decision = decide(build_sale(), seen, OPEN)
    assert decision.phase is Phase.OPEN
    clock = by_type(decision.conditions)["ClockSynchronized"]
    assert (clock.status, clock.reason) == ("False", "Skewed")


def test_ttl_deletes_a_settled_or_cancelled_sale_in_time_and_not_before():
    line = Timeline(open_time=OPEN, close_time=CLOSE, settle_time=after(700))
    settled = model.Status(phase=Phase.SETTLED, timeline=line)
    sale = build_sale(status=settled, ttl_seconds_after_settled=60)
    early = decide(sale, build_seen(gate=build_gate()), after(759))
    assert (early.actions, early.wake_at) == ((), after(760))
    assert decide(sale, build_seen(gate=build_gate()), after(760)).actions == (DeleteSale(),)
    kept = build_sale(status=settled)
    assert decide(kept, build_seen(gate=build_gate()), after(10**6)).actions == ()


@pytest.mark.parametrize(("ttl", "wakes_after"), [(3, 3), (0, 0.1)])
def test_the_pass_that_ends_a_sale_wakes_again_for_its_ttl(ttl, wakes_after):
    ends = CLOSE + timedelta(seconds=30)
    settling = build_sale(status=CLOSED, ttl_seconds_after_settled=ttl)
    done = decide(settling, build_seen(gate=build_gate(sold=5), unread=0), ends)
    assert (done.phase, done.actions) == (Phase.SETTLED, ())
    assert done.wake_at == ends + timedelta(seconds=wakes_after)

    unarmed = build_sale(desired_state="Cancelled", ttl_seconds_after_settled=ttl)
    over = decide(unarmed, build_seen(), after(-60))
    assert (over.phase, over.actions) == (Phase.CANCELLED, ())
    assert over.wake_at == after(-60 + wakes_after)


def test_deletion_shuts_the_gate_then_drains_then_lets_go():
    deleted = build_sale(is_deleting=True, generation=2, status=OPENED)
    first = decide(deleted, build_seen(gate=build_gate(reserved=1, available=4)), after(9))
    assert first.actions == (PutGate("Cancelled", CLOSE),)
    shut = build_gate(state="Cancelled", generation=2, available=4, reserved=1)
    waiting = decide(deleted, build_seen(gate=shut), after(9))
    assert waiting.actions == ()
    assert waiting.is_watched
    empty = build_gate(state="Cancelled", generation=2)
    assert decide(deleted, build_seen(gate=empty), after(9)).actions == (DropFinalizer(),)


def test_deletion_drops_a_topic_only_when_it_is_read_to_its_end():
    policy = model.Messaging(reclaim_policy="Delete")
    deleted = build_sale(is_deleting=True, status=CLOSED, messaging=policy)
    gate = build_gate(state="Cancelled")
    assert decide(deleted, build_seen(gate=gate), after(999)).actions == (CountUnread(),)
    assert decide(deleted, build_seen(gate=gate, unread=2), after(999)).actions == ()
    done = decide(deleted, build_seen(gate=gate, unread=0), after(999))
    assert done.actions == (DropTopic(), DropFinalizer())


def test_deletion_waits_for_a_silent_inventory():
    deleted = build_sale(is_deleting=True, status=OPENED)
    seen = build_seen(gate=build_gate(), silence="The inventory service does not answer.")
    assert decide(deleted, seen, after(9)).actions == ()


def test_a_topic_is_grown_and_its_retention_followed_but_never_shrunk():
    grown = build_sale(messaging=model.Messaging(partitions=6))
    fewer = build_sale(messaging=model.Messaging(partitions=1))
    shorter = build_sale(messaging=model.Messaging(retention_seconds=3600))
    assert EnsureTopic() in decide(grown, build_seen(), after(-3600)).actions
    assert EnsureTopic() not in decide(fewer, build_seen(), after(-3600)).actions
    assert EnsureTopic() in decide(shorter, build_seen(), after(-3600)).actions


def _told(decision, reason):
    return [notice.message for notice in decision.notices if notice.reason == reason]


def test_the_warm_up_a_new_end_and_a_cancelled_sale_are_told():
    warming = decide(build_sale(), build_seen(), after(-60))
    assert _told(warming, "WarmupStarted") == [
        f"The warm-up begins; the sale opens at {rfc3339(OPEN)}."
    ]
    gate = build_gate()
    later = msgspec.structs.replace(gate, close_time=gate.close_time + timedelta(minutes=10))
    shown = {"gate": {"closeTime": rfc3339(gate.close_time)}}
    for seen, expected in ((gate, 0), (later, 1)):
        decision = decide(
            msgspec.structs.replace(build_sale(), raw_status=shown),
            build_seen(gate=seen),
            after(1),
        )
        assert len(_told(decision, "CloseTimeChanged")) == expected
    cancelled = build_sale(desired_state="Cancelled", status=OPENED)
    closed = decide(cancelled, build_seen(gate=build_gate(state="Cancelled")), after(5))
    assert _told(closed, "SaleClosed") == [
        "The sale was cancelled while it was open; paid orders stand, nothing more is sold."
    ]
