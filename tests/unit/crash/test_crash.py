"""The crash tool's own rules: what counts as a write, when the process dies, and when two endings are the same."""

import dataclasses

from crash import cluster_names, ending, report
from crash.campaign import Outcome
from crash.ending import Ending
from crash.tape import Spot, Tape, Trap

SALES = "/apis/doorbuster.dev/v1alpha1/namespaces/n/flashsales/drop"
NOTHING_LEFT = Ending(
    sale={}, pool={}, scaler={}, report={}, events=[], topics=[], gate=None, stock=None
)


class Victim:
    def __init__(self) -> None:
        self.acts: list[str] = []

    async def die(self) -> None:
        self.acts.append("dies")

    async def rise(self) -> None:
        self.acts.append("rises")

    async def hear(self) -> None:
        self.acts.append("hears")


async def struck(*, is_withheld: bool) -> Victim:
    victim = Victim()
    tape = Tape(victim, Trap(Spot("PUT gate", 2), is_withheld))
    for name in ("PUT gate", "PUT stock", "PUT gate", "PUT gate"):
        await tape.take_effect(name, victim.hear)
    assert tape.spots[-1] == Spot("PUT gate", 3)
    return victim


async def test_the_process_dies_once_at_its_write_with_or_without_the_answer():
    heard, deaf = await struck(is_withheld=False), await struck(is_withheld=True)
    assert heard.acts == ["hears", "hears", "hears", "dies", "rises", "hears"]
    assert deaf.acts == ["hears", "hears", "dies", "rises", "hears"]


async def test_renewals_of_the_lease_are_one_write():
    victim = Victim()
    tape = Tape(victim)
    for _ in range(3):
        await tape.take_effect("PUT lease renewed", victim.hear)
    assert tape.spots == [Spot("PUT lease renewed", 1)]


def test_a_patch_that_changes_nothing_is_no_write():
    before = {"metadata": {"resourceVersion": "5"}}
    assert not cluster_names.has_changed(before, {"metadata": {"resourceVersion": "5"}})
    assert cluster_names.has_changed(before, {"metadata": {"resourceVersion": "6"}})
    assert cluster_names.has_changed(None, {"metadata": {}})


def test_the_last_finalizer_is_a_write_though_the_answer_shows_the_old_version():
    metadata = {"resourceVersion": "5", "finalizers": ["doorbuster.dev/operator"]}
    gone = {"metadata": {"resourceVersion": "5"}}
    assert cluster_names.has_changed({"metadata": metadata}, gone)


def test_names_say_what_is_written_and_nothing_of_this_run():
    status = {"phase": "Open", "conditions": [{"type": "Open", "reason": "WindowOpen"}]}
    name = cluster_names.name_of("PATCH", f"{SALES}/status", {}, {"status": status}, None)
    assert name == "PATCH flashsales/status Open WindowOpen"
    sent = {"metadata": {"finalizers": []}}
    assert cluster_names.name_of("PATCH", SALES, sent, {}, None) == "PATCH flashsales/finalizers -"
    assert cluster_names.name_of("DELETE", SALES, {}, {}, None) == "DELETE flashsale"


def test_endings_are_compared_without_times_uids_and_lives():
    told = "Opens at 2026-11-22T17:00:01Z in 12.5 s, fence of 6f2c1b1e-0000-4000-8000-1234567890ab"
    assert ending.plain({"a": told, "fence": 4, "openLatencyMillis": 7}, "n-1") == {
        "a": "Opens at <time> in <n> s, fence of <uid>"
    }


def test_an_event_that_is_missing_or_told_twice_is_a_difference():
    one = dataclasses.replace(NOTHING_LEFT, events=["GateArmed: -"])
    assert ending.differences(one, one) == []
    assert ending.differences(one, NOTHING_LEFT)
    assert ending.differences(one, dataclasses.replace(one, events=one.events * 2))


def test_a_campaign_succeeds_only_when_all_writes_were_killed_at_and_none_differed():
    spot = Spot("PUT gate", 1)
    both = [
        Outcome(Trap(spot, is_withheld), is_sprung=True, ending=NOTHING_LEFT)
        for is_withheld in (False, True)
    ]
    whole = report.summarize([spot], both, NOTHING_LEFT, 1.0)
    assert (whole.writes_in_trace, whole.writes_killed_at, whole.differences) == (1, 1, 0)
    assert report.exit_status(whole) == 0
    assert report.exit_status(report.summarize([spot], both[:1], NOTHING_LEFT, 1.0)) == 1
    other = dataclasses.replace(both[1], violations=["a rule is broken"])
    assert report.exit_status(report.summarize([spot], [both[0], other], NOTHING_LEFT, 1.0)) == 1
