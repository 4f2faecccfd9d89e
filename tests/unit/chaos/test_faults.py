"""Faults against a stack that only remembers: safe to repeat, and supervised like a deployment's."""

import pathlib
import signal
from typing import cast

import pytest

from chaos import faults
from devstack.errors import StackError
from devstack.layout import Layout
from devstack.stack import Stack


class Rehearsal:
    """A stack whose parts die at their first ``crashes`` starts."""

    def __init__(self, root: pathlib.Path, crashes: int = 0) -> None:
        self.layout = Layout(root)
        self.up = {"redis", "order", "kafka"}
        self.said: list[str] = []
        self._crashes = crashes

    def is_running(self, name: str) -> bool:
        return name in self.up

    def lacks(self, name: str) -> str | None:
        return None if name in self.up else "it does not run"

    def kill(self, name: str, number: int) -> None:
        if name not in self.up:
            raise StackError(f"{name} does not run")
        self.said.append(f"{signal.Signals(number).name} {name}")
        if number == signal.SIGKILL:
            self.up.discard(name)

    def start(self, name: str) -> None:
        self.said.append(f"start {name}")
        if self._crashes:
            self._crashes -= 1
        else:
            self.up.add(name)


def pretend(root: pathlib.Path, crashes: int = 0) -> tuple[Rehearsal, Stack]:
    rehearsal = Rehearsal(root, crashes)
    return rehearsal, cast("Stack", rehearsal)


async def test_a_killed_part_is_started_until_it_stays(tmp_path: pathlib.Path) -> None:
    rehearsal, stack = pretend(tmp_path, crashes=2)
    fault = faults.Kill("order")
    await fault.strike(stack)
    await fault.heal(stack)
    assert rehearsal.said == ["SIGKILL order"] + ["start order"] * 3


async def test_striking_and_healing_twice_does_it_once(tmp_path: pathlib.Path) -> None:
    rehearsal, stack = pretend(tmp_path)
    fault = faults.Kill("order")
    for act in (fault.heal, fault.strike, fault.strike, fault.heal, fault.heal):
        await act(stack)
    assert rehearsal.said == ["SIGKILL order", "start order"]


async def test_a_frozen_part_goes_on_without_a_restart(tmp_path: pathlib.Path) -> None:
    rehearsal, stack = pretend(tmp_path)
    fault = faults.Freeze("order")
    await fault.strike(stack)
    await fault.heal(stack)
    assert rehearsal.said == ["SIGSTOP order", "SIGCONT order"]


async def test_redis_comes_back_empty_from_a_kill(tmp_path: pathlib.Path) -> None:
    _, stack = pretend(tmp_path)
    dump = stack.layout.data("redis", None) / faults.DUMP
    dump.write_bytes(b"what a rollback would load")
    fault = faults.Kill("redis")
    await fault.strike(stack)
    await fault.heal(stack)
    assert not dump.exists()


async def test_kafka_loses_its_log(tmp_path: pathlib.Path) -> None:
    rehearsal, stack = pretend(tmp_path)
    log = stack.layout.data("kafka", None) / "log"
    (log / "orders-0").mkdir(parents=True)
    await faults.KafkaLoss().strike(stack)
    assert rehearsal.said == ["SIGKILL kafka"]
    assert not log.exists()


async def test_a_part_that_never_serves_is_an_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "SERVE_SECONDS", 0.3)
    _, stack = pretend(tmp_path, crashes=1000)
    fault = faults.Kill("order")
    await fault.strike(stack)
    with pytest.raises(StackError, match="order does not serve"):
        await fault.heal(stack)
