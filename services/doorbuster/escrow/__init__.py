"""The stock permits in Redis: key layout, Lua and the batching client; used by checkout and inventory only.

Redis holds a lossy upper bound of what may still be sold. It refuses early and cheaply; it never sells.
"""

from .client import Escrow
from .model import (
    EscrowAwayError,
    Fate,
    Gate,
    Identity,
    Overdue,
    Permit,
    PermitRequest,
    Return,
    Settlement,
    Snapshot,
)

__all__ = [
    "Escrow",
    "EscrowAwayError",
    "Fate",
    "Gate",
    "Identity",
    "Overdue",
    "Permit",
    "PermitRequest",
    "Return",
    "Settlement",
    "Snapshot",
]
