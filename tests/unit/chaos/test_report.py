"""The line of a seed and the JSON of a run."""

import dataclasses

import msgspec

from chaos import report

HELD = report.Outcome(
    seed=1,
    plan="control Escrow",
    faults=("kill:order", "flush:redis"),
    events=(report.Event(at_seconds=0.51, what="kill:order"),),
    violations=(),
    units=5,
    sold=5,
    willing=9,
    rest_seconds=2.5,
    seconds=20.0,
)
BROKEN = dataclasses.replace(HELD, seed=2, sold=4, lost_units=1, violations=("I6: one left",))


def test_a_line_names_what_was_struck_and_the_verdict() -> None:
    assert HELD.line().startswith("seed 1: held: 5 of 5 sold to 9 willing; control Escrow; ")
    assert "kill:order@+0.51s" in HELD.line()
    assert "BROKEN" in BROKEN.line()
    assert "nothing" in dataclasses.replace(HELD, events=()).line()


def test_the_summary_counts_seeds_faults_and_units() -> None:
    summary = report.summarize([HELD, BROKEN], seconds=41.26)
    assert msgspec.json.decode(msgspec.json.encode(summary)) == {
        "seeds": 2,
        "passed": 1,
        "failed": [2],
        "faults": {"flush:redis": 2, "kill:order": 2},
        "buyersAnsweredAll": True,
        "units": 10,
        "sold": 9,
        "oversold": 0,
        "doubleCharges": 0,
        "lostUnits": 1,
        "longestRestSeconds": 2.5,
        "seconds": 41.3,
    }


def test_only_a_run_in_which_something_ran_and_everything_held_is_a_success() -> None:
    assert report.exit_status(report.summarize([HELD], 1.0)) == 0
    assert report.exit_status(report.summarize([HELD, BROKEN], 1.0)) == 1
    assert report.exit_status(report.summarize([], 1.0)) == 1
