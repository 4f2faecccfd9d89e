"""One asyncio task per object: it passes, sleeps to an absolute deadline, and is woken by what happens."""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from doorbuster.kit import telemetry
from doorbuster_operator import metrics
from doorbuster_operator.cluster import ClusterError, GoneError
from doorbuster_operator.inventory import FencedError

SHORTEST_SLEEP_SECONDS = 0.01
LONGEST_SLEEP_SECONDS = 60.0
FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 5.0
PASS_SECONDS = 30.0


class Subject(Protocol):
    """What a keeper keeps; ``run_pass`` returns when time alone makes another pass worth while."""

    @property
    def kind(self) -> str:
        """The name of the controller in logs and metrics."""
        ...

    @property
    def name(self) -> str:
        """The object's name."""
        ...

    async def run_pass(self) -> datetime | None:
        """Observe, decide, apply, patch once."""
        ...


class Keeper:
    """Runs the passes of one subject until it is stopped or the object is gone."""

    def __init__(
        self,
        subject: Subject,
        *,
        now: Callable[[], datetime],
        on_fenced: Callable[[FencedError], None],
    ) -> None:
        self._subject = subject
        self._now = now
        self._on_fenced = on_fenced
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._live(), name=f"{subject.kind} {subject.name}")
        # A pass that was asked for and never began waits no more.
        self._task.add_done_callback(lambda _: self._take_wake())

    def wake(self) -> None:
        """Ask for a pass now; of a keeper that has ended that is no use."""
        if not self._wake.is_set() and not self._task.done():
            metrics.QUEUE_DEPTH.labels(self._subject.kind).inc()
            self._wake.set()

    def cancel(self) -> None:
        """End the task soon."""
        self._task.cancel()

    async def stop(self) -> None:
        """End the task; a pass under way is cancelled, the next leader repeats it."""
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=2)

    def _take_wake(self) -> None:
        if self._wake.is_set():
            metrics.QUEUE_DEPTH.labels(self._subject.kind).dec()
            self._wake.clear()

    async def _live(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            self._take_wake()
            try:
                wake_at = await self._timed_pass()
                backoff = FIRST_BACKOFF_SECONDS
                pause = self._pause(wake_at)
            except GoneError as error:
                # The watch will tell, and this task is stopped; if it was a conflict, it is looked at again.
                telemetry.log().info(
                    "object_gone_or_changed",
                    kind=self._subject.kind,
                    name=self._subject.name,
                    error=str(error)[:300],
                )
                pause = backoff
                backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)
            except FencedError as error:
                telemetry.log().error(
                    "fenced", kind=self._subject.kind, name=self._subject.name, error=str(error)
                )
                self._on_fenced(error)
                return
            except Exception as error:
                metrics.RECONCILE_ERRORS.labels(self._subject.kind).inc()
                expected = isinstance(error, ClusterError | TimeoutError)
                telemetry.log().warning(
                    "reconcile_failed",
                    kind=self._subject.kind,
                    name=self._subject.name,
                    error=str(error)[:300] or type(error).__name__,
                    exc_info=None if expected else error,
                )
                pause = backoff * random.uniform(0.8, 1.2)
                backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)
            await self._sleep(pause)

    async def _timed_pass(self) -> datetime | None:
        started = time.perf_counter()
        kind = self._subject.kind
        result = "error"
        try:
            async with asyncio.timeout(PASS_SECONDS):
                wake_at = await self._subject.run_pass()
            result = "success" if wake_at is None else "requeue_after"
            return wake_at
        finally:
            metrics.RECONCILES.labels(kind, result).inc()
            metrics.RECONCILE_SECONDS.labels(kind).observe(time.perf_counter() - started)

    def _pause(self, wake_at: datetime | None) -> float:
        if wake_at is None:
            return LONGEST_SLEEP_SECONDS
        left = (wake_at - self._now()) / timedelta(seconds=1)
        return min(max(left, SHORTEST_SLEEP_SECONDS), LONGEST_SLEEP_SECONDS)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
