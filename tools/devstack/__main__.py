"""``devstack``: the whole platform on this machine, from the command line."""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from doorbuster.kit.clock import utc_now

from . import catalogue, install, process, progress, sample
from .errors import StackError
from .layout import PROJECT
from .stack import Stack

FOLLOW_SECONDS = 0.3
WIDE = 160  # columns where there is no terminal
MEGABYTE = 1024 * 1024
MOST_PRODUCTS = 1_000_000


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the ``devstack`` command; exits 1 with a sentence when something fails."""
    arguments = _parser().parse_args(argv)
    console = Console(stderr=True)
    try:
        arguments.run(arguments, console)
    except StackError as error:
        console.print(f"devstack: {error}", markup=False, highlight=False, style="red")
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        console.print("devstack: interrupted; `devstack down` ends what runs", style="red")
        raise SystemExit(130) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="devstack", description=__doc__)
    parser.add_argument("--root", type=Path, help="state folder (var/devstack)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, words: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=words, description=words)
        made.set_defaults(run=run)
        return made

    for name, run, words in (
        ("install", _install, "install, download or build what is missing"),
        ("up", _up, "start everything, or --only some parts and what they need"),
    ):
        made = command(name, run, words)
        made.add_argument("--only", type=_names, metavar="NAMES", help="comma separated")
        if name == "up":
            made.add_argument("--bind", metavar="ADDRESS", help="listen there too")
    command("status", _status, "what runs, where, and how big it is")
    command("env", _env, "shell exports of every URL, port and DSN")
    logs = command("logs", _logs, "the log of one part")
    logs.add_argument("name")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("-n", "--lines", type=int, default=50)
    restart = command("restart", _restart, "restart one part on the same ports")
    restart.add_argument("name")
    restart.add_argument(
        "--set",
        action="append",
        default=[],
        type=_assignment,
        metavar="NAME=VALUE",
        help="a variable for this life of it only, such as DOORBUSTER_FAILPOINTS",
    )
    kill = command("kill", _kill, "send a part a signal (KILL, which leaves it dead)")
    kill.add_argument("name")
    kill.add_argument("--signal", default="KILL", metavar="SIGNAL")
    _add_sample(command("sample", _sample, "print a sample that opens soon, for kubectl apply"))
    seed = command("seed", _seed, "fill the catalogue with made-up goods and their stock")
    seed.add_argument("--products", type=_count, required=True, metavar="N")
    seed.add_argument(
        "--images", type=_count, metavar="K", help="draw and upload so many pictures"
    )
    seed.add_argument("--seed", type=int, default=1, help="the same seed, the same goods")
    down = command("down", _down, "end every process")
    down.add_argument("--forget", action="store_true", help="remove all data too")
    return parser


def _assignment(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MOST_PRODUCTS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MOST_PRODUCTS}")
    return int(text)


def _add_sample(made: argparse.ArgumentParser) -> None:
    made.add_argument("name", help="a file of manifests/samples, without .yaml")
    made.add_argument("--opens-in", type=sample.duration, default=sample.duration("20s"))
    made.add_argument("--lasts", type=sample.duration, default=sample.WINDOW)
    made.add_argument("--units", type=int, help="capacity of the pool")
    made.add_argument("--hold", type=int, metavar="SECONDS", help="reservationTimeoutSeconds")
    made.add_argument("--suffix", default="", help="appended to names and skus")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _install(arguments: argparse.Namespace, console: Console) -> None:
    parts = catalogue.all_parts()
    names = catalogue.expand(arguments.only or parts, parts)
    with progress.spoken(console) as say:
        install.install((parts[name] for name in catalogue.closure(names, parts)), say)


def _up(arguments: argparse.Namespace, console: Console) -> None:
    began = time.monotonic()
    with progress.shown(console) as report:
        stack = Stack(arguments.root, progress=report)
        stack.up(arguments.only, bind=arguments.bind)
    url = stack.env().get("DOORBUSTER_PUBLIC_URL", "")
    console.print(f"up after {time.monotonic() - began:.1f} s {url}".rstrip())
    console.print('next: eval "$(devstack env)"', markup=False)


def _status(arguments: argparse.Namespace, console: Console) -> None:
    table = Table("part", "state", "pid", "ports", "MB", "", box=None, header_style="bold")
    down = 0
    for part in Stack(arguments.root).status():
        down += part.state != "up"
        ports = " ".join(
            f"{key.rpartition('.')[2]}:{port}" if "." in key else str(port)
            for key, port in part.ports.items()
        )
        size = f"{part.rss_bytes / MEGABYTE:.0f}" if part.rss_bytes else ""
        state = {"up": "green", "starting": "yellow", "down": "red"}[part.state]
        table.add_row(
            part.name, f"[{state}]{part.state}", str(part.pid or ""), ports, size, part.detail
        )
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)
    if down:
        raise SystemExit(3)


def _env(arguments: argparse.Namespace, console: Console) -> None:
    stack = Stack(arguments.root)
    values = stack.env()
    if not values:
        raise StackError("this stack was never up", hint="run `devstack up`")
    sys.stdout.write(sample.shell_exports(values, path_entry=stack.layout.bin))


def _logs(arguments: argparse.Namespace, console: Console) -> None:
    path = Stack(arguments.root).log(arguments.name)
    if not path.exists():
        raise StackError(f"{arguments.name} has no log yet", hint="was it ever up?")
    sys.stdout.write(process.tail(path, arguments.lines) + "\n")
    while arguments.follow:
        with path.open(encoding="utf-8", errors="replace") as file:
            file.seek(0, 2)
            while path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                sys.stdout.write(file.read())
                sys.stdout.flush()
                time.sleep(FOLLOW_SECONDS)
        time.sleep(FOLLOW_SECONDS)  # a restart made a new file


def _restart(arguments: argparse.Namespace, console: Console) -> None:
    with progress.shown(console) as report:
        Stack(arguments.root, progress=report).restart(arguments.name, dict(arguments.set))


def _kill(arguments: argparse.Namespace, console: Console) -> None:
    wanted = arguments.signal.upper().removeprefix("SIG")
    try:
        number = int(wanted) if wanted.isdigit() else signal.Signals[f"SIG{wanted}"]
    except KeyError:
        raise StackError(f"{arguments.signal} is no signal") from None
    Stack(arguments.root).kill(arguments.name, number)


def _sample(arguments: argparse.Namespace, console: Console) -> None:
    text = sample.render(
        PROJECT / "manifests" / "samples" / f"{arguments.name}.yaml",
        now=utc_now(),
        opens_in=arguments.opens_in,
        lasts=arguments.lasts,
        units=arguments.units,
        hold_seconds=arguments.hold,
        suffix=arguments.suffix,
    )
    sys.stdout.write(text)


def _seed(arguments: argparse.Namespace, console: Console) -> None:
    from .seeds import merchant, store  # a second of drivers, which only this command should pay

    stack = Stack(arguments.root)
    environment = stack.env()
    for part in ("mongo", "postgres"):
        if reason := stack.lacks(part):
            raise StackError(f"{part}: {reason}", hint="run `devstack up --only product`")
    began = time.monotonic()
    with Progress(*Progress.get_default_columns(), console=console) as bar:
        task = bar.add_task("products", total=arguments.products)
        try:
            new = asyncio.run(
                store.fill(
                    environment,
                    arguments.products,
                    arguments.seed,
                    lambda done: bar.update(task, completed=done),
                )
            )
            if arguments.images:
                shown = min(arguments.images, arguments.products)
                asyncio.run(merchant.illustrate(environment, shown, arguments.seed))
        except OSError as error:
            raise StackError(f"the catalogue could not be filled: {error}") from error
    console.print(
        f"{new:,} new products of {arguments.products:,} in {time.monotonic() - began:.1f} s",
        highlight=False,
    )


def _down(arguments: argparse.Namespace, console: Console) -> None:
    with progress.shown(console) as report:
        Stack(arguments.root, progress=report).down(forget=arguments.forget)


if __name__ == "__main__":
    main()
