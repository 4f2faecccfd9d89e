"""Elasticsearch: one node on loopback without accounts, trimmed to the modules that a shop's search needs."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import override

from devstack import java, maven, probe
from devstack.accounts import server_user
from devstack.layout import cache_root, readable_by
from devstack.part import LOOPBACK, Part, Say, Site
from devstack.process import Launch
from devstack.state import write_atomically

VERSION = "8.19.8"
LEAST_HEAP, MOST_HEAP = "128m", "512m"
ASSETS = Path(__file__).resolve().parents[1] / "assets"
ARCHIVE_MEGABYTES = 909
MEGABYTE = 1_000_000
# The launcher refuses to start without the last three, even with security off.
MODULES = (
    *("aggregations", "analysis-common", "dot-prefix-validation", "health-shards-availability"),
    *("ingest-common", "lang-painless", "parent-join", "reindex", "rest-root"),
    *("transport-netty4", "apm", "x-pack-core", "x-pack-security"),
)
KEPT = (
    *("lib/", "config/", "LICENSE.txt", "NOTICE.txt"),
    *(f"modules/{name}/" for name in MODULES),
)
LEFT_OUT = ("lib/platform/darwin-", "lib/platform/windows-")
LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %c{1.} %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


class ElasticsearchServer(Part):
    """A caller's ``ES_JAVA_OPTS`` are handed on and win, as a benchmark may want."""

    name = "elasticsearch"
    port_keys = ("elasticsearch", "elasticsearch.transport")
    ready_within_seconds = 300.0
    stop_within_seconds = 20.0

    @override
    def packages(self) -> tuple[str, ...]:
        return java.packages(maven=not _installed().exists())

    @override
    def missing(self) -> str:
        return "" if _installed().exists() else f"Elasticsearch {VERSION}"

    @override
    def obtain(self, say: Say) -> None:
        def report(count: int) -> None:
            say(f"fetching Elasticsearch: {count // MEGABYTE} of {ARCHIVE_MEGABYTES} MB")

        say(f"fetching Elasticsearch {VERSION} with Maven (once, {ARCHIVE_MEGABYTES} MB)")
        _installed().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_installed().parent) as scratch:
            archives = Path(scratch) / "archives"
            maven.copy_archives(ASSETS / "elasticsearch-pom.xml", archives, report)
            say("unpacking Elasticsearch: the archive is not kept")
            _unpack(next(archives.iterdir()), Path(scratch) / "node")
            (Path(scratch) / "node").rename(_installed())

    @override
    def prepare(self, site: Site) -> None:
        user = server_user()
        base = site.layout.data(self.name, user)
        settings = {
            "cluster.name": "doorbuster-devstack",
            "node.name": "devstack",
            "discovery.type": "single-node",
            "network.host": LOOPBACK,
            "http.port": str(site.port("elasticsearch")),
            "transport.port": str(site.port("elasticsearch.transport")),
            "path.data": str(base / "data"),
            "path.logs": str(base / "logs"),
            "xpack.security.enabled": "false",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            # No index by accident, as no topic: a write after a lost index must fail, not guess a mapping.
            "action.auto_create_index": "false",
        }
        options = (
            f"-Xms{LEAST_HEAP}",
            f"-Xmx{MOST_HEAP}",
            *java.QUICK_JVM,
            "-XX:-AlwaysPreTouch",
            "-XX:+ExitOnOutOfMemoryError",
            f"-XX:ErrorFile={base}/logs/crash.log",
            f"-Djava.io.tmpdir={base}/tmp",
            "-Dorg.apache.lucene.store.MMapDirectory.sharedArenaMaxPermits=1",
        )
        owner = base.stat()
        for folder in ("config", "data", "logs", "tmp"):
            (base / folder).mkdir(exist_ok=True)
            os.chown(base / folder, owner.st_uid, owner.st_gid)
        lines = "".join(f"{key}: {value}\n" for key, value in settings.items())
        write_atomically(base / "config" / "elasticsearch.yml", lines)
        write_atomically(base / "config" / "jvm.options", "\n".join(options) + "\n")
        write_atomically(base / "config" / "log4j2.properties", LOGGING)

    @override
    def launch(self, site: Site) -> Launch:
        user = server_user()
        base = site.layout.data(self.name, user)
        home = readable_by(user, _installed())
        # What bin/elasticsearch would do; the archive has none. The launcher starts the node as its child.
        argv = (
            *(str(java.find()), "-Xms4m", "-Xmx64m", *java.QUICK_JVM),
            *(
                "-Dcli.name=server",
                "-Dcli.libs=lib/tools/server-cli",
                "-Dcli.script=elasticsearch",
            ),
            *(f"-Des.path.home={home}", f"-Des.path.conf={base / 'config'}"),
            *("-Des.distribution.type=zip", "-Des.java.type=ES_JAVA_HOME"),
            *("-cp", f"{home}/lib/*:{home}/lib/cli-launcher/*"),
            "org.elasticsearch.launcher.CliToolLauncher",
        )
        environment = {
            **site.environment,
            "ES_JAVA_HOME": str(Path(str(java.find())).resolve().parents[1]),
            "ES_JAVA_OPTS": os.environ.get("ES_JAVA_OPTS", ""),
            "ES_TMPDIR": str(base / "tmp"),
        }
        environment.pop("JAVA_HOME", None)
        return Launch(argv, environment, cwd=home, user=user)

    @override
    def ready(self, site: Site) -> str | None:
        status, body = probe.http_status(f"{url(site)}/_cluster/health")
        healthy = status == 200 and '"status":"red"' not in body
        return None if healthy else f"{status or ''} {body[:120]}".strip()

    @override
    def exports(self, site: Site) -> dict[str, str]:
        return {"DOORBUSTER_ELASTICSEARCH_URL": url(site)}


def url(site: Site) -> str:
    """Where the node answers; it listens on loopback only."""
    return f"http://{LOOPBACK}:{site.port('elasticsearch')}"


def _installed() -> Path:
    return cache_root() / f"elasticsearch-{VERSION}"


def _unpack(archive: Path, target: Path) -> None:
    """Take out of the archive what the node needs, readable for every user."""
    with zipfile.ZipFile(archive) as opened:
        for inside, name in _members(opened):
            file = target / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(inside) as source, file.open("wb") as copy:
                shutil.copyfileobj(source, copy)


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    """(name in the archive, name below the node's folder) of each file that is kept."""
    for inside in archive.namelist():
        _, found, name = inside.partition("/elasticsearch/")
        wanted = name.startswith(KEPT) and not name.startswith(LEFT_OUT)
        if found and wanted and not name.endswith("/"):
            yield inside, name
