"""The news of an order as server-sent events: what a buyer's page listens to instead of asking again and again."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import msgspec
from prometheus_client import Gauge

from doorbuster.contracts import api
from doorbuster.kit import database

from .usecases import Orders

MOST_LISTENERS = 500
MOST_LISTENERS_PER_USER = 10  # in this copy; a browser opens at most six connections to a host
LIFE_SECONDS = 60.0  # then the browser comes again by itself
LOOK_SECONDS = 5.0  # another copy of the service may have taken the event in
RETRY_MILLIS = 2000
LISTENERS = Gauge("doorbuster_order_listeners", "Open streams of order news")
FINAL = frozenset({"expired", "cancelled", "returned"})


class TooManyListenersError(Exception):
    """This copy serves as many streams as it can."""

    retry_after = 5


class TooManyOfUserError(Exception):
    """This user listens as often as one may."""

    retry_after = 5


class Bells:
    """Wakes those who wait for news of an order; so many may wait at once, and so many of one user."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._count = 0
        self._of_user: Counter[str] = Counter()
        self.closed = False

    def ring(self, order_ids: list[str]) -> None:
        """Wake whoever listens to these orders."""
        for order_id in order_ids:
            for event in self._waiting.get(order_id, ()):
                event.set()

    def close(self) -> None:
        """Wake everybody for the last time."""
        self.closed = True
        self.ring(list(self._waiting))

    @contextmanager
    def listening(self, order_id: str, user_id: str) -> Iterator[asyncio.Event]:
        """Return an event that is set when there may be news; raises TooManyListeners… or TooManyOfUserError."""
        if self._of_user[user_id] >= MOST_LISTENERS_PER_USER:
            raise TooManyOfUserError("close another stream, or ask for the status instead")
        if self._count >= MOST_LISTENERS or self.closed:
            raise TooManyListenersError("ask for the status instead")
        bell = asyncio.Event()
        self._waiting.setdefault(order_id, set()).add(bell)
        self._count += 1
        self._of_user[user_id] += 1
        LISTENERS.set(self._count)
        try:
            yield bell
        finally:
            self._count -= 1
            self._of_user -= Counter((user_id,))  # and forgets whoever has none left
            LISTENERS.set(self._count)
            self._waiting[order_id].discard(bell)
            if not self._waiting[order_id]:
                del self._waiting[order_id]


async def news(
    orders: Orders,
    bells: Bells,
    bell: asyncio.Event,
    first: api.OrderStatus,
    user_id: str,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[bytes]:
    """Yield the status now and each time it changes, with a sign of life in between.

    Ends after a final status, after ``LIFE_SECONDS``, when the service stops, and when the store is away.
    """
    known, deadline = first, clock() + LIFE_SECONDS
    yield b"retry: %d\n\n" % RETRY_MILLIS + _event(known)
    while known.status not in FINAL and clock() < deadline:
        try:
            await asyncio.wait_for(bell.wait(), LOOK_SECONDS)
        except TimeoutError:
            yield b": still here\n\n"
        bell.clear()
        if bells.closed:
            return
        try:
            status = await orders.show_status(known.order_id, user_id)
        except Exception as error:
            if database.is_away(error):
                return
            raise
        if status != known:
            known = status
            yield _event(known)


def _event(status: api.OrderStatus) -> bytes:
    return b"event: status\ndata: %b\n\n" % msgspec.json.encode(status)
