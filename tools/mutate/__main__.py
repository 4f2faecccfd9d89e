"""``python -m mutate``: a stack of its own, every property of both schemas mutated, one JSON object at the end."""

import argparse
import fnmatch
import logging
import signal
import sys
import time
from collections.abc import Sequence

import msgspec
import structlog
import uvloop

from devstack.errors import StackError
from devstack.layout import default_root
from devstack.stack import Stack
from devstack.state import exclusive

from . import run, schema
from .stage import open_stage

PARTS = ("apiserver", "inventory", "operator")


def main() -> None:
    """Exit 0 if no property was ignored, 1 otherwise, 2 if the stack fails."""
    parser = argparse.ArgumentParser(prog="mutate", description=__doc__)
    parser.add_argument("--only", default="*", metavar="GLOB", help="such properties only")
    parser.add_argument("--keep", action="store_true", help="leave the stack up for a look")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as on Ctrl-C: stack and all
    paths = fnmatch.filter(schema.properties(), arguments.only)
    folder = default_root().parent / "mutate"
    try:
        with exclusive(folder / "owner", within_seconds=0.0):
            stack = Stack(folder / "stack", public_port=0)
            try:
                stack.up(only=PARTS)
                summary = uvloop.run(_mutate(stack, paths))
            finally:
                if not arguments.keep:
                    stack.down(forget=True)
    except StackError as error:
        sys.stderr.write(f"mutate: {error}\n")
        raise SystemExit(2) from error
    print(msgspec.json.encode(summary).decode(), flush=True)
    raise SystemExit(1 if summary.ignored else 0)


async def _mutate(stack: Stack, paths: Sequence[str]) -> run.Summary:
    began = time.monotonic()

    def told(line: str) -> None:
        print(line, flush=True)

    async with run.supervised(stack), open_stage(stack.env(), stack.layout.keys) as stage:
        outcomes = await run.mutate_all(stage, paths, told)
        return run.summarize(outcomes, len(paths), time.monotonic() - began)


if __name__ == "__main__":
    main()
