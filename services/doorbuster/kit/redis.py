"""Redis: clients whose every wait is short, because nothing may wait for a cache; one server, or a cluster by slots.

``redis://`` and ``rediss://`` name one server. ``redis+cluster://[user:password@]host:port[,host:port…]`` names a
Redis Cluster by some of its servers. The library's own cluster client is not used: when one server is down it closes
the connections to all of them and looks at the map again before every command, so one product's trouble is everybody's.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import unquote

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

AWAY: tuple[type[Exception], ...] = (RedisConnectionError, RedisTimeoutError, OSError)
CLUSTER_SCHEME = "redis+cluster://"
CONNECT_SECONDS = 0.5
MAX_CONNECTIONS = 64
MAP_SECONDS = 0.5
MAX_SERVERS = 1_000

Address = tuple[str, int]


def _limits(timeout_seconds: float) -> dict[str, Any]:
    return {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": CONNECT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "max_connections": MAX_CONNECTIONS,
    }


@asynccontextmanager
async def open_redis(url: str, *, timeout_seconds: float = 1.0) -> AsyncIterator[Redis]:
    """Open a client of one server; it connects when first used and retries nothing by itself."""
    client = Redis.from_url(url, **_limits(timeout_seconds))
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def open_servers(
    url: str, *, timeout_seconds: float = 1.0
) -> AsyncIterator["Redis | Cluster"]:
    """Open a client of one server or of a cluster, by the scheme of ``url``; raises ValueError for neither."""
    if not url.startswith(CLUSTER_SCHEME):
        async with open_redis(url, timeout_seconds=timeout_seconds) as client:
            yield client
        return
    seeds, credentials = parse_cluster_url(url)
    options = {**credentials, **_limits(timeout_seconds)}
    cluster = Cluster(seeds, lambda address: Redis(host=address[0], port=address[1], **options))
    try:
        yield cluster
    finally:
        await cluster.close()


def parse_cluster_url(url: str) -> tuple[list[Address], dict[str, Any]]:
    """Return the servers named by a ``redis+cluster://`` URL, and username and password where it has them."""
    account, _, places = url.removeprefix(CLUSTER_SCHEME).rstrip("/").rpartition("@")
    username, _, password = account.partition(":")
    credentials = {"username": unquote(username), "password": unquote(password)}
    seeds: list[Address] = []
    for place in places.split(","):
        host, _, port = place.strip().rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"a {CLUSTER_SCHEME} URL names its servers as host:port,host:port")
        seeds.append((host.strip("[]"), int(port)))
    return seeds, {name: value for name, value in credentials.items() if value}


class Cluster:
    """A Redis Cluster as a map from slots to servers, each with a client of its own.

    A server that is gone takes no other along: a doubt about the map is looked into behind the back of the
    callers, at most every ``MAP_SECONDS``, and who needs the missing server gets its ConnectionError meanwhile.
    """

    def __init__(self, seeds: Iterable[Address], connect: Callable[[Address], Redis]) -> None:
        self._seeds = list(seeds)
        self._connect = connect
        self._clients: dict[Address, Redis] = {}
        self._slots: dict[int, Address] = {}
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = float("-inf")

    async def client(self, key: str) -> Redis:
        """Return the client of the server that holds ``key``; raises ConnectionError when none is known."""
        if not self._slots:
            self.doubt()
            if self._looking is not None:
                await asyncio.shield(self._looking)
        address = self._slots.get(key_slot(key.encode()))
        if address is None:
            self.doubt()
            raise RedisConnectionError("no server of the cluster is known for this key")
        return self._client(address)

    def moved(self, error: MovedError) -> None:
        """Believe a server that says where a slot has gone, and look at the whole map soon."""
        if error.host:  # empty where the server does not know its own name
            self._slots[error.slot_id] = (error.host, error.port)
        self.doubt()

    def doubt(self) -> None:
        """Have the map read again soon, because a server does not answer or answers otherwise."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at > MAP_SECONDS and (self._looking is None or self._looking.done()):
            self._looked_at = now
            self._looking = asyncio.create_task(self._read_map(), name="read_cluster_map")

    async def close(self) -> None:
        """Close all connections."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        async with AsyncExitStack() as closing:
            for client in self._clients.values():
                closing.push_async_callback(client.aclose)

    def _client(self, address: Address) -> Redis:
        if address not in self._clients:
            self._clients[address] = self._connect(address)
        return self._clients[address]

    async def _read_map(self) -> None:
        """Take the map of the first server that has one; all are asked at once, because some may hang."""
        known = dict.fromkeys([*self._slots.values(), *self._seeds])
        asking = [asyncio.create_task(self._ask_map(address)) for address in known]
        try:
            for answer in asyncio.as_completed(asking):
                if slots := await answer:
                    self._slots = slots
                    break
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        await self._forget_strangers()

    async def _ask_map(self, address: Address) -> dict[int, Address]:
        server: Any = self._client(address)  # its stubs leave this call untyped
        try:
            ranges = await server.execute_command("CLUSTER SLOTS")
        except (RedisError, OSError):
            return {}
        slots: dict[int, Address] = {}
        for first, last, primary, *_ in ranges:
            host = (primary[0] or b"").decode()
            owner = (host if host not in ("", "?") else address[0], int(primary[1]))
            slots.update(dict.fromkeys(range(first, last + 1), owner))
        return slots

    async def _forget_strangers(self) -> None:
        """Close clients of servers that left, when there are suspiciously many."""
        if len(self._clients) > MAX_SERVERS:
            kept = {*self._slots.values(), *self._seeds}
            for address in [each for each in self._clients if each not in kept]:
                await self._clients.pop(address).aclose()
