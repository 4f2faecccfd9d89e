"""The judge on hand-made histories: a good sale passes, and every way to break the promise is named."""

import dataclasses
import math
from typing import Any

import pytest

from buyers import checker, facts, history, verdict

from .short_story import (
    OPEN,
    Story,
    good_snapshot,
    good_story,
    intent,
    order_row,
    payment,
    reservation,
)


def judge(story: Story | None = None, **changes: Any) -> verdict.Verdict:
    snapshot = dataclasses.replace(good_snapshot(), **changes)
    return checker.check((story or good_story()).records, snapshot, 2)


def test_good_sale_holds_the_promise_with_the_right_figures() -> None:
    result = judge()
    assert result.violations == []
    assert result.is_promise_held
    assert (result.buyers, result.units, result.sold, result.refused) == (3, 2, 2, 1)
    assert (result.oversold, result.double_orders, result.double_charges) == (0, 0, 0)
    assert (result.lost_units, result.willing, result.unanswered) == (0, 3, 0)
    assert result.refused_p50_millis == result.refused_p99_millis == 30.0
    assert result.open_delay_millis == 5.0
    assert result.sold_out_after_millis == 640.0
    assert result.terminal_after_millis == 1020.0


def test_report_has_the_names_of_the_promise() -> None:
    report = judge().to_json().decode()
    for name in (
        "buyers units sold oversold doubleOrders doubleCharges lostUnits refused refusedP50Millis "
        "refusedP99Millis openDelayMillis soldOutAfterMillis violations seed promiseHeld"
    ).split():
        assert f'"{name}":' in report


# --- what the stores can give away ---------------------------------------------------------------

STOCK = good_snapshot().counters
BAD_STORES: list[tuple[str, dict[str, Any]]] = [
    ("I1", {"counters": dataclasses.replace(STOCK, available=1)}),
    ("I1", {"counters": dataclasses.replace(STOCK, available=-1, reserved=1)}),
    ("I1", {"counters": dataclasses.replace(STOCK, sold=3, total=3)}),
    ("I2", {"counters": dataclasses.replace(STOCK, available=1, sold=1)}),
    ("I2", {"counters": dataclasses.replace(STOCK, reserved=1, sold=1)}),
    ("I3", {"reservations": [reservation(1), reservation(2, state="PAYING")]}),
    ("I3", {"reservations": [reservation(1), reservation(2), reservation(3, state="HELD")]}),
    ("I3", {"payments": [payment(1)]}),
    ("I3", {"payments": [payment(1), payment(2), payment(3)]}),
    ("I3", {"payments": [payment(1), payment(2), payment(2, attempt=2, state="CONFIRMING")]}),
    ("I3", {"orders": [order_row(1)]}),
    ("I3", {"orders": [order_row(1), order_row(2, status="pending")]}),
    ("I3", {"orders": [order_row(1), order_row(2), order_row(3)]}),
    ("I3", {"intents": [intent(1)]}),
    ("I3", {"intents": [intent(1), intent(2, refunded_minor=99900)]}),
    ("I3", {"intents": [intent(1), intent(2), intent(3)]}),
    ("I3", {"intents": [intent(1), intent(2), intent(3, order=None)]}),
    ("I3", {"intents": [intent(1), intent(2, status="requires_capture")]}),
    ("I3", {"pending": {"payment": 1}}),
    ("I4", {"reservations": [reservation(1), reservation(2, user="user_1")]}),
    ("I4", {"user_quantities": {"user_1": 1}}),
    ("I4", {"user_quantities": {"user_1": 1, "user_2": 1, "user_3": 1}}),
    ("I5", {"reservations": [reservation(1)]}),
    ("I5", {"payments": [payment(1), payment(2, state="DECLINED")]}),
    ("I5", {"orders": [order_row(2)]}),
    ("I5", {"intents": [intent(1), intent(2), intent(9)]}),
    ("I5", {"reservations": [reservation(1), reservation(2, created_ms=OPEN - 1)]}),
    ("I6", {"counters": dataclasses.replace(STOCK, available=1, sold=1)}),
    ("I7", {"permits": 1}),
    ("I7", {"counters": dataclasses.replace(STOCK, available=1, sold=1)}),
]


@pytest.mark.parametrize(("rule", "changes"), BAD_STORES)
def test_bad_store_is_named(rule: str, changes: dict[str, Any]) -> None:
    result = judge(**changes)
    assert any(sentence.startswith(f"{rule}:") for sentence in result.violations)
    assert not result.is_promise_held


def test_unit_more_than_there_are_is_oversold() -> None:
    three = [reservation(1), reservation(2), reservation(3)]
    assert judge(reservations=three).oversold == 1
    assert judge(orders=[order_row(1), order_row(2), order_row(3)]).oversold == 1
    assert judge(intents=[intent(1), intent(2), intent(3)]).oversold == 1
    assert judge(counters=dataclasses.replace(STOCK, sold=3, total=3)).oversold == 1


def test_second_confirmed_order_of_a_buyer_is_a_double_order() -> None:
    assert (
        judge(orders=[order_row(1), order_row(2), order_row(9, user="user_1")]).double_orders == 1
    )


def test_second_live_charge_is_a_double_charge_and_a_refunded_one_is_not() -> None:
    assert judge(intents=[intent(1), intent(2), intent(2, intent="pi_9")]).double_charges == 1
    waits = intent(2, intent="pi_9", status="requires_capture")
    assert judge(intents=[intent(1), intent(2), waits]).double_charges == 1
    back = intent(2, intent="pi_9", refunded_minor=99900)
    cancelled = intent(2, intent="pi_8", status="canceled", captured_minor=0)
    assert judge(intents=[intent(1), intent(2), back, cancelled]).double_charges == 0


def test_unsold_unit_is_lost_only_if_somebody_would_have_paid() -> None:
    unsold = {
        "counters": facts.Counters(available=1, reserved=0, sold=1, total=2),
        "reservations": [reservation(1)],
        "user_quantities": {"user_1": 1},
        "payments": [payment(1)],
        "orders": [order_row(1)],
        "intents": [intent(1)],
        "permits": 1,
    }
    story = Story()
    story.call("b1", "checkout", "k1", "HELD", start=1, order="order_1")
    story.call("b1", "pay", "p1", "PAID", start=100, order="order_1")
    story.end("b1", "paid", 310)
    story.call("b2", "checkout", "k2", "WAITING", start=1)
    story.end("b2", "left", 10)
    story.records[4] = history.Enrolled(buyer="b3", user="user_3", is_able=False)
    story.call("b3", "checkout", "k3", "WAITING", start=1)
    story.end("b3", "no_card", 10)
    assert judge(story, **unsold).is_promise_held
    story.end("b2", "gave_up", 10)  # the last word about b2: he would have paid
    result = judge(story, **unsold)
    assert result.lost_units == 1
    assert result.unanswered == 1


# --- what the history can give away ----------------------------------------------------------------


def sentences(story: Story, rule: str) -> list[str]:
    result = judge(story)
    return [sentence for sentence in result.violations if sentence.startswith(f"{rule}:")]


def test_sample_that_does_not_add_up_or_is_negative_is_named() -> None:
    story = good_story()
    story.sample(60, 1, 2, 0)
    assert len(sentences(story, "I1")) == 1
    story.sample(70, -1, 2, 1)
    assert len(sentences(story, "I1")) == 2


def test_more_buyers_told_paid_than_units_are_named_unless_a_unit_came_back() -> None:
    story = good_story()
    story.call("b3", "checkout", "k4", "HELD", start=1100, order="order_3")
    story.call("b3", "pay", "p4", "PAID", start=1200, order="order_3", transaction="t")
    assert any("3 buyers were told" in said for said in sentences(story, "I1"))
    given_back = dataclasses.replace(reservation(1), state="RETURNED")
    snapshot = dataclasses.replace(
        good_snapshot(), reservations=[given_back, reservation(2), reservation(3)]
    )
    named = checker.check(story.records, snapshot).violations
    assert not any(said.startswith("I1") for said in named)


def test_sample_whose_ledger_differs_is_named() -> None:
    story = good_story()
    story.sample(60, 0, 2, 0, ledger_reserved=1)
    assert len(sentences(story, "I2")) == 1


def test_unit_that_is_free_after_a_sold_out_is_named() -> None:
    story = good_story()
    story.sample(1200, 1, 0, 1)
    assert len(sentences(story, "I6")) == 1


def test_hold_after_a_sold_out_is_named() -> None:
    story = good_story()
    story.call("b2", "checkout", "k2b", "HELD", start=1100, order="order_2")
    assert len(sentences(story, "I6")) == 1


def test_hold_shown_again_after_a_sold_out_is_fine() -> None:
    story = good_story()
    story.call("b1", "checkout", "k1", "HELD", start=1100, order="order_1")
    story.call("b2", "checkout", "k2", "?", start=4, order="order_2")
    assert judge(story).is_promise_held


def test_hold_after_a_lost_reply_is_fine() -> None:
    story = good_story()
    story.call("b2", "checkout", "k9", "?", start=1000, order="order_2")
    story.call("b2", "checkout", "k9", "HELD", start=1100, order="order_2")
    assert sentences(story, "I6") == []


def test_buyer_without_a_final_answer_is_named() -> None:
    story = good_story()
    story.records = [record for record in story.records if not isinstance(record, history.Ended)]
    assert len(sentences(story, "I6")) == 1
    assert judge(story).unanswered == 3


def test_charge_of_a_buyer_who_was_told_no_is_named() -> None:
    story = good_story()
    story.records = [record for record in story.records if getattr(record, "key", "") != "p2"]
    assert len(sentences(story, "I5")) == 1
    story.call("b2", "pay", "p2", "DECLINED", start=100, order="order_2")
    assert len(sentences(story, "I5")) == 1
    story.call("b2", "pay", "p2b", "?", start=150, order="order_2")
    assert sentences(story, "I5") == []


def test_unearned_refusal_and_missing_own_order_are_named() -> None:
    story = good_story()
    story.end("b3", "refused", 1020, "PER_USER_LIMIT")
    assert len(sentences(story, "I5")) == 1
    story.call("b1", "status", "", "UNKNOWN_ORDER", start=200, order="order_1", status=404)
    assert len(sentences(story, "I5")) == 2


def test_answer_before_the_opening_is_named() -> None:
    story = good_story()
    story.call("b1", "checkout", "k1", "HELD", start=-50, millis=10, order="order_1")
    assert len(sentences(story, "I5")) == 1


@pytest.mark.parametrize(
    ("op", "key", "code", "more"),
    [
        ("checkout", "k1", "HELD", {"order": "order_7"}),
        ("checkout", "k1", "SOLD_OUT", {}),
        ("checkout", "k1", "HELD", {"order": "order_1", "amount": "1.0"}),
        ("pay", "p1", "PAID", {"order": "order_1", "transaction": "u"}),
        ("pay", "p1", "DECLINED", {"order": "order_1"}),
    ],
)
def test_key_with_two_outcomes_is_named(
    op: str, key: str, code: str, more: dict[str, Any]
) -> None:
    story = good_story()
    story.call("b1", op, key, code, start=400, **more)
    assert len(sentences(story, "I8")) == 1


def test_call_without_an_end_counts_as_unknown_for_ever() -> None:
    story = good_story()
    story.call("b3", "checkout", "k3", "?", start=6)
    story.records.pop()
    seen = facts.index(story.records)
    assert [call.end for call in seen.by_key["checkout", "k3"] if call.is_unknown] == [math.inf]


def test_history_without_its_run_or_with_an_answer_from_nowhere_is_refused() -> None:
    with pytest.raises(history.HistoryError):
        facts.index(good_story().records[1:])
    with pytest.raises(history.HistoryError):
        facts.index(
            [record for record in good_story().records if type(record) is not history.Invoke]
        )


def test_long_list_of_violations_is_cut_short() -> None:
    story = good_story()
    for number in range(500):
        story.sample(100 + number, 2, 2, 2)
    named = sentences(story, "I1")
    assert len(named) == checker.MAX_SENTENCES_A_RULE + 1
    assert named[-1] == "I1: and 490 more"
