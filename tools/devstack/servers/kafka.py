"""Kafka: one broker in KRaft mode, its jars fetched once by Maven, no topic made by accident."""

import contextlib
import shutil
import tempfile
from pathlib import Path

from typing_extensions import override

from devstack import java, maven, probe
from devstack.layout import cache_root
from devstack.part import Part, Say, Site
from devstack.process import Launch
from devstack.state import write_atomically

VERSION = "4.3.1"
HEAP = "256m"
FORMAT_SECONDS = 120.0
FORMATTED = ("meta.properties", "bootstrap.checkpoint")
ASSETS = Path(__file__).resolve().parents[1] / "assets"
CLUSTER_ID = "RG9vcmJ1c3RlclNob3BzMQ"


class KafkaServer(Part):
    name = "kafka"
    # "kafka.proxied" is for clients whose every word shall pass somebody on "kafka.proxy".
    port_keys = ("kafka", "kafka.controller", "kafka.proxied", "kafka.proxy")
    ready_within_seconds = 90.0
    stop_within_seconds = 20.0

    @override
    def packages(self) -> tuple[str, ...]:
        return java.packages(maven=not _jars().exists())

    @override
    def missing(self) -> str:
        return "" if _jars().exists() else f"the jars of Kafka {VERSION}"

    @override
    def obtain(self, say: Say) -> None:
        jars = _jars()
        if jars.exists():
            return
        say(f"fetching Kafka {VERSION} with Maven (once, 44 MB)")
        maven.copy_jars(ASSETS / "kafka-pom.xml", jars)

    @override
    def prepare(self, site: Site) -> None:
        data = site.layout.data(self.name, None)
        port, controller = site.port("kafka"), site.port("kafka.controller")
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": (
                f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},"
                f"PROXIED://127.0.0.1:{site.port('kafka.proxied')}"
            ),
            "advertised.listeners": (
                f"PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{site.port('kafka.proxy')}"
            ),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT"
            ),
            "log.dirs": str(data / "log"),
            "num.partitions": "3",
            "default.replication.factor": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "5",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
            "num.network.threads": "2",
            "num.io.threads": "4",
            # The default takes 128 MB of heap for a cleaner that has nothing to clean here.
            "log.cleaner.dedupe.buffer.size": "8388608",
        }
        text = "".join(f"{key}={value}\n" for key, value in settings.items())
        write_atomically(self._properties(site), text)
        if not (data / "log" / "meta.properties").exists():
            self._format(site, data / "log")

    def _properties(self, site: Site) -> Path:
        return site.layout.etc / "kafka.properties"

    def _format(self, site: Site, log: Path) -> None:
        """Give the log folder its cluster id: by Kafka's own tool once, from the cache later.

        What the tool writes depends on nothing but this version and these settings, and a JVM
        takes two seconds of a processor to write it.
        """
        formatted = _jars().with_name("formatted")
        if not formatted.exists():
            argv = (
                *(str(java.find()), "-Xmx128m", *java.QUICK_JVM, _log4j(), "-cp", f"{_jars()}/*"),
                *("kafka.tools.StorageTool", "format", "--ignore-formatted"),
                *("-t", CLUSTER_ID, "-c", str(self._properties(site))),
            )
            site.run(self.name, Launch(argv, site.environment), within_seconds=FORMAT_SECONDS)
            _publish([log / name for name in FORMATTED], formatted)
            return
        log.mkdir(exist_ok=True)
        for name in reversed(FORMATTED):  # meta.properties last: it says that the rest is there
            shutil.copyfile(formatted / name, log / name)

    @override
    def launch(self, site: Site) -> Launch:
        argv = (
            *(str(java.find()), "-Xms64m", f"-Xmx{HEAP}", *java.QUICK_JVM),
            *("-Djava.awt.headless=true", _log4j(), f"-Dkafka.logs.dir={site.layout.logs}"),
            *("-cp", f"{_jars()}/*", "kafka.Kafka", str(self._properties(site))),
        )
        return Launch(argv, site.environment)

    @override
    def ready(self, site: Site) -> str | None:
        return probe.kafka_answers(site.port("kafka"))

    @override
    def exports(self, site: Site) -> dict[str, str]:
        return {"DOORBUSTER_KAFKA_BOOTSTRAP": f"127.0.0.1:{site.port('kafka')}"}


def _publish(files: list[Path], folder: Path) -> None:
    """Put copies of the files into a new folder, all at once; another stack may be quicker."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        whole = Path(scratch) / folder.name
        whole.mkdir()
        for file in files:
            shutil.copyfile(file, whole / file.name)
        with contextlib.suppress(OSError):
            whole.rename(folder)


def _jars() -> Path:
    return cache_root() / f"kafka-{VERSION}" / "libs"


def _log4j() -> str:
    return f"-Dlog4j2.configurationFile={ASSETS / 'kafka-log4j2.properties'}"
