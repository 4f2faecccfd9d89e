"""Accounts, sessions, signing keys, address books and guards in MySQL or MariaDB."""

from .accounts import KEYS, SESSIONS, TOKENS, USERS, SqlAccounts, SqlSessions, SqlSigningKeys
from .addresses import ADDRESSES, SqlAddresses
from .guards import GUARDS, SqlGuards

__all__ = [
    "ADDRESSES",
    "GUARDS",
    "KEYS",
    "SESSIONS",
    "TOKENS",
    "USERS",
    "SqlAccounts",
    "SqlAddresses",
    "SqlGuards",
    "SqlSessions",
    "SqlSigningKeys",
]
