"""``make bench-strategies``: orders a second and p99 of the three strategies, and of the lock as textbooks have it.

Two checkouts, inventory, PostgreSQL, Redis and Kafka are the real ones, on this machine, with the crowd on it too.
Every buyer does the same again and again: check out one unit, begin to pay (which pins it), wait 20 ms for a card that
always works, say so on Kafka. Stock never runs out; a refusal (WAITING) is tried again when it says. An order takes
from the press until it is paid; one that is under way at the end counts with its age in the p99.

``Textbook`` is the recipe as it is usually written: the buyer's request takes the lock, checks, pays and only then
frees it, so payments of one product follow each other. It runs behind ProductLocks (who waits stands in a line and
does not poll: its best case) on a sale with the strategy Direct. ``Lock``, as this platform has it, holds the lock
while the unit is claimed in PostgreSQL and no longer.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import asyncpg
import uvloop
from aiohttp import web
from rich.console import Console
from rich.table import Table
from shopping import PAYMENT_SECONDS, Buyer, Run, Shop, user_of

from buyers import gates
from devstack.layout import PROJECT
from devstack.stack import Stack
from doorbuster.contracts import control
from doorbuster.escrow import ProductLocks
from doorbuster.kit import auth, bus, ids, redis
from doorbuster.testing.processes import Keys

CROWDS = (8, 128, 1_000)
WARM_CROWD = 8
MODES: dict[str, control.Strategy] = {
    "Escrow": "Escrow",
    "Direct": "Direct",
    "Lock": "Lock",
    "Textbook": "Direct",
}
WARM_SECONDS = 1.5
# Who waits for a lock of a run before must be gone: checkout's own wait for it, and a little.
SETTLE_SECONDS = {"Lock": 3.5}
SOLD_WITHIN_SECONDS = 60.0
CANCEL_TRIES = 10
UNITS = 1_000_000
HOLD_SECONDS = 600
SEEN_SECONDS = 2.5  # every checkout looks at the sales once a second
_numbers = itertools.count(1)


@dataclasses.dataclass(kw_only=True)
class Bench:
    """The shop, who opens its sales, and who buys."""

    shop: Shop
    keeper: gates.GateKeeper
    headers: list[dict[str, str]]
    chosen: argparse.Namespace
    results: dict[tuple[int, str], list[Run]] = dataclasses.field(default_factory=dict)
    paid: dict[str, int] = dataclasses.field(default_factory=dict)

    async def measure(self) -> None:
        """Let every crowd shop in every mode, again and again while there is time."""
        await self._repeat("warming up", [(WARM_CROWD, mode) for mode in MODES])
        self.results.clear()
        began, longest = time.monotonic(), 0.0
        for repetition in range(1, self.chosen.repetitions + 1):
            started = time.monotonic()
            if started - began + longest > self.chosen.budget:
                sys.stderr.write(f"no time for repetition {repetition}\n")
                return
            turns = list(itertools.product(self.chosen.crowds, MODES))
            await self._repeat(f"{repetition}", turns)
            longest = max(longest, time.monotonic() - started)

    async def _repeat(self, title: str, turns: list[tuple[int, str]]) -> None:
        skus = [f"bench-{os.getpid()}-{next(_numbers)}" for _ in turns]
        await self.keeper.open_sales(
            [
                gates.Wish(
                    name=sku,
                    units=UNITS,
                    opens_in=0.0,
                    hold_seconds=HOLD_SECONDS,
                    strategy=MODES[mode],
                    per_user_limit=UNITS,
                )
                for sku, (_, mode) in zip(skus, turns, strict=True)
            ]
        )
        await asyncio.sleep(SEEN_SECONDS)
        for sku, (size, mode) in zip(skus, turns, strict=True):
            run = await self._crowd(mode, size, ids.product_id(sku))
            self.results.setdefault((size, mode), []).append(run)
            self.paid[sku] = len(run.paid)
            sys.stderr.write(
                f"{title}: {size:5} buyers, {mode:8} {run.rate:7.1f} orders/s,"
                f" {run.waited} waits, {run.failed} failures\n"
            )
            await asyncio.sleep(SETTLE_SECONDS.get(mode, 0.5))

    async def _crowd(self, mode: str, size: int, product_id: str) -> Run:
        run = Run(seconds=self.chosen.seconds)
        people = [
            Buyer(self.shop, number, self.headers[number], mode, product_id)
            for number in range(size)
        ]
        counted_from = time.monotonic() + WARM_SECONDS
        tasks = [asyncio.create_task(person.shop_on(run, counted_from)) for person in people]
        await asyncio.sleep(WARM_SECONDS + run.seconds)
        ended = time.monotonic()
        await _go_home(tasks)
        run.under_way = [
            ended - person.pressed_at for person in people if person.pressed_at is not None
        ]
        return run


async def _go_home(tasks: list["asyncio.Task[None]"]) -> None:
    """End all buyers; raises what one of them failed with. A cancellation may be lost to an answer just in."""
    left = set(tasks)
    for _ in range(CANCEL_TRIES):
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=1.0)
        for task in done:
            if not task.cancelled() and (problem := task.exception()) is not None:
                raise problem
        if not left:
            return
    raise TimeoutError(f"{len(left)} buyers do not go home")


async def are_all_sold(dsn: str, paid: dict[str, int]) -> bool:
    """Wait until inventory has sold what was counted as paid; False when it has not in time."""
    connection = await asyncpg.connect(dsn)
    try:
        deadline = time.monotonic() + SOLD_WITHIN_SECONDS
        while time.monotonic() < deadline:
            rows = await connection.fetch(
                "SELECT sku, sold_qty FROM inventory WHERE sku = ANY ($1)", list(paid)
            )
            if all(row["sold_qty"] >= paid[row["sku"]] for row in rows):
                return len(rows) == len(paid)
            await asyncio.sleep(0.5)
        return False
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def identities(keys: Keys) -> AsyncIterator[str]:
    """Publish the public key of the buyers' tokens as the user service does; gives its URL."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=keys.jwks(), content_type="application/json")

    app = web.Application()
    app.router.add_get("/.well-known/jwks.json", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def run_bench(stack: Stack, chosen: argparse.Namespace) -> tuple[Bench, bool]:
    """Prepare the shop, measure, and see that what was paid was sold."""
    async with contextlib.AsyncExitStack() as opened:
        enter = opened.enter_async_context
        keys = Keys(pathlib.Path(opened.enter_context(tempfile.TemporaryDirectory())), ())
        users = await enter(identities(keys))
        for name in ("checkout-0", "checkout-1"):
            await asyncio.to_thread(stack.restart, name, {"DOORBUSTER_USER_URLS": users})
        environment = stack.env()
        addresses = [urlsplit(url) for url in environment["DOORBUSTER_CHECKOUT_URLS"].split(",")]
        shop = Shop(
            [(one.hostname or "", one.port or 0) for one in addresses],
            auth.ServiceSigner("payment", stack.layout.keys / "payment.pem"),
            ProductLocks(await enter(redis.open_servers(environment["DOORBUSTER_REDIS_URL"]))),
            await enter(bus.open_bus(environment["DOORBUSTER_KAFKA_BOOTSTRAP"])),
        )
        opened.push_async_callback(shop.close)
        bench = Bench(
            shop=shop,
            keeper=await enter(gates.gate_keeper(environment, stack.layout.keys / "operator.pem")),
            headers=[
                keys.as_user(user_of(number)) for number in range(max(WARM_CROWD, *chosen.crowds))
            ],
            chosen=chosen,
        )
        await bench.measure()
        return bench, await are_all_sold(environment["DOORBUSTER_INVENTORY_DSN"], bench.paid)


def tables(bench: Bench) -> Iterator[Table]:
    """One table a crowd: medians with the lowest and highest of the repetitions, and ratios of the medians."""
    for size in bench.chosen.crowds:
        table = Table(title=f"{size:,} buyers, {1000 * PAYMENT_SECONDS:.0f} ms to pay")
        table.add_column("")
        for column in ("paid orders/s", "p99 in ms", "orders/s of Textbook", "of Escrow"):
            table.add_column(column, justify="right")
        rates = {mode: [run.rate for run in bench.results[size, mode]] for mode in MODES}
        for mode in MODES:
            tails = [run.p99 for run in bench.results[size, mode]]
            more = "more than " if any(is_more for _, is_more in tails) else ""
            table.add_row(
                mode,
                _median(rates[mode], digits=1),
                more + _median([1000 * seconds for seconds, _ in tails], digits=0),
                *(_ratio(rates[mode], rates[other]) for other in ("Textbook", "Escrow")),
            )
        yield table


def _median(values: list[float], *, digits: int) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def _ratio(values: list[float], others: list[float]) -> str:
    other = statistics.median(others)
    return f"{statistics.median(values) / other:.2f}" if other else "-"


def summary(bench: Bench, *, is_sold: bool) -> str:
    """All runs as one JSON object."""
    runs = [
        {
            "buyers": size,
            "mode": mode,
            "ordersPerSecond": round(run.rate, 1),
            "p99Millis": round(1000 * run.p99[0]) if run.paid or run.under_way else None,
            "p99IsMore": run.p99[1],
            "waits": run.waited,
            "failures": run.failed,
        }
        for (size, mode), of_mode in bench.results.items()
        for run in of_mode
    ]
    return json.dumps({"paymentMillis": 1000 * PAYMENT_SECONDS, "sold": is_sold, "runs": runs})


@contextlib.contextmanager
def running(root: pathlib.Path) -> Iterator[Stack]:
    """A stack of its own with what an order passes, gone at the end."""
    stack = Stack(root, public_port=0)
    stack.down(forget=True)
    try:
        stack.up(only=["inventory", "checkout"])
        yield stack
    finally:
        stack.down(forget=True)


def main() -> None:
    """Exits 1 when something that was paid was not sold, or a run sold nothing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--crowds", type=int, nargs="+", default=list(CROWDS))
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--budget", type=float, default=270.0, help="seconds for all repetitions")
    chosen = parser.parse_args()
    root = pathlib.Path(os.environ.get("DOORBUSTER_VAR") or PROJECT / "var") / "bench-strategies"
    root.mkdir(parents=True, exist_ok=True)
    with running(root / "devstack") as stack:
        bench, is_sold = uvloop.run(run_bench(stack, chosen))
    for table in tables(bench):
        Console(width=110).print(table)
    sys.stdout.write(summary(bench, is_sold=is_sold) + "\n")
    has_sold = all(run.paid for of_mode in bench.results.values() for run in of_mode)
    sys.exit(0 if is_sold and has_sold else 1)


if __name__ == "__main__":
    main()
