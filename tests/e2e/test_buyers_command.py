"""The `buyers` command as a stranger uses it: only the shop's address, then the stores, then a crowd that is killed."""

import asyncio
import json
import os
import pathlib
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping

import pytest

from buyers import gates, manifest, stores
from devstack.stack import Stack

BUYERS = 12
UNITS = 3
OPENS_IN_SECONDS = 20.0  # a new process and a crowd that signs up
COMMAND_SECONDS = 240.0


class Command:
    """Runs `buyers` in a process of its own, with no other address than it is given."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        kept = {name: value for name, value in os.environ.items() if "DOORBUSTER" not in name}
        self._environment = {**kept, **environment}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            (sys.executable, "-P", "-m", "buyers", *arguments),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str) -> tuple[int, bytes]:
        with self.start(*arguments) as process:
            out, said = process.communicate(timeout=COMMAND_SECONDS)
        assert process.returncode in (0, 1, 2), said.decode()
        return process.returncode, out


@pytest.fixture
async def sale(open_stack: Stack) -> AsyncIterator[manifest.Sale]:
    key = open_stack.layout.keys / "operator.pem"
    async with gates.gate_keeper(open_stack.env(), key) as keeper:
        wish = gates.Wish(
            name=f"stranger-{secrets.token_hex(4)}",
            units=UNITS,
            opens_in=OPENS_IN_SECONDS,
            hold_seconds=5,
        )
        yield await keeper.open_sale(wish)


def run_arguments(stack: Stack, sale: manifest.Sale, path: pathlib.Path) -> list[str]:
    return [
        *("run", "--sale", sale.path, "--buyers", str(BUYERS), "--units", str(UNITS)),
        *("--history", str(path), "--seed", "7", "--url", stack.env()["DOORBUSTER_PUBLIC_URL"]),
    ]


def wait_for_calls(crowd: subprocess.Popen[bytes], path: pathlib.Path, count: int) -> None:
    """Wait until the crowd has sent so many calls."""
    deadline = time.monotonic() + COMMAND_SECONDS
    while (seen := calls_in(path)) < count:
        if crowd.poll() is not None or time.monotonic() > deadline:
            crowd.kill()
            said = crowd.communicate(timeout=COMMAND_SECONDS)[1].decode()
            raise AssertionError(f"{seen} calls, then status {crowd.returncode}: {said}")
        time.sleep(0.05)


def calls_in(path: pathlib.Path) -> int:
    return path.read_bytes().count(b'"kind":"invoke"') if path.exists() else 0


async def test_stranger_runs_and_judges_with_the_address_alone(
    open_stack: Stack, sale: manifest.Sale, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "history.jsonl"
    stranger, owner = Command({}), Command(open_stack.env())
    arguments = [*run_arguments(open_stack, sale, path), "--json"]
    status, out = await asyncio.to_thread(stranger.run, *arguments)
    assert status == 0
    assert sum(json.loads(out)["endings"].values()) == BUYERS
    check = ("check", "--history", str(path), "--json")
    assert (await asyncio.to_thread(stranger.run, *check))[0] == 2
    assert (await asyncio.to_thread(stranger.run, *check, "--history-only"))[0] == 0
    status, out = await asyncio.to_thread(owner.run, *check)
    told = json.loads(out)
    assert told["violations"] == []
    assert set(told["unjudged"]) == {"I1", "I2"}  # nobody could sample while the stranger ran
    assert (status, told["sold"]) == (2, UNITS)
    name = stores.NAMES["inventory"]
    sampled = Command({name: open_stack.env()[name]})
    late = await asyncio.to_thread(sampled.run, *run_arguments(open_stack, sale, path))
    assert late[0] == 2  # the sale is sold out: nobody is sent in


async def test_killed_crowd_leaves_a_history_that_can_be_judged(
    open_stack: Stack, sale: manifest.Sale, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "history.jsonl"
    owner = Command(open_stack.env())
    with owner.start(*run_arguments(open_stack, sale, path)) as crowd:
        await asyncio.to_thread(wait_for_calls, crowd, path, UNITS)
        crowd.send_signal(signal.SIGKILL)
        crowd.communicate(timeout=COMMAND_SECONDS)
    status, out = await asyncio.to_thread(owner.run, "check", "--history", str(path), "--json")
    told = json.loads(out)
    assert told["violations"] == []
    assert set(told["unjudged"]) == {"I5", "I6"}
    assert told["samples"] > 0
    assert status == 2
