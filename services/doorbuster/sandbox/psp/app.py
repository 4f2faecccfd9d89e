"""Wires the sandbox: its file, its routes, its courier."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from doorbuster.kit import config, process
from doorbuster.kit.clock import utc_now

from . import webhooks
from .endpoints import Endpoints
from .ledger import Ledger
from .routes import MAX_BODY_BYTES, Front, stripe_errors

API_VERSION = "2025-09-30.clover"
FORGET_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class SandboxConfig:
    """Where the sandbox keeps its state and whom it lets in; without a webhook URL it sends no events."""

    state: str = config.setting("DOORBUSTER_PSP_STATE")
    key: str = config.setting("DOORBUSTER_PSP_KEY", secret=True)
    webhook_url: str = config.setting("DOORBUSTER_PSP_WEBHOOK_URL", default="")
    webhook_secret: str = config.setting("DOORBUSTER_PSP_WEBHOOK_SECRET", default="", secret=True)


@asynccontextmanager
async def build() -> AsyncIterator[process.Service]:
    """Build the sandbox from the environment."""
    settings = config.load(SandboxConfig)
    if settings.webhook_url and not settings.webhook_secret:
        raise config.ConfigError("DOORBUSTER_PSP_WEBHOOK_SECRET is not set")
    state = Path(settings.state)
    state.parent.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as opened:
        ledger = opened.enter_context(closing(Ledger(state)))
        session = await opened.enter_async_context(aiohttp.ClientSession())
        courier = webhooks.Courier(
            ledger=ledger,
            session=session,
            url=settings.webhook_url,
            secret=settings.webhook_secret,
        )
        await opened.enter_async_context(
            process.repeating("webhooks", courier.step, every_seconds=webhooks.POLL_SECONDS)
        )

        async def forget() -> None:
            ledger.forget_answers(now=int(utc_now().timestamp()))

        await opened.enter_async_context(
            process.repeating("forget", forget, every_seconds=FORGET_SECONDS)
        )

        async def check() -> None:
            ledger.ping()

        front = Front(ledger=ledger, endpoints=Endpoints(ledger, API_VERSION), key=settings.key)
        app = web.Application(middlewares=[stripe_errors], client_max_size=MAX_BODY_BYTES)
        app.add_routes(front.routes())
        yield process.Service(name="psp", app=app, checks={"ledger": check})
