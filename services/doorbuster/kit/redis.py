"""Redis: a client whose every wait is short, because nothing may wait for a cache."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

AWAY: tuple[type[Exception], ...] = (RedisConnectionError, RedisTimeoutError, OSError)


@asynccontextmanager
async def open_redis(url: str, *, timeout_seconds: float = 1.0) -> AsyncIterator[Redis]:
    """Open a client; it connects when first used and retries nothing by itself."""
    client = Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=0.5,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        max_connections=64,
    )
    try:
        yield client
    finally:
        await client.aclose()
