"""``python -m chaos``: seeded sales on a stack of its own, disturbed, judged, and one JSON object at the end."""

import argparse
import logging
import os
import pathlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence

import msgspec
import structlog
import uvloop

from devstack.catalogue import SALE_PARTS
from devstack.errors import StackError
from devstack.layout import default_root
from devstack.stack import Stack
from devstack.state import exclusive

from . import killer, plan, report

MOST_SEEDS = 10_000
INTERRUPTED = 130


def main() -> None:
    """Exit 0 if every seed held, 1 if one did not or none ran, 2 if the stack fails, 130 if interrupted."""
    arguments = _parser().parse_args()
    seeds = _seeds(arguments)
    # What the kit logs at its lower levels stays out of the report on standard output.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    os.environ.update({name: str(value) for name, value in plan.LEASES.items()})
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as on Ctrl-C: stack and all
    folder = default_root().parent / "chaos"
    try:
        with exclusive(folder / "owner", within_seconds=0.0):
            status = _run(folder, seeds, disturbed=not arguments.undisturbed, keep=arguments.keep)
    except StackError as error:
        sys.stderr.write(f"chaos: {error}\n")
        raise SystemExit(2) from error
    raise SystemExit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many (10)")
    parser.add_argument("--first", type=int, default=1, help="the first of them (1)")
    parser.add_argument("--seed", type=int, help="replay this one only")
    parser.add_argument(
        "--undisturbed", action="store_true", help="the same sales without their faults"
    )
    parser.add_argument("--keep", action="store_true", help="leave the stack's data for a look")
    return parser


def _seeds(arguments: argparse.Namespace) -> Sequence[int]:
    if arguments.seed is not None:
        return [arguments.seed]
    return range(arguments.first, arguments.first + min(max(arguments.seeds, 0), MOST_SEEDS))


def _run(folder: pathlib.Path, seeds: Sequence[int], *, disturbed: bool, keep: bool) -> int:
    stack = Stack(folder / "stack", public_port=0)
    outcomes: list[report.Outcome] = []
    began = time.monotonic()
    stack.down(forget=True)  # what a killed run left
    was_interrupted = False
    try:
        stack.up(only=SALE_PARTS)
        print(f"the stack is up after {time.monotonic() - began:.1f}s", flush=True)
        plans = (plan.draw(seed, disturbed=disturbed) for seed in seeds)
        uvloop.run(_sell(killer.Killer(stack, folder), plans, outcomes))
    except KeyboardInterrupt:
        was_interrupted = True
    finally:
        summary = report.summarize(outcomes, time.monotonic() - began)
        print(msgspec.json.encode(summary).decode(), flush=True)
        stack.down(forget=not keep)
    return INTERRUPTED if was_interrupted else report.exit_status(summary)


async def _sell(
    one: killer.Killer, plans: Iterator[plan.Plan], outcomes: list[report.Outcome]
) -> None:
    for drawn in plans:
        outcome = await one.run(drawn)
        outcomes.append(outcome)
        print(outcome.line(), flush=True)
        if not outcome.is_passed:
            for sentence in outcome.violations:
                print(f"  ! {sentence}", flush=True)
            print(f"  replay: make chaos SEED={drawn.seed}", flush=True)


if __name__ == "__main__":
    main()
