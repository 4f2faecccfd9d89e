"""The stock permits in Redis, and the locks of the textbook: key layout, Lua and clients; for checkout and inventory.

Redis holds a lossy upper bound of what may still be sold. It refuses early and cheaply; it never sells.
"""

from .client import Escrow
from .locks import ProductLocks
from .model import (
    EscrowAwayError,
    Fate,
    Gate,
    Overdue,
    Permit,
    PermitRequest,
    Return,
    Settlement,
    Snapshot,
    Survey,
)

__all__ = [
    "Escrow",
    "EscrowAwayError",
    "Fate",
    "Gate",
    "Overdue",
    "Permit",
    "PermitRequest",
    "ProductLocks",
    "Return",
    "Settlement",
    "Snapshot",
    "Survey",
]
