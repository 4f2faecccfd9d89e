"""The user service's stores, hashes and keys in memory, with the rules of the real ones."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from doorbuster.contracts import shopping
from doorbuster.user import domain
from doorbuster.user.domain import Account, Address, RefreshToken, RefreshVerdict, Role, SigningKey

NOON = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
NEVER = datetime(2000, 1, 1, tzinfo=UTC)


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def move(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by


def build_account(user_id: str = "user_01h455vb4pex5vsknk084sn02q", **changed: object) -> Account:
    """Build a buyer called Ada."""
    account = Account(
        user_id=user_id, name="Ada", email="Ada@shop.example", role="buyer", created_at=NOON
    )
    return replace(account, **changed)  # type: ignore[arg-type]  # the caller names real fields


class FakeAccounts:
    """Accounts in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[Account, str]] = {}
        self.end_sessions: Callable[[str, str, datetime], None] = lambda *_: None

    async def add(self, account: Account, email_key: str, password_hash: str) -> None:
        """Add an account; raises EmailTakenError."""
        await asyncio.sleep(0)  # as any store it lets others go on
        if email_key in self.rows:
            raise domain.EmailTakenError("there is an account with this e-mail address")
        self.rows[email_key] = (account, password_hash)

    async def by_id(self, user_id: str) -> Account | None:
        """Return an account."""
        return next(
            (account for account, _ in self.rows.values() if account.user_id == user_id), None
        )

    async def by_email(self, email_key: str) -> tuple[Account, str] | None:
        """Return an account and its password hash."""
        return self.rows.get(email_key)

    async def change(self, user_id: str, change: domain.ProfileChange, now: datetime) -> None:
        """Change a profile; nothing happens when the account is unknown."""
        for key, (account, password_hash) in self.rows.items():
            if account.user_id == user_id:
                self.rows[key] = (replace(account, **change), password_hash)

    async def password_hash(self, user_id: str) -> str | None:
        """Return the hash of a password."""
        await asyncio.sleep(0)
        return next((one for who, one in self.rows.values() if who.user_id == user_id), None)

    async def set_password(
        self, user_id: str, old_hash: str, new_hash: str, now: datetime, *, keep_session: str
    ) -> bool:
        """Set another password and end all other sessions; false when the old one is another by now."""
        await asyncio.sleep(0)
        for key, (account, password_hash) in self.rows.items():
            if account.user_id == user_id and password_hash == old_hash:
                self.rows[key] = (account, new_hash)
                self.end_sessions(user_id, keep_session, now)
                return True
        return False

    async def set_role(self, email_key: str, role: Role, now: datetime) -> bool:
        """Set a role; tells whether there is such an account."""
        if email_key not in self.rows:
            return False
        account, password_hash = self.rows[email_key]
        self.rows[email_key] = (replace(account, role=role), password_hash)
        return True


@dataclass
class _Session:
    user_id: str
    started_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


@dataclass
class _Token:
    session_id: str
    expires_at: datetime
    used_at: datetime | None = None


class FakeSessions:
    """Sessions in memory, for the accounts of a FakeAccounts."""

    def __init__(self, accounts: FakeAccounts) -> None:
        self._accounts = accounts
        self.sessions: dict[str, _Session] = {}
        self.tokens: dict[str, _Token] = {}
        accounts.end_sessions = self._end

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
        """Store a new session with its first token; the user's oldest beyond the limit go."""
        if await self._accounts.password_hash(user_id) != password_hash:
            return False
        of_user = [name for name, row in self.sessions.items() if row.user_id == user_id]
        newest_first = sorted(
            of_user, key=lambda name: (self.sessions[name].started_at, name), reverse=True
        )
        for name in newest_first[domain.MAX_SESSIONS_PER_USER - 1 :]:
            self._forget(name)
        self.sessions[session_id] = _Session(user_id, now, expires_at)
        self.tokens[token_hash] = _Token(session_id, expires_at)
        return True

    async def rotate(
        self, used_hash: str, new_hash: str, now: datetime
    ) -> tuple[RefreshVerdict, str, Account | None]:
        """Use a token: judged, replaced or its family revoked."""
        await asyncio.sleep(0)
        token = self.tokens.get(used_hash)
        if token is None:
            return domain.judge_refresh(None, now), "", None
        session = self.sessions[token.session_id]
        verdict = domain.judge_refresh(
            RefreshToken(
                session_id=token.session_id,
                used_at=token.used_at,
                expires_at=token.expires_at,
                session_revoked_at=session.revoked_at,
                session_started_at=session.started_at,
            ),
            now,
        )
        if verdict is RefreshVerdict.REVOKE_FAMILY:
            session.revoked_at = now
        if verdict is not RefreshVerdict.ROTATE:
            return verdict, token.session_id, None
        token.used_at = now
        session.expires_at = domain.refresh_expiry(now, session.started_at)
        self.tokens[new_hash] = _Token(token.session_id, session.expires_at)
        return verdict, token.session_id, await self._accounts.by_id(session.user_id)

    async def revoke(self, session_id: str, now: datetime) -> None:
        """End a session; nothing happens when it has ended."""
        session = self.sessions.get(session_id)
        if session is not None and session.revoked_at is None:
            session.revoked_at = now

    async def revoke_all(self, user_id: str, now: datetime) -> None:
        """End all sessions of a user."""
        self._end(user_id, "", now)

    def _end(self, user_id: str, keep_session: str, now: datetime) -> None:
        for name, session in self.sessions.items():
            if session.user_id == user_id and name != keep_session:
                session.revoked_at = session.revoked_at or now

    async def prune(self, now: datetime, limit: int) -> int:
        """Forget at most ``limit`` expired tokens and as many sessions; returns how many went."""
        old_tokens = sorted(k for k, row in self.tokens.items() if row.expires_at <= now)[:limit]
        for token_hash in old_tokens:
            del self.tokens[token_hash]
        old = sorted(k for k, row in self.sessions.items() if row.expires_at <= now)[:limit]
        for session_id in old:
            self._forget(session_id)
        return len(old_tokens) + len(old)

    def _forget(self, session_id: str) -> None:
        del self.sessions[session_id]
        self.tokens = {k: row for k, row in self.tokens.items() if row.session_id != session_id}


class FakeAddresses:
    """Address books in memory, for the accounts of a FakeAccounts."""

    def __init__(self, accounts: FakeAccounts) -> None:
        self._accounts = accounts
        self.books: dict[str, dict[str, shopping.AddressDraft]] = {}

    async def all(self, user_id: str) -> list[Address]:
        """Return a user's book, oldest first."""
        book = self.books.get(user_id, {})
        return [Address(address_id=name, details=details) for name, details in book.items()]

    async def one(self, user_id: str, address_id: str) -> Address | None:
        """Return one address of a user's book."""
        details = self.books.get(user_id, {}).get(address_id)
        return None if details is None else Address(address_id=address_id, details=details)

    async def add(
        self,
        user_id: str,
        details: shopping.AddressDraft,
        now: datetime,
        new_id: Callable[[], str],
    ) -> Address:
        """Add an address unless the very same is there; raises TooManyAddressesError, UnknownUserError."""
        if await self._accounts.by_id(user_id) is None:
            raise domain.UnknownUserError("there is no such user")
        book = self.books.setdefault(user_id, {})
        for name, held in book.items():
            if held == details:
                return Address(address_id=name, details=held)
        if len(book) >= domain.MAX_ADDRESSES:
            raise domain.TooManyAddressesError("the address book is full")
        address = Address(address_id=new_id(), details=details)
        book[address.address_id] = details
        return address

    async def put(self, user_id: str, address_id: str, details: shopping.AddressDraft) -> bool:
        """Replace an address; false when it is not the user's."""
        book = self.books.get(user_id, {})
        if address_id not in book:
            return False
        book[address_id] = details
        return True

    async def remove(self, user_id: str, address_id: str) -> bool:
        """Delete an address; false when it is not the user's."""
        return self.books.get(user_id, {}).pop(address_id, None) is not None


class FakeGuards:
    """Guards in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, domain.Guard] = {}

    async def enter(self, attempt: domain.Attempt, now: datetime) -> None:
        """Count an attempt before it is made; raises TooManyAttemptsError."""
        await asyncio.sleep(0)
        fresh = domain.Guard(busy_until=NEVER, trusted_until=NEVER)
        here, anywhere = (self.rows.get(key, fresh) for key in (attempt.here, attempt.anywhere))
        self.rows[attempt.here], after = domain.judge_attempt(here, anywhere, now)
        if after != fresh:
            self.rows[attempt.anywhere] = after

    async def take_back(self, attempt: domain.Attempt) -> None:
        """Uncount an attempt from its place: it was let in and never made."""
        self.rows[attempt.here] = domain.uncounted(self.rows[attempt.here])

    async def succeed(self, attempt: domain.Attempt, now: datetime) -> None:
        """Forgive this place its wrong attempts and trust it; elsewhere nothing is forgiven."""
        guard = domain.Guard(busy_until=now, trusted_until=now + domain.TRUST_LIFE)
        self.rows[attempt.here] = guard

    async def prune(self, now: datetime, limit: int) -> int:
        """Forget at most ``limit`` guards that say nothing any more; returns how many went."""
        old = [
            key
            for key, guard in self.rows.items()
            if max(guard.busy_until, guard.trusted_until) <= now
        ][:limit]
        for key in old:
            del self.rows[key]
        return len(old)


class FakeSigningKeys:
    """Signing keys in memory."""

    def __init__(self) -> None:
        self.rows: dict[int, SigningKey] = {}

    async def all(self) -> Sequence[SigningKey]:
        """Return every key."""
        await asyncio.sleep(0)
        return [self.rows[number] for number in sorted(self.rows)]

    async def add(self, key: SigningKey) -> bool:
        """Add a key; false when another process made the key of that number first."""
        if key.number in self.rows:
            return False
        self.rows[key.number] = key
        return True


class FakePasswords:
    """Hashes that cost nothing; ``is_full`` makes it refuse."""

    def __init__(self) -> None:
        self.is_full = False
        self.compared = 0

    async def hash(self, password: str) -> str:
        """Return the hash to store; raises BusyError."""
        self._check()
        return f"hash of {password}"

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Compare; raises BusyError."""
        self._check()
        self.compared += 1
        return password_hash == f"hash of {password}"

    def _check(self) -> None:
        if self.is_full:
            raise domain.BusyError("too many people sign in at once")
