"""What a campaign says: one line a write as it goes, and one JSON object at the end."""

import collections
from collections.abc import Sequence

import msgspec

from .campaign import Outcome
from .ending import Ending, differences
from .tape import Spot


class Summary(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The last line. ``differences`` counts runs that differed or broke a rule; ``not_reached`` names writes.

    ``played_again`` counts runs that missed their write or were armed too late by a slow machine.
    """

    writes_in_trace: int
    writes_killed_at: int
    runs: int
    variants: tuple[str, ...] = ("delivered", "withheld")
    differences: int
    not_reached: tuple[str, ...]
    played_again: int
    ended_by_itself: int
    longest_run_seconds: float
    seconds: float


def faults(outcome: Outcome, undisturbed: Ending) -> list[str]:
    """Return all that is wrong about a run."""
    if outcome.ending is None:
        return outcome.violations
    return outcome.violations + differences(undisturbed, outcome.ending)


def line(outcome: Outcome, undisturbed: Ending) -> str:
    """Return one run for the eyes of a person, with what is wrong below it."""
    found = faults(outcome, undisturbed)
    verdict = "differs" if found else "same" if outcome.is_sprung else "not reached"
    first = f"{verdict:>11}  {outcome.seconds:5.1f} s  {outcome.trap}"
    return "\n".join([first, *(f"             ! {each}" for each in found)])


def summarize(
    trace: Sequence[Spot], outcomes: Sequence[Outcome], undisturbed: Ending, seconds: float
) -> Summary:
    """Return the figures of a campaign: a write is killed at when all its variants were."""
    struck = collections.Counter(
        each.trap.spot for each in outcomes if each.is_sprung and each.trap is not None
    )
    variants = 2
    return Summary(
        writes_in_trace=len(trace),
        writes_killed_at=sum(struck[spot] == variants for spot in trace),
        runs=len(outcomes),
        differences=sum(bool(faults(each, undisturbed)) for each in outcomes),
        not_reached=tuple(str(each.trap) for each in outcomes if not each.is_sprung),
        played_again=sum(each.attempts - 1 for each in outcomes),
        ended_by_itself=sum(each.ended_by_itself for each in outcomes),
        longest_run_seconds=round(max((each.seconds for each in outcomes), default=0.0), 1),
        seconds=round(seconds, 1),
    )


def exit_status(summary: Summary) -> int:
    """Return 0 when every write was killed at in every variant and no run differed."""
    is_complete = summary.writes_killed_at == summary.writes_in_trace > 0
    return 0 if is_complete and not summary.differences else 1
