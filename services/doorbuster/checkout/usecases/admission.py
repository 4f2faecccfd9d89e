"""How many orders may be under way at once: above it the answer is truthful but late.

Instant refusals make greedy clients ask faster and eat the time that the others need; a refusal after a second
does not. How many are made to wait is bounded too: beyond it the answer is instant.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager

from doorbuster.checkout.domain.refusals import WaitingError

from . import meters

TARPIT_SECONDS = 1.0
MOST_IN_TARPIT = 20_000

Sleep = Callable[[float], Awaitable[None]]


class Admission:
    """Counts orders under way by name (a product, or a way to take units)."""

    def __init__(self, *, most: int, sleep: Sleep) -> None:
        self._most = most
        self._sleep = sleep
        self._under_way: Counter[str] = Counter()
        self._in_tarpit = 0

    async def wait_if_full(self, names: Iterable[str]) -> None:
        """Return when there is room; raises WaitingError, late, when there is not."""
        if all(self._under_way[name] < self._most for name in names):
            return
        meters.TARPITTED.inc()
        if self._in_tarpit < MOST_IN_TARPIT:
            self._in_tarpit += 1
            try:
                await self._sleep(TARPIT_SECONDS)
            finally:
                self._in_tarpit -= 1
        raise WaitingError

    @contextmanager
    def under_way(self, names: Iterable[str]) -> Iterator[None]:
        """Count an order as under way while the context is open."""
        counted = tuple(names)
        self._under_way.update(counted)
        meters.IN_FLIGHT.inc()
        try:
            yield
        finally:
            meters.IN_FLIGHT.dec()
            for name in counted:
                self._under_way[name] -= 1
                if not self._under_way[name]:
                    del self._under_way[name]
