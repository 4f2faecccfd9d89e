"""The notification service's composition root: it takes events in and sends letters; it has no public API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from doorbuster.kit import (
    auth,
    client,
    config,
    consumer,
    database,
    migrations,
    process,
    web,
    workers,
)

from .clients import SmtpPostOffice, UserContacts
from .config import NotificationConfig
from .consumers import consumers
from .storage import PostgresLetterStore
from .usecases import Notifications

NAME = "notification"
SEND_SECONDS = 1.0


@asynccontextmanager
async def build() -> AsyncIterator[process.Service]:
    """Wire the service; it needs its database at the start, and neither Kafka, mail server nor user service."""
    settings = config.load(NotificationConfig)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(database.open_engine(settings.dsn))
        await migrations.require_current(engine, "doorbuster.notification")
        session = await stack.enter_async_context(client.open_session(connections=10))
        users = client.ServiceClient(
            callee="user",
            urls=settings.user_urls,
            session=session,
            signer=auth.ServiceSigner(NAME, settings.key_file),
        )
        wake = asyncio.Event()
        notifications = Notifications(
            store=PostgresLetterStore(engine),
            contacts=UserContacts(users),
            office=SmtpPostOffice(server=settings.smtp, sender=settings.mail_from),
            sender=settings.mail_from,
            wake=wake.set,
        )
        await stack.enter_async_context(
            process.repeating(
                "letters", notifications.send_due, every_seconds=SEND_SECONDS, wake=wake
            )
        )
        await stack.enter_async_context(
            workers.watching({"letters": notifications.oldest_seconds})
        )
        for name, taker in consumers(settings.kafka_bootstrap, notifications).items():
            await stack.enter_async_context(consumer.consuming(taker, name))
        yield process.Service(
            name=NAME,
            app=web.create_app(routes=[], errors={}, authenticator=web.Authenticator()),
            checks={"database": partial(database.ping, engine)},
        )
