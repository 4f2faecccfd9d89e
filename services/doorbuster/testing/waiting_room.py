"""Waiting rooms in memory, with the rules of the real ones."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from doorbuster import escrow

MICROSECONDS = 1_000_000


@dataclass
class _Room:
    at: datetime
    rate: int
    called: float = 1.0
    free: float = 1.0
    issued: int = 0
    numbers: dict[str, int] = field(default_factory=dict)
    inside: set[str] = field(default_factory=set)


class FakeWaitingRooms:
    """Rooms by sale; ``now`` is their clock."""

    def __init__(self, now: Callable[[], datetime], *, most_waiting: int = 1_000_000) -> None:
        self._now = now
        self._most_waiting = most_waiting
        self._rooms: dict[str, _Room] = {}
        self.is_away = False
        self.asked = 0

    async def ask(self, arrival: escrow.Arrival) -> escrow.Place:
        """Take a place, or find the one that this buyer has."""
        self.asked += 1
        if self.is_away:
            raise escrow.EscrowAwayError("away")
        now, user = self._now(), arrival.user_id
        room = self._rooms.setdefault(
            arrival.sale_uid, _Room(at=now, rate=arrival.admit_per_second)
        )
        self._advance(room, arrival, now)
        if user in room.inside:
            return escrow.Place(position=0, wait_seconds=0.0)
        number = room.numbers.get(user, room.issued + 1)
        ahead = number - room.called
        if ahead <= self._most_waiting and user not in room.numbers:
            room.numbers[user] = room.issued = number
        wait = max(0.0, (arrival.open_time - now).total_seconds())
        wait += max(0.0, ahead, 1 - room.free) / room.rate
        if round(wait * MICROSECONDS) > 0:
            return escrow.Place(position=max(1, math.ceil(ahead)), wait_seconds=wait)
        room.free -= 1
        room.inside.add(user)
        return escrow.Place(position=0, wait_seconds=0.0)

    def forget(self) -> None:
        """Lose everything, as a server that comes back empty."""
        self._rooms.clear()

    @staticmethod
    def _advance(room: _Room, arrival: escrow.Arrival, now: datetime) -> None:
        waited = max(0.0, (now - max(room.at, arrival.open_time)).total_seconds())
        room.called = min(room.issued + 1, room.called + waited * room.rate)
        room.free = min(arrival.admit_per_second, room.free + waited * room.rate)
        room.at, room.rate = now, arrival.admit_per_second
