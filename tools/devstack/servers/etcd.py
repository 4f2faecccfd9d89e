"""etcd: the store behind the API server, alone on loopback."""

from typing_extensions import override

from devstack import kubernetes_binaries, probe
from devstack.part import Part, Say, Site
from devstack.process import Launch


class EtcdServer(Part):
    name = "etcd"
    port_keys = ("etcd", "etcd.peer")
    ready_within_seconds = 180.0

    @override
    def missing(self) -> str:
        return "" if kubernetes_binaries.locate() else "the Kubernetes binaries"

    @override
    def obtain(self, say: Say) -> None:
        kubernetes_binaries.obtain(say)

    @override
    def launch(self, site: Site) -> Launch:
        client = f"http://127.0.0.1:{site.port('etcd')}"
        peer = f"http://127.0.0.1:{site.port('etcd.peer')}"
        argv = (
            *kubernetes_binaries.command("etcd"),
            *("--name", "devstack", "--data-dir", str(site.layout.data(self.name, None))),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"devstack={peer}", "--log-level", "warn"),
            # A killed process loses nothing by this, only a crash of the machine could.
            "--unsafe-no-fsync",
        )
        return Launch(argv, site.environment)

    @override
    def ready(self, site: Site) -> str | None:
        status, body = probe.http_status(f"http://127.0.0.1:{site.port('etcd')}/health")
        return None if status == 200 and '"true"' in body else body[:200]
