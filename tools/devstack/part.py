"""What a part of the stack is (a server or a service), and what it may know while it starts."""

import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import process
from .layout import Layout
from .process import Launch
from .state import Secrets, State

LOOPBACK = "127.0.0.1"
ANY = "0.0.0.0"
TASK = ".task"  # ends the names of a part's short-lived commands


@dataclass(frozen=True)
class Site:
    """One stack's folders, ports and secrets, as its parts see them."""

    layout: Layout
    project: Path
    state: State
    secrets: Secrets
    as_root: bool
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    abort: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def bind(self) -> str:
        """The extra address that password-protected servers listen on, 127.0.0.1 by default."""
        return self.state.bind

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses to listen on: loopback, and ``bind`` where it is another one."""
        if self.bind == LOOPBACK:
            return (LOOPBACK,)
        return (ANY,) if self.bind == ANY else (LOOPBACK, self.bind)

    @property
    def host(self) -> str:
        """The address under which password-protected servers are found from outside."""
        return LOOPBACK if self.bind == ANY else self.bind

    def port(self, key: str) -> int:
        return self.state.ports[key]

    def secret(self, name: str) -> str:
        return self.secrets.named(name)

    def run(self, name: str, launch: Launch, *, within_seconds: float) -> None:
        """Run a command of the part ``name`` to its end, known to ``down`` while it runs.

        Raises:
            StackError: it failed, took too long or the stack was interrupted.
        """
        process.run_to_end(
            launch,
            run_file=self.layout.run_file(f"{name}{TASK}"),
            log_file=self.layout.log(f"{name}{TASK}"),
            within_seconds=within_seconds,
            abort=self.abort,
        )


Say = Callable[[str], None]


class Part(ABC):
    """One process (or task) of the stack. A subclass says how to obtain, start, await and stop it.

    ``ready`` answers None when the part serves, else what it still waits for; it is asked again
    and again until ``ready_within_seconds`` are over. Everything has to be safe to repeat.
    """

    name: str
    is_process: bool = True
    only_when_named: bool = False  # no part of a plain ``devstack up``; installed all the same
    requires: tuple[str, ...] = ()
    port_keys: tuple[str, ...] = ()
    ready_within_seconds: float = 180.0
    stop_signal: int = signal.SIGTERM
    stop_within_seconds: float = 15.0
    hint: str = ""

    def packages(self) -> tuple[str, ...]:
        """Debian packages that are missing for it ("a|b": the first that exists)."""
        return ()

    def missing(self) -> str:
        """What else is missing, in words; "" when it could start now."""
        return ""

    def obtain(self, say: Say) -> None:  # noqa: B027, most parts have nothing to do here
        """Download or build what ``missing`` names, into the cache."""

    def prepare(self, site: Site) -> None:  # noqa: B027, most parts have nothing to do here
        """Write its files and make its data before it starts."""

    @abstractmethod
    def launch(self, site: Site) -> Launch:
        """The command."""

    @abstractmethod
    def ready(self, site: Site) -> str | None:
        """None when it serves, else a short reason why not yet."""

    def settle(self, site: Site) -> None:  # noqa: B027, most parts have nothing to do here
        """What is done once it serves: databases, roles, topics."""

    def exports(self, site: Site) -> dict[str, str]:
        """Environment variables with which others find it."""
        return {}
