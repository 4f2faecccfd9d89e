"""Accounts, sessions and signing keys in MySQL or MariaDB."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from doorbuster.kit.database import Moment
from doorbuster.user.domain import (
    MAX_SESSIONS_PER_USER,
    Account,
    EmailTakenError,
    ProfileChange,
    RefreshToken,
    RefreshVerdict,
    Role,
    SigningKey,
    judge_refresh,
    refresh_expiry,
)

_METADATA = sa.MetaData()
USERS = sa.Table(
    "users",
    _METADATA,
    sa.Column("user_id", sa.String, primary_key=True),
    sa.Column("email", sa.String),
    sa.Column("email_key", sa.String),
    sa.Column("name", sa.String),
    sa.Column("phone", sa.String),
    sa.Column("password_hash", sa.String),
    sa.Column("role", sa.String),
    sa.Column("created_at", Moment),
    sa.Column("updated_at", Moment),
)
SESSIONS = sa.Table(
    "user_session",
    _METADATA,
    sa.Column("session_id", sa.String, primary_key=True),
    sa.Column("user_id", sa.String),
    sa.Column("created_at", Moment),
    sa.Column("expires_at", Moment),
    sa.Column("revoked_at", Moment),
)
TOKENS = sa.Table(
    "refresh_token",
    _METADATA,
    sa.Column("token_hash", sa.String, primary_key=True),
    sa.Column("session_id", sa.String),
    sa.Column("created_at", Moment),
    sa.Column("expires_at", Moment),
    sa.Column("used_at", Moment),
)
KEYS = sa.Table(
    "signing_key",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kid", sa.String),
    sa.Column("public_pem", sa.Text),
    sa.Column("sealed_private", sa.Text),
    sa.Column("created_at", Moment),
)
_ACCOUNT = (
    *(USERS.c.user_id, USERS.c.name, USERS.c.email, USERS.c.phone, USERS.c.role),
    USERS.c.created_at,
)


def _account(row: Any) -> Account:
    return Account(
        user_id=row.user_id,
        name=row.name,
        email=row.email,
        phone=row.phone,
        role=cast(Role, row.role),
        created_at=row.created_at,
    )


class SqlAccounts:
    """Accounts; the unique key on ``email_key`` decides between two sign-ups."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, account: Account, email_key: str, password_hash: str) -> None:
        """Add an account; raises EmailTakenError."""
        row = {
            "user_id": account.user_id,
            "email": account.email,
            "email_key": email_key,
            "name": account.name,
            "password_hash": password_hash,
            "role": account.role,
            "created_at": account.created_at,
            "updated_at": account.created_at,
        }
        try:
            async with self._engine.begin() as connection:
                await connection.execute(sa.insert(USERS), row)
        except exc.IntegrityError:
            # The server's message repeats the address, which must not reach a log: the chain ends here.
            raise EmailTakenError("there is an account with this e-mail address") from None

    async def by_id(self, user_id: str) -> Account | None:
        """Return an account."""
        async with self._engine.connect() as connection:
            result = await connection.execute(
                sa.select(*_ACCOUNT).where(USERS.c.user_id == user_id)
            )
            row = result.one_or_none()
        return None if row is None else _account(row)

    async def by_email(self, email_key: str) -> tuple[Account, str] | None:
        """Return an account and its password hash."""
        async with self._engine.connect() as connection:
            result = await connection.execute(
                sa.select(*_ACCOUNT, USERS.c.password_hash).where(USERS.c.email_key == email_key)
            )
            row = result.one_or_none()
        return None if row is None else (_account(row), row.password_hash)

    async def change(self, user_id: str, change: ProfileChange, now: datetime) -> None:
        """Change a profile; nothing happens when the account is unknown."""
        async with self._engine.begin() as connection:
            await connection.execute(
                sa.update(USERS).where(USERS.c.user_id == user_id).values(updated_at=now, **change)
            )

    async def password_hash(self, user_id: str) -> str | None:
        """Return the hash of a password."""
        async with self._engine.connect() as connection:
            found: str | None = await connection.scalar(
                sa.select(USERS.c.password_hash).where(USERS.c.user_id == user_id)
            )
        return found

    async def set_password(
        self, user_id: str, old_hash: str, new_hash: str, now: datetime, *, keep_session: str
    ) -> bool:
        """Set another password and end all other sessions; false when the old one is another by now."""
        async with self._engine.begin() as connection:
            changed = await connection.execute(
                sa.update(USERS)
                .where(USERS.c.user_id == user_id, USERS.c.password_hash == old_hash)
                .values(password_hash=new_hash, updated_at=now)
            )
            if changed.rowcount != 1:
                return False
            await connection.execute(
                sa.update(SESSIONS)
                .where(
                    SESSIONS.c.user_id == user_id,
                    SESSIONS.c.session_id != keep_session,
                    SESSIONS.c.revoked_at.is_(None),
                )
                .values(revoked_at=now)
            )
        return True

    async def set_role(self, email_key: str, role: Role, now: datetime) -> bool:
        """Set a role; tells whether there is such an account."""
        async with self._engine.begin() as connection:
            result = await connection.execute(
                sa.update(USERS)
                .where(USERS.c.email_key == email_key)
                .values(role=role, updated_at=now)
            )
        return result.rowcount == 1


class SqlSessions:
    """Sessions and the hashes of their refresh tokens; a session's row lock orders its refreshes."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

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
        surplus = (
            sa.select(SESSIONS.c.session_id)
            .where(SESSIONS.c.user_id == user_id)
            .order_by(SESSIONS.c.created_at.desc(), SESSIONS.c.session_id.desc())
            .limit(MAX_SESSIONS_PER_USER)
            .offset(MAX_SESSIONS_PER_USER - 1)
        )
        async with self._engine.begin() as connection:
            # The account's row lock makes log-ins of one user take turns, so that none sees half of another, nor
            # outlives a change of the password that it was checked against.
            held = await connection.scalar(
                sa.select(USERS.c.password_hash)
                .where(USERS.c.user_id == user_id)
                .with_for_update()
            )
            if held != password_hash:
                return False
            too_old = (await connection.execute(surplus)).scalars().all()
            if too_old:
                await connection.execute(
                    sa.delete(SESSIONS).where(SESSIONS.c.session_id.in_(too_old))
                )
            await connection.execute(
                sa.insert(SESSIONS),
                {
                    "session_id": session_id,
                    "user_id": user_id,
                    "created_at": now,
                    "expires_at": expires_at,
                    "revoked_at": None,
                },
            )
            await _add_token(connection, session_id, token_hash, now, expires_at)
        return True

    async def rotate(
        self, used_hash: str, new_hash: str, now: datetime
    ) -> tuple[RefreshVerdict, str, Account | None]:
        """Use a token: judged, replaced or its family revoked, in one transaction."""
        async with self._engine.begin() as connection:
            token = await _lock_token(connection, used_hash)
            verdict = judge_refresh(token, now)
            if token is None:
                return verdict, "", None
            session = SESSIONS.c.session_id == token.session_id
            if verdict is RefreshVerdict.REVOKE_FAMILY:
                await connection.execute(sa.update(SESSIONS).where(session).values(revoked_at=now))
            if verdict is not RefreshVerdict.ROTATE:
                return verdict, token.session_id, None
            expires_at = refresh_expiry(now, token.session_started_at)
            await connection.execute(
                sa.update(TOKENS).where(TOKENS.c.token_hash == used_hash).values(used_at=now)
            )
            await _add_token(connection, token.session_id, new_hash, now, expires_at)
            await connection.execute(
                sa.update(SESSIONS).where(session).values(expires_at=expires_at)
            )
            owner = await connection.execute(
                sa.select(*_ACCOUNT)
                .join(SESSIONS, SESSIONS.c.user_id == USERS.c.user_id)
                .where(session)
            )
            return verdict, token.session_id, _account(owner.one())

    async def revoke(self, session_id: str, now: datetime) -> None:
        """End a session; nothing happens when it has ended."""
        async with self._engine.begin() as connection:
            await connection.execute(
                sa.update(SESSIONS)
                .where(SESSIONS.c.session_id == session_id, SESSIONS.c.revoked_at.is_(None))
                .values(revoked_at=now)
            )

    async def revoke_all(self, user_id: str, now: datetime) -> None:
        """End all sessions of a user."""
        async with self._engine.begin() as connection:
            # A log-in that is under way is before or after this, not beside it.
            await connection.execute(
                sa.select(USERS.c.user_id).where(USERS.c.user_id == user_id).with_for_update()
            )
            await connection.execute(
                sa.update(SESSIONS)
                .where(SESSIONS.c.user_id == user_id, SESSIONS.c.revoked_at.is_(None))
                .values(revoked_at=now)
            )

    async def prune(self, now: datetime, limit: int) -> int:
        """Forget at most ``limit`` expired tokens and as many sessions; returns how many went."""
        gone = 0
        for table in (TOKENS, SESSIONS):
            key = next(iter(table.primary_key))
            async with self._engine.begin() as connection:
                found = await connection.execute(
                    sa.select(key).where(table.c.expires_at <= now).order_by(key).limit(limit)
                )
                keys = found.scalars().all()
                if keys:
                    await connection.execute(
                        sa.delete(table).where(key.in_(keys), table.c.expires_at <= now)
                    )
                gone += len(keys)
        return gone


async def _lock_token(connection: AsyncConnection, token_hash: str) -> RefreshToken | None:
    result = await connection.execute(
        sa.select(
            TOKENS.c.session_id,
            TOKENS.c.used_at,
            TOKENS.c.expires_at,
            SESSIONS.c.revoked_at,
            SESSIONS.c.created_at,
        )
        .join(SESSIONS, SESSIONS.c.session_id == TOKENS.c.session_id)
        .where(TOKENS.c.token_hash == token_hash)
        .with_for_update()
    )
    row = result.one_or_none()
    if row is None:
        return None
    return RefreshToken(
        session_id=row.session_id,
        used_at=row.used_at,
        expires_at=row.expires_at,
        session_revoked_at=row.revoked_at,
        session_started_at=row.created_at,
    )


async def _add_token(
    connection: AsyncConnection,
    session_id: str,
    token_hash: str,
    now: datetime,
    expires_at: datetime,
) -> None:
    row = {
        "token_hash": token_hash,
        "session_id": session_id,
        "created_at": now,
        "expires_at": expires_at,
        "used_at": None,
    }
    await connection.execute(sa.insert(TOKENS), row)


class SqlSigningKeys:
    """Signing keys; the primary key decides which process makes the next one."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def all(self) -> Sequence[SigningKey]:
        """Return every key."""
        async with self._engine.connect() as connection:
            rows = (await connection.execute(sa.select(KEYS).order_by(KEYS.c.number))).all()
        return [
            SigningKey(
                number=row.number,
                kid=row.kid,
                public_pem=row.public_pem,
                sealed_private=row.sealed_private,
                created_at=row.created_at,
            )
            for row in rows
        ]

    async def add(self, key: SigningKey) -> bool:
        """Add a key; false when another process made the key of that number first."""
        row = {
            "number": key.number,
            "kid": key.kid,
            "public_pem": key.public_pem,
            "sealed_private": key.sealed_private,
            "created_at": key.created_at,
        }
        try:
            async with self._engine.begin() as connection:
                await connection.execute(sa.insert(KEYS), row)
        except exc.IntegrityError:
            return False
        return True
