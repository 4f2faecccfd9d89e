"""Token buckets in memory, with the rules of the shared ones."""

import time
from collections.abc import Callable, Sequence

from doorbuster.gateway.domain import Admission, Charge


class FakeBuckets:
    """Token buckets of one process; ``is_away`` makes them answer nothing."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._full_at: dict[str, float] = {}
        self.is_away = False

    async def take(self, charges: Sequence[Charge]) -> Admission | None:
        """Take one token from each bucket, or none from any; None when the buckets cannot be asked."""
        if self.is_away:
            return None
        now = self._monotonic()
        after = {
            charge.key: max(now, self._full_at.get(charge.key, now)) + 1 / charge.rate.per_second
            for charge in charges
        }
        waits = [
            (after[charge.key] - now - charge.rate.burst / charge.rate.per_second, charge)
            for charge in charges
        ]
        wait, refusing = max(waits, key=lambda entry: entry[0])
        if wait > 1e-9:
            return Admission(
                allowed=False,
                kind=refusing.kind,
                limit=refusing.rate.burst,
                remaining=0,
                reset_seconds=self._full_at[refusing.key] - now,
                retry_after_seconds=wait,
            )
        self._full_at |= after
        left = [
            (round(charge.rate.burst - (after[charge.key] - now) * charge.rate.per_second), charge)
            for charge in charges
        ]
        remaining, tightest = min(left, key=lambda entry: entry[0])
        return Admission(
            allowed=True,
            kind=tightest.kind,
            limit=tightest.rate.burst,
            remaining=remaining,
            reset_seconds=after[tightest.key] - now,
            retry_after_seconds=0.0,
        )
