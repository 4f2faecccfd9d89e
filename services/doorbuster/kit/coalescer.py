"""Natural batching: what waits while a batch is under way leaves together in the next one.

No timer: the first item goes at once, later ones queue while ``max_in_flight`` batches run, so batches
grow exactly with the load (the "group commit" idea of DeWitt et al., 1984).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class QueueFullError(Exception):
    """More items wait than the coalescer takes; the caller should shed load."""


class Coalescer(Generic[Item, Answer]):
    """Collects single calls of :meth:`submit` into calls of ``run_batch``.

    ``run_batch`` gets a list of at most ``max_batch`` items and returns one answer (or exception) an item,
    in order; when it raises, every waiter of that batch gets the exception.
    """

    def __init__(
        self,
        run_batch: Callable[[list[Item]], Awaitable[list[Answer | Exception]]],
        *,
        max_batch: int,
        max_in_flight: int = 2,
        max_queue: int = 20_000,
    ) -> None:
        self._run_batch = run_batch
        self._max_batch = max_batch
        self._max_in_flight = max_in_flight
        self._max_queue = max_queue
        self._queue: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many items wait for a batch."""
        return len(self._queue)

    async def submit(self, item: Item) -> Answer:
        """Put one item into the next batch and return its answer.

        Raises QueueFullError at once when ``max_queue`` items wait already.
        """
        if len(self._queue) >= self._max_queue:
            raise QueueFullError
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        self._launch()
        return await future

    def _launch(self) -> None:
        while self._queue and len(self._running) < self._max_in_flight:
            size = min(self._max_batch, len(self._queue))
            batch = [self._queue.popleft() for _ in range(size)]
            task = asyncio.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._launch()

    async def _run(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._run_batch([item for item, _ in batch])
            answered = list(zip(batch, answers, strict=True))
        except BaseException as error:
            failure = error if isinstance(error, Exception) else ConnectionError("stopped")
            for _, future in batch:
                if not future.done():
                    future.set_exception(failure)
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), answer in answered:
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def close(self) -> None:
        """Wait for the batches under way; whoever still queues gets ConnectionError."""
        while self._queue:
            _, future = self._queue.popleft()
            if not future.done():
                future.set_exception(ConnectionError("shutting down"))
        if self._running:
            await asyncio.wait(self._running, timeout=10)
