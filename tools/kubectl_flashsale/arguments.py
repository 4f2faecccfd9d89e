"""The command line: commands and flags named as kubectl names them; completion is made from the same parsers."""

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from typing_extensions import override

from . import times, waiting

T = TypeVar("T")
MOST_BUYERS = 100_000
# What every command has, once before its name and once after it.
COMMON: dict[str, Any] = {
    "namespace": None,
    "context": None,
    "kubeconfig": None,
    "request_timeout": times.duration("10s"),
}
COMMANDS = {
    "list": "list the sales, the next opening first",
    "get": "show a sale with its stock, targets, topic, conditions and timeline",
    "status": "wait until a sale is ready, open, settled; the exit code tells",
    "suspend": "shut the gate for new holds; holds stay payable",
    "resume": "open the gate of a suspended sale again",
    "cancel": "end a sale for ever; paid orders stand",
    "extend": "let a sale close later",
    "simulate": "send a crowd of made-up buyers into a test sale, and judge what became of it",
    "report": "print what a sale brought",
}


class Parser(argparse.ArgumentParser):
    """Ends with 1 where argparse would end with 2, as kubectl does."""

    @override
    def error(self, message: str) -> NoReturn:
        self.exit(1, f"error: {message}\nSee '{self.prog} -h' for help and examples\n")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read a command line; ends the process on -h and on mistakes."""
    return parsers()[0].parse_args(argv, argparse.Namespace(**COMMON))


def parsers() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of the whole command and those of its subcommands by name."""
    common = _common()
    root = Parser(
        prog="kubectl flashsale",
        description="Flash sales, as the people see them who run them.",
        parents=[common],
        allow_abbrev=False,
    )
    choices = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {
        name: choices.add_parser(
            name, help=words, description=words, parents=[common], allow_abbrev=False
        )
        for name, words in COMMANDS.items()
    }
    for name, parser in made.items():
        if name != "list":
            parser.add_argument("name", type=_read(_name), metavar="NAME", help="the FlashSale")
    _add_flags(made)
    return root, made


def _common() -> Parser:
    flags = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    flags.add_argument("-n", "--namespace", help="where to look (the context's namespace)")
    flags.add_argument("--context", help="the kubeconfig's context to use (the current one)")
    flags.add_argument("--kubeconfig", metavar="FILE", help="the kubeconfig to use (KUBECONFIG)")
    flags.add_argument(
        "--request-timeout",
        type=_read(times.timeout),
        metavar="DURATION",
        help="how long one request may take, 0 for ever (10s)",
    )
    return flags


def _add_flags(made: dict[str, Parser]) -> None:
    shown = made["list"]
    shown.add_argument("-A", "--all-namespaces", action="store_true", help="look everywhere")
    _add_output(shown, "table", "wide", "json", "yaml", "name")
    one = made["get"]
    one.add_argument("-w", "--watch", action="store_true", help="go on with every change")
    _add_output(one, "tree", "json", "yaml", "name")
    waits = made["status"]
    waits.add_argument(
        "--for",
        dest="goal",
        type=_read(waiting.goal),
        default=waiting.goal("condition=Ready"),
        metavar="WHAT",
        help="condition=TYPE or phase=PHASE, reached or passed (condition=Ready)",
    )
    waits.add_argument(
        "--timeout",
        type=_read(times.timeout),
        default=times.duration("60s"),
        metavar="DURATION",
        help="how long to wait, 0 only looks once (60s)",
    )
    made["cancel"].add_argument("-y", "--yes", action="store_true", help="do not ask")
    later = made["extend"].add_mutually_exclusive_group(required=True)
    later.add_argument(
        "--by", type=_read(times.duration), metavar="DURATION", help="so much later: 10m, 1h30m"
    )
    later.add_argument(
        "--until", type=_read(times.moment), metavar="TIME", help="then, in RFC 3339"
    )
    _add_output(made["report"], "table", "json")
    _add_simulation(made["simulate"])


def _add_simulation(crowd: Parser) -> None:
    crowd.add_argument("--buyers", type=_read(_crowd), required=True, metavar="N")
    crowd.add_argument("--seed", type=int, help="the same seed is the same crowd")
    crowd.add_argument("--units", type=int, metavar="K", help="what is promised (what is offered)")
    crowd.add_argument("--patience", type=float, metavar="SECONDS", help="after the opening (120)")
    crowd.add_argument(
        "--url",
        default=os.environ.get("DOORBUSTER_PUBLIC_URL"),
        help="where the shop is (DOORBUSTER_PUBLIC_URL)",
    )
    crowd.add_argument("--ca-file", metavar="FILE", help="whom to trust, instead of the system")
    crowd.add_argument("--history", metavar="FILE", help="keep what every buyer did and was told")
    crowd.add_argument(
        "-y", "--yes", action="store_true", help="also where the sale is not marked as a test"
    )
    _add_output(crowd, "table", "json")


def _add_output(parser: Parser, *formats: str) -> None:
    parser.add_argument(
        "-o",
        "--output",
        choices=formats,
        default=formats[0],
        metavar="FORMAT",
        help=f"{', '.join(formats)} ({formats[0]})",
    )


def _name(text: str) -> str:
    if not text:
        raise ValueError("a name may not be empty")
    return text


def _crowd(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MOST_BUYERS:
        raise ValueError(f"{text!r} is no number from 1 to {MOST_BUYERS}")
    return int(text)


def _read(parse_text: Callable[[str], T]) -> Callable[[str], T]:
    """Let argparse print what the function says of a text that it refuses."""

    def read(text: str) -> T:
        try:
            return parse_text(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read
