"""What the watch still owes: versions of objects that another way told first.

A watch over objects that do not change is silent, so its silence proves nothing. But whatever a list or the answer
to one of our own writes told must come through the watch too, soon; a watch that does not tell it is stuck.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class _Debt:
    version: int
    since: float


class WatchDebt:
    """Compares versions by uid; costs nothing at the API server."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._told: dict[str, int] = {}
        self._owed: dict[str, _Debt] = {}

    def tell(self, uid: str, version: int) -> None:
        """The watch told this version of an object."""
        self._told[uid] = max(version, self._told.get(uid, 0))
        debt = self._owed.get(uid)
        if debt is None:
            return
        if self._told[uid] >= debt.version:
            del self._owed[uid]
        else:
            # It is behind, but it moves.
            self._owed[uid] = _Debt(debt.version, self._monotonic())

    def owe(self, uid: str, version: int) -> None:
        """Something else told this version of an object."""
        if self._told.get(uid, 0) >= version:
            return
        debt = self._owed.get(uid)
        since = self._monotonic() if debt is None else debt.since
        self._owed[uid] = _Debt(max(version, debt.version if debt else 0), since)

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._told.pop(uid, None)
        self._owed.pop(uid, None)

    @property
    def age_seconds(self) -> float:
        """For how long the watch has owed the oldest of its debts; 0 when it owes nothing."""
        since = min((debt.since for debt in self._owed.values()), default=None)
        return 0.0 if since is None else self._monotonic() - since
