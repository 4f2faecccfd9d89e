"""The stock permits in Redis: key layout, Lua and the batching client; used by checkout and inventory only.

Redis holds a lossy upper bound of what may still be sold. It refuses early and cheaply; it never sells.
"""

from .client import Escrow
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
    "Return",
    "Settlement",
    "Snapshot",
    "Survey",
]
