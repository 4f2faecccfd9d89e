"""Wires the user service."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from doorbuster.kit import auth, clock, config, database, migrations, process, web

from .config import Config
from .keys import RELOAD_SECONDS, KeyRing, Seal
from .passwords import open_passwords
from .routes import ERRORS, routes
from .storage import SqlAccounts, SqlAddresses, SqlGuards, SqlSessions, SqlSigningKeys
from .usecases import AddressBook, Users

PRUNE_SECONDS = 600.0
PRUNE_BATCH = 500


@asynccontextmanager
async def build() -> AsyncIterator[process.Service]:
    """Open everything, run the background loops, close in reverse."""
    settings = config.load(Config)
    async with AsyncExitStack() as opened:
        engine = await opened.enter_async_context(database.open_engine(settings.dsn))
        await migrations.require_current(engine, "doorbuster.user")
        passwords = await opened.enter_async_context(open_passwords())
        sessions, guards = SqlSessions(engine), SqlGuards(engine)
        ring = KeyRing(SqlSigningKeys(engine), Seal(settings.signing_key_secret), clock.utc_now)
        await ring.refresh()
        users = Users(
            accounts=SqlAccounts(engine),
            sessions=sessions,
            passwords=passwords,
            tokens=ring,
            guards=guards,
            clock=clock.utc_now,
        )
        book = AddressBook(addresses=SqlAddresses(engine), clock=clock.utc_now)

        async def prune() -> bool:
            now = clock.utc_now()
            gone = await sessions.prune(now, PRUNE_BATCH) + await guards.prune(now, PRUNE_BATCH)
            return gone > 0

        async def own_jwks() -> dict[str, Any]:
            document: dict[str, Any] = json.loads(ring.jwks())
            return document

        for name, step, seconds in (
            ("signing_keys", ring.refresh, RELOAD_SECONDS),
            ("prune_sessions", prune, PRUNE_SECONDS),
        ):
            await opened.enter_async_context(process.repeating(name, step, every_seconds=seconds))
        authenticator = web.Authenticator(
            auth.UserVerifier(own_jwks), auth.ServiceVerifier("user", settings.service_keys_dir)
        )
        app = web.create_app(
            routes=routes(users, book, ring.jwks),
            errors={**database.ERRORS, **ERRORS},
            authenticator=authenticator,
        )
        yield process.Service(
            name="user", app=app, checks={"database": partial(database.ping, engine)}
        )
