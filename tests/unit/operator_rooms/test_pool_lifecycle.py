"""The reducer of a pool: stock is a level, applied when it may be, given up when nobody needs it."""

import msgspec
import pytest

from doorbuster_operator.conditions import by_type, condition
from doorbuster_operator.pool import model, resources
from doorbuster_operator.pool.lifecycle import (
    AddFinalizer,
    DropFinalizer,
    Failure,
    PutStock,
    ReleaseStock,
    Seen,
    decide,
)
from doorbuster_operator.testing.builders import OPEN, after, build_pool, build_stock


def test_a_new_pool_is_finalized_before_its_stock_is_set():
    decision = decide(build_pool(is_finalized=False), Seen(), OPEN)
    assert decision.actions == (AddFinalizer(), PutStock(5, 0))


def test_an_applied_level_is_left_alone():
    decision = decide(build_pool(), Seen(stock=build_stock()), OPEN)
    assert decision.actions == ()
    assert by_type(decision.conditions)["Ready"].status == "True"


@pytest.mark.parametrize(
    ("pool", "stock"),
    [
        (build_pool(capacity=7, generation=2), build_stock()),
        (build_pool(safety_stock=1, generation=2), build_stock()),
        (build_pool(), build_stock(owner_uid=None)),
        (build_pool(generation=2), build_stock()),
    ],
)
def test_whatever_differs_is_set_again(pool, stock):
    decision = decide(pool, Seen(stock=stock), OPEN)
    assert decision.actions == (PutStock(pool.spec.capacity, pool.spec.safety_stock),)


def test_a_refusal_is_told_once_and_tried_again_later():
    failure = Failure(reason="BelowCommitted", message="3 sold", retry_at=after(10), generation=2)
    pool = build_pool(capacity=1, generation=2)
    seen = Seen(stock=build_stock(available=2, sold=3), failure=failure)
    first = decide(pool, seen, OPEN)
    assert (first.actions, first.wake_at) == ((), after(10))
    assert [notice.reason for notice in first.notices] == ["StockReductionRefused"]
    told = model.Status(conditions=list(first.conditions))
    again = decide(msgspec.structs.replace(pool, status=told), seen, after(10))
    assert again.actions == (PutStock(1, 0),)
    assert again.notices == ()


def test_a_new_level_is_tried_at_once_whatever_the_old_one_met():
    failure = Failure(reason="BelowCommitted", message="-", retry_at=after(99), generation=2)
    seen = Seen(stock=build_stock(), failure=failure)
    assert decide(build_pool(capacity=9, generation=3), seen, OPEN).actions == (PutStock(9, 0),)


def test_a_silent_inventory_is_asked_nothing():
    seen = Seen(silence="The inventory service does not answer.")
    decision = decide(build_pool(), seen, OPEN)
    assert decision.actions == ()
    assert by_type(decision.conditions)["CapacityApplied"].reason == "InventoryUnavailable"


def test_units_that_are_nowhere_are_told():
    lost = build_stock(available=4, capacity=5)
    decision = decide(build_pool(), Seen(stock=lost), OPEN)
    assert by_type(decision.conditions)["Conserved"].status == "False"
    assert by_type(decision.conditions)["Ready"].reason == "CountersDiffer"
    assert [notice.reason for notice in decision.notices] == ["ConservationError"]


def test_a_raised_level_is_told_with_both_figures():
    status = model.Status(
        capacity=5, conditions=[condition("CapacityApplied", True, "Applied", "")]
    )
    pool = build_pool(capacity=8, generation=2, status=status)
    decision = decide(pool, Seen(stock=build_stock(available=8, generation=2)), OPEN)
    assert [(each.reason, each.message) for each in decision.notices] == [
        ("StockRaised", "The stock is 8 now, it was 5.")
    ]


def test_a_pool_in_use_is_not_let_go():
    deleted = build_pool(is_deleting=True, generation=2)
    decision = decide(deleted, Seen(stock=build_stock(), bound_sales=("drop",)), OPEN)
    assert decision.actions == ()
    assert by_type(decision.conditions)["Ready"].reason == "DeletionBlocked"
    assert [notice.reason for notice in decision.notices] == ["DeletionBlocked"]


def test_a_retained_stock_is_given_up_as_it_is():
    deleted = build_pool(is_deleting=True, generation=2)
    decision = decide(deleted, Seen(stock=build_stock(available=2, sold=3)), OPEN)
    assert decision.actions == (ReleaseStock(), DropFinalizer())


def test_a_deleted_stock_is_lowered_to_what_is_committed():
    deleted = build_pool(is_deleting=True, generation=2, reclaim_policy="Delete")
    stock = build_stock(available=2, reserved=1, sold=2)
    decision = decide(deleted, Seen(stock=stock), OPEN)
    assert decision.actions == (PutStock(3, 0), ReleaseStock(), DropFinalizer())


@pytest.mark.parametrize(
    "stock", [None, build_stock(owner_uid="another"), build_stock(owner_uid=None)]
)
def test_a_stock_that_is_not_ours_is_not_touched_by_our_deletion(stock):
    deleted = build_pool(is_deleting=True, reclaim_policy="Delete")
    assert decide(deleted, Seen(stock=stock), OPEN).actions == (DropFinalizer(),)


def test_deletion_waits_for_a_silent_inventory():
    seen = Seen(stock=build_stock(), silence="The inventory service does not answer.")
    assert decide(build_pool(is_deleting=True), seen, OPEN).actions == ()


def test_the_status_tells_the_stock_and_moves_the_audit_only_with_a_counter():
    pool, seen = build_pool(), Seen(stock=build_stock(available=3, sold=2), bound_sales=("drop",))
    written = resources.status(pool, seen, decide(pool, seen, OPEN), now=OPEN)
    assert {name: written[name] for name in written if name != "conditions"} == {
        "observedGeneration": 1,
        "boundSales": ["drop"],
        "capacity": 5,
        "available": 3,
        "reserved": 0,
        "sold": 2,
        "committed": 2,
        "epoch": 1,
        "lastAuditTime": "2026-11-27T12:00:00Z",
    }
    status = msgspec.convert(written, model.Status)
    known = msgspec.structs.replace(pool, status=status, raw_status=written)
    later = after(500)
    assert resources.status(known, seen, decide(known, seen, later), now=later) == written


def test_the_stock_of_another_pool_is_not_shown_as_ours():
    seen = Seen(stock=build_stock(owner_uid="another"))
    pool = build_pool()
    assert "capacity" not in resources.status(pool, seen, decide(pool, seen, OPEN), now=OPEN)
