"""A world of its own for each test, and how many histories are played in it."""

import asyncio
import os
from collections.abc import Callable, Iterator

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from doorbuster.kit import migrations
from doorbuster.testing.histories import open_world

from .machine import Machine, Stage

EXAMPLES = int(os.environ.get("DOORBUSTER_MACHINE_EXAMPLES", "0"))
STEPS = 35


@pytest.fixture
def stage(scratch_postgres: str, fresh_redis: str) -> Iterator[Stage]:
    """A world on a database of its own: some tests break the functions in it."""
    # Nothing here outlives a crash of PostgreSQL; thousands of commits need not wait for the disk.
    asyncio.run(_hurry(scratch_postgres))
    asyncio.run(migrations.upgrade("doorbuster.inventory", scratch_postgres))
    with asyncio.Runner() as runner:
        opened = open_world(scratch_postgres, fresh_redis)
        world = runner.run(opened.__aenter__())
        try:
            yield Stage(runner, world)
        finally:
            runner.run(opened.__aexit__(None, None, None))


async def _hurry(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        name = dsn.rpartition("/")[2]
        await connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    finally:
        await connection.close()


@pytest.fixture
def run_histories(stage: Stage) -> Callable[..., None]:
    """``run_histories(n)`` plays n histories; raises AssertionError when one breaks a rule.

    ``first`` chooses where they begin: the same histories for the same number.
    """

    class Here(Machine):
        pass

    Here.stage = stage

    def run(examples: int, *, first: int | None = None) -> None:
        chosen = settings(
            max_examples=EXAMPLES or examples,
            stateful_step_count=STEPS,
            derandomize=not EXAMPLES,
            database=None,
            deadline=None,
            phases=(Phase.generate,),  # a history is short enough to be read as it is
            suppress_health_check=list(HealthCheck),
        )
        played = Here if first is None or EXAMPLES else seed(first)(Here)
        run_state_machine_as_test(played, settings=chosen)

    return run
