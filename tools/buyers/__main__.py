"""``buyers run|check|demo``: let a crowd fight over a sale, judge its history, or show the whole thing."""

import argparse
import os
import pathlib
import random
import ssl
import sys
from collections.abc import Coroutine
from typing import Any

import msgspec
import uvloop
from rich.console import Console

from devstack.errors import StackError

from . import crowd, demo, door, enrol, history, plan, play, report, shop, stores
from .kubectl import KubectlError

DEFAULT_URL = "http://127.0.0.1:8080"
HELD, BROKEN, UNTOLD = 0, 1, 2
ERRORS = (
    door.ClosedDoorError,
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
    """Entry point of the ``buyers`` command: 0 held, 1 the promise was broken, 2 it could not be told."""
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
        raise SystemExit(UNTOLD) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    raise SystemExit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="buyers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="let a crowd fight over a sale that has not opened yet")
    run.add_argument("--sale", required=True, help="namespace.name; it has one product")
    run.add_argument("--buyers", type=int, required=True)
    run.add_argument("--history", type=pathlib.Path, required=True, help="file to write")
    run.add_argument("--units", type=int, help="what is promised; kept in the history")
    run.add_argument("--seed", type=int, help="the same seed is the same crowd")
    run.add_argument(
        "--url",
        default=os.environ.get("DOORBUSTER_PUBLIC_URL", DEFAULT_URL),
        help=f"where the shop is (DOORBUSTER_PUBLIC_URL, else {DEFAULT_URL})",
    )
    run.add_argument("--ca-file", type=pathlib.Path, help="whom to trust, instead of the system")
    run.add_argument(
        "--credentials", type=pathlib.Path, help="file that keeps the crowd's accounts"
    )
    run.add_argument(
        "--patience", type=float, default=120.0, help="seconds after the opening (120)"
    )
    run.add_argument("--json", action="store_true", help="print how it ended as JSON")
    check = commands.add_parser(
        "check",
        help="judge a history",
        description="Judge a history by itself and by the stores whose addresses the environment holds: "
        + ", ".join(stores.NAMES.values())
        + ". Exits 0 when the promise held, 1 when it was broken, 2 when that could not be told.",
    )
    check.add_argument("--history", type=pathlib.Path, required=True)
    check.add_argument(
        "--units", type=int, help="what was promised; what the sale offers by default"
    )
    check.add_argument(
        "--history-only",
        action="store_true",
        help="ask no store, and exit 0 when the history shows nothing broken",
    )
    check.add_argument(
        "--rest",
        type=float,
        default=play.REST_SECONDS,
        help=f"seconds to wait until the stores are at rest ({play.REST_SECONDS:.0f})",
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
    tls = _trust(arguments.ca_file)
    page = await door.look(arguments.url, arguments.sale, tls)
    if page.open_ms <= page.server_ms:
        sys.stderr.write("buyers: the sale is open already: what is measured is no rush\n")
    entrances = await _enrol(arguments, plans, tls)
    addresses = stores.Addresses.partly(os.environ)
    people = crowd.Crowd(
        plans=plans, entrances=entrances, seed=seed, patience_seconds=arguments.patience
    )
    game = play.Game(url=arguments.url, sale=arguments.sale, units=arguments.units, tls=tls)
    recorder = history.Recorder(arguments.history)
    try:
        await play.play(game, people, recorder, addresses)
    finally:
        recorder.close()
    if arguments.json:
        told = {"seed": seed, "endings": recorder.endings, "calls": recorder.codes}
        print(msgspec.json.encode(told).decode())
    else:
        print(f"seed {seed}: {dict(recorder.endings)}")
    return HELD


async def _enrol(
    arguments: argparse.Namespace, plans: list[plan.Plan], tls: ssl.SSLContext | None
) -> dict[str, enrol.Entrance]:
    book = enrol.CredentialBook()
    if arguments.credentials is not None:
        book = enrol.read_book(arguments.credentials)
    try:
        return await enrol.enrol(arguments.url, plans, book, tls=tls)
    finally:
        if arguments.credentials is not None:
            enrol.write_book(arguments.credentials, book)


def _trust(ca_file: pathlib.Path | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"--ca-file {ca_file}: {error}") from error


async def _check(arguments: argparse.Namespace) -> int:
    addresses = stores.Addresses()
    if not arguments.history_only:
        addresses = stores.Addresses.partly(os.environ)
    verdict = await play.judge(
        arguments.history, addresses, arguments.units, rest_seconds=arguments.rest
    )
    if arguments.json:
        sys.stdout.write(verdict.to_json().decode())
    else:
        Console().print(report.verdict_panel(verdict))
    if not verdict.is_promise_held:
        return BROKEN
    return HELD if verdict.is_fully_judged or arguments.history_only else UNTOLD


if __name__ == "__main__":
    main()
