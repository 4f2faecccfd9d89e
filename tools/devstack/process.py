"""Starting, recognising and ending processes that outlive the command which started them.

A process writes its own identity (boot, pid, start time) to its run file *before* it becomes the
server, so there is no instant in which a server runs and nobody knows: not even a kill -9 of the
starter between two instructions leaves a stranger behind. A pid is only ever signalled while its
start time is still the recorded one.
"""

import contextlib
import os
import pwd
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from .errors import StackError

OPEN_FILES = 65536
ANNOUNCE_SECONDS = 10.0
KILL_SECONDS = 10.0
POLL_SECONDS = 0.02
# Writes its own stat line into descriptor 0, the run file, then becomes the server with that pid.
_BECOME = (
    'ulimit -n "$0" 2>/dev/null; IFS= read -r line < "/proc/$$/stat" && '
    'printf \'%s\\n\' "$line" >&0 && exec "$@" </dev/null'
)
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Launch:
    """How to start one process; ``user`` is a name to run as, only meaningful for root."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    user: str | None = None


@dataclass(frozen=True)
class Identity:
    """One process of one boot of this machine; ``start_ticks`` is field 22 of /proc/PID/stat."""

    boot: str
    pid: int
    start_ticks: int


def boot_id() -> str:
    """The kernel's name for this boot, so that a record does not survive a reboot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that say who a process is and whether it lives."""

    pid: int
    state: str
    threads: int
    start_ticks: int


def parse_stat(line: str) -> Stat | None:
    """What a stat line says, None where it is not whole."""
    head, bracket, tail = line.rpartition(")")
    fields = tail.split()
    if not bracket or len(fields) < 20:
        return None
    return Stat(int(head.split("(", 1)[0]), fields[0], int(fields[17]), int(fields[19]))


def read_identity(run_file: Path) -> Identity | None:
    """Whom a run file names; None where there is none or the process never got that far."""
    try:
        lines = run_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < 2:
        return None
    seen = parse_stat(lines[1])
    if seen is None:
        return None
    return Identity(boot=lines[0], pid=seen.pid, start_ticks=seen.start_ticks)


def is_alive(identity: Identity) -> bool:
    """Whether exactly this process runs.

    A zombie does not, unless its other threads are still ending: they hold its files and ports.
    """
    child = _children.get(identity.pid)
    if child is not None and child.poll() is not None:
        _children.pop(identity.pid, None)
    if identity.boot != boot_id():
        return False
    try:
        line = Path(f"/proc/{identity.pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    seen = parse_stat(line)
    if seen is None or seen.start_ticks != identity.start_ticks:
        return False
    return seen.state not in "ZX" or seen.threads > 1


def start(launch: Launch, *, run_file: Path, log_file: Path) -> Identity:
    """Start a process in a session of its own; the previous log is kept as ``NAME.log.1``.

    Raises:
        StackError: the program could not be started.
    """
    if log_file.exists():
        log_file.replace(log_file.with_name(log_file.name + ".1"))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    with log_file.open("wb") as log, run_file.open("wb", buffering=0) as record:
        record.write(f"{boot_id()}\n".encode())
        try:
            child = subprocess.Popen(
                ("/bin/sh", "-c", _BECOME, str(limit), *launch.argv),
                stdin=record,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(launch.env),
                cwd=launch.cwd or "/",
                start_new_session=True,
                **_as_user(launch.user),
            )
        except OSError as error:
            raise StackError(f"cannot start {launch.argv[0]}: {error}") from error
    _children[child.pid] = child
    return _announced(child, run_file, log_file)


def run_to_end(
    launch: Launch,
    *,
    run_file: Path,
    log_file: Path,
    within_seconds: float,
    abort: threading.Event,
) -> None:
    """Run a command as ``start`` does, so that ``down`` knows it too, and wait for its end.

    Raises:
        StackError: it failed, took too long or was aborted; with its last lines.
    """
    words = " ".join(Path(word).name for word in launch.argv[:1])
    identity = start(launch, run_file=run_file, log_file=log_file)
    child = _children[identity.pid]
    deadline = time.monotonic() + within_seconds
    try:
        while child.poll() is None:
            if abort.is_set():
                raise StackError(f"{words} was interrupted")
            if time.monotonic() > deadline:
                raise StackError(
                    f"{words} took longer than {within_seconds:.0f} s", log_tail=tail(log_file)
                )
            time.sleep(POLL_SECONDS)
    finally:
        stop(identity, number=signal.SIGKILL, within_seconds=0.0)
        run_file.unlink(missing_ok=True)
    if child.returncode != 0:
        raise StackError(f"{words} failed", log_tail=tail(log_file))


def _announced(child: subprocess.Popen[bytes], run_file: Path, log_file: Path) -> Identity:
    deadline = time.monotonic() + ANNOUNCE_SECONDS
    while time.monotonic() < deadline:
        identity = read_identity(run_file)
        if identity is not None:
            return identity
        if child.poll() is not None:
            break
        time.sleep(POLL_SECONDS)
    raise StackError("the process ended before it began", log_tail=tail(log_file))


def _as_user(user: str | None) -> dict[str, Any]:
    """Popen's arguments for running as another user; nothing unless this is root."""
    if user is None or os.getuid() != 0:
        return {}
    account = pwd.getpwnam(user)
    groups = os.getgrouplist(user, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}


def tree(identity: Identity) -> list[psutil.Process]:
    """The process and all its descendants, the process first; empty when it is gone."""
    if not is_alive(identity):
        return []
    try:
        root = psutil.Process(identity.pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def send(identity: Identity, number: int) -> None:
    """Signal the whole tree of a process; after SIGKILL, wait until none of it is left.

    Raises:
        StackError: something does not end, not even by SIGKILL.
    """
    members = tree(identity)
    _signal_all(identity, members, number)
    if number == signal.SIGKILL:
        _await_end(identity, members)


def stop(identity: Identity, *, number: int, within_seconds: float) -> bool:
    """Ask a process to end, and end it and what it leaves behind when it does not in time.

    Returns whether it ended by itself.
    """
    members = tree(identity)
    if not members:
        return True
    ended = False
    if number != signal.SIGKILL:
        with contextlib.suppress(psutil.NoSuchProcess):
            members[0].send_signal(number)
            members[0].send_signal(signal.SIGCONT)
        ended = wait_gone(identity, within_seconds=within_seconds)
    _signal_all(identity, members, signal.SIGKILL)
    _await_end(identity, members)
    return ended


def _await_end(identity: Identity, members: list[psutil.Process]) -> None:
    deadline = time.monotonic() + KILL_SECONDS
    while is_alive(identity) or any(_lives(member) for member in members[1:]):
        if time.monotonic() > deadline:
            raise StackError(f"process {identity.pid} does not end, not even by SIGKILL")
        time.sleep(POLL_SECONDS)


def _lives(member: psutil.Process) -> bool:
    """A zombie does not: where process 1 collects nobody's children it would stay for ever."""
    try:
        return bool(member.is_running() and member.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal_all(identity: Identity, members: list[psutil.Process], number: int) -> None:
    """Signal the process group at once, then the members that left it (PostgreSQL's backends).

    The group first: a shell that forks between the listing and the signal is caught with its
    newborn child. Only while its leader lives, so the number cannot be somebody else's.
    """
    if is_alive(identity):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(identity.pid, number)
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.send_signal(number)


def wait_gone(identity: Identity, *, within_seconds: float) -> bool:
    """Wait until a process is gone; False when it still runs after the time given."""
    deadline = time.monotonic() + within_seconds
    while is_alive(identity):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, at most 16 KiB of them."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16384))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
