"""The decisions of inventory, without anything around them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.contracts import control
from doorbuster.escrow import Fate, Gate, Overdue, Snapshot
from doorbuster.inventory import domain
from doorbuster.inventory.usecases.reserve import MAX_ORDERS_PER_TRANSACTION, rounds

OPENING = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
GATE = Gate(sale_uid="sale", open_at_millis=1, close_at_millis=2, state="Active", per_user_limit=1)
FACTS = domain.GateFacts(
    product_id="p",
    epoch=3,
    loaded_run_id="run",
    strategy="Escrow",
    gate=GATE,
    sellable=5,
    returning=0,
)
HELD = Snapshot(epoch=3, permits=5, unsettled=0, gate=GATE)


def build_gate(**changes: object) -> control.SaleGate:
    values = {
        "namespace": "shop",
        "name": "drop",
        "generation": 1,
        "fence": 1,
        "state": "Active",
        "open_time": OPENING,
        "close_time": OPENING + timedelta(hours=1),
        "items": [control.SaleItem(sku="phone", price_minor=1, currency="EUR")],
    }
    return control.SaleGate(**{**values, **changes})


def build_sale(**changes: object) -> domain.StoredSale:
    stored = domain.StoredSale(
        namespace="shop", name="drop", generation=2, fence=2, state="Active"
    )
    return replace(stored, **changes)


def build_pool(**changes: object) -> domain.StoredPool:
    stored = domain.StoredPool(owner_uid="mine", generation=2, fence=2, reserved=3, sold=4)
    return replace(stored, **changes)


def build_spec(**changes: object) -> control.PoolSpec:
    values = {"capacity": 10, "owner_uid": "mine", "generation": 2, "fence": 2}
    return control.PoolSpec(**{**values, **changes})


@pytest.mark.parametrize(
    ("state", "line_epoch", "fate"),
    [
        ("HELD", 3, Fate.KEEP),
        ("PAYING", 3, Fate.KEEP),
        ("SOLD", 3, Fate.KEEP),
        ("RELEASED", 3, Fate.RELEASED),
        ("RETURNED", 3, Fate.RELEASED),
        ("TOMB", None, Fate.RETURN),
        ("HELD", 2, Fate.RETURN),
        ("SOLD", None, Fate.RETURN),
        ("RELEASED", 2, Fate.RETURN),
    ],
)
def test_a_permit_is_kept_only_by_the_reservation_it_bought(state, line_epoch, fate):
    assert domain.fate_of_stored(state, line_epoch, 3) is fate
    permit = Overdue(order_id="o", product_id="p", epoch=3, quantity=1)
    assert domain.bury_verdict(permit, state, {"p": line_epoch}).fate is fate


def settled(outcome: str, **facts: object) -> dict[str, Fate]:
    used = [domain.PermitUsed(order_id="o", product_id=product, epoch=3) for product in ("p", "q")]
    values = {"failed_product": None, "stored_state": None, "stored_epochs": {}}
    ended = domain.settlements(used, outcome=outcome, **{**values, **facts})
    return {one.product_id: one.fate for one in ended}


def test_a_new_reservation_keeps_all_its_permits():
    assert settled("HELD", stored_state="NEW") == {"p": Fate.KEEP, "q": Fate.KEEP}


@pytest.mark.parametrize("outcome", ["WAITING", "SOLD_OUT"])
def test_a_line_without_units_had_a_phantom_and_the_others_go_back(outcome):
    assert settled(outcome, failed_product="p") == {"p": Fate.PHANTOM, "q": Fate.RETURN}


def test_a_stale_permit_is_left_to_the_next_load():
    assert settled("STALE_EPOCH", failed_product="p") == {"q": Fate.RETURN}


@pytest.mark.parametrize(
    "outcome",
    ["USER_LIMIT", "NOT_OPEN", "CLOSED", "SUSPENDED", "PRICE_CHANGED", "UNKNOWN_PRODUCT"],
)
def test_a_refusal_for_another_reason_gives_the_permits_back(outcome):
    assert settled(outcome, failed_product="p") == {"p": Fate.RETURN, "q": Fate.RETURN}


def test_a_repeat_keeps_the_permit_that_bought_and_returns_the_other():
    found = settled("HELD", stored_state="HELD", stored_epochs={"p": 3, "q": 2})
    assert found == {"p": Fate.KEEP, "q": Fate.RETURN}


def test_redis_is_warm_only_when_all_agrees():
    assert domain.is_warm(FACTS, HELD, "run")
    assert not domain.is_warm(FACTS, None, "run")
    assert not domain.is_warm(FACTS, replace(HELD, epoch=2), "run")
    assert not domain.is_warm(FACTS, replace(HELD, gate=replace(GATE, per_user_limit=2)), "run")
    assert not domain.is_warm(FACTS, HELD, "another run")
    assert not domain.is_warm(replace(FACTS, loaded_run_id=None), HELD, "run")


def test_drift_counts_permits_in_flight_and_on_their_way_back():
    held = replace(HELD, permits=2, unsettled=1)
    assert domain.drift(replace(FACTS, returning=2), held) == 0
    assert domain.drift(FACTS, held) == -2


def test_a_drift_is_real_when_it_is_seen_twice_at_one_epoch():
    watch = domain.DriftWatch()
    assert watch.look({"p": (1, -2), "q": (1, 0)}) == []
    assert watch.look({"p": (1, -2), "q": (1, 3)}) == ["p"]
    assert watch.look({"p": (1, -2), "q": (2, 3)}) == []
    assert watch.look({"p": (1, 0), "q": (2, 4)}) == []
    assert watch.look({"p": (1, -2), "q": (2, 4)}) == ["q"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "Armed"),
        ({"is_over": True}, "Over"),
        ({"strategy": "Direct", "facts": None, "held": None}, "NoPermitsNeeded"),
        ({"run_id": None}, "RedisAway"),
        ({"sale_uid": "other"}, "EarlierSaleHoldsGate"),
        ({"facts": None}, "EarlierSaleHoldsGate"),
        ({"held": None}, "NotLoaded"),
    ],
)
def test_a_sale_is_armed_only_when_redis_holds_its_gate(changes, reason):
    values = {
        "facts": FACTS,
        "held": HELD,
        "sale_uid": "sale",
        "is_over": False,
        "strategy": "Escrow",
        "run_id": "run",
        **changes,
    }
    facts, held = values.pop("facts"), values.pop("held")
    assert domain.armed_reason(facts, held, **values) == reason
    assert (reason in domain.ARMED_REASONS) == (reason in {"Armed", "NoPermitsNeeded"})


@pytest.mark.parametrize(
    ("stored", "changes", "error"),
    [
        ({"fence": 9}, {"fence": 8}, domain.StaleEpochError),
        ({"generation": 9}, {"generation": 8, "fence": 9}, domain.StaleEpochError),
        ({"name": "other"}, {"fence": 9}, domain.ResourceConflictError),
        ({"state": "Cancelled"}, {"fence": 9, "generation": 9}, domain.ResourceConflictError),
    ],
)
def test_a_gate_that_may_not_replace_the_stored_one(stored, changes, error):
    with pytest.raises(error):
        domain.check_sale(build_sale(**stored), build_gate(**changes))


def test_a_gate_that_may():
    domain.check_sale(None, build_gate())
    domain.check_sale(build_sale(), build_gate(fence=2, generation=2))
    cancelled = build_gate(fence=3, generation=3, state="Cancelled")
    domain.check_sale(build_sale(state="Cancelled"), cancelled)


@pytest.mark.parametrize(
    ("stored", "changes", "error"),
    [
        ({}, {"owner_uid": "other"}, domain.ResourceConflictError),
        ({}, {"fence": 1}, domain.StaleEpochError),
        ({}, {"generation": 1}, domain.StaleEpochError),
        ({}, {"capacity": 6}, domain.BelowCommittedError),
        ({"owner_uid": None}, {"capacity": 6, "generation": 1}, domain.BelowCommittedError),
    ],
)
def test_a_level_that_may_not_replace_the_stored_one(stored, changes, error):
    with pytest.raises(error):
        domain.check_pool(build_pool(**stored), build_spec(**changes))


def test_a_level_that_may():
    domain.check_pool(build_pool(), build_spec(capacity=7))
    free = build_pool(owner_uid=None, generation=9)
    domain.check_pool(free, build_spec(owner_uid="new", generation=1))


@given(
    st.integers(0, 300),
    st.integers(1, 300),
    st.integers(0, 300),
    st.integers(1, 300),
)
def test_windows_overlap_when_some_minute_is_in_both(start, length, other_start, other_length):
    minute = timedelta(minutes=1)
    window = domain.Window(
        sale="other",
        product_id="p",
        open_at=OPENING + other_start * minute,
        close_at=OPENING + (other_start + other_length) * minute,
    )
    gate = build_gate(
        open_time=OPENING + start * minute, close_time=OPENING + (start + length) * minute
    )
    shared = set(range(start, start + length)) & set(
        range(other_start, other_start + other_length)
    )
    if shared:
        with pytest.raises(domain.OverlapError):
            domain.check_overlap(gate, [window])
    else:
        domain.check_overlap(gate, [window])
    cancelled = build_gate(state="Cancelled", open_time=gate.open_time, close_time=gate.close_time)
    domain.check_overlap(cancelled, [window])


@pytest.mark.parametrize(
    ("verdict", "fate"),
    [
        ("SUCCEEDED", "SOLD"),
        ("FAILED", "DECLINED"),
        ("REVERSED", "RETURNED"),
        ("PENDING", "LATER"),
        ("UNKNOWN", "LATER"),
    ],
)
def test_only_a_final_verdict_moves_a_pin(verdict, fate):
    assert domain.pin_fate(verdict) == fate


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xy")), max_size=30))
def test_no_order_id_comes_twice_in_a_round_and_nobody_is_left_out(items):
    found = rounds(items, lambda item: item[0])
    positions = sorted(position for group in found for same in group.values() for position in same)
    assert positions == list(range(len(items)))
    for group in found:
        for name, same in group.items():
            assert {items[position] for position in same} == {items[same[0]]}
            assert items[same[0]][0] == name


def test_a_round_has_at_most_so_many_orders():
    found = rounds([str(n) for n in range(MAX_ORDERS_PER_TRANSACTION + 1)], str)
    assert [len(group) for group in found] == [MAX_ORDERS_PER_TRANSACTION, 1]
