"""SQL stores: one async engine per process for PostgreSQL or MySQL by URL, and which of its errors mean "away"."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from typing_extensions import override

from . import web

DEFAULT_POOL_SIZE = 6
_DRIVERS = {
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "mysql": "mysql+asyncmy",
    "mariadb": "mysql+asyncmy",
}
_AWAY = web.ErrorShape(
    status=503, code="UNAVAILABLE", title="A part of the shop does not answer", retry_after=1
)
_BUG = web.ErrorShape(status=500, code="INTERNAL", title="The shop made a mistake")

# Server errors of MySQL and MariaDB that pass by themselves: too many connections, shutting down, broken
# packets, lock wait and deadlock, quotas, read-only after a fail-over, killed, statement too long.
_MYSQL_PASSING = frozenset(
    int(number)
    for number in (
        "1020 1040 1047 1053 1129 1158 1159 1160 1161 1203 1205 1213 1226 1290 1836 1927 1969 3024"
    ).split()
)
_MYSQL_CLIENT = range(2000, 3000)
_POSTGRES_BUGS = ("22", "23", "42")  # SQLSTATE classes: data, constraints, syntax and rights

# DBAPIError is what a driver's own connection errors become; its subclasses that speak of data are bugs.
ERRORS: dict[type[Exception], web.ErrorShape] = {
    exc.DBAPIError: _AWAY,
    exc.TimeoutError: _AWAY,
    exc.IntegrityError: _BUG,
    exc.DataError: _BUG,
    exc.ProgrammingError: _BUG,
    exc.NotSupportedError: _BUG,
}
_BUGS = frozenset(kind for kind, shape in ERRORS.items() if shape is _BUG)


def async_url(dsn: str) -> sa.URL:
    """Return the URL with our async driver; raises ValueError for any other kind of database."""
    url = sa.make_url(dsn)
    kind = url.drivername.split("+")[0]
    if kind not in _DRIVERS:
        raise ValueError(f"{kind} is no database that Doorbuster speaks to")
    url = url.set(drivername=_DRIVERS[kind])
    if kind in ("mysql", "mariadb"):
        url = url.update_query_dict({"charset": "utf8mb4"})
    return url


class Moment(sa.types.TypeDecorator[datetime]):
    """An aware UTC time with microseconds: timestamptz on PostgreSQL, DATETIME(6) on MySQL."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    @override
    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(sa.DateTime(timezone=True))

    @override
    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name in ("mysql", "mariadb") else value

    @override
    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


@asynccontextmanager
async def open_engine(
    dsn: str, *, pool_size: int = DEFAULT_POOL_SIZE, statement_seconds: float = 5.0
) -> AsyncIterator[AsyncEngine]:
    """Open an engine whose waits all have deadlines; it connects when first used.

    Sessions run READ COMMITTED in UTC. Parameters never reach a log or an error message.
    """
    url = async_url(dsn)
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=statement_seconds,
        pool_pre_ping=False,
        pool_recycle=1800,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        connect_args=_connect_args(url, statement_seconds),
    )
    try:
        yield engine
    finally:
        await asyncio.wait_for(engine.dispose(), 5.0)


def _connect_args(url: sa.URL, statement_seconds: float) -> dict[str, Any]:
    if url.get_backend_name() == "postgresql":
        return {
            "timeout": 3.0,
            "command_timeout": statement_seconds,
            "server_settings": {
                "timezone": "UTC",
                "lock_timeout": f"{int(statement_seconds * 1000)}",
                "idle_in_transaction_session_timeout": "30000",
            },
        }
    return {
        "connect_timeout": 3,
        "read_timeout": statement_seconds,
        "init_command": "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,ANSI_QUOTES'"
        f", innodb_lock_wait_timeout = {int(statement_seconds)}",
    }


def is_away(error: BaseException) -> bool:
    """Tell whether the store is away or busy, so that the same work may succeed later.

    False for what the store will always refuse: bad data, a broken constraint, wrong SQL.
    """
    if isinstance(error, exc.TimeoutError | OSError | TimeoutError):
        return True
    if not isinstance(error, exc.DBAPIError) or _BUGS.intersection(type(error).__mro__):
        return False
    if error.connection_invalidated:
        return True
    cause: BaseException | None = error.orig
    while cause is not None:
        state = getattr(cause, "sqlstate", None)
        if state is not None:
            return not state.startswith(_POSTGRES_BUGS)
        if isinstance(cause, ValueError | TypeError):  # the driver cannot encode a parameter
            return False
        if cause.args and isinstance(cause.args[0], int):
            return cause.args[0] in _MYSQL_CLIENT or cause.args[0] in _MYSQL_PASSING
        cause = cause.__cause__
    return True


async def ping(engine: AsyncEngine) -> None:
    """Raise unless the database answers."""
    async with engine.connect() as connection:
        await connection.execute(sa.text("SELECT 1"))
