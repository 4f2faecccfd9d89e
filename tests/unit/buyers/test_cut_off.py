"""A history that ends in the middle, a stock that grows in the middle: what can be judged is, the rest is named."""

import dataclasses
import pathlib
import subprocess
import sys

import pytest

from buyers import checker, facts, history
from buyers.stock import Eras

from .stories import SaleStory

CROWD_THAT_IS_KILLED = """
import os, pathlib, signal, sys
from buyers import history
recorder = history.Recorder(pathlib.Path(sys.argv[1]))
recorder.write(history.Run(seed=1, sale="a.b", product="p", open_ms=1, offset_ms=0.0, at=0.0, wall=0.0))
for number in range(100):
    call = recorder.invoke("b1", "checkout", f"k{number}")
    recorder.answered(call, "ok", status=201, code="HELD", order=f"order_{number}")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_crowd_leaves_every_call_it_sent(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "history.jsonl"
    crowd = [sys.executable, "-c", CROWD_THAT_IS_KILLED, str(path)]
    killed = subprocess.run(crowd, check=False, timeout=120, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    seen = facts.index(history.read_history(path))
    assert len(seen.by_key) == 100
    assert not seen.is_finished
    assert sum(calls[0].code == "HELD" for calls in seen.by_key.values()) >= 99


def written(path: pathlib.Path, *more: bytes) -> pathlib.Path:
    recorder = history.Recorder(path)
    for record in SaleStory(1, 4, 2).records:
        recorder.write(record)
    recorder.close()
    path.write_bytes(path.read_bytes() + b"".join(more))
    return path


def test_torn_last_line_is_skipped_and_counted(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path / "history.jsonl", b'{"kind":"invoke","call":99,"buy')
    seen = facts.index(history.read_history(path))
    assert seen.torn_lines == 1
    assert 99 not in {call.invoke.call for calls in seen.by_buyer.values() for call in calls}


def test_broken_line_inside_is_an_error_that_shows_nothing_of_it(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path / "history.jsonl", b'{"kind":"hush"}\n')
    with pytest.raises(history.HistoryError, match="line") as caught:
        list(history.read_history(path))
    assert "hush" not in str(caught.value)


def test_history_of_a_later_program_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "history.jsonl"
    recorder = history.Recorder(path)
    run = SaleStory(1, 2, 1).records[0]
    values = {name: getattr(run, name) for name in run.__struct_fields__}
    recorder.write(history.Run(**(values | {"format": history.FORMAT + 1})))
    recorder.close()
    with pytest.raises(history.HistoryError, match="format"):
        list(history.read_history(path))


def test_cut_off_run_blames_nobody_for_what_was_never_recorded() -> None:
    story = SaleStory(5, 12, 3)
    half = [each for each in story.records if getattr(each, "at", 0) < story.now() - 200]
    result = checker.check(half, story.snapshot())
    assert result.violations == []
    assert result.unjudged["I6"] == checker.CUT_OFF
    assert result.is_promise_held
    assert not result.is_fully_judged


def test_cut_off_run_still_convicts_by_what_was_recorded() -> None:
    story = SaleStory(5, 12, 3)
    half = [each for each in story.records if getattr(each, "at", 0) < story.now() - 200]
    lost = dataclasses.replace(story.snapshot(), reservations=[])
    assert any(sentence.startswith("I5:") for sentence in checker.check(half, lost).violations)


def test_history_alone_convicts_a_shop_that_tells_too_many_they_paid() -> None:
    story = SaleStory(5, 12, 3)
    nothing = dataclasses.replace(
        story.snapshot(),
        counters=facts.Counters(available=0, reserved=0, sold=0, total=0),
        reservations=[],
        user_quantities={},
        payments=[],
        orders=[],
        intents=[],
        permits=None,
        missing=frozenset({"inventory", "checkout", "payment", "order", "psp", "redis"}),
    )
    assert checker.check(story.records, nothing).is_promise_held
    result = checker.check(story.records, nothing, units=2)
    assert result.oversold == 1
    assert any(sentence.startswith("I1:") for sentence in result.violations)
    assert set(result.unjudged) == {"I1", "I2", "I3", "I4", "I5", "I6", "I7"}


# --- a stock that grows -------------------------------------------------------------------------


def restocked(story: SaleStory, returned: int = 0) -> facts.Snapshot:
    """One unit more than before is there at the end, or was given back; nobody bought it."""
    then = story.now() + 300
    left = story.units - len(story.orders)
    for at, more in ((then, 0), (then + 100, 1), (then + 200, 1)):
        story.records.append(
            history.Sample(
                at=at,
                wall=at,
                available=left + more,
                reserved=0,
                sold=len(story.orders),
                total=story.units + more,
                ledger_reserved=0,
                ledger_sold=len(story.orders),
                ledger_returned=returned * more,
            )
        )
    before = story.snapshot()
    counters = dataclasses.replace(
        before.counters, available=left + 1, total=before.counters.total + 1
    )
    return dataclasses.replace(before, counters=counters, permits=left + 1)


def sold_out_story() -> SaleStory:
    for seed in range(100):
        story = SaleStory(seed, 8, 2)
        if len(story.orders) == 2:
            return story
    raise AssertionError("no seed sells out")


def finality(story: SaleStory, snapshot: facts.Snapshot, units: int) -> list[str]:
    result = checker.check(story.records, snapshot, units)
    return [
        each for each in result.violations if "told SOLD_OUT" in each or "after a SOLD" in each
    ]


def test_unit_of_a_restock_may_be_granted_after_a_sold_out() -> None:
    story = sold_out_story()
    snapshot = restocked(story)
    story.call("b00001", "checkout", "k-new", "HELD", at=story.now() + 900, order="order_new")
    assert finality(story, snapshot, 3) == []


def test_unit_without_a_restock_may_not() -> None:
    story = sold_out_story()
    story.call("b00001", "checkout", "k-new", "HELD", at=story.now() + 900, order="order_new")
    assert len(finality(story, story.snapshot(), 2)) == 1


def test_sold_out_told_after_the_restock_is_final_again() -> None:
    story = sold_out_story()
    snapshot = restocked(story)
    story.call("b00002", "checkout", "k-late", "SOLD_OUT", at=story.now() + 700)
    story.call("b00001", "checkout", "k-new", "HELD", at=story.now() + 900, order="order_new")
    assert len(finality(story, snapshot, 3)) == 1


def test_grant_before_the_restock_is_still_a_breach() -> None:
    story = sold_out_story()
    story.call("b00001", "checkout", "k-new", "HELD", at=story.now() + 200, order="order_new")
    assert len(finality(story, restocked(story), 3)) == 1


def test_growth_between_the_last_look_and_the_end_is_seen() -> None:
    story = sold_out_story()
    last = [each for each in story.records if isinstance(each, history.Sample)]
    grown = dataclasses.replace(
        story.snapshot(), counters=facts.Counters(available=1, reserved=0, sold=2, total=3)
    )
    assert Eras.of(last, grown).lows == [last[-1].at]
    assert not Eras.of(last, story.snapshot()).has_growth
