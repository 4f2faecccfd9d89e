"""Any good sale passes the judge, and any single lie in it is named by the rule that it breaks."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buyers import checker, facts, history, verdict

from .stories import OPEN_MS, SHIFT_MS, SaleStory, intent_of

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(2, 14), st.integers(1, 5))
Lie = Callable[[SaleStory, facts.Snapshot], facts.Snapshot]


def judge(story: SaleStory, snapshot: facts.Snapshot) -> verdict.Verdict:
    return checker.check(story.records, snapshot)


@settings(max_examples=150, deadline=None)
@given(SEEDS, SIZES)
def test_good_sale_passes(seed: int, sizes: tuple[int, int]) -> None:
    story = SaleStory(seed, *sizes)
    result = judge(story, story.snapshot())
    assert result.violations == []
    assert result.unjudged == {}
    assert result.is_promise_held


@settings(max_examples=30, deadline=None)
@given(SEEDS, SIZES, st.sets(st.sampled_from(["inventory", "payment", "order", "psp", "redis"])))
def test_good_sale_passes_whatever_store_is_missing(
    seed: int, sizes: tuple[int, int], missing: set[facts.Store]
) -> None:
    story = SaleStory(seed, *sizes)
    empty: dict[facts.Store, dict[str, Any]] = {
        "inventory": {
            "reservations": [],
            "user_quantities": {},
            "counters": facts.Counters(available=0, reserved=0, sold=0, total=0),
        },
        "payment": {"payments": []},
        "order": {"orders": []},
        "psp": {"intents": []},
        "redis": {"permits": None},
    }
    snapshot = dataclasses.replace(story.snapshot(), missing=frozenset(missing))
    for store in missing:
        snapshot = dataclasses.replace(snapshot, **empty[store])
    result = judge(story, snapshot)
    assert result.violations == []
    assert result.is_fully_judged == (not missing)
    assert result.sold == len(story.orders)


# --- lies: each changes one thing ---------------------------------------------------------------


def sold_order(story: SaleStory) -> str:
    return story.chance.choice([row.order for row in story.reservations if row.state == "SOLD"])


def buyer_of(order: str) -> str:
    return order.removeprefix("order_")


def counters(snapshot: facts.Snapshot, **moves: int) -> facts.Snapshot:
    now = dataclasses.asdict(snapshot.counters)
    changed = {name: now[name] + by for name, by in moves.items()}
    return dataclasses.replace(
        snapshot, counters=dataclasses.replace(snapshot.counters, **changed)
    )


def replaced(story: SaleStory, is_it: Callable[[Any], bool], **changes: Any) -> None:
    at = story.chance.choice([at for at, each in enumerate(story.records) if is_it(each)])
    story.records[at] = type(story.records[at])(
        **{name: getattr(story.records[at], name) for name in story.records[at].__struct_fields__}
        | changes
    )


def is_sample(record: Any) -> bool:
    return isinstance(record, history.Sample)


def is_hold(record: Any) -> bool:
    return isinstance(record, history.Ok) and record.code == "HELD"


def sample_that_does_not_add_up(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    replaced(story, is_sample, total=story.units + 1)
    return snapshot


def sample_below_zero(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    replaced(
        story,
        is_sample,
        available=-1,
        reserved=0,
        sold=story.units + 1,
        ledger_reserved=0,
        ledger_sold=story.units + 1,
    )
    return snapshot


def unit_out_of_nowhere(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    return dataclasses.replace(counters(snapshot, available=1, total=1), permits=snapshot.free + 1)


def sample_off_its_ledger(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    replaced(story, is_sample, ledger_reserved=story.units + 7)
    return snapshot


def sold_without_ledger(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    return counters(snapshot, sold=-1, reserved=1)


def reservation_gone(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    order = sold_order(story)
    rows = [row for row in snapshot.reservations if row.order != order]
    return dataclasses.replace(snapshot, reservations=rows)


def reservation_of_another(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    order = sold_order(story)
    rows = [
        dataclasses.replace(row, user="user_x") if row.order == order else row
        for row in snapshot.reservations
    ]
    return dataclasses.replace(snapshot, reservations=rows)


def hold_for_ever(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    order = sold_order(story)
    rows = [
        dataclasses.replace(row, state="PAYING") if row.order == order else row
        for row in snapshot.reservations
    ]
    return dataclasses.replace(snapshot, reservations=rows)


def payment_gone(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    order = sold_order(story)
    rows = [row for row in snapshot.payments if row.order != order]
    return dataclasses.replace(snapshot, payments=rows)


def order_gone(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    order = sold_order(story)
    return dataclasses.replace(
        snapshot, orders=[row for row in snapshot.orders if row.order != order]
    )


def charged_twice(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    again = intent_of(sold_order(story), 2)
    return dataclasses.replace(snapshot, intents=[*snapshot.intents, again])


def never_charged(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    order = sold_order(story)
    return dataclasses.replace(
        snapshot, intents=[each for each in snapshot.intents if each.order != order]
    )


def event_left(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    return dataclasses.replace(snapshot, pending={"payment": 1})


def one_too_many(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    user = f"user_{buyer_of(sold_order(story))}"
    return dataclasses.replace(snapshot, user_quantities={**snapshot.user_quantities, user: 2})


def early_grant(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    replaced(story, is_hold, at=OPEN_MS - SHIFT_MS - 1.0)
    return snapshot


def charge_nobody_was_told_of(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    order = sold_order(story)
    pays = {
        each.call
        for each in story.records
        if getattr(each, "op", "") == "pay" and each.order == order
    }
    story.records = [each for each in story.records if getattr(each, "call", -1) not in pays]
    return snapshot


def unit_nobody_asked_for(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    order = sold_order(story)
    asked = {
        each.call
        for each in story.records
        if getattr(each, "op", "") == "checkout" and each.buyer == buyer_of(order)
    }
    story.records = [each for each in story.records if getattr(each, "call", -1) not in asked]
    return snapshot


def final_too_early(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    """Somebody hears SOLD_OUT before the first unit is even paid for."""
    first = min(each.at for each in story.records if is_hold(each))
    story.call("b00000", "checkout", "k-early", "SOLD_OUT", at=first - 5)
    return snapshot


def grant_after_the_end(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    order = sold_order(story)
    story.call("b00000", "checkout", "k-x", "SOLD_OUT", at=story.now() + 100)
    story.call(buyer_of(order), "checkout", "k-y", "HELD", at=story.now() + 300, order=order)
    return snapshot


def silent_buyer(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    ends = [each for each in story.records if isinstance(each, history.Ended)]
    story.records.remove(story.chance.choice(ends))
    return snapshot


def phantom_permit(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    return dataclasses.replace(snapshot, permits=snapshot.free + 1)


def key_with_two_orders(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    order = sold_order(story)
    key = f"{buyer_of(order)}-c"
    story.call(buyer_of(order), "checkout", key, "HELD", order="order_other", amount="9.0")
    return snapshot


def key_paid_and_declined(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    order = sold_order(story)
    story.call(buyer_of(order), "pay", f"{buyer_of(order)}-p1", "DECLINED", order=order)
    return snapshot


def key_revived(story: SaleStory, snapshot: facts.Snapshot) -> facts.Snapshot:
    name = buyer_of(sold_order(story))
    at = OPEN_MS - SHIFT_MS - 100
    story.call(name, "checkout", f"{name}-c", "HOLD_EXPIRED", at=at)
    return snapshot


LIES: list[tuple[str, Lie]] = [
    ("I1", sample_that_does_not_add_up),
    ("I1", sample_below_zero),
    ("I1", unit_out_of_nowhere),
    ("I2", sample_off_its_ledger),
    ("I2", sold_without_ledger),
    ("I2", reservation_gone),
    ("I3", reservation_gone),
    ("I3", hold_for_ever),
    ("I3", payment_gone),
    ("I3", order_gone),
    ("I3", charged_twice),
    ("I3", never_charged),
    ("I3", event_left),
    ("I4", one_too_many),
    ("I5", reservation_gone),
    ("I5", reservation_of_another),
    ("I5", payment_gone),
    ("I5", order_gone),
    ("I5", early_grant),
    ("I5", charge_nobody_was_told_of),
    ("I5", unit_nobody_asked_for),
    ("I6", final_too_early),
    ("I6", grant_after_the_end),
    ("I6", silent_buyer),
    ("I7", phantom_permit),
    ("I8", key_with_two_orders),
    ("I8", key_paid_and_declined),
    ("I8", key_revived),
]


@pytest.mark.parametrize(
    ("rule", "lie"), LIES, ids=[f"{rule}-{lie.__name__}" for rule, lie in LIES]
)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, sizes=SIZES)
def test_single_lie_is_named(rule: str, lie: Lie, seed: int, sizes: tuple[int, int]) -> None:
    story = SaleStory(seed, *sizes)
    if not story.orders:
        return  # nobody bought: there is nothing to lie about
    result = judge(story, lie(story, story.snapshot()))
    assert any(sentence.startswith(f"{rule}:") for sentence in result.violations)
    assert not result.is_promise_held


def test_history_of_two_hundred_thousand_calls_is_judged() -> None:
    story = SaleStory(3, buyers=2_000, units=1_000)
    first = 1 + sum(isinstance(each, history.Invoke) for each in story.records)
    waiting = {"buyer": "b00000", "op": "checkout", "at": story.now(), "wall": OPEN_MS}
    for number in range(first, 200_001):
        asked = {"call": number, "key": f"w{number % 5_000}", **waiting}
        story.records.append(history.Invoke(**asked))
        story.records.append(history.Fail(**asked, millis=1.0, code="WAITING"))
    result = judge(story, story.snapshot())
    assert sum(result.calls.values()) == 200_000
    assert result.violations == []
