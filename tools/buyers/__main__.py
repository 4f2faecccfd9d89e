"""``buyers run|check|demo``: let a crowd fight over a sale, judge its history, or show the whole thing."""

import argparse
import os
import pathlib
import random
import sys
from collections.abc import Coroutine
from typing import Any

import uvloop
from rich.console import Console

from devstack.errors import StackError

from . import crowd, demo, enrol, history, plan, play, report, shop, stores
from .history import Recorder
from .kubectl import KubectlError

DEFAULT_URL = "http://127.0.0.1:8080"
ERRORS = (
    enrol.EnrolmentError,
    history.HistoryError,
    shop.UnexpectedAnswerError,
    shop.NoAnswerError,
    stores.StoreError,
    KubectlError,
    StackError,
    ValueError,
    OSError,
)


def main() -> None:
    """Entry point of the ``buyers`` command; exits 1 when the promise was broken, 2 when it could not be told."""
    arguments = _parser().parse_args()
    work: Coroutine[Any, Any, int]
    if arguments.command == "demo":
        work = demo.show(arguments.buyers, arguments.units, _seed(arguments.seed))
    elif arguments.command == "run":
        work = _run(arguments)
    else:
        work = _check(arguments)
    try:
        status = uvloop.run(work)
    except ERRORS as error:
        sys.stderr.write(f"buyers: {error}\n")
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    raise SystemExit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="buyers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="let a crowd fight over a sale that has not opened yet")
    run.add_argument("--sale", required=True, help="namespace.name")
    run.add_argument("--buyers", type=int, required=True)
    run.add_argument("--history", type=pathlib.Path, required=True, help="file to write")
    run.add_argument("--seed", type=int)
    run.add_argument("--url", default=os.environ.get("DOORBUSTER_PUBLIC_URL", DEFAULT_URL))
    run.add_argument(
        "--credentials", type=pathlib.Path, help="file that keeps the crowd's accounts"
    )
    run.add_argument(
        "--patience", type=float, default=120.0, help="seconds after the opening (120)"
    )
    check = commands.add_parser("check", help="judge a history against the stores")
    check.add_argument("--history", type=pathlib.Path, required=True)
    check.add_argument(
        "--units", type=int, help="what was promised; the stock there is by default"
    )
    check.add_argument("--json", action="store_true", help="print the verdict as JSON")
    show = commands.add_parser("demo", help="the whole thing: stack, sale, crowd, verdict")
    show.add_argument("--buyers", type=int, default=1000)
    show.add_argument("--units", type=int, default=5)
    show.add_argument("--seed", type=int)
    return parser


def _seed(given: int | None) -> int:
    return random.randrange(1_000_000) if given is None else given


async def _run(arguments: argparse.Namespace) -> int:
    seed = _seed(arguments.seed)
    plans = plan.draw_plans(arguments.buyers, seed)
    book = enrol.CredentialBook()
    if arguments.credentials is not None:
        book = enrol.read_book(arguments.credentials)
    try:
        entrances = await enrol.enrol(arguments.url, plans, book)
    finally:
        if arguments.credentials is not None:
            enrol.write_book(arguments.credentials, book)
    addresses = None
    if "DOORBUSTER_INVENTORY_DSN" in os.environ:
        addresses = stores.Addresses.from_environment(os.environ)
    people = crowd.Crowd(
        plans=plans, entrances=entrances, seed=seed, patience_seconds=arguments.patience
    )
    game = play.Game(url=arguments.url, sale=arguments.sale)
    recorder = Recorder(arguments.history)
    try:
        await play.play(game, people, recorder, addresses)
    finally:
        recorder.close()
    print(f"seed {seed}: {dict(recorder.endings)}")
    return 0


async def _check(arguments: argparse.Namespace) -> int:
    addresses = stores.Addresses.from_environment(os.environ)
    verdict = await play.judge(arguments.history, addresses, arguments.units)
    if arguments.json:
        sys.stdout.write(verdict.to_json().decode())
    else:
        Console().print(report.verdict_panel(verdict))
    return 0 if verdict.is_promise_held else 1


if __name__ == "__main__":
    main()
