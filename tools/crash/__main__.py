"""``python -m crash``: a real operator on a stack of its own, killed after each of its writes, in both variants."""

import argparse
import logging
import pathlib
import signal
import sys
import time

import msgspec
import structlog
import uvloop

from devstack.errors import StackError
from devstack.layout import default_root
from devstack.stack import Stack
from devstack.state import exclusive

from . import campaign, report

INTERRUPTED = 130


def main() -> None:
    """Exit 0 if every write was killed at and no run differed, 1 if not, 2 if the stack fails, 130 if interrupted."""
    arguments = _parser().parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # What the kit logs at its lower levels stays out of the report on standard output.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as on Ctrl-C: stack and all
    folder = default_root().parent / "crash"
    try:
        with exclusive(folder / "owner", within_seconds=0.0):
            status = _run(folder, arguments)
    except StackError as error:
        sys.stderr.write(f"crash: {error}\n")
        raise SystemExit(2) from error
    except KeyboardInterrupt as error:
        raise SystemExit(INTERRUPTED) from error
    raise SystemExit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="crash", description=__doc__)
    parser.add_argument("--at-once", type=int, default=4, help="runs at a time (4)")
    parser.add_argument("--only", default="", help="only writes whose name contains this")
    parser.add_argument("--trace", action="store_true", help="list the writes and stop")
    parser.add_argument("--keep", action="store_true", help="leave logs and data for a look")
    return parser


def _run(folder: pathlib.Path, arguments: argparse.Namespace) -> int:
    stack = Stack(folder / "stack", public_port=0)
    stack.down(forget=True)  # what a killed run left
    began = time.monotonic()
    try:
        stack.up(only=campaign.PARTS)
        print(f"the stack is up after {time.monotonic() - began:.0f} s", flush=True)
        return uvloop.run(_crash(stack, folder / "logs", arguments))
    finally:
        stack.down(forget=not arguments.keep)


async def _crash(stack: Stack, logs: pathlib.Path, arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    async with campaign.open_campaign(stack, logs) as opened:
        learned = await opened.run(None)
        undisturbed = learned.ending
        if undisturbed is None or learned.violations:
            print("\n".join(["the undisturbed run failed:", *learned.violations]), flush=True)
            return 1
        for number, spot in enumerate(learned.spots, start=1):
            print(f"{number:4} {spot}", flush=True)
        if arguments.trace:
            return 0
        spots = [spot for spot in learned.spots if arguments.only in spot.name]
        outcomes = await campaign.run_all(
            opened,
            campaign.traps(spots),
            at_once=arguments.at_once,
            tell=lambda outcome: print(report.line(outcome, undisturbed), flush=True),
        )
        faults = opened.proxy_faults
    for fault in faults:
        print(f"the proxy of Kafka failed: {fault}", flush=True)
    summary = report.summarize(learned.spots, outcomes, undisturbed, time.monotonic() - began)
    print(msgspec.json.encode(summary).decode(), flush=True)
    return 1 if faults else report.exit_status(summary)


if __name__ == "__main__":
    main()
