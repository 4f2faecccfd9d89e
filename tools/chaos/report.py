"""What a run says: one line a seed, and one JSON object at the end."""

import collections
import dataclasses
from collections.abc import Sequence

import msgspec
from typing_extensions import override


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """Something the killer did, in seconds after the opening."""

    at_seconds: float
    what: str

    @override
    def __str__(self) -> str:
        return f"{self.what}@{self.at_seconds:+.2f}s"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """One seed's sale: what was struck, what was sold, and which sentences say that a promise was broken."""

    seed: int
    plan: str
    faults: tuple[str, ...]
    events: tuple[Event, ...]
    violations: tuple[str, ...]
    units: int = 0
    sold: int = 0
    willing: int = 0
    oversold: int = 0
    double_charges: int = 0
    lost_units: int = 0
    unanswered: int = 0
    rest_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def is_passed(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.violations

    def line(self) -> str:
        """The seed in one line."""
        verdict = "held" if self.is_passed else "BROKEN"
        struck = ", ".join(str(event) for event in self.events) or "nothing"
        return (
            f"seed {self.seed}: {verdict}: {self.sold} of {self.units} sold to {self.willing} willing; "
            f"{self.plan}; {struck}; at rest after {self.rest_seconds:.1f}s; {self.seconds:.1f}s"
        )


class Summary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The last line of a run."""

    seeds: int
    passed: int
    failed: list[int]
    faults: dict[str, int]
    buyers_answered_all: bool
    units: int
    sold: int
    oversold: int
    double_charges: int
    lost_units: int
    longest_rest_seconds: float
    seconds: float


def summarize(outcomes: Sequence[Outcome], seconds: float) -> Summary:
    """Count what happened."""
    struck = collections.Counter(name for outcome in outcomes for name in outcome.faults)
    return Summary(
        seeds=len(outcomes),
        passed=sum(outcome.is_passed for outcome in outcomes),
        failed=[outcome.seed for outcome in outcomes if not outcome.is_passed],
        faults=dict(sorted(struck.items())),
        buyers_answered_all=not any(outcome.unanswered for outcome in outcomes),
        units=sum(outcome.units for outcome in outcomes),
        sold=sum(outcome.sold for outcome in outcomes),
        oversold=sum(outcome.oversold for outcome in outcomes),
        double_charges=sum(outcome.double_charges for outcome in outcomes),
        lost_units=sum(outcome.lost_units for outcome in outcomes),
        longest_rest_seconds=round(
            max((outcome.rest_seconds for outcome in outcomes), default=0.0), 1
        ),
        seconds=round(seconds, 1),
    )


def exit_status(summary: Summary) -> int:
    """0 only when something ran and every seed held."""
    return 0 if summary.seeds and summary.passed == summary.seeds else 1
