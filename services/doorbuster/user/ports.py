"""What the use cases need from the world."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from .domain import Account, RefreshVerdict, Role, SigningKey


class Accounts(Protocol):
    """Where accounts are kept."""

    async def add(self, account: Account, email_key: str, password_hash: str) -> None:
        """Add an account; raises EmailTakenError."""

    async def by_id(self, user_id: str) -> Account | None:
        """Return an account."""

    async def by_email(self, email_key: str) -> tuple[Account, str] | None:
        """Return an account and its password hash."""

    async def rename(self, user_id: str, name: str, now: datetime) -> None:
        """Give an account another name; nothing happens when it is unknown."""

    async def set_role(self, email_key: str, role: Role, now: datetime) -> bool:
        """Set a role; tells whether there is such an account."""


class Sessions(Protocol):
    """Where sessions and the hashes of their refresh tokens are kept."""

    async def open(
        self,
        session_id: str,
        user_id: str,
        token_hash: str,
        *,
        now: datetime,
        expires_at: datetime,
    ) -> None:
        """Store a new session with its first token; the user's oldest beyond the limit go."""

    async def rotate(
        self, used_hash: str, new_hash: str, now: datetime
    ) -> tuple[RefreshVerdict, str, Account | None]:
        """Use a token: judged, replaced or its family revoked, in one transaction.

        Returns the verdict, the session id ("" when the token is unknown) and, on ROTATE, the account.
        """

    async def revoke(self, session_id: str, now: datetime) -> None:
        """End a session; nothing happens when it has ended."""

    async def prune(self, now: datetime, limit: int) -> int:
        """Forget at most ``limit`` expired tokens and as many sessions; returns how many went."""


class SigningKeys(Protocol):
    """Where signing keys are kept."""

    async def all(self) -> Sequence[SigningKey]:
        """Return every key."""

    async def add(self, key: SigningKey) -> bool:
        """Add a key; false when another process made the key of that number first."""


class Passwords(Protocol):
    """Slow hashes of passwords."""

    async def hash(self, password: str) -> str:
        """Return the hash to store; raises BusyError."""

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Compare in the same time whether or not there is a hash; raises BusyError."""


class Tokens(Protocol):
    """Signs access tokens."""

    def access_token(self, account: Account, session_id: str, now: datetime) -> str:
        """Return a token that is good for ``ACCESS_TOKEN_LIFE``."""
