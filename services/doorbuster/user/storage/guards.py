"""Guards against guessing: one row a key, so that every copy of the service counts the same attempts."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from doorbuster.kit.database import Moment
from doorbuster.user.domain import TRUST_LIFE, Attempt, Guard, judge_attempt, uncounted

GUARDS = sa.Table(
    "guard",
    sa.MetaData(),
    sa.Column("guard_key", sa.String, primary_key=True),
    sa.Column("busy_until", Moment),
    sa.Column("trusted_until", Moment),
    sa.Column("expires_at", Moment),
)
_NEVER = datetime(2000, 1, 1, tzinfo=UTC)


class SqlGuards:
    """Guards; the lock of both rows, taken in one order, makes attempts on one secret take turns."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def enter(self, attempt: Attempt, now: datetime) -> None:
        """Count an attempt before it is made; raises TooManyAttemptsError."""
        async with self._engine.begin() as connection:
            guards = await _lock(connection, (attempt.here, attempt.anywhere))
            here, anywhere = judge_attempt(guards[attempt.here], guards[attempt.anywhere], now)
            await _store(connection, attempt.here, here)
            if anywhere != guards[attempt.anywhere]:
                await _store(connection, attempt.anywhere, anywhere)

    async def take_back(self, attempt: Attempt) -> None:
        """Uncount an attempt from its place: it was let in and never made."""
        async with self._engine.begin() as connection:
            guards = await _lock(connection, (attempt.here, attempt.anywhere))
            await _store(connection, attempt.here, uncounted(guards[attempt.here]))

    async def succeed(self, attempt: Attempt, now: datetime) -> None:
        """Forgive this place its wrong attempts and trust it; elsewhere nothing is forgiven."""
        async with self._engine.begin() as connection:
            guard = Guard(busy_until=now, trusted_until=now + TRUST_LIFE)
            await _store(connection, attempt.here, guard)

    async def prune(self, now: datetime, limit: int) -> int:
        """Forget at most ``limit`` guards that say nothing any more; returns how many went."""
        async with self._engine.begin() as connection:
            old = sa.select(GUARDS.c.guard_key).where(GUARDS.c.expires_at <= now).limit(limit)
            keys = (await connection.scalars(old)).all()
            if keys:
                await connection.execute(
                    sa.delete(GUARDS).where(
                        GUARDS.c.guard_key.in_(keys), GUARDS.c.expires_at <= now
                    )
                )
        return len(keys)


async def _lock(connection: AsyncConnection, keys: tuple[str, str]) -> dict[str, Guard]:
    """Make the rows that are missing and lock both; INSERT IGNORE would share locks and end in deadlocks."""
    fresh = [
        {"guard_key": key, "busy_until": _NEVER, "trusted_until": _NEVER, "expires_at": _NEVER}
        for key in sorted(keys)
    ]
    make = mysql.insert(GUARDS).values(fresh)
    await connection.execute(make.on_duplicate_key_update(busy_until=GUARDS.c.busy_until))
    rows = await connection.execute(
        sa.select(GUARDS).where(GUARDS.c.guard_key.in_(keys)).with_for_update()
    )
    return {
        row.guard_key: Guard(busy_until=row.busy_until, trusted_until=row.trusted_until)
        for row in rows
    }


async def _store(connection: AsyncConnection, key: str, guard: Guard) -> None:
    await connection.execute(
        sa.update(GUARDS)
        .where(GUARDS.c.guard_key == key)
        .values(
            busy_until=guard.busy_until,
            trusted_until=guard.trusted_until,
            expires_at=max(guard.busy_until, guard.trusted_until),
        )
    )
