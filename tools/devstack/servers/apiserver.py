"""kube-apiserver: RBAC, client certificates, our CRDs; no controllers and no nodes."""

import ssl
import subprocess
from pathlib import Path

from typing_extensions import override

from devstack import kubernetes_binaries, probe
from devstack.certificates import Authority
from devstack.errors import StackError
from devstack.part import LOOPBACK, Part, Say, Site
from devstack.process import Launch
from devstack.state import write_atomically
from doorbuster.kit.clock import utc_now

NAMESPACE = "default"
OPERATOR_ACCOUNT = "doorbuster-operator"
SERVICE_RANGE = "10.96.0.0/16"
CLUSTER_NAMES = (
    *("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"),
    "kubernetes.default.svc.cluster.local",
)
APPLY_SECONDS = 60


class ApiServer(Part):
    name = "apiserver"
    requires = ("etcd",)
    port_keys = ("apiserver",)
    ready_within_seconds = 90.0
    stop_within_seconds = 10.0

    @override
    def missing(self) -> str:
        return "" if kubernetes_binaries.locate() else "the Kubernetes binaries"

    @override
    def obtain(self, say: Say) -> None:
        kubernetes_binaries.obtain(say)

    @override
    def prepare(self, site: Site) -> None:
        authority = self._authority(site)
        addresses = {LOOPBACK, "10.96.0.1", site.host}
        authority.serving("apiserver", CLUSTER_NAMES, sorted(addresses))
        authority.key_pair("service-account")
        authority.client("admin", user="doorbuster-admin", groups=("system:masters",))
        authority.client(
            "operator",
            user=f"system:serviceaccount:{NAMESPACE}:{OPERATOR_ACCOUNT}",
            groups=("system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}"),
        )
        server = f"https://{site.host}:{site.port('apiserver')}"
        for name, path in (("admin", site.layout.kubeconfig), ("operator", operator_config(site))):
            text = authority.kubeconfig(name, server=server, namespace=NAMESPACE)
            write_atomically(path, text, mode=0o600)
        _write_kubectl(site)

    def _authority(self, site: Site) -> Authority:
        return Authority(site.layout.keys / "kubernetes", now=utc_now())

    @override
    def launch(self, site: Site) -> Launch:
        path = self._authority(site).path
        argv = (
            *kubernetes_binaries.command("kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{site.port('etcd')}",
            f"--secure-port={site.port('apiserver')}",
            f"--bind-address={site.bind}",  # it takes one address only
            f"--advertise-address={LOOPBACK}",
            "--endpoint-reconciler-type=none",  # a loopback address cannot be an endpoint
            f"--cert-dir={site.layout.etc}",
            f"--tls-cert-file={path('apiserver.crt')}",
            f"--tls-private-key-file={path('apiserver.key')}",
            f"--client-ca-file={path('ca.crt')}",
            f"--service-account-key-file={path('service-account.pub')}",
            f"--service-account-signing-key-file={path('service-account.key')}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--authorization-mode=RBAC",
            # Without controllers nobody makes the accounts and tokens that this plugin asks for.
            "--disable-admission-plugins=ServiceAccount",
            "--profiling=false",
            "--v=0",
        )
        return Launch(argv, site.environment)

    @override
    def ready(self, site: Site) -> str | None:
        """Ready by its own word, and the namespace that everything lives in is made."""
        path = self._authority(site).path
        context = ssl.create_default_context(cafile=str(path("ca.crt")))
        context.load_cert_chain(path("admin.crt"), path("admin.key"))
        base = f"https://{site.host}:{site.port('apiserver')}"
        for url in (f"{base}/readyz", f"{base}/api/v1/namespaces/{NAMESPACE}"):
            status, body = probe.http_status(url, context=context)
            if status != 200:
                return f"{status} {body[:120]}".strip()
        return None

    @override
    def settle(self, site: Site) -> None:
        """Apply what the project ships: the CRDs, the operator's rights and policies."""
        crds = site.project / "crds"
        folders = [crds, site.project / "manifests" / "operator"]
        files = [
            word
            for folder in folders
            if any(folder.glob("*.yaml"))
            for word in ("-f", str(folder))
        ]
        if files:
            kubectl(site, "apply", "--server-side", "--force-conflicts", *files)
        if str(crds) in files:
            kubectl(site, "wait", "--for=condition=Established", "--timeout=30s", "-f", str(crds))

    @override
    def exports(self, site: Site) -> dict[str, str]:
        return {"KUBECONFIG": str(site.layout.kubeconfig)}


def operator_config(site: Site) -> Path:
    """The kubeconfig with the operator's rights alone."""
    return site.layout.root / "kubeconfig.operator"


def kubectl(site: Site, *arguments: str) -> str:
    """Run kubectl as admin and return what it prints.

    Raises:
        StackError: it failed or took longer than a minute.
    """
    argv = (*kubernetes_binaries.command("kubectl"), *arguments)
    environment = {**site.environment, "KUBECONFIG": str(site.layout.kubeconfig)}
    try:
        done = subprocess.run(
            argv,
            env=environment,
            capture_output=True,
            text=True,
            timeout=APPLY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"kubectl {arguments[0]} took longer than {APPLY_SECONDS} s") from error
    if done.returncode != 0:
        raise StackError(f"kubectl {' '.join(arguments)} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def _write_kubectl(site: Site) -> None:
    """A ``kubectl`` for people, which `devstack env` puts on the path."""
    words = " ".join(f"'{word}'" for word in kubernetes_binaries.command("kubectl"))
    text = f'#!/bin/sh\nexec {words} "$@"\n'
    write_atomically(site.layout.bin / "kubectl", text, mode=0o755)
