"""The user service's stores, hashes and keys in memory, with the rules of the real ones."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from doorbuster.user import domain
from doorbuster.user.domain import Account, RefreshToken, RefreshVerdict, Role, SigningKey

NOON = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


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

    async def rename(self, user_id: str, name: str, now: datetime) -> None:
        """Give an account another name; nothing happens when it is unknown."""
        for key, (account, password_hash) in self.rows.items():
            if account.user_id == user_id:
                self.rows[key] = (replace(account, name=name), password_hash)

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
        of_user = [name for name, row in self.sessions.items() if row.user_id == user_id]
        newest_first = sorted(
            of_user, key=lambda name: (self.sessions[name].started_at, name), reverse=True
        )
        for name in newest_first[domain.MAX_SESSIONS_PER_USER - 1 :]:
            self._forget(name)
        self.sessions[session_id] = _Session(user_id, now, expires_at)
        self.tokens[token_hash] = _Token(session_id, expires_at)

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
