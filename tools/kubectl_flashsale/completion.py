"""Completion for kubectl, which calls ``kubectl_complete-flashsale`` with the words after ``flashsale``."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence

from . import arguments, model
from .cluster import Access, Cluster, connect, contexts
from .errors import ClusterError

REQUEST_SECONDS = 3.0
# Returns names that are there, of "sales", "namespaces" or "contexts", as the words before say where to look.
Ask = Callable[[str, Sequence[str]], Iterable[str]]
# Cobra's directives, the last line of an answer: the shell may offer files, or not.
FILES, NO_FILES = 0, 4


def main() -> None:
    """Entry point of ``kubectl_complete-flashsale``: candidates, then a directive."""
    candidates, directive = complete(sys.argv[1:], ask_cluster)
    print(*candidates, f":{directive}", sep="\n")


def complete(words: Sequence[str], ask: Ask) -> tuple[list[str], int]:
    """Return what may stand in the place of the last word, and the directive."""
    *before, last = words or [""]
    root, commands = arguments.parsers()
    said = _positional(before, root, commands)
    command = said[0] if said and said[0] in commands else ""
    # argparse has no public way to ask what it knows; this attribute is as old as argparse.
    flags = commands.get(command, root)._option_string_actions
    taker = flags.get(before[-1]) if before else None
    if taker is not None and taker.nargs != 0:
        return _values(taker, last, before, ask)
    if last.startswith("-"):
        told = [f"{flag}\t{action.help}" for flag, action in flags.items()]
        return _starting(told, last), NO_FILES
    if not said:
        told = [f"{name}\t{sentence}" for name, sentence in arguments.COMMANDS.items()]
        return _starting(told, last), NO_FILES
    if command in {"", "list"} or len(said) > 1:
        return [], NO_FILES
    return _starting(ask("sales", before), last), NO_FILES


def _values(
    taker: argparse.Action,
    last: str,
    before: Sequence[str],
    ask: Ask,
) -> tuple[list[str], int]:
    match taker.dest:
        case "namespace":
            return _starting(ask("namespaces", before[:-1]), last), NO_FILES
        case "context":
            return _starting(ask("contexts", before[:-1]), last), NO_FILES
        case "output":
            return _starting(taker.choices or (), last), NO_FILES
        case "goal":
            phases = (f"phase={phase}" for phase in model.PHASES)
            return _starting(("condition=Ready", *phases), last), NO_FILES
        case "kubeconfig" | "ca_file" | "history":
            return [], FILES
        case _:
            return [], NO_FILES


def _positional(
    words: Sequence[str],
    root: argparse.ArgumentParser,
    commands: dict[str, arguments.Parser],
) -> list[str]:
    """Return the words that are neither flags nor their values."""
    found: list[str] = []
    flags = root._option_string_actions
    is_value = False
    for word in words:
        if is_value:
            is_value = False
        elif word.startswith("-"):
            action = flags.get(word)
            is_value = action is not None and action.nargs != 0
        else:
            found.append(word)
            flags = commands[word]._option_string_actions if word in commands else flags
    return found


def _starting(candidates: Iterable[str], beginning: str) -> list[str]:
    return [each for each in candidates if each.startswith(beginning)]


def ask_cluster(what: str, words: Sequence[str]) -> list[str]:
    """Return names from the API server; none when it does not tell."""
    given = _given(words)
    if what == "contexts":
        return contexts(given["kubeconfig"])
    try:
        with connect(Access(**given, request_seconds=REQUEST_SECONDS)) as cluster:
            return _names(cluster, what)
    except ClusterError:
        return []


def _names(cluster: Cluster, what: str) -> list[str]:
    if what == "namespaces":
        return cluster.namespaces()
    return sorted(body["metadata"]["name"] for body in cluster.sales())


def _given(words: Sequence[str]) -> dict[str, str | None]:
    """Return the flags that say which cluster is meant, wherever they stand."""
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for names in (("-n", "--namespace"), ("--context",), ("--kubeconfig",)):
        flags.add_argument(*names)
    return vars(flags.parse_known_args(list(words))[0])


if __name__ == "__main__":
    main()
