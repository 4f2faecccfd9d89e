"""What the use cases need from the world."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from doorbuster.contracts import shopping

from .domain import Account, Address, Attempt, ProfileChange, RefreshVerdict, Role, SigningKey


class Accounts(Protocol):
    """Where accounts are kept."""

    async def add(self, account: Account, email_key: str, password_hash: str) -> None:
        """Add an account; raises EmailTakenError."""

    async def by_id(self, user_id: str) -> Account | None:
        """Return an account."""

    async def by_email(self, email_key: str) -> tuple[Account, str] | None:
        """Return an account and its password hash."""

    async def change(self, user_id: str, change: ProfileChange, now: datetime) -> None:
        """Change a profile; nothing happens when the account is unknown."""

    async def password_hash(self, user_id: str) -> str | None:
        """Return the hash of a password."""

    async def set_password(
        self, user_id: str, old_hash: str, new_hash: str, now: datetime, *, keep_session: str
    ) -> bool:
        """Set another password and end all other sessions; false when the old one is another by now."""

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
        password_hash: str,
        now: datetime,
        expires_at: datetime,
    ) -> bool:
        """Store a new session with its first token; the user's oldest beyond the limit go.

        False, and nothing is stored, when the password was changed since ``password_hash`` was read.
        """

    async def rotate(
        self, used_hash: str, new_hash: str, now: datetime
    ) -> tuple[RefreshVerdict, str, Account | None]:
        """Use a token: judged, replaced or its family revoked, in one transaction.

        Returns the verdict, the session id ("" when the token is unknown) and, on ROTATE, the account.
        """

    async def revoke(self, session_id: str, now: datetime) -> None:
        """End a session; nothing happens when it has ended."""

    async def revoke_all(self, user_id: str, now: datetime) -> None:
        """End all sessions of a user."""

    async def prune(self, now: datetime, limit: int) -> int:
        """Forget at most ``limit`` expired tokens and as many sessions; returns how many went."""


class Addresses(Protocol):
    """Where address books are kept."""

    async def all(self, user_id: str) -> list[Address]:
        """Return a user's book, oldest first."""

    async def one(self, user_id: str, address_id: str) -> Address | None:
        """Return one address of a user's book."""

    async def add(
        self,
        user_id: str,
        details: shopping.AddressDraft,
        now: datetime,
        new_id: Callable[[], str],
    ) -> Address:
        """Add an address unless the very same is there; raises TooManyAddressesError, UnknownUserError."""

    async def put(self, user_id: str, address_id: str, details: shopping.AddressDraft) -> bool:
        """Replace an address; false when it is not the user's."""

    async def remove(self, user_id: str, address_id: str) -> bool:
        """Delete an address; false when it is not the user's."""


class Guards(Protocol):
    """Counts attempts to guess a secret, over all copies of the service."""

    async def enter(self, attempt: Attempt, now: datetime) -> None:
        """Count an attempt before it is made; raises TooManyAttemptsError."""

    async def take_back(self, attempt: Attempt) -> None:
        """Uncount an attempt from its place: it was let in and never made."""

    async def succeed(self, attempt: Attempt, now: datetime) -> None:
        """Forgive this place its wrong attempts and trust it; elsewhere nothing is forgiven."""

    async def prune(self, now: datetime, limit: int) -> int:
        """Forget at most ``limit`` guards that say nothing any more; returns how many went."""


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
