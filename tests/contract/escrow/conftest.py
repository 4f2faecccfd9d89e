"""Where the escrow's tests run: on one Redis server, and on a Redis Cluster of three."""

import pytest
import redis as sync_redis

from doorbuster.kit import redis


@pytest.fixture(params=["server", "cluster"])
def redis_url(request) -> str:
    """The URL of an emptied Redis of either kind."""
    kinds = {"server": "fresh_redis", "cluster": "fresh_redis_cluster"}
    url: str = request.getfixturevalue(kinds[request.param])
    return url


@pytest.fixture
async def store(redis_url):
    """A client of either kind."""
    async with redis.open_servers(redis_url) as opened:
        yield opened


@pytest.fixture
def server_of():
    """``await server_of(store, key)`` -> the plain client of the server that holds a key."""

    async def find(store, key):
        return await store.client(key) if isinstance(store, redis.Cluster) else store

    return find


@pytest.fixture
def flush():
    """``flush(url)`` empties what the URL names."""
    return empty


def empty(url):
    if not url.startswith(redis.CLUSTER_SCHEME):
        with sync_redis.Redis.from_url(url) as client:
            client.flushdb()
        return
    places, credentials = redis.parse_cluster_url(url)
    for host, port in places:
        with sync_redis.Redis(host=host, port=port, **credentials) as client:
            client.flushdb()
