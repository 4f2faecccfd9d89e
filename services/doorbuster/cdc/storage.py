"""The replication slot, in the database that is captured."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from .domain import SLOT, Slot

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 10.0
_FIND = """
SELECT wal_status, active,
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0)::bigint AS lag_bytes
  FROM pg_replication_slots WHERE slot_name = $1
"""
_END_READER = """
SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
 WHERE slot_name = $1 AND active_pid IS NOT NULL
"""
_DROP = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1"


@dataclass(frozen=True)
class PostgresSlots:
    """Looks with a connection of its own each time: it looks every few seconds."""

    dsn: str

    async def find(self) -> Slot | None:
        """Return the slot, None when there is none; raises ConnectionError."""
        async with self._connection() as connection:
            row = await connection.fetchrow(_FIND, SLOT)
        if row is None:
            return None
        return Slot(
            wal_status=row["wal_status"], is_active=row["active"], lag_bytes=row["lag_bytes"]
        )

    async def drop(self) -> None:
        """Drop the slot if it is there, ending whoever still reads it; raises ConnectionError."""
        async with self._connection() as connection:
            await connection.execute(_END_READER, SLOT)
            await connection.execute(_DROP, SLOT)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        try:
            connection = await asyncpg.connect(
                self.dsn, timeout=CONNECT_SECONDS, command_timeout=COMMAND_SECONDS
            )
            try:
                yield connection
            finally:
                await connection.close(timeout=CONNECT_SECONDS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise ConnectionError(f"PostgreSQL failed ({type(error).__name__})") from error
