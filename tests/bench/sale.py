"""``make bench-sale``: a thousand buyers for five units, measured, beside the figures that were expected."""

import argparse
import asyncio
import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from buyers import enrol, manifest, plan, play, report, verdict
from devstack.catalogue import SALE_PARTS
from devstack.layout import PROJECT
from devstack.stack import Stack

OPENS_IN_SECONDS = 16.0
FIRST_ANSWER_P99_BAR_MILLIS = 1500.0
TERMINAL_BAR_MILLIS = 10_000.0
STACK_RSS_BAR_BYTES = 6 * 1024**3
SERVICE_RSS_BAR_BYTES = 120 * 1024**2
SAMPLE_SECONDS = 2.0
PYTHON_SERVICES = (
    "user inventory checkout-0 checkout-1 payment order notification gateway-0 gateway-1"
).split()
STEADY = plan.Mix(leaves=0.0, no_card=0.0)


@dataclasses.dataclass(kw_only=True)
class Memory:
    """Peak resident memory in bytes: of all parts at one time, and of each part."""

    total: int = 0
    parts: dict[str, int] = dataclasses.field(default_factory=dict)

    def take(self, stack: Stack) -> None:
        """Look at every process once."""
        now = {name: sum(_rss(one) for one in ones) for name, ones in stack.processes().items()}
        self.total = max(self.total, sum(now.values()))
        for name, size in now.items():
            self.parts[name] = max(self.parts.get(name, 0), size)


def _rss(process: psutil.Process) -> int:
    try:
        size: int = process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0
    return size


@contextmanager
def running(root: pathlib.Path) -> Iterator[Stack]:
    """A stack of its own, without anything of an earlier run, gone at the end."""
    stack = Stack(root, public_port=0)
    stack.down(forget=True)
    try:
        stack.up(only=SALE_PARTS)
        yield stack
    finally:
        stack.down(forget=True)


async def measure(
    stack: Stack, buyers: int, units: int, seed: int, root: pathlib.Path
) -> tuple[dict[str, verdict.Verdict], manifest.Sale, Memory]:
    """Hold two sales: one where everybody pays, one with people who leave."""
    environment = stack.env()
    memory, verdicts = Memory(), {}
    book = enrol.CredentialBook()
    for name, mix in (("without leavers", STEADY), ("with leavers", plan.Mix())):
        sys.stderr.write(f"{buyers:,} buyers, {units} units, {name}\n")
        plans = plan.draw_plans(buyers, seed, mix)
        entrances = await enrol.enrol(environment["DOORBUSTER_PUBLIC_URL"], plans, book)
        cast = play.Cast(plans=plans, entrances=entrances, seed=seed)
        suffix = "-" + name.replace(" ", "-")
        sale = manifest.render(opens_in=OPENS_IN_SECONDS, units=units, suffix=suffix)
        watch = asyncio.create_task(_watch(stack, memory))
        try:
            verdicts[name] = await play.hold_sale(
                environment, sale, cast, root / f"history{suffix}.jsonl", units=units
            )
        finally:
            watch.cancel()
        memory.take(stack)
    return verdicts, sale, memory


async def _watch(stack: Stack, memory: Memory) -> None:
    while True:
        await asyncio.to_thread(memory.take, stack)
        await asyncio.sleep(SAMPLE_SECONDS)


def figures(verdicts: dict[str, verdict.Verdict], sale: manifest.Sale, memory: Memory) -> Table:
    """The table of the expected figures: measured, bar, and measured / bar (1.00 or less is good)."""
    table = Table(title="a sale: measured, expected, and their ratio")
    for column in ("figure", "measured", "bar", "ratio"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    bars = {
        "without leavers": TERMINAL_BAR_MILLIS,
        "with leavers": sale.hold_seconds * 1000 + TERMINAL_BAR_MILLIS,
    }
    for name, result in verdicts.items():
        _millis(
            table,
            f"first true answer p99, {name}",
            result.first_answer_p99_millis,
            FIRST_ANSWER_P99_BAR_MILLIS,
        )
        _millis(table, f"final answer for all, {name}", result.terminal_after_millis, bars[name])
    _bytes(table, "RSS of the whole stack", memory.total, STACK_RSS_BAR_BYTES)
    for name in PYTHON_SERVICES:
        _bytes(table, f"RSS of {name}", memory.parts.get(name, 0), SERVICE_RSS_BAR_BYTES)
    return table


def _millis(table: Table, name: str, value: float | None, bar: float) -> None:
    measured = "never" if value is None else f"{value:,.0f} ms"
    ratio = "-" if value is None else f"{value / bar:.2f}"
    table.add_row(name, measured, f"{bar:,.0f} ms", ratio)


def _bytes(table: Table, name: str, value: int, bar: int) -> None:
    mib = 1024**2
    table.add_row(name, f"{value / mib:,.0f} MiB", f"{bar / mib:,.0f} MiB", f"{value / bar:.2f}")


def main() -> None:
    """Exits 1 when the promise was broken; the figures are printed, not judged."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--buyers", type=int, default=1000)
    parser.add_argument("--units", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    root = pathlib.Path(os.environ.get("DOORBUSTER_VAR") or PROJECT / "var") / "bench"
    root.mkdir(parents=True, exist_ok=True)
    with running(root / "devstack") as stack:
        verdicts, sale, memory = uvloop.run(
            measure(stack, chosen.buyers, chosen.units, chosen.seed, root)
        )
    console = Console()
    for result in verdicts.values():
        console.print(report.verdict_panel(result))
    console.print(figures(verdicts, sale, memory))
    sys.exit(0 if all(result.is_promise_held for result in verdicts.values()) else 1)


if __name__ == "__main__":
    main()
