"""Permits, product locks and waiting rooms in Redis: key layout, Lua and clients; for checkout and inventory.

Redis holds a lossy upper bound of what may still be sold. It refuses early and cheaply; it never sells.
"""

from .client import Escrow
from .locks import ProductLocks
from .model import (
    Arrival,
    EscrowAwayError,
    Fate,
    Gate,
    Overdue,
    Permit,
    PermitRequest,
    Place,
    Return,
    Settlement,
    Snapshot,
    Survey,
)
from .waiting_room import WaitingRooms

__all__ = [
    "Arrival",
    "Escrow",
    "EscrowAwayError",
    "Fate",
    "Gate",
    "Overdue",
    "Permit",
    "PermitRequest",
    "Place",
    "ProductLocks",
    "Return",
    "Settlement",
    "Snapshot",
    "Survey",
    "WaitingRooms",
]
