"""The eras of a stock: between two of them it grew, by a restock or a return, and what was final before is not now."""

import bisect
import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from .facts import Snapshot
from .history import Sample

FOREVER = float("inf")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eras:
    """When the stock certainly had not grown yet (``lows``) and certainly had (``highs``), monotonic milliseconds."""

    lows: Sequence[float]
    highs: Sequence[float]

    @classmethod
    def of(cls, samples: Sequence[Sample], snapshot: Snapshot) -> "Eras":
        """Find the growths of total + returned between samples, and between the last one and the snapshot.

        A sample is read a little after its ``at``: what it saw was surely there at the next one.
        """
        sizes = [(sample.at, sample.total + sample.ledger_returned) for sample in samples]
        if "inventory" not in snapshot.missing:
            returned = sum(
                row.quantity for row in snapshot.reservations if row.state == "RETURNED"
            )
            sizes.append((FOREVER, snapshot.counters.total + returned))
        moments = [*(at for at, _ in sizes[2:]), FOREVER, FOREVER]
        grown = [
            (before[0], surely)
            for (before, after), surely in zip(itertools.pairwise(sizes), moments, strict=False)
            if after[1] > before[1]
        ]
        return cls(lows=[low for low, _ in grown], highs=[high for _, high in grown])

    @property
    def has_growth(self) -> bool:
        """Whether the stock grew at all."""
        return bool(self.lows)

    def before(self, moment: float) -> int:
        """Return the last era to which something seen at that moment may belong."""
        return bisect.bisect_left(self.lows, moment)

    def first_ends(self, intervals: Iterable[tuple[float, float]]) -> dict[int, float]:
        """Return, for each era, the earliest end of the (begin, end) that were over in it or begun before it."""
        ends: dict[int, float] = {}
        for begin, end in intervals:
            era = bisect.bisect_right(self.highs, begin)
            ends[era] = min(end, ends.get(era, FOREVER))
        return ends
