"""PostgreSQL of the inventory service: hot statements without an ORM, each one transaction by itself."""

from .control import ControlStore
from .ledger import Ledger
from .pool import Database, StoreAwayError, open_database
from .stock import StockStore

__all__ = [
    "ControlStore",
    "Database",
    "Ledger",
    "StockStore",
    "StoreAwayError",
    "open_database",
]
