"""Redis: the permits of a sale, rate limits; kept in memory only, as a lossy store should be."""

import shutil

from typing_extensions import override

from devstack import probe
from devstack.part import Part, Site
from devstack.process import Launch
from devstack.state import write_atomically

DATABASES = 64
MAX_MEMORY = "256mb"


class RedisServer(Part):
    name = "redis"
    port_keys = ("redis",)
    ready_within_seconds = 20.0

    @override
    def packages(self) -> tuple[str, ...]:
        return () if shutil.which("redis-server") else ("redis-server",)

    @override
    def prepare(self, site: Site) -> None:
        data = site.layout.data(self.name, None)
        lines = [
            f"bind {' '.join(site.addresses)}",
            f"port {site.port('redis')}",
            f"requirepass {site.secret('redis')}",
            f'dir "{data}"',
            f"databases {DATABASES}",
            f"maxmemory {MAX_MEMORY}",
            "maxmemory-policy noeviction",
            'save ""',
            "appendonly no",
            "daemonize no",
            "tcp-backlog 511",
        ]
        write_atomically(site.layout.etc / "redis.conf", "\n".join(lines) + "\n", mode=0o600)

    @override
    def launch(self, site: Site) -> Launch:
        return Launch(("redis-server", str(site.layout.etc / "redis.conf")), site.environment)

    @override
    def ready(self, site: Site) -> str | None:
        return probe.redis_answers(site.port("redis"), site.secret("redis"))

    @override
    def exports(self, site: Site) -> dict[str, str]:
        url = f"redis://:{site.secret('redis')}@{site.host}:{site.port('redis')}/0"
        return {"DOORBUSTER_REDIS_URL": url}
