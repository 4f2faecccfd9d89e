"""Who leads: a Lease that is held, renewed, taken over when it was left, and given back at the end.

Nothing here compares wall clocks of two machines: whether another holder still lives is judged by how long its
record did not change by this process's own monotonic clock.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from doorbuster.kit import clock, telemetry

LEASE_SECONDS = 6
RENEW_DEADLINE_SECONDS = 4.0
RETRY_SECONDS = 1.0
SHORTEST_RETRY_SECONDS = 0.05
LONGEST_LEASE_SECONDS = 60  # a record by hand may say anything
STUCK_SECONDS = 2 * LEASE_SECONDS


class LeaseConflictError(Exception):
    """Somebody else wrote the lease since it was read."""


@dataclass(frozen=True, kw_only=True)
class LeaseRecord:
    """A lease as it is stored; ``version`` is empty for one that is to be created."""

    holder: str
    acquire_time: datetime | None
    renew_time: datetime | None
    duration_seconds: int
    transitions: int
    version: str


class LeaseStore(Protocol):
    """Where the lease is kept; both may raise ConnectionError."""

    async def read(self) -> LeaseRecord | None:
        """Return the lease, if there is one."""
        ...

    async def write(self, record: LeaseRecord) -> LeaseRecord:
        """Create or replace it; raises LeaseConflictError when it changed since it was read."""
        ...


class Election:
    """One candidate. ``acquire`` until it leads, then ``keep`` until it does not, ``release`` at the end."""

    def __init__(
        self,
        store: LeaseStore,
        holder: str,
        *,
        monotonic: Callable[[], float],
        utc_now: clock.Clock = clock.utc_now,
    ) -> None:
        self.holder = holder
        self._store = store
        self._monotonic = monotonic
        self._utc_now = utc_now
        self._seen: LeaseRecord | None = None
        self._seen_at = 0.0
        self._held: LeaseRecord | None = None
        self._renewed_at = float("-inf")

    @property
    def is_leader(self) -> bool:
        """Tell whether the lease is held and was renewed in time."""
        return (
            self._held is not None
            and self._monotonic() - self._renewed_at < RENEW_DEADLINE_SECONDS
        )

    @property
    def is_stuck(self) -> bool:
        """Tell whether a lease is still believed to be held that was not renewed for far too long."""
        return self._held is not None and self._monotonic() - self._renewed_at > STUCK_SECONDS

    async def acquire(self) -> None:
        """Try once a second, and at the very moment a silent holder's time is over, until this candidate leads."""
        # Nobody can wake us: the lease lies elsewhere.
        while not await self.try_once():  # noqa: ASYNC110
            await asyncio.sleep(self._until_free())
        telemetry.log().info("election_won", holder=self.holder)

    async def keep(self) -> None:
        """Renew once a second; returns when the lease is lost."""
        while self.is_leader:
            await asyncio.sleep(RETRY_SECONDS)
            left = RENEW_DEADLINE_SECONDS - (self._monotonic() - self._renewed_at)
            try:
                async with asyncio.timeout(max(0.1, left)):
                    if not await self.try_once():
                        break
            except TimeoutError:
                continue
        telemetry.log().warning("election_lost", holder=self.holder)

    async def try_once(self) -> bool:
        """Take or renew the lease if it may be; tells whether this candidate leads after it."""
        started = self._monotonic()
        try:
            found = await self._store.read()
            if found is not None and not self._is_free(found):
                self._held = None
                return False
            self._held = await self._store.write(self._next(found))
        except LeaseConflictError:
            # Nobody can have taken over before the deadline: it was our own write, of an attempt that was given
            # up because its answer was late. If it was not, the next look tells.
            return self.is_leader
        except ConnectionError as error:
            telemetry.log().warning("lease_unreachable", error=str(error)[:200])
            return self.is_leader
        # Counted from before the write, so that nobody else can have taken over in between.
        self._renewed_at = started
        return self.is_leader

    async def release(self) -> None:
        """Give the lease back, so that another candidate need not wait for it."""
        held, self._held = self._held, None
        if held is None:
            return
        try:
            async with asyncio.timeout(1.0):
                await self._store.write(replace(held, holder="", duration_seconds=1))
        except (LeaseConflictError, ConnectionError, TimeoutError) as error:
            telemetry.log().warning("lease_not_released", error=type(error).__name__)

    def _is_free(self, found: LeaseRecord) -> bool:
        if found.holder in ("", self.holder):
            return True
        now = self._monotonic()
        if self._seen is None or self._seen.version != found.version:
            self._seen, self._seen_at = found, now
            return False
        return now - self._seen_at >= _silence_seconds(found)

    def _until_free(self) -> float:
        if self._seen is None:
            return RETRY_SECONDS
        left = self._seen_at + _silence_seconds(self._seen) - self._monotonic()
        # What is over already was tried just now.
        return max(left, SHORTEST_RETRY_SECONDS) if 0 < left < RETRY_SECONDS else RETRY_SECONDS

    def _next(self, found: LeaseRecord | None) -> LeaseRecord:
        now = self._utc_now()
        is_mine = found is not None and found.holder == self.holder
        acquired = found.acquire_time if found is not None and is_mine else now
        transitions = found.transitions if found is not None else 0
        return LeaseRecord(
            holder=self.holder,
            acquire_time=acquired,
            renew_time=now,
            duration_seconds=LEASE_SECONDS,
            transitions=transitions + (0 if is_mine or found is None else 1),
            version=found.version if found is not None else "",
        )


def _silence_seconds(record: LeaseRecord) -> int:
    """Return how long a holder must be silent before it counts as gone."""
    return min(record.duration_seconds, LONGEST_LEASE_SECONDS)
