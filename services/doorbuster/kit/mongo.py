"""MongoDB: a client whose every wait has a deadline, and which of its errors mean "away"."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC
from typing import Any, TypeVar

import pymongo
from bson.codec_options import CodecOptions
from pymongo import errors
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.write_concern import WriteConcern

Document = dict[str, Any]
Database = AsyncDatabase[Document]
Client = pymongo.AsyncMongoClient[Document]
Session = AsyncClientSession
Result = TypeVar("Result")

CONNECT_MILLIS = 1_000
SELECT_MILLIS = 1_500  # how long to look for a primary: an election on one machine takes less
MAX_CONNECTIONS = 64
_LABELS = ("TransientTransactionError", "UnknownTransactionCommitResult", "RetryableWriteError")
_AWAY = (
    errors.ConnectionFailure,
    errors.ExecutionTimeout,
    errors.WTimeoutError,
)


class AwayError(ConnectionError):
    """MongoDB does not answer in time, or too many write the same document; the same call may succeed later."""


@asynccontextmanager
async def open_database(url: str, *, default: str) -> AsyncIterator[Database]:
    """Open the database that the URL names, else ``default``; it connects when first used.

    Writes are acknowledged by a majority, times are aware UTC with milliseconds.
    """
    client: Client = pymongo.AsyncMongoClient(
        url,
        connectTimeoutMS=CONNECT_MILLIS,
        serverSelectionTimeoutMS=SELECT_MILLIS,
        maxPoolSize=MAX_CONNECTIONS,
        retryReads=True,
        retryWrites=True,
        tz_aware=True,
        tzinfo=UTC,
    )
    try:
        name = client.get_default_database(default=default).name
        options: CodecOptions[Document] = CodecOptions(tz_aware=True, tzinfo=UTC)
        yield client.get_database(
            name, codec_options=options, write_concern=WriteConcern(w="majority")
        )
    finally:
        await client.close()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Bound everything that is asked of MongoDB inside; raises AwayError for what may succeed later."""
    try:
        with pymongo.timeout(seconds):
            yield
    except errors.PyMongoError as error:
        if is_away(error):
            raise AwayError(type(error).__name__) from error
        raise


def is_away(error: errors.PyMongoError) -> bool:
    """Tell whether the same work may succeed later."""
    return (
        isinstance(error, _AWAY)
        or error.timeout
        or any(error.has_error_label(label) for label in _LABELS)
    )


async def transact(
    database: Database, work: Callable[[Session], Awaitable[Result]], *, within_seconds: float
) -> Result:
    """Run ``work`` in a transaction, again from its beginning when somebody else wrote the same documents."""
    with within(within_seconds):
        async with database.client.start_session() as session:
            return await session.with_transaction(work)


async def ping(database: Database) -> None:
    """Raise AwayError unless a primary answers."""
    with within(SELECT_MILLIS / 1000):
        await database.command("ping")
