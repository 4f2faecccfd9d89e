"""Showing a person what the stack does: a live table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .part import Say
from .stack import Progress, Step

_STYLES = {
    "prepares": "cyan",
    "starts": "cyan",
    "waits": "yellow",
    "ready": "green",
    "stops": "yellow",
    "stopped": "dim",
    "failed": "bold red",
}
_QUIET = ("prepares", "starts", "waits", "stops")
REFRESHES_PER_SECOND = 6
REPEAT_SECONDS = 15.0


class _Board:
    """The last step of each part, drawn as a table."""

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}
        self._guard = Lock()

    def take(self, step: Step) -> None:
        with self._guard:
            self._steps[step.part] = step

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 2))
        with self._guard:
            steps = list(self._steps.values())
        for step in steps:
            detail = Text(step.detail.splitlines()[0][:80] if step.detail else "", style="dim")
            phase = Text(step.phase, style=_STYLES.get(step.phase, ""))
            table.add_row(step.part, phase, f"{step.seconds:5.1f} s", detail)
        return table


@contextmanager
def shown(console: Console) -> Iterator[Progress]:
    """Give a function that takes steps and shows them until the block ends."""
    if console.is_terminal:
        board = _Board()
        with Live(board, console=console, refresh_per_second=REFRESHES_PER_SECOND):
            yield board.take
        return

    def line(step: Step) -> None:
        if step.phase not in _QUIET:
            words = f"{step.seconds:6.1f} s  {step.part} {step.phase} {step.detail}".rstrip()
            console.print(words, markup=False, highlight=False, soft_wrap=True)

    yield line


@contextmanager
def spoken(console: Console) -> Iterator[Say]:
    """Give a function that takes one sentence at a time about a long installation.

    On a terminal a sentence replaces the one before while both are about the same topic (the
    words before the colon); elsewhere such repetitions are printed every 15 seconds.
    """
    with console.status("") if console.is_terminal else nullcontext() as spinner:
        last_topic, last_time = "", float("-inf")

        def say(words: str) -> None:
            nonlocal last_topic, last_time
            if spinner is not None:
                spinner.update(words)
            topic, now = words.split(":", 1)[0], time.monotonic()
            repeated = topic == last_topic
            if repeated and (spinner is not None or now - last_time < REPEAT_SECONDS):
                return
            last_topic, last_time = topic, now
            console.print(words, markup=False, highlight=False, soft_wrap=True)

        yield say
