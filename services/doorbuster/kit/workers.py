"""What every background worker tells of itself: what it ended, what it put off, and how long the oldest case waits.

A case is open beyond its due time when the worker should have ended it by then: a hold past its pay-by, an event in
the outbox. All copies of a worker look at the same store, so the age of the oldest case is the maximum over the copies
and the cases they ended are the sum. While the store cannot be asked, the age grows with the clock: nobody knows that
nothing is open, and an alarm on the age must not fall silent just then.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from prometheus_client import Counter, Gauge

from . import process

WATCH_SECONDS = 1.0
LOOK_SECONDS = 2.0
REPAIRED = Counter(
    "doorbuster_worker_repaired", "Cases a background worker ended, by how", ["worker", "outcome"]
)
POSTPONED = Counter(
    "doorbuster_worker_postponed",
    "Cases a background worker looked at and has to come back to, by why",
    ["worker", "reason"],
)
OLDEST = Gauge(
    "doorbuster_worker_oldest_open_seconds",
    "How long the oldest case has been open beyond its due time; 0 when there is none",
    ["worker"],
)

Look = Callable[[], Awaitable[float]]


class Worker:
    """The meters of one worker; every label it will ever use is named here, so that all series begin at 0."""

    def __init__(
        self, name: str, *, outcomes: tuple[str, ...], reasons: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self._repaired = {outcome: REPAIRED.labels(name, outcome) for outcome in outcomes}
        self._postponed = {reason: POSTPONED.labels(name, reason) for reason in reasons}
        OLDEST.labels(name)

    def repaired(self, outcome: str, cases: int = 1) -> None:
        """Count cases that this worker has ended."""
        self._repaired[outcome].inc(cases)

    def postponed(self, reason: str, cases: int = 1) -> None:
        """Count cases that stay open for now."""
        self._postponed[reason].inc(cases)


class Watch:
    """Asks for the age of each worker's oldest open case; a question without an answer lets the age grow."""

    def __init__(
        self, looks: Mapping[str, Look], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._looks = looks
        self._clock = clock
        self._known = {name: (0.0, clock()) for name in looks}

    async def step(self) -> bool:
        """Look once at all, one after the other: together they would take every connection of a small pool.

        Raises the first failure after all have been looked at.
        """
        failure: Exception | None = None
        for name, look in self._looks.items():
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    age = max(0.0, await look())
            except Exception as error:
                failure = failure or error
                known, at = self._known[name]
                age = known + self._clock() - at
            else:
                self._known[name] = (age, self._clock())
            OLDEST.labels(name).set(age)
        if failure is not None:
            raise failure
        return False


@asynccontextmanager
async def watching(looks: Mapping[str, Look]) -> AsyncIterator[None]:
    """Look once a second while the context is open; ``looks`` maps a worker to its oldest case's age in seconds."""
    async with process.repeating("watch", Watch(looks).step, every_seconds=WATCH_SECONDS):
        yield
