"""The verdict of a sale: the figures of the report and what they promise."""

from typing import Any

import msgspec


class Verdict(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What the stores and the buyers' history say together.

    Durations are milliseconds, None when the thing never happened. ``lost_units`` = min(units, buyers
    able and willing to pay) - sold; ``refused_p99_millis`` is the duration of the call that returned a
    loser's first SOLD_OUT or WAITING; ``open_delay_millis`` is the first hold by the authority's clock
    minus the opening; ``terminal_after_millis`` is when the last buyer had his final answer.
    ``units`` is None when nobody said how many and no store could be asked. ``unjudged`` names the rules that could
    be judged in part or not at all, and why. ``longest_sample_gap_millis`` is how long nobody saw the counters.
    """

    seed: int
    sale: str
    buyers: int
    units: int | None
    sold: int
    oversold: int
    double_orders: int
    double_charges: int
    lost_units: int
    refused: int
    refused_p50_millis: float | None
    refused_p99_millis: float | None
    open_delay_millis: float | None
    sold_out_after_millis: float | None
    violations: list[str]
    first_answer_p50_millis: float | None
    first_answer_p99_millis: float | None
    terminal_after_millis: float | None
    willing: int
    left: int
    declined: int
    unanswered: int
    holds: int
    calls: dict[str, int]
    endings: dict[str, int]
    unjudged: dict[str, str] = {}
    samples: int = 0
    longest_sample_gap_millis: float | None = None
    torn_lines: int = 0

    @property
    def is_fully_judged(self) -> bool:
        """Whether every rule could be judged."""
        return not self.unjudged

    @property
    def is_promise_held(self) -> bool:
        """Whether exactly the right number was sold, nobody twice, nothing lost, and nothing else is wrong.

        As far as it could be judged: see ``is_fully_judged``.
        """
        wrong = self.oversold or self.double_orders or self.double_charges or self.lost_units
        return not wrong and not self.violations

    def to_json(self) -> bytes:
        """Return the report file's content."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        content["promiseHeld"] = self.is_promise_held
        content["fullyJudged"] = self.is_fully_judged
        return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def percentile(values: list[float], share: float) -> float | None:
    """Return the nearest-rank percentile (share 0..1), rounded to 0.1; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    rank = max(0, min(len(ordered) - 1, -(-len(ordered) * share // 1).__int__() - 1))
    return round(ordered[rank], 1)
