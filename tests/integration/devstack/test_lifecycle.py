"""A stack survives its own commands: killed, interrupted, repeated, it is always known and endable."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis.asyncio

from devstack import ports, process
from devstack.accounts import server_user
from devstack.errors import StackError
from devstack.stack import Stack

SERVERS = ("redis", "postgres", "mariadb")
DEADLINE_SECONDS = 30.0


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "stack"
    yield folder
    Stack(folder, public_port=0).down(forget=True)


def processes_of(root: Path) -> list[psutil.Process]:
    """Every process that has the stack's folder in its command line or as its data folder."""
    found = []
    for candidate in psutil.process_iter(["cmdline"]):
        words = " ".join(candidate.info["cmdline"] or ())
        if str(root) in words and candidate.pid != os.getpid() and "pytest" not in words:
            found.append(candidate)
    return found


def members_of(session: int) -> list[int]:
    """The pids of a session, without those that are only waiting to be collected."""
    found = []
    for candidate in psutil.process_iter(["status"]):
        try:
            same = os.getsid(candidate.pid) == session
        except ProcessLookupError:
            continue
        if same and candidate.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(candidate.pid)
    return found


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.05)


def command(root: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "devstack", "--root", str(root), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # A background job of a script inherits an ignored SIGINT; a person at a terminal has not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_up_is_repeatable_and_down_leaves_no_process_no_lock_no_open_port(root):
    stack = Stack(root, public_port=0)
    stack.up(only=SERVERS)
    first = {part.name: part.pid for part in stack.status()}
    Stack(root, public_port=0).up(only=SERVERS)
    assert {part.name: part.pid for part in stack.status()} == first
    assert all(part.state == "up" for part in stack.status())
    numbers = [number for part in stack.status() for number in part.ports.values()]
    stack.down()
    assert processes_of(root) == []
    assert not (root / "lock").exists()
    assert list((root / "run").glob("*.proc")) == []
    assert all(ports.is_free(number) for number in numbers)


def test_data_passwords_and_ports_outlive_down(root):
    stack = Stack(root, public_port=0)
    stack.up(only=["postgres"])
    before = stack.env()
    stack.down()
    again = Stack(root, public_port=0)
    again.up(only=["postgres"])
    assert again.env() == before


@pytest.mark.parametrize("delay_seconds", [0.15, 0.5, 1.2])
def test_down_ends_what_a_killed_up_has_begun(root, delay_seconds):
    starting = command(root, "up", "--only", ",".join(SERVERS))
    try:
        until((root / "lock").exists, "up")
        time.sleep(delay_seconds)  # the test is about dying at an arbitrary instant
    finally:
        starting.send_signal(signal.SIGKILL)
        starting.communicate()
    Stack(root, public_port=0).down()
    assert processes_of(root) == []
    Stack(root, public_port=0).up(only=SERVERS)
    assert all(part.state == "up" for part in Stack(root, public_port=0).status())


def test_an_interrupted_up_stops_at_once_and_can_be_taken_down(root):
    starting = command(root, "up", "--only", ",".join(SERVERS))
    until(lambda: any(root.glob("run/*.proc")), "the first process")
    starting.send_signal(signal.SIGINT)
    _, errors = starting.communicate(timeout=DEADLINE_SECONDS)
    assert starting.returncode == 130, errors
    Stack(root, public_port=0).down()
    assert processes_of(root) == []


@pytest.mark.parametrize("name", [*SERVERS, "kafka", "apiserver", "connect"])
def test_a_killed_server_is_dead_and_comes_back_on_its_port(stack, servers, name):
    def status():
        return next(part for part in stack.status() if part.name == name)

    servers(name)
    before = status()
    stack.kill(name)
    assert status().state == "down"
    with pytest.raises(StackError, match="does not run"):
        stack.kill(name)
    stack.restart(name)
    after = status()
    assert after.state == "up"
    assert after.ports == before.ports
    assert after.pid != before.pid


def test_postgres_comes_back_while_its_killed_predecessor_is_a_zombie(stack, servers):
    """A pid that exists keeps PostgreSQL's own lock valid, whoever it belongs to by now."""
    servers("postgres")
    stack.kill("postgres")
    data = stack.site.layout.data("postgres", server_user("postgres")) / "cluster"
    with subprocess.Popen(["/bin/true"]) as zombie:
        lock = data / "postmaster.pid"
        lines = lock.read_text(encoding="ascii").splitlines()
        lock.write_text("\n".join([str(zombie.pid), *lines[1:]]) + "\n", encoding="ascii")
        stack.restart("postgres")
    assert next(part for part in stack.status() if part.name == "postgres").state == "up"


async def test_bind_adds_an_address_for_servers_with_passwords_only(root):
    stack = Stack(root, public_port=0)
    await asyncio.to_thread(stack.up, ["postgres", "redis", "nginx", "kafka"], bind="127.0.0.2")
    env = stack.env()
    assert "@127.0.0.2:" in env["DOORBUSTER_INVENTORY_DSN"]
    connection = await asyncpg.connect(env["DOORBUSTER_INVENTORY_DSN"])
    await connection.close()
    async with redis.asyncio.from_url(env["DOORBUSTER_REDIS_URL"]) as client:
        assert await client.ping()
    assert env["DOORBUSTER_PUBLIC_URL"].startswith("http://127.0.0.2:")
    assert env["DOORBUSTER_KAFKA_BOOTSTRAP"].startswith("127.0.0.1:")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", stack.site.port("kafka")), timeout=2)


def test_a_shell_that_keeps_forking_is_ended_with_all_its_children(tmp_path):
    script = "i=0; while [ $i -lt 400 ]; do sleep 1000 & i=$((i+1)); done; wait"
    launch = process.Launch(("/bin/sh", "-c", script), {"PATH": "/bin:/usr/bin"})
    who = process.start(launch, run_file=tmp_path / "x.proc", log_file=tmp_path / "x.log")
    until(lambda: len(process.tree(who)) > 5, "forking")
    process.stop(who, number=signal.SIGKILL, within_seconds=0.0)
    until(lambda: not members_of(who.pid), "the end of all children")


def test_a_stopped_server_can_still_be_taken_down(root):
    stack = Stack(root, public_port=0)
    stack.up(only=["redis"])
    stack.kill("redis", signal.SIGSTOP)
    stack.down()
    assert processes_of(root) == []


def test_down_ends_a_process_that_this_version_has_no_name_for(root):
    stack = Stack(root, public_port=0)
    stack.up(only=["redis"])
    (root / "run" / "redis.proc").rename(root / "run" / "memcached.proc")
    stack.down()
    assert processes_of(root) == []


def test_a_stranger_with_a_recorded_pid_is_never_signalled(root):
    stack = Stack(root, public_port=0)
    stack.up(only=["redis"])
    run_file = root / "run" / "redis.proc"
    kept = run_file.read_text(encoding="ascii")
    with subprocess.Popen(["/bin/sleep", "60"]) as stranger:
        try:
            own = Path(f"/proc/{stranger.pid}/stat").read_text(encoding="ascii").split()
            forged = own.copy()
            forged[21] = str(int(own[21]) - 1)  # the pid was reused: another start time
            boot = kept.splitlines()[0]
            run_file.write_text(f"{boot}\n{' '.join(forged)}\n", encoding="ascii")
            with pytest.raises(StackError, match="does not run"):
                stack.kill("redis")
            assert stranger.poll() is None
        finally:
            stranger.kill()
            run_file.write_text(kept, encoding="ascii")


def test_two_stacks_run_side_by_side(root, tmp_path):
    one, two = Stack(root, public_port=0), Stack(tmp_path / "other", public_port=0)
    try:
        one.up(only=["redis"])
        two.up(only=["redis"])
        assert one.env()["DOORBUSTER_REDIS_URL"] != two.env()["DOORBUSTER_REDIS_URL"]
        two.kill("redis")
        assert one.status()[0].state == "up"
    finally:
        two.down(forget=True)


def test_a_port_taken_while_the_stack_was_down_is_replaced(root):
    stack = Stack(root, public_port=0)
    stack.up(only=["redis"])
    before = stack.status()[0].ports["redis"]
    stack.down()
    with socket.create_server(("127.0.0.1", before)):
        stack.up(only=["redis"])
    assert stack.status()[0].ports["redis"] != before


def test_a_server_that_fails_says_why_with_its_last_lines(root):
    stack = Stack(root, public_port=0)
    stack.up(only=["redis"])
    stack.kill("redis")
    taken = stack.status()[0].ports["redis"]
    with socket.create_server(("127.0.0.1", taken)), pytest.raises(StackError) as caught:
        stack.restart("redis")
    assert caught.value.message.startswith("redis: the process ended while starting")
    assert "in use" in caught.value.log_tail
    assert "redis.log" in caught.value.hint


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts servers as another user")
def test_data_moves_to_where_its_user_can_reach_it(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    stack = Stack(closed / "stack", public_port=0)
    try:
        stack.up(only=["postgres", "mariadb"])
        assert stack.layout.fallback.is_dir()
    finally:
        stack.down(forget=True)
    assert not stack.layout.fallback.exists()
