"""One stack: the parts of a root folder, brought up, looked at, killed, restarted, taken down.

Every method may be called from any process at any time: what runs is known from the run files
(process.py), what is remembered from ``state.json``, and who changes something holds the lock.
"""

import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import psutil

from . import catalogue, graph, keys, neighbours, ports, process
from .errors import StackError
from .layout import PROJECT, Layout, default_root
from .part import LOOPBACK, TASK, Part, Site
from .state import Secrets, State, exclusive

LOCK_WAIT_SECONDS = 60.0
POLL_SECONDS = 0.1
# What the parts inherit of the caller's environment: nothing that belongs to another stack.
INHERITED = (
    *("PATH", "HOME", "LANG", "TZ", "TMPDIR", "JAVA_HOME", "XDG_CACHE_HOME", "PYTHONPATH"),
)


@dataclass(frozen=True)
class Step:
    """One step of a part, for the eyes of a person; ``seconds`` since the command began."""

    part: str
    phase: str  # waits | prepares | starts | ready | stops | stopped | failed
    detail: str
    seconds: float


@dataclass(frozen=True)
class PartStatus:
    """What ``status`` shows of a part."""

    name: str
    state: str  # up | starting | down
    pid: int | None
    ports: Mapping[str, int]
    rss_bytes: int
    detail: str


Progress = Callable[[Step], None]


class Stack:
    """The stack of one root folder. ``public_port`` is preferred for nginx; 0 means any."""

    def __init__(
        self,
        root: Path | None = None,
        *,
        project: Path = PROJECT,
        public_port: int = 8080,
        progress: Progress | None = None,
    ) -> None:
        self.layout = Layout((root or default_root()).resolve())
        self._parts = catalogue.all_parts()
        self._public_port = public_port
        self._progress = progress or (lambda step: None)
        self._began = time.monotonic()
        self._settled: dict[str, process.Identity | None] = {}
        self._state = State(self.layout.root / "state.json")
        kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self.site = Site(
            layout=self.layout,
            project=project,
            state=self._state,
            secrets=Secrets(self.layout.root / "secret"),
            as_root=os.getuid() == 0,
            environment={"LC_ALL": "C.UTF-8", **kept},
        )

    # --- bringing up ------------------------------------------------------------------------------

    def up(self, only: Iterable[str] | None = None, *, bind: str | None = None) -> None:
        """Bring up the named parts and what they require; safe to repeat.

        None means the platform: all parts but those that say ``only_when_named``.

        Raises:
            StackError: something is missing, failed or took too long. What runs by then stays
                up for a look; ``down`` ends it.
        """
        if only is None:
            only = [name for name, part in self._parts.items() if not part.only_when_named]
        names = catalogue.expand(only, self._parts)
        wanted = catalogue.closure(names, self._parts)
        if all(self._is_settled(name) for name in wanted):
            return
        with self._locked():
            self._refuse_missing(name for name in wanted if self._identity(name) is None)
            self._remember(wanted, bind)
            self._end_tasks()
            self.site.abort.clear()
            order = {
                name: self._parts[name].requires for name in wanted if not self._is_settled(name)
            }
            graph.run_in_order(order, self._bring_up, abort=self.site.abort)

    def _is_settled(self, name: str) -> bool:
        """Whether this object has brought the part up already, and it still is the same."""
        return name in self._settled and self._settled[name] == self._identity(name)

    def _refuse_missing(self, wanted: Iterable[str]) -> None:
        for name in wanted:
            part = self._parts[name]
            lacking = part.missing() or ", ".join(part.packages())
            if lacking:
                raise StackError(f"{name} lacks {lacking}", hint="run `make servers`")

    def _remember(self, wanted: Iterable[str], bind: str | None) -> None:
        """Make folders, secrets, keys, ports; all before the first process starts."""
        self.layout.make()
        self.site.secrets.ensure()
        keys.ensure_service_keys(self.layout.keys)
        self._state.reload()
        running = {name for name in self._parts if self._identity(name) is not None}
        if bind is not None and bind != self._state.bind and running:
            raise StackError("the stack runs on another address", hint="run `devstack down` first")
        known = self._state.ports
        for name, part in self._parts.items():
            if name in running:
                continue
            for key in part.port_keys:
                if key in known and not running and not ports.is_free(known[key]):
                    del known[key]  # somebody else took it while the stack was down
        every_key = [key for part in self._parts.values() for key in part.port_keys]
        with neighbours.reserving(self.layout.root) as reserved:
            chosen = ports.choose(
                every_key,
                known=known,
                preferred={"nginx": self._public_port},
                reserved=reserved,
            )
            self._state.update(
                stackId=self._state.stack_id or secrets.token_hex(8),
                bind=bind or (self._state.bind if running else LOOPBACK),
                ports=chosen,
                parts=sorted({*self._state.parts, *wanted}),
            )

    def _bring_up(self, name: str, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        part = self._parts[name]
        try:
            if part.is_process and self._identity(name) is None:
                self._step(name, "prepares")
                part.prepare(self.site)
                if self.site.abort.is_set():
                    return
                self._launch(part, environment)
            self._await_ready(part)
            if self.site.abort.is_set():
                return
            part.settle(self.site)
            self._settled[name] = self._identity(name)
        except StackError as error:
            self._step(name, "failed", error.message)
            if not error.log_tail:
                error.log_tail = process.tail(self.layout.log(name))
            error.hint = error.hint or part.hint or f"see {self.layout.log(name)}"
            if not error.message.startswith(f"{name}:"):
                error.message = f"{name}: {error.message}"
            raise
        self._step(name, "ready")

    def _launch(self, part: Part, environment: Mapping[str, str]) -> None:
        self._step(part.name, "starts")
        launch = part.launch(self.site)
        process.start(
            replace(launch, env={**launch.env, **environment}),
            run_file=self.layout.run_file(part.name),
            log_file=self.layout.log(part.name),
        )

    def _await_ready(self, part: Part) -> None:
        deadline = time.monotonic() + part.ready_within_seconds
        while not self.site.abort.is_set():
            reason = part.ready(self.site)
            if reason is None:
                return
            if self._identity(part.name) is None:
                raise StackError("the process ended while starting")
            if time.monotonic() > deadline:
                raise StackError(f"not ready after {part.ready_within_seconds:.0f} s: {reason}")
            self._step(part.name, "waits", reason)
            self.site.abort.wait(POLL_SECONDS)

    # --- looking ----------------------------------------------------------------------------------

    def env(self) -> dict[str, str]:
        """Every URL, port, DSN, password of the parts that were brought up, by variable name."""
        self._state.reload()
        values: dict[str, str] = {}
        for name in self._state.parts:
            if (
                name in self._parts
            ):  # the state may be of an older devstack, with parts that are gone
                values |= self._parts[name].exports(self.site)
        return dict(sorted(values.items()))

    def status(self) -> list[PartStatus]:
        """The parts that were brought up, as they are now."""
        self._state.reload()
        shown = [name for name, part in self._parts.items() if part.is_process]
        return [self._status_of(name) for name in shown if name in self._state.parts]

    def _status_of(self, name: str) -> PartStatus:
        part = self._parts[name]
        numbers = {key: self.site.port(key) for key in part.port_keys}
        identity = self._identity(name)
        if identity is None:
            return PartStatus(name, "down", None, numbers, 0, "")
        reason = part.ready(self.site)
        rss = 0
        for member in process.tree(identity):
            try:
                rss += member.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        state = "up" if reason is None else "starting"
        return PartStatus(name, state, identity.pid, numbers, rss, reason or "")

    def processes(self) -> dict[str, list[psutil.Process]]:
        """The live processes of each part, the main one first (for measuring)."""
        found = {name: self._identity(name) for name in self._parts}
        return {name: process.tree(who) for name, who in found.items() if who is not None}

    def is_running(self, name: str) -> bool:
        """Whether the part has a live process, a stopped one included."""
        self._known(name)
        return self._identity(name) is not None

    def lacks(self, name: str) -> str | None:
        """None when the part serves, else what it still waits for."""
        self._known(name)
        if self._identity(name) is None:
            return "it does not run"
        return self._parts[name].ready(self.site)

    def log(self, name: str) -> Path:
        """The log file of a part."""
        self._known(name)
        return self.layout.log(name)

    # --- breaking and mending ---------------------------------------------------------------------

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Signal a part, workers included (SIGKILL by default, which leaves it dead).

        Raises:
            StackError: it does not run.
        """
        self._known(name)
        identity = self._identity(name)
        if identity is None:
            raise StackError(f"{name} does not run")
        process.send(identity, number)

    def stop(self, name: str) -> None:
        """End a part in its own orderly way and leave it down; one that is down already is fine."""
        self._known(name)
        with self._locked():
            self._stop(name)

    def restart(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        """Stop a part if it runs, start it on the same ports and wait until it serves.

        ``environment`` is added to its own for this life only (failpoints, a shorter deadline).
        """
        self._known(name)
        self._refuse_missing((name,))
        with self._locked():
            self._state.reload()
            if name not in self._state.parts:
                raise StackError(f"{name} was never up here", hint=f"devstack up --only {name}")
            self._stop(name)
            self.site.abort.clear()
            self._bring_up(name, environment or {})

    def start(self, name: str) -> None:
        """Start a process that is down and return at once, as a supervisor does; ``lacks`` tells the rest.

        It may end again at once when what it needs is away.
        """
        self._known(name)
        with self._locked():
            self._state.reload()
            part = self._parts[name]
            if part.is_process and self._identity(name) is None:
                part.prepare(self.site)
                self._launch(part, {})

    # --- taking down ------------------------------------------------------------------------------

    def down(self, *, forget: bool = False) -> None:
        """End every process, also those of an ``up`` that was interrupted; dependents first.

        ``forget`` removes all data, logs and secrets too.
        """
        if not self.layout.root.exists():
            return
        with self._locked():
            self._state.reload()
            self._settled.clear()
            self._end_tasks()
            running = [name for name in self._parts if self._identity(name) is not None]
            order = catalogue.dependents(running, self._parts)
            errors: list[StackError] = []
            graph.run_in_order(
                order, lambda name: self._stop_or_note(name, errors), abort=threading.Event()
            )
            self._end_unknown()
            if errors:
                raise errors[0]
            if forget:
                if self.layout.fallback.exists():
                    shutil.rmtree(self.layout.fallback)
                for entry in self.layout.root.iterdir():
                    if entry.name == "lock":
                        continue
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def _end_tasks(self) -> None:
        """End the short-lived commands of an ``up`` that was killed."""
        for path in self.layout.run.glob(f"*{TASK}.proc"):
            self._end(path, within_seconds=0.0)

    def _end_unknown(self) -> None:
        """End what an earlier version of this program started and this one has no name for."""
        for path in self.layout.run.glob("*.proc"):
            self._end(path, within_seconds=10.0)

    def _end(self, run_file: Path, *, within_seconds: float) -> None:
        identity = process.read_identity(run_file)
        if identity is not None:
            number = signal.SIGTERM if within_seconds else signal.SIGKILL
            process.stop(identity, number=number, within_seconds=within_seconds)
        run_file.unlink(missing_ok=True)

    def _stop_or_note(self, name: str, errors: list[StackError]) -> None:
        """Stop a part; one that cannot be stopped must not keep the others running."""
        try:
            self._stop(name)
        except StackError as error:
            self._step(name, "failed", error.message)
            errors.append(error)

    def _stop(self, name: str) -> None:
        identity = self._identity(name)
        part = self._parts[name]
        if identity is not None:
            self._step(name, "stops")
            process.stop(
                identity, number=part.stop_signal, within_seconds=part.stop_within_seconds
            )
        self.layout.run_file(name).unlink(missing_ok=True)
        self._step(name, "stopped")

    # --- small things -----------------------------------------------------------------------------

    def _locked(self) -> AbstractContextManager[None]:
        return exclusive(self.layout.root / "lock", within_seconds=LOCK_WAIT_SECONDS)

    def _identity(self, name: str) -> process.Identity | None:
        identity = process.read_identity(self.layout.run_file(name))
        return identity if identity is not None and process.is_alive(identity) else None

    def _known(self, name: str) -> None:
        catalogue.closure((name,), self._parts)

    def _step(self, name: str, phase: str, detail: str = "") -> None:
        self._progress(Step(name, phase, detail, time.monotonic() - self._began))
