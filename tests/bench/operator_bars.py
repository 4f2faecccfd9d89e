"""``make bench-operator``: the operator's bars at 1,000 sales and 1,000 pools, on the real servers.

A real API server, inventory, PostgreSQL, Redis and Kafka on this machine, operators as processes. A figure that is
worse than its bar is printed as missed; the exit code is 1 only when a sale opened early or a stage did not end.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import uvloop
from fleet import UNITS, Fleet, Replica, at_once, pool_name, running, sale_name, soon, until
from operator_figures import Figure, p99, spread, table
from rich.console import Console

from devstack.layout import PROJECT
from devstack.stack import Stack
from doorbuster.contracts import events
from doorbuster.kit.clock import utc_now

PARTS = ("apiserver", "inventory", "kafka")
TOPICS = 100
BURST = 100
PACED = 200
PACE_SECONDS = 0.1
IDLE_SECONDS = 65.0  # longer than the operator's own list of everything and kopf's watch
SETTLE_SECONDS = 12.0
REPEATS = 3
PROBERS = 4
PROBE_AHEAD_SECONDS = 0.03
LONG_SECONDS = 300.0
DAY_SECONDS = 86_400


class Bench:
    """The stages; each leaves the fleet as it found it."""

    def __init__(self, fleet: Fleet, sales: int, idle_seconds: float) -> None:
        self.fleet = fleet
        self.everything = range(sales)
        self.idle_seconds = idle_seconds
        self.figures: list[Figure] = []
        self.early = 0
        self.failed = ""
        self._suspended: set[int] = set()
        self.operator: Replica | None = None

    def note(
        self, name: str, bar: float | None, unit: str, values: Sequence[float], shown: str = ""
    ) -> None:
        figure = Figure(name, bar, unit, values, os.getloadavg()[0], shown)
        self.figures.append(figure)
        sys.stderr.write(f"{name}: {shown or figure.worst} {unit} {figure.verdict}\n")

    @property
    def leader(self) -> Replica:
        assert self.operator is not None
        return self.operator

    async def lead(self, name: str) -> None:
        self.operator = await self.fleet.start(name)
        await self.fleet.until_leads(self.operator)

    # --- stages -----------------------------------------------------------------------------------

    async def topics(self) -> None:
        """Pools first, then the first sales at once: until Kafka has all their topics."""
        await self.lead("operator-a")
        few = self.everything[:TOPICS]
        await self.fleet.make_pools(few)
        await self.fleet.until_stocked(dict.fromkeys(few, UNITS), LONG_SECONDS)
        began = time.monotonic()
        await self.fleet.make_sales(few, lambda _: soon(DAY_SECONDS / 2), 10, partitions=3)
        wanted = {events.sale_topic("default", sale_name(number)) for number in few}

        async def are_there() -> bool:
            return wanted <= await self.fleet.topics()

        await until(are_there, LONG_SECONDS, "the topics are there", pause=0.2)
        self.note(f"topics of {len(few)} sales", 10, "s", [time.monotonic() - began])

    async def populate(self) -> None:
        """The other sales and pools."""
        began = time.monotonic()
        rest = self.everything[TOPICS:]
        await self.fleet.make_pools(rest)
        await self.fleet.make_sales(rest, lambda _: soon(DAY_SECONDS / 2), 10, partitions=1)
        count = len(self.everything)
        await self.fleet.until_all("FlashSale", _phase_is("Scheduled"), count, LONG_SECONDS)
        await self.fleet.until_all("InventoryPool", _is_bound, count, LONG_SECONDS)
        self.note(f"{2 * len(rest)} objects made and reconciled", None, "s", [_since(began)])

    async def idle(self, what: str) -> None:
        """Nothing happens: memory, processor time and writes."""
        await asyncio.sleep(SETTLE_SECONDS)
        ps = self.leader.ps
        writes = await self.fleet.api_writes()
        before, began = ps.cpu_times(), time.monotonic()
        await asyncio.sleep(self.idle_seconds)
        after, took = ps.cpu_times(), _since(began)
        now = await self.fleet.api_writes()
        used = (after.user + after.system - before.user - before.system) / took
        ours = {
            name: now[name] - writes.get(name, 0)
            for name in now
            if now[name] != writes.get(name, 0)
        }
        self.note(f"memory, {what}", 256, "MiB", [ps.memory_info().rss / 2**20])
        self.note(f"processor, {what}", 2, "%", [100 * used])
        rate = sum(ours.values()) * 60 / took
        self.note(
            f"writes but the lease, {what}",
            0,
            "/min",
            [rate],
            shown=f"{rate:.0f} {ours or ''}".strip(),
        )

    async def arm(self) -> None:
        """Let the warm-up of all sales begin in one burst of edits."""
        began = time.monotonic()
        await at_once(
            self.everything,
            lambda number: self.fleet.edit_sale(number, warmup={"leadSeconds": DAY_SECONDS}),
        )
        await self.fleet.effects(self.everything, LONG_SECONDS)
        self.note(f"{len(self.everything)} gates armed", None, "s", [_since(began)])
        count = len(self.everything)
        await self.fleet.until_all("FlashSale", _phase_is("Warming"), count, LONG_SECONDS)

    async def restart(self) -> None:
        """Edits made while nobody is there are in effect, and everything was passed over."""
        took = []
        some = self.everything[:: max(1, len(self.everything) // 20)]
        for turn in range(REPEATS):
            await self.fleet.stop(self.leader)
            levels = dict.fromkeys(some, UNITS + turn + 1)
            for number in some:
                await self._toggle(number)
                await self.fleet.kube.scale(pool_name(number), levels[number])
            self.operator = await self.fleet.start("operator-a")
            await self.fleet.effects(some, LONG_SECONDS)
            await self.fleet.until_stocked(levels, LONG_SECONDS)
            await until(self._is_passed, LONG_SECONDS, "all are passed over", pause=0.2)
            took.append(_since(self.operator.began))
            await asyncio.sleep(SETTLE_SECONDS)
        self.note("restart until all is reconciled", 5, "s", took)

    async def _is_passed(self) -> bool:
        count = len(self.everything)
        try:
            passes = await self.fleet.passes(self.leader)
        except OSError:
            return False
        return all(passes.get(kind, 0) >= count for kind in ("flashsale", "inventorypool"))

    async def edits(self) -> None:
        """From the API server's answer until inventory's PostgreSQL has the gate."""
        took = []
        for turn in range(PACED):
            number = self.everything[turn * 7 % len(self.everything)]
            edited = await self._toggle(number)
            effect = await self.fleet.effects([number], LONG_SECONDS)
            took.append(1000 * (effect[number] - edited))
            await asyncio.sleep(PACE_SECONDS)
        self.note("edit until its effect, one by one: p99", 500, "ms", [p99(took)], spread(took))
        tails, longest = [], []
        for turn in range(REPEATS):
            count = len(self.everything)
            some = [(turn * BURST + step) % count for step in range(min(BURST, count))]
            edited_at: dict[int, float] = {}

            async def edit(number: int, at: dict[int, float] = edited_at) -> None:
                at[number] = await self._toggle(number)

            seen = asyncio.create_task(self._effects_of_burst(some, edited_at))
            await at_once(some, edit)
            burst = [1000 * (at - edited_at[number]) for number, at in (await seen).items()]
            tails.append(p99(burst))
            longest.append(spread(burst))
            await asyncio.sleep(SETTLE_SECONDS)
        self.note(
            f"edit until its effect, {BURST} at once: p99",
            500,
            "ms",
            tails,
            longest[tails.index(max(tails))],
        )

    async def _effects_of_burst(
        self, some: Sequence[int], edited_at: dict[int, float]
    ) -> dict[int, float]:
        """Look for effects while the edits are still being made."""
        seen: dict[int, float] = {}
        deadline = time.monotonic() + LONG_SECONDS
        while len(seen) < len(some):
            left = [number for number in edited_at if number not in seen]
            seen |= await self.fleet.effects_now(left)
            if time.monotonic() > deadline:
                raise TimeoutError("the burst is not in effect")
            await asyncio.sleep(0.005)
        return seen

    async def _toggle(self, number: int) -> float:
        """Suspend a sale, or let it go on, whichever it is not."""
        state = "Active" if number in self._suspended else "Suspended"
        self._suspended ^= {number}
        return await self.fleet.edit_sale(number, desiredState=state)

    async def failover(self) -> None:
        """Two operators, one is lost: until an edit made at that moment is in effect."""
        for number, bar, name in ((signal.SIGKILL, 8, "kill -9"), (signal.SIGTERM, 2, "SIGTERM")):
            leads, acts = [], []
            for turn in range(REPEATS):
                standby = await self.fleet.start(f"standby-{name.split()[0].lower()}-{turn}")
                await asyncio.sleep(SETTLE_SECONDS)
                lost, self.operator = self.leader, standby
                began = time.monotonic()
                lost.signal(number)
                target = self.everything[-1 - turn]
                await self._toggle(target)
                effect = asyncio.create_task(self.fleet.effects([target], LONG_SECONDS))
                await self.fleet.until_leads(standby)
                leads.append(_since(began))
                acts.append((await effect)[target] - began)
            self.note(f"{name} until another leads", bar, "s", leads)
            self.note(f"{name} until another acts", None, "s", acts)

    async def opening(self, *, kill: bool) -> None:
        """All sales open within one second, buyers come from 30 ms before; the operator may be dead."""
        count = len(self.everything)
        await self.fleet.delete_sales(self.everything, LONG_SECONDS)
        self._suspended.clear()
        ahead = 45 + 0.12 * count
        opens = soon(ahead).replace(microsecond=0)
        times = {
            number: opens + timedelta(milliseconds=1000 * number // count)
            for number in self.everything
        }
        await self.fleet.make_sales(self.everything, times.__getitem__, DAY_SECONDS, partitions=1)
        await self.fleet.until_all(
            "FlashSale", _is_armed, count, (opens - utc_now()).total_seconds() - 3
        )
        await asyncio.sleep((opens - utc_now()).total_seconds() - 1)
        if kill:
            self.leader.signal(signal.SIGKILL)
        answered = await self._probe(times)
        early = [number for number, at in answered.items() if at < times[number]]
        holds = await self.fleet.first_holds()
        delays = [
            1000 * (first - opened).total_seconds() for opened, first in holds if first is not None
        ]
        self.early += len(early) + sum(delay < 0 for delay in delays) + (count - len(delays))
        what = "operator killed 1 s before" if kill else "operator alive"
        self.note(f"opening delay, {what}: p99", 50, "ms", [p99(delays)], spread(delays))
        self.note(f"accepted early or never, {what}", 0, "", [self.early])
        if kill:
            await self.lead("operator-z")

    async def _probe(self, times: dict[int, datetime]) -> dict[int, datetime]:
        """Ask for one unit of each sale again and again until it is held; returns when that was known."""
        held: dict[int, datetime] = {}

        async def ask(mine: list[int]) -> None:
            while mine:
                now = utc_now() + timedelta(seconds=PROBE_AHEAD_SECONDS)
                due = [number for number in mine if times[number] <= now]
                if not due:
                    await asyncio.sleep(0.002)
                    continue
                outcomes = await self.fleet.reserve(due)
                at = utc_now()
                held.update(
                    {n: at for n, outcome in zip(due, outcomes, strict=True) if outcome == "HELD"}
                )
                mine = [number for number in mine if number not in held]

        numbers = list(times)
        async with asyncio.timeout(LONG_SECONDS), asyncio.TaskGroup() as group:
            for turn in range(PROBERS):
                group.create_task(ask(numbers[turn::PROBERS]))
        return held

    # --- all of them ------------------------------------------------------------------------------

    async def run(self, only: Sequence[str]) -> None:
        """Every stage, or those that are named; what a stage needs is there before it."""
        await self.topics()
        await self.populate()
        armed = False
        stages: tuple[tuple[str, bool, Callable[[], Awaitable[None]]], ...] = (
            ("idle", False, lambda: self.idle("all scheduled")),
            ("idle", True, lambda: self.idle("all armed")),
            ("edits", True, self.edits),
            ("restart", True, self.restart),
            ("failover", True, self.failover),
            ("opening", True, lambda: self.opening(kill=False)),
            ("opening", True, lambda: self.opening(kill=True)),
        )
        for name, needs_armed, stage in stages:
            if only and name not in only:
                continue
            if needs_armed and not armed:
                await self.arm()
                armed = True
            try:
                await stage()
            except (OSError, RuntimeError, TimeoutError, ExceptionGroup) as error:
                sys.stderr.write(f"{name}: {error!r}\n")
                self.failed = name
                break
        self.note("leases lost by a busy machine", None, "", [self.fleet.restarts])


def _phase_is(phase: str) -> Callable[[dict[str, object]], bool]:
    return lambda found: (found.get("status") or {}).get("phase") == phase  # type: ignore[attr-defined]


def _condition(found: dict[str, object], kind: str) -> str:
    status: dict[str, list[dict[str, str]]] = found.get("status") or {}  # type: ignore[assignment]
    return next(
        (each["status"] for each in status.get("conditions", []) if each["type"] == kind), ""
    )


def _is_bound(found: dict[str, object]) -> bool:
    return _condition(found, "Bound") == "True"


def _is_armed(found: dict[str, object]) -> bool:
    return _condition(found, "Armed") == "True"


def _since(began: float) -> float:
    return time.monotonic() - began


def main() -> None:
    """Exits 1 when a sale opened early or never, whatever the figures are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sales", type=int, default=1_000)
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS)
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        choices=("idle", "edits", "restart", "failover", "opening"),
    )
    chosen = parser.parse_args()
    root = pathlib.Path(os.environ.get("DOORBUSTER_VAR") or PROJECT / "var") / "bench-operator"
    root.mkdir(parents=True, exist_ok=True)
    stack = Stack(root / "devstack", public_port=0)
    stack.down(forget=True)

    async def measure() -> Bench:
        async with running(stack) as fleet:
            bench = Bench(fleet, chosen.sales, chosen.idle_seconds)
            with contextlib.ExitStack() as told:
                told.callback(lambda: Console(width=130).print(table(bench.figures, chosen.sales)))
                await bench.run(chosen.only)
            return bench

    try:
        stack.up(only=PARTS)
        bench = uvloop.run(measure())
    finally:
        stack.down(forget=True)
    figures = [dataclasses.asdict(each) | {"verdict": each.verdict} for each in bench.figures]
    sys.stdout.write(
        json.dumps(
            {
                "sales": chosen.sales,
                "early": bench.early,
                "failed": bench.failed,
                "figures": figures,
            }
        )
        + "\n"
    )
    sys.exit(1 if bench.early or bench.failed else 0)


if __name__ == "__main__":
    main()
