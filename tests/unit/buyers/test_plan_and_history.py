"""The seeded plans, and the history file: what goes in comes out, and nothing private is in it."""

import pathlib

import pytest

from buyers import history, plan


def test_same_seed_is_the_same_crowd_and_a_larger_crowd_begins_with_it() -> None:
    crowd = plan.draw_plans(200, 5)
    assert crowd == plan.draw_plans(200, 5)
    assert crowd == plan.draw_plans(300, 5)[:200]
    assert crowd != plan.draw_plans(200, 6)


def test_addresses_are_distinct_and_every_behaviour_occurs() -> None:
    crowd = plan.draw_plans(1000, 1)
    assert len({buyer.address for buyer in crowd}) == 1000
    for shows in (
        [buyer.presses == 2 for buyer in crowd],
        [buyer.cut_press_after_millis is not None for buyer in crowd],
        [buyer.leaves for buyer in crowd],
        [not buyer.is_able for buyer in crowd],
        [len(buyer.cards) == 2 for buyer in crowd],
        [buyer.pay_clicks == 2 for buyer in crowd],
        [buyer.press_after_millis < 0 for buyer in crowd],
    ):
        assert 20 <= sum(shows) <= 500


@pytest.mark.parametrize("count", [0, -1, plan.MAX_BUYERS + 1])
def test_crowd_outside_its_bounds_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="between"):
        plan.draw_plans(count, 1)


def test_plan_does_not_show_its_cards() -> None:
    assert plan.GOOD_CARD not in repr(plan.draw_plans(10, 1))


def test_history_comes_back_as_it_was_written(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "deep" / "history.jsonl"
    recorder = history.Recorder(path)
    call = recorder.invoke("b1", "checkout", "k1")
    recorder.answered(call, "ok", status=201, code="HELD", order="order_1", pay_by="later")
    recorder.answered(recorder.invoke("b1", "pay", "p1", "order_1"), "unknown")
    recorder.ended("b1", "gave_up")
    recorder.close()
    records = list(history.read_history(path))
    assert [type(record) for record in records] == [
        history.Invoke,
        history.Ok,
        history.Invoke,
        history.Unknown,
        history.Ended,
    ]
    assert records[0] == call
    assert isinstance(records[3], history.Unknown)
    assert records[3].order == "order_1"
    assert recorder.codes == {"HELD": 1, "unknown": 1}
