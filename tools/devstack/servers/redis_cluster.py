"""A Redis Cluster of three servers without replicas; tests of the permits ask for it (``redis-cluster``).

A server that is killed and started again comes back empty, with its slots: ``nodes.conf`` is kept, data are not.
"""

import time
from typing import Any

import redis
from typing_extensions import override

from devstack import probe
from devstack.errors import StackError
from devstack.part import LOOPBACK, Part, Site
from devstack.process import Launch
from devstack.state import write_atomically

from .redis import RedisServer

SLOTS = 16384
SIZE = 3
NODE_TIMEOUT_MILLIS = 2000
TOGETHER_SECONDS = 30.0
POLL_SECONDS = 0.1


class _Node(Part):
    """One of the three; ``number`` says which, and which third of the slots is its own."""

    number: int
    only_when_named = True
    ready_within_seconds = 20.0

    @override
    def packages(self) -> tuple[str, ...]:
        return RedisServer().packages()

    @override
    def prepare(self, site: Site) -> None:
        port, bus = _ports(site, self.number)
        lines = [
            f"bind {LOOPBACK}",
            f"port {port}",
            f"cluster-port {bus}",
            "cluster-enabled yes",
            "cluster-config-file nodes.conf",
            f"cluster-node-timeout {NODE_TIMEOUT_MILLIS}",
            "cluster-require-full-coverage no",
            f"requirepass {site.secret('redis')}",
            f'dir "{site.layout.data(self.name, None)}"',
            'save ""',
            "appendonly no",
            "daemonize no",
        ]
        write_atomically(
            site.layout.etc / f"{self.name}.conf", "\n".join(lines) + "\n", mode=0o600
        )

    @override
    def launch(self, site: Site) -> Launch:
        return Launch(
            ("redis-server", str(site.layout.etc / f"{self.name}.conf")), site.environment
        )

    @override
    def ready(self, site: Site) -> str | None:
        return probe.redis_answers(_ports(site, self.number)[0], site.secret("redis"))

    @override
    def settle(self, site: Site) -> None:
        """Own a third of the slots, know the servers before this one, and wait until all agree."""
        known = range(self.number + 1)
        with _client(site, self.number) as client:
            info = _info(client)
            if info["cluster_slots_assigned"] == "0":
                first, last = SLOTS * self.number // SIZE, SLOTS * (self.number + 1) // SIZE - 1
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            if int(info["cluster_known_nodes"]) < len(known):
                for other in known[:-1]:
                    client.execute_command("CLUSTER MEET", LOOPBACK, *_ports(site, other))
        deadline = time.monotonic() + TOGETHER_SECONDS
        while not all(_is_whole(site, number, len(known)) for number in known):
            if time.monotonic() > deadline or site.abort.is_set():
                raise StackError("the servers of the Redis Cluster do not find each other")
            time.sleep(POLL_SECONDS)

    @override
    def exports(self, site: Site) -> dict[str, str]:
        places = ",".join(f"{LOOPBACK}:{_ports(site, number)[0]}" for number in range(SIZE))
        url = f"redis+cluster://:{site.secret('redis')}@{places}"
        return {"DOORBUSTER_REDIS_CLUSTER_URL": url} if self.number == SIZE - 1 else {}


class FirstNodeServer(_Node):
    name = "redis-cluster-0"
    number = 0
    port_keys = ("redis-cluster-0", "redis-cluster-0.bus")


class SecondNodeServer(_Node):
    name = "redis-cluster-1"
    number = 1
    requires = ("redis-cluster-0",)
    port_keys = ("redis-cluster-1", "redis-cluster-1.bus")


class ThirdNodeServer(_Node):
    name = "redis-cluster-2"
    number = 2
    requires = ("redis-cluster-1",)
    port_keys = ("redis-cluster-2", "redis-cluster-2.bus")


def _ports(site: Site, number: int) -> tuple[int, int]:
    return site.port(f"redis-cluster-{number}"), site.port(f"redis-cluster-{number}.bus")


def _client(site: Site, number: int) -> redis.Redis:
    return redis.Redis(
        host=LOOPBACK,
        port=_ports(site, number)[0],
        password=site.secret("redis"),
        socket_timeout=probe.TIMEOUT_SECONDS,
        decode_responses=True,
    )


def _info(client: redis.Redis) -> dict[str, str]:
    untyped: Any = client
    info: dict[str, str] = untyped.execute_command("CLUSTER INFO")
    return info


def _is_whole(site: Site, number: int, size: int) -> bool:
    """Whether a server serves and knows at least ``size`` that own slots; one that is away is not waited for."""
    try:
        with _client(site, number) as client:
            info = _info(client)
    except redis.RedisError:
        return number != size - 1
    return info["cluster_state"] == "ok" and int(info["cluster_size"]) >= size
