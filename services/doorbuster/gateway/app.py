"""Wires the gateway."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from doorbuster.kit import auth, client, config, process, redis, web

from .clients import open_upstreams
from .config import Config
from .domain import Rates
from .routes import ERRORS, Door, mark, routes
from .storage import RedisBuckets

REDIS_SECONDS = 0.25


@asynccontextmanager
async def build() -> AsyncIterator[process.Service]:
    """Open everything, close in reverse. Ready once the keys of access tokens are known."""
    settings = config.load(Config)
    async with AsyncExitStack() as opened:
        cache = await opened.enter_async_context(
            redis.open_redis(settings.redis_url, timeout_seconds=REDIS_SECONDS)
        )
        buckets = RedisBuckets(cache)
        opened.push_async_callback(buckets.close)
        upstreams = await opened.enter_async_context(open_upstreams(settings.urls()))
        session = await opened.enter_async_context(client.open_session(connections=10))
        user = client.ServiceClient(
            callee="user", urls=settings.user_urls, session=session, signer=None
        )
        users = auth.UserVerifier(client.jwks_fetcher(user))
        door = Door(
            upstreams=upstreams,
            users=users,
            buckets=buckets,
            rates=Rates(
                address=settings.address_rate,
                user=settings.user_rate,
                sign_up=settings.sign_up_rate,
                log_in=settings.log_in_rate,
            ),
            trusted_proxies=settings.trusted_proxies,
        )
        app = web.create_app(
            routes=routes(door),
            errors=ERRORS,
            authenticator=web.Authenticator(),
            joins_traces=False,
        )
        app.on_response_prepare.append(mark)
        yield process.Service(name="gateway", app=app, checks={"user": users.ready})
