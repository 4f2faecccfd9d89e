"""Schema migrations: one Alembic history per service, applied by ``doorbuster migrate``, checked at every start."""

import asyncio
from importlib import resources
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from . import database, process

_LOCK_SECONDS = 60
_LOCK_NUMBER = 4_704_113


def head(package: str) -> str:
    """Return the newest revision of a service: its files are named ``<revision>_<what>.py``."""
    versions = resources.files(package) / "migrations" / "versions"
    names = sorted(
        entry.name
        for entry in versions.iterdir()
        if entry.name[:1].isdigit() and entry.name.endswith(".py")
    )
    if not names:
        raise process.StartError(f"{package} has no migrations")
    return names[-1].split("_")[0]


async def require_current(engine: AsyncEngine, package: str) -> None:
    """Raise StartError when the schema is older than the one this code was written for.

    A newer one is fine: migrations only add, so that the release before goes on working beside it, also when it was
    rolled back to or one of its copies starts again in the middle of an upgrade.
    """
    expected = head(package)
    try:
        async with engine.connect() as connection:
            found = await connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    except sa.exc.DBAPIError as error:
        raise process.StartError(
            f"the schema of {package} cannot be read ({type(error).__name__});"
            f" is the database up and was `doorbuster migrate {package.split('.')[-1]}` run?"
        ) from error
    if found is None or found < expected:
        raise process.StartError(
            f"the schema is at {found}, this version needs {expected}:"
            f" run `doorbuster migrate {package.split('.')[-1]}`"
        )


async def upgrade(package: str, dsn: str) -> None:
    """Bring a service's schema to its head; copies that run at the same time wait for each other."""
    async with database.open_engine(dsn, pool_size=2, statement_seconds=_LOCK_SECONDS) as engine:
        async with engine.connect() as guard:
            await _lock(guard)
            async with engine.connect() as connection:
                await connection.run_sync(_upgrade, package)
                await connection.commit()
            await guard.rollback()


async def _lock(connection: AsyncConnection) -> None:
    if connection.dialect.name == "postgresql":
        statement = sa.text(f"SELECT pg_advisory_xact_lock({_LOCK_NUMBER})")
        await asyncio.wait_for(connection.execute(statement), _LOCK_SECONDS)
    else:
        taken = await connection.scalar(
            sa.text("SELECT GET_LOCK(CONCAT('doorbuster.', DATABASE()), :seconds)"),
            {"seconds": _LOCK_SECONDS},
        )
        if taken != 1:
            raise process.StartError("another migration holds the lock")


def _upgrade(connection: sa.Connection, package: str) -> None:
    # Alembic costs memory that only this command needs.
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext

    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current > head(package):
        return  # a later release was here; it is not this one's business to know how
    with resources.as_file(resources.files(package) / "migrations") as folder:
        alembic = Config()
        alembic.set_main_option("script_location", str(Path(folder)))
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "head")


def run_env() -> None:
    """Be a service's ``migrations/env.py``."""
    from alembic import context

    context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
