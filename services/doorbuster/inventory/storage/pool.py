"""Connections to PostgreSQL for hot statements, the SQL files by name, and which errors mean "away"."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from importlib import resources
from typing import Any

import asyncpg
import sqlalchemy as sa

from .changes import Changes

CONNECTIONS = 6
CONNECT_SECONDS = 3.0
STATEMENT_SECONDS = 5.0
_AWAY: tuple[type[Exception], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    OSError,
    TimeoutError,
)


class StoreAwayError(ConnectionError):
    """PostgreSQL did not answer; whether a change happened is not known."""


@cache
def sql(name: str) -> str:
    """Return the statement of ``sql/<name>.sql``."""
    return (resources.files(__package__) / "sql" / f"{name}.sql").read_text(encoding="utf-8")


@contextmanager
def _away_named() -> Iterator[None]:
    try:
        yield
    except asyncpg.DataError:
        raise
    except _AWAY as error:
        raise StoreAwayError(f"PostgreSQL: {type(error).__name__}") from error


class Database:
    """A pool of at most ``CONNECTIONS`` connections; every wait has a deadline.

    ``changes`` is told by the stores of what their transactions moved.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.changes = Changes()

    async def fetch(self, statement: str, *arguments: Any) -> list[Any]:
        """Run one statement in its own transaction and return its rows; raises StoreAwayError."""
        with _away_named():
            async with self._pool.acquire(timeout=STATEMENT_SECONDS) as connection:
                rows: list[Any] = await connection.fetch(statement, *arguments)
                return rows

    async def value(self, statement: str, *arguments: Any) -> Any:
        """Run one statement in its own transaction and return its first value; raises StoreAwayError."""
        with _away_named():
            async with self._pool.acquire(timeout=STATEMENT_SECONDS) as connection:
                return await connection.fetchval(statement, *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Open a transaction on a connection of its own; raises StoreAwayError."""
        with _away_named():
            async with (
                self._pool.acquire(timeout=STATEMENT_SECONDS) as connection,
                connection.transaction(),
            ):
                yield connection


@asynccontextmanager
async def open_database(dsn: str) -> AsyncIterator[Database]:
    """Open the pool; it connects when first used.

    A process that is paused within a transaction loses its locks after 5 s.
    """
    url = sa.make_url(dsn).set(drivername="postgresql")
    pool = await asyncpg.create_pool(
        url.render_as_string(hide_password=False),
        min_size=0,
        max_size=CONNECTIONS,
        timeout=CONNECT_SECONDS,
        command_timeout=STATEMENT_SECONDS,
        server_settings={
            "application_name": "doorbuster-inventory",
            "timezone": "UTC",
            "jit": "off",
            "statement_timeout": "5000",
            "lock_timeout": "4000",
            "idle_in_transaction_session_timeout": "5000",
        },
    )
    try:
        yield Database(pool)
    finally:
        try:
            await pool.close()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()
