"""The meters of workers: all labels from the start, and an age that never falls silent."""

import pytest
from prometheus_client import REGISTRY

from doorbuster.kit import workers


def value(metric: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"doorbuster_worker_{metric}", labels)


def test_all_series_are_there_before_the_first_case() -> None:
    worker = workers.Worker("t-first", outcomes=("done", "dropped"), reasons=("away",))
    for outcome in ("done", "dropped"):
        assert value("repaired_total", worker="t-first", outcome=outcome) == 0
    assert value("postponed_total", worker="t-first", reason="away") == 0
    assert value("oldest_open_seconds", worker="t-first") == 0
    worker.repaired("done", 3)
    worker.postponed("away")
    assert value("repaired_total", worker="t-first", outcome="done") == 3
    assert value("postponed_total", worker="t-first", reason="away") == 1


def test_an_outcome_that_was_not_named_is_our_mistake() -> None:
    worker = workers.Worker("t-unnamed", outcomes=("done",))
    with pytest.raises(KeyError):
        worker.repaired("don")


async def test_the_age_grows_while_nobody_can_tell_it() -> None:
    now = 100.0
    answers: list[float | Exception] = [4.0, ConnectionError(), ConnectionError(), -1.0]

    async def look() -> float:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def fine() -> float:
        return 1.5

    watch = workers.Watch({"t-blind": look, "t-fine": fine}, clock=lambda: now)
    seen = []
    for seconds in (1.0, 2.0, 3.0, 1.0):
        now += seconds
        if isinstance(answers[0], Exception):
            with pytest.raises(ConnectionError):
                await watch.step()
        else:
            await watch.step()
        seen.append(value("oldest_open_seconds", worker="t-blind"))
        assert value("oldest_open_seconds", worker="t-fine") == 1.5
    assert seen == [4.0, 6.0, 9.0, 0.0]


async def test_an_age_that_was_never_told_counts_from_the_start() -> None:
    now = 0.0

    async def look() -> float:
        raise TimeoutError

    watch = workers.Watch({"t-never": look}, clock=lambda: now)
    now = 30.0
    with pytest.raises(TimeoutError):
        await watch.step()
    assert value("oldest_open_seconds", worker="t-never") == 30.0
