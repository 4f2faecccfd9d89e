"""Natural batching: the first goes alone, what waits leaves together, every waiter gets his own answer."""

import asyncio

import pytest

from doorbuster.kit.coalescer import Coalescer, QueueFullError


class Gate:
    """A batch function that waits until it is let through and records the batches it saw."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()

    async def run(self, items: list[int]) -> list[int | Exception]:
        self.batches.append(items)
        await self.open.wait()
        return [ValueError(str(item)) if item < 0 else item * 10 for item in items]


async def test_what_waits_during_a_batch_leaves_together() -> None:
    gate = Gate()
    coalescer = Coalescer(gate.run, max_batch=100, max_in_flight=1)
    calls = [asyncio.create_task(coalescer.submit(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert coalescer.waiting == 4
    gate.open.set()
    assert await asyncio.gather(*calls) == [0, 10, 20, 30, 40]
    assert gate.batches == [[0], [1, 2, 3, 4]]


async def test_a_batch_has_at_most_its_size() -> None:
    gate = Gate()
    gate.open.set()
    coalescer = Coalescer(gate.run, max_batch=3, max_in_flight=1)
    await asyncio.gather(*(coalescer.submit(number) for number in range(10)))
    assert max(len(batch) for batch in gate.batches) == 3
    assert sorted(item for batch in gate.batches for item in batch) == list(range(10))


async def test_one_bad_item_fails_alone() -> None:
    gate = Gate()
    gate.open.set()
    coalescer = Coalescer(gate.run, max_batch=10, max_in_flight=1)
    answers = await asyncio.gather(
        *(coalescer.submit(number) for number in (1, -2, 3)), return_exceptions=True
    )
    assert answers[0] == 10
    assert isinstance(answers[1], ValueError)
    assert answers[2] == 30


async def test_a_failed_batch_fails_all_its_waiters_and_the_next_one_runs() -> None:
    calls = 0

    async def run(items: list[int]) -> list[int | Exception]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionError("away")
        return list(items)

    coalescer = Coalescer(run, max_batch=10, max_in_flight=1)
    with pytest.raises(ConnectionError):
        await coalescer.submit(1)
    assert await coalescer.submit(2) == 2


async def test_a_batch_that_answers_too_little_is_an_error_for_all() -> None:
    async def run(items: list[int]) -> list[int | Exception]:
        return []

    coalescer = Coalescer(run, max_batch=10)
    with pytest.raises(ValueError, match="zip"):
        await asyncio.wait_for(coalescer.submit(1), 1)


async def test_a_full_queue_refuses_at_once() -> None:
    gate = Gate()
    coalescer = Coalescer(gate.run, max_batch=1, max_in_flight=1, max_queue=1)
    first = asyncio.create_task(coalescer.submit(1))
    second = asyncio.create_task(coalescer.submit(2))
    await asyncio.sleep(0)
    with pytest.raises(QueueFullError):
        await coalescer.submit(3)
    gate.open.set()
    assert await asyncio.gather(first, second) == [10, 20]


async def test_closing_answers_everybody() -> None:
    gate = Gate()
    coalescer = Coalescer(gate.run, max_batch=1, max_in_flight=1)
    calls = [asyncio.create_task(coalescer.submit(number)) for number in range(3)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(coalescer.close())
    await asyncio.sleep(0)
    gate.open.set()
    await closing
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert answers[0] == 0
    assert all(isinstance(answer, ConnectionError) for answer in answers[1:])


async def test_a_waiter_that_went_away_does_not_disturb_the_others() -> None:
    gate = Gate()
    coalescer = Coalescer(gate.run, max_batch=10, max_in_flight=1)
    first = asyncio.create_task(coalescer.submit(1))
    gone = asyncio.create_task(coalescer.submit(2))
    stays = asyncio.create_task(coalescer.submit(3))
    await asyncio.sleep(0)
    gone.cancel()
    gate.open.set()
    assert await first == 10
    assert await stays == 30
