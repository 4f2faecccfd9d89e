"""The verdict for a person: two tables, and one sentence that says whether the promise held."""

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .verdict import Verdict


def verdict_panel(verdict: Verdict) -> RenderableType:
    """Return what is printed at the end of a run."""
    held = verdict.is_promise_held
    parts: list[RenderableType] = [_promise(verdict), Text(), _story(verdict)]
    for sentence in verdict.violations:
        parts.append(Text(f"✗ {sentence}", style="red"))
    for rule, reason in verdict.unjudged.items():
        parts.append(Text(f"? {rule} could not be judged in full: {reason}", style="yellow"))
    if not held:
        title, colour = "The promise was BROKEN", "red"
    elif verdict.is_fully_judged:
        title, colour = "The promise held", "green"
    else:
        title, colour = "Nothing is broken as far as it could be judged", "yellow"
    return Panel(Group(*parts), title=title, border_style=colour, expand=False)


def _promise(verdict: Verdict) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("the promise")
    table.add_column("", justify="right")
    table.add_column("must be", justify="right", style="dim")
    due = verdict.sold + verdict.lost_units
    rows = [
        ("units sold", verdict.sold, due),
        ("oversold", verdict.oversold, 0),
        ("orders twice", verdict.double_orders, 0),
        ("cards charged twice", verdict.double_charges, 0),
        ("units lost", verdict.lost_units, 0),
        ("broken rules (I1..I8)", len(verdict.violations), 0),
    ]
    for name, value, wanted in rows:
        style = "bold green" if value == wanted else "bold red"
        table.add_row(name, Text(str(value), style=style), str(wanted))
    return table


def _story(verdict: Verdict) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("how it went")
    table.add_column("", justify="right")
    rows = [
        ("buyers, units", f"{verdict.buyers:,}, {_count(verdict.units)}"),
        ("holds given, left, declined", f"{verdict.holds}, {verdict.left}, {verdict.declined}"),
        ("refused buyers", f"{verdict.refused:,}"),
        ("told so within, median", _millis(verdict.refused_p50_millis)),
        ("told so within, p99", _millis(verdict.refused_p99_millis)),
        ("first true answer, p99", _millis(verdict.first_answer_p99_millis)),
        ("opening delay", _millis(verdict.open_delay_millis)),
        ("opening to sold out", _millis(verdict.sold_out_after_millis)),
        ("everybody has a final answer after", _millis(verdict.terminal_after_millis)),
        ("buyers without a final answer", str(verdict.unanswered)),
        ("looks at the counters, longest gap", _looks(verdict)),
        ("seed", str(verdict.seed)),
    ]
    for name, value in rows:
        table.add_row(name, value)
    return table


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _looks(verdict: Verdict) -> str:
    return f"{verdict.samples:,}, {_millis(verdict.longest_sample_gap_millis)}"


def _millis(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f} ms" if value < 10_000 else f"{value / 1000:,.1f} s"
