"""``doorbuster cdc``: the process that watches over the connectors and the slot; it has no API."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from doorbuster.kit import config, process, web, workers

from .clients import open_connect
from .config import CdcConfig
from .storage import PostgresSlots
from .usecases import Watcher

NAME = "cdc"
WATCH_SECONDS = 5.0


@asynccontextmanager
async def build() -> AsyncIterator[process.Service]:
    """Wire the watcher; it needs neither Connect nor PostgreSQL at its start."""
    settings = config.load(CdcConfig)
    async with AsyncExitStack() as stack:
        connect = await stack.enter_async_context(open_connect(settings.connect_url))
        watcher = Watcher(connect, PostgresSlots(settings.postgres_dsn), settings.connectors())
        await stack.enter_async_context(
            process.repeating("cdc", watcher.step, every_seconds=WATCH_SECONDS)
        )
        await stack.enter_async_context(workers.watching({"cdc": watcher.oldest_seconds}))
        app = web.create_app(routes=[], errors={}, authenticator=web.Authenticator())
        yield process.Service(name=NAME, app=app)
