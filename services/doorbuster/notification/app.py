"""The notification service's composition root: what opens, what runs in the background, what closes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import aiohttp
from sqlalchemy.ext.asyncio import AsyncEngine

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

from .clients import ProductTitles, SmtpPostOffice, TwilioSms, UserContacts
from .config import NotificationConfig
from .consumers import consumers
from .domain import Channel
from .routes import NotificationRoutes
from .sending import WORKERS, ByEmail, BySms, Sending, Way
from .storage import PostgresLetterStore, PostgresPreferenceStore
from .usecases import Notifications
from .wording import Wording

NAME = "notification"
SEND_SECONDS = 1.0


@asynccontextmanager
async def build() -> AsyncIterator[process.Service]:
    """Wire the service; it needs its database at the start, and neither Kafka, its providers nor its neighbours."""
    settings = config.load(NotificationConfig)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(database.open_engine(settings.dsn))
        await migrations.require_current(engine, "doorbuster.notification")
        session = await stack.enter_async_context(client.open_session(connections=10))
        signer = auth.ServiceSigner(NAME, settings.key_file)

        def reach(callee: str, urls: tuple[str, ...]) -> client.ServiceClient:
            return client.ServiceClient(callee=callee, urls=urls, session=session, signer=signer)

        users = reach("user", settings.user_urls)
        titles = (
            ProductTitles(reach("product", settings.product_urls))
            if settings.product_urls
            else None
        )
        ways = _ways(settings, session, titles)
        bells = {channel: asyncio.Event() for channel in ways}

        def wake() -> None:
            for bell in bells.values():
                bell.set()

        notifications = Notifications(
            store=PostgresLetterStore(engine),
            preferences=PostgresPreferenceStore(engine),
            sms_is_on=Channel.SMS in ways,
            wake=wake,
        )
        await _start_workers(stack, engine, ways, UserContacts(users), bells)
        for name, taker in consumers(settings.kafka_bootstrap, notifications).items():
            await stack.enter_async_context(consumer.consuming(taker, name))
        yield process.Service(
            name=NAME,
            app=web.create_app(
                routes=NotificationRoutes(notifications).table(),
                errors=database.ERRORS,
                authenticator=web.Authenticator(auth.UserVerifier(client.jwks_fetcher(users))),
            ),
            checks={"database": partial(database.ping, engine)},
        )


def _ways(
    settings: NotificationConfig, session: aiohttp.ClientSession, titles: ProductTitles | None
) -> dict[Channel, Way]:
    wording = Wording()
    ways: dict[Channel, Way] = {
        Channel.EMAIL: ByEmail(
            office=SmtpPostOffice(server=settings.smtp, sender=settings.mail_from),
            wording=wording,
            sender=settings.mail_from,
            titles=titles,
        )
    }
    account = settings.sms()
    if account is not None:
        ways[Channel.SMS] = BySms(
            provider=TwilioSms(account=account, session=session), wording=wording
        )
    return ways


async def _start_workers(
    stack: AsyncExitStack,
    engine: AsyncEngine,
    ways: dict[Channel, Way],
    contacts: UserContacts,
    bells: dict[Channel, asyncio.Event],
) -> None:
    """Start one worker a channel."""
    looks = {}
    for channel, way in ways.items():
        name = WORKERS[channel].name
        sending = Sending(way=way, store=PostgresLetterStore(engine), contacts=contacts)
        looks[name] = sending.oldest_seconds
        await stack.enter_async_context(
            process.repeating(
                name, sending.send_due, every_seconds=SEND_SECONDS, wake=bells[channel]
            )
        )
    await stack.enter_async_context(workers.watching(looks))
