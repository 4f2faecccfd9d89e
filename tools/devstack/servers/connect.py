"""Kafka Connect with Debezium's plugins for PostgreSQL and MongoDB: one worker, its jars fetched once by Maven."""

import tarfile
import tempfile
from pathlib import Path

from typing_extensions import override

from devstack import java, maven, probe
from devstack.layout import cache_root
from devstack.part import LOOPBACK, Part, Say, Site
from devstack.process import Launch
from devstack.state import write_atomically

VERSION = "4.3.1"
DEBEZIUM_VERSION = "3.6.1"
HEAP = "256m"
GROUP = "doorbuster-connect"
ASSETS = Path(__file__).resolve().parents[1] / "assets"
MEGABYTE = 1_000_000


class ConnectServer(Part):
    """It has no password and runs what it is told to, so it listens on loopback whatever ``--bind`` says."""

    name = "connect"
    requires = ("kafka",)
    port_keys = ("connect",)
    ready_within_seconds = 180.0
    stop_within_seconds = 20.0

    @override
    def packages(self) -> tuple[str, ...]:
        return java.packages(maven=bool(self.missing()))

    @override
    def missing(self) -> str:
        if not _jars().exists():
            return f"the jars of Kafka Connect {VERSION}"
        return "" if _plugins().exists() else f"the plugins of Debezium {DEBEZIUM_VERSION}"

    @override
    def obtain(self, say: Say) -> None:
        if not _jars().exists():
            say(f"fetching Kafka Connect {VERSION} with Maven (once, 36 MB)")
            maven.copy_jars(ASSETS / "connect-pom.xml", _jars())
        if _plugins().exists():
            return
        say(f"fetching Debezium {DEBEZIUM_VERSION} with Maven (once, 50 MB)")
        _plugins().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_plugins().parent) as scratch:
            archives = Path(scratch) / "archives"
            maven.copy_archives(
                ASSETS / "debezium-pom.xml",
                archives,
                lambda count: say(f"fetching Debezium: {count // MEGABYTE} MB so far"),
            )
            for archive in archives.iterdir():
                with tarfile.open(archive) as opened:
                    opened.extractall(Path(scratch) / "plugins", filter="data")
            (Path(scratch) / "plugins").rename(_plugins())

    @override
    def prepare(self, site: Site) -> None:
        settings = {
            "bootstrap.servers": f"{LOOPBACK}:{site.port('kafka')}",
            "group.id": GROUP,
            "listeners": url(site),
            "rest.advertised.host.name": LOOPBACK,
            "plugin.path": str(_plugins()),
            "plugin.discovery": "service_load",
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "key.converter.schemas.enable": "false",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "false",
            "offset.flush.interval.ms": "1000",
            "connector.client.config.override.policy": "All",
            # A worker that was killed comes back at once, so nobody needs to wait for it.
            "scheduled.rebalance.max.delay.ms": "0",
            "session.timeout.ms": "6000",  # the least that the broker takes
            "heartbeat.interval.ms": "1500",
        }
        for kind in ("config", "offset", "status"):
            settings[f"{kind}.storage.topic"] = f"{GROUP}-{kind}"
            settings[f"{kind}.storage.replication.factor"] = "1"
            if kind != "config":  # which always has one
                settings[f"{kind}.storage.partitions"] = "1"
        text = "".join(f"{key}={value}\n" for key, value in settings.items())
        write_atomically(self._properties(site), text)

    def _properties(self, site: Site) -> Path:
        return site.layout.etc / "connect.properties"

    @override
    def launch(self, site: Site) -> Launch:
        argv = (
            *(str(java.find()), "-Xms64m", f"-Xmx{HEAP}", *java.QUICK_JVM),
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={ASSETS / 'kafka-log4j2.properties'}",
            *("-cp", f"{_jars()}/*", "org.apache.kafka.connect.cli.ConnectDistributed"),
            str(self._properties(site)),
        )
        return Launch(argv, site.environment)

    @override
    def ready(self, site: Site) -> str | None:
        status, body = probe.http_status(f"{url(site)}/connectors")
        return None if status == 200 else f"{status or ''} {body[:120]}".strip()

    @override
    def exports(self, site: Site) -> dict[str, str]:
        return {"DOORBUSTER_CONNECT_URL": url(site)}


def url(site: Site) -> str:
    """Where connectors are made and looked at."""
    return f"http://{LOOPBACK}:{site.port('connect')}"


def _jars() -> Path:
    return cache_root() / f"connect-{VERSION}" / "libs"


def _plugins() -> Path:
    return cache_root() / f"debezium-{DEBEZIUM_VERSION}" / "plugins"
