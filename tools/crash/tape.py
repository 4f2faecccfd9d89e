"""The ordered trace of the operator's effective writes, and the one write of a run after which it is killed."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from typing_extensions import override

HEARD_SECONDS = 0.05
FENCE = "POST fence"
RENEWAL = "PUT lease renewed"
# Renewals go on by the clock for as long as the process lives: the first stands for all of them.
RECURRING = frozenset({RENEWAL})


@dataclass(frozen=True, order=True)
class Spot:
    """One write of a trace: its name and which of its kind it is, from 1."""

    name: str
    occurrence: int

    @override
    def __str__(self) -> str:
        return self.name if self.occurrence == 1 else f"{self.name} ({self.occurrence})"


@dataclass(frozen=True)
class Trap:
    """Where the process dies, and whether it hears the answer first."""

    spot: Spot
    is_withheld: bool

    @override
    def __str__(self) -> str:
        return f"{self.spot}, reply {'withheld' if self.is_withheld else 'delivered'}"


class Prey(Protocol):
    """The process that is killed."""

    async def die(self) -> None:
        """Kill it with SIGKILL and return when it is gone."""
        ...

    async def rise(self) -> None:
        """Start its successor, with the same identity."""
        ...


@dataclass
class Tape:
    """Numbers the effective writes of one run; see :meth:`take_effect`."""

    prey: Prey
    trap: Trap | None = None
    spots: list[Spot] = field(default_factory=list)
    fences: list[int] = field(default_factory=list)
    is_sprung: bool = False
    _counts: Counter[str] = field(default_factory=Counter)
    _speaks: asyncio.Event = field(default_factory=asyncio.Event)
    _striking: "asyncio.Task[None] | None" = None

    def __post_init__(self) -> None:
        self._speaks.set()

    async def may_write(self) -> bool:
        """Tell whether a write may go to its peer; one of a process about to die waits and may not."""
        if self._speaks.is_set():
            return True
        await self._speaks.wait()
        return False

    async def take_effect(self, name: str, deliver: Callable[[], Awaitable[None]]) -> None:
        """Record a write whose peer answered that it is done; ``deliver`` hands the answer on.

        At the trap the process is killed instead: at once, or after it has had the answer for a moment in
        which nothing that it writes reaches anybody.
        """
        self._counts[name] += 1
        spot = Spot(name, self._counts[name])
        if name not in RECURRING or spot.occurrence == 1:
            self.spots.append(spot)
        if self.trap is None or self.is_sprung or spot != self.trap.spot:
            await deliver()
            return
        self.is_sprung = True
        self._speaks.clear()
        # A task of its own: with the process goes the connection, and with that whoever serves it.
        self._striking = asyncio.create_task(self._strike(deliver), name=f"strike at {spot}")
        await asyncio.shield(self._striking)

    async def _strike(self, deliver: Callable[[], Awaitable[None]]) -> None:
        if self.trap is not None and not self.trap.is_withheld:
            await deliver()
            await asyncio.sleep(HEARD_SECONDS)
        await self.prey.die()
        self._speaks.set()
        await self.prey.rise()
