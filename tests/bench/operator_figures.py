"""What ``make bench-operator`` prints: a figure, its bar, and the table of all."""

import dataclasses
import math
import statistics
from collections.abc import Sequence

from rich.table import Table


@dataclasses.dataclass(frozen=True)
class Figure:
    """One line of the table: what was measured, its bar, all values in its unit and the load beside them.

    The value that counts is the worst one; ``shown`` says it in words where there is more to say.
    """

    name: str
    bar: float | None
    unit: str
    values: Sequence[float]
    load: float
    shown: str = ""

    @property
    def worst(self) -> float:
        return max(self.values)

    @property
    def verdict(self) -> str:
        if self.bar is None:
            return ""
        return "held" if self.worst <= self.bar else "missed"


def p99(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def spread(values: Sequence[float]) -> str:
    return f"{p99(values):.0f} (median {statistics.median(values):.0f}, longest {max(values):.0f})"


def table(figures: Sequence[Figure], sales: int) -> Table:
    """All figures, the worst of repeated ones with the range."""
    shown = Table(title=f"{sales} sales, {sales} pools")
    for column in ("", "bar", "figure", "load", ""):
        shown.add_column(column)
    for each in figures:
        values = " to ".join(
            f"{value:.1f}" for value in sorted({min(each.values), max(each.values)})
        )
        bar = "" if each.bar is None else f"{each.bar:g} {each.unit}".strip()
        shown.add_row(
            each.name,
            bar,
            f"{each.shown or values} {each.unit}".strip(),
            f"{each.load:.1f}",
            each.verdict,
        )
    return shown
