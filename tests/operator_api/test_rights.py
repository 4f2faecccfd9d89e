"""The operator's rights are the smallest set: each is needed, and one that is missing is never silent."""

import asyncio
import os
import time
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import yaml
from kubernetes.aio import client as kube
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from devstack.certificates import Authority
from doorbuster.kit import auth, client
from doorbuster.kit.clock import utc_now
from doorbuster_operator import cluster, handlers
from doorbuster_operator.election import Election
from doorbuster_operator.inventory import Inventory
from doorbuster_operator.reconcile import Reconciler
from doorbuster_operator.testing.cluster import Kube
from doorbuster_operator.topics import KafkaTopics

MANIFESTS = Path(__file__).parents[2] / "manifests" / "operator"
GROUP = "rbac.authorization.k8s.io"
LEASE = "doorbuster-operator"
SEEN_WITHIN_SECONDS = 60.0
GOLDEN = {
    ("doorbuster.dev", "flashsales", "list"),
    ("doorbuster.dev", "flashsales", "watch"),
    ("doorbuster.dev", "flashsales", "patch"),
    ("doorbuster.dev", "flashsales", "delete"),
    ("doorbuster.dev", "flashsales/status", "patch"),
    ("doorbuster.dev", "inventorypools", "list"),
    ("doorbuster.dev", "inventorypools", "watch"),
    ("doorbuster.dev", "inventorypools", "patch"),
    ("doorbuster.dev", "inventorypools/status", "patch"),
    ("", "events", "create"),
    ("autoscaling", "horizontalpodautoscalers", "list"),
    ("autoscaling", "horizontalpodautoscalers", "patch"),
    ("apps", "deployments", "list"),
    ("", "configmaps", "get"),
    ("", "configmaps", "create"),
    ("", "configmaps", "patch"),
    ("coordination.k8s.io", "leases", "get"),
    ("coordination.k8s.io", "leases", "create"),
    ("coordination.k8s.io", "leases", "update"),
}
Right = tuple[str, str, str]
LEASES = {right for right in GOLDEN if right[1] == "leases"}
WATCHES = {right for right in GOLDEN if right[2] == "watch"}


def _manifests():
    return [
        each
        for path in sorted(MANIFESTS.glob("*.yaml"))
        for each in yaml.safe_load_all(path.read_text())
        if each is not None
    ]


def test_the_manifest_grants_the_golden_list_in_one_namespace_and_nothing_else():
    (role,) = (each for each in _manifests() if each["kind"] == "Role")
    granted = [
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    assert sorted(granted) == sorted(GOLDEN)
    kinds = {each["kind"] for each in _manifests()}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
    named = [rule["resources"] for rule in role["rules"] if "resourceNames" in rule]
    assert named == [["leases"]]


class Case:
    """A namespace of its own with an operator that has every right but one."""

    def __init__(self, number: int, right: Right) -> None:
        self.right = right
        self.namespace = f"rights-{number}"
        self.user = f"operator-{number}"

    def count(self) -> float:
        """How often the API server refused for want of the right."""
        _, resource, verb = self.right
        labels = {"verb": verb, "resource": resource}
        return REGISTRY.get_sample_value("doorbuster_operator_forbidden_total", labels) or 0.0

    async def grant(self, admin: Kube) -> None:
        """Make the namespace with the Role and bind it."""
        await Kube(admin.client, self.namespace).ensure_namespace()
        rights = kube.RbacAuthorizationV1Api(admin.client)
        rules = [
            {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
            for group, resource, verb in sorted(GOLDEN - {self.right})
        ]
        body = {"metadata": {"name": "operator"}, "rules": rules}
        await rights.create_namespaced_role(self.namespace, body)
        body = {
            "metadata": {"name": "operator"},
            "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "operator"},
            "subjects": [{"apiGroup": GROUP, "kind": "User", "name": self.user}],
        }
        await rights.create_namespaced_role_binding(self.namespace, body)

    async def fill(self, admin: Kube, sale: dict, pool: dict) -> None:
        """Make all that a whole sale needs: its pool, and an autoscaler over a Deployment."""
        name = pool["metadata"]["name"]
        objects = kube.CustomObjectsApi(admin.client)
        place = Kube(admin.client, self.namespace)
        template = {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "main", "image": "none"}]},
        }
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": name}}, "template": template},
        }
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        scaler = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name, "annotations": {"doorbuster.dev/base-min-replicas": "1"}},
            "spec": {"scaleTargetRef": target, "maxReplicas": 9},
        }
        for group, version, plural, body in (
            ("apps", "v1", "deployments", deployment),
            ("autoscaling", "v2", "horizontalpodautoscalers", scaler),
        ):
            await objects.create_namespaced_custom_object(
                group, version, self.namespace, plural, body
            )
        await place.create(pool)
        await place.create(sale)


@asynccontextmanager
async def _reconciling(api, case, environment, keys, session):
    """Run a reconciler in the case's namespace; it sees news by listing, without a watch."""
    service = client.ServiceClient(
        callee="inventory",
        urls=tuple(environment["DOORBUSTER_INVENTORY_URLS"].split(",")),
        session=session,
        signer=auth.ServiceSigner("operator", keys / "operator.pem"),
    )
    reconciler = Reconciler(
        cluster=cluster.Cluster(api, case.namespace),
        inventory=Inventory(service, lease=(case.namespace, LEASE), holder=case.user),
        topics=KafkaTopics(environment["DOORBUSTER_KAFKA_BOOTSTRAP"]),
        holder=case.user,
        relist_seconds=1.0,
    )
    async with reconciler.running():
        yield reconciler


async def _until_counted(*cases: Case) -> None:
    deadline = time.monotonic() + SEEN_WITHIN_SECONDS
    while missed := [case.right for case in cases if not case.count()]:
        assert time.monotonic() < deadline, f"nobody missed the right to {missed}"
        await asyncio.sleep(0.1)


def _words(case: Case) -> str:
    _, resource, verb = case.right
    return f'User "{case.user}" cannot {verb} resource "{resource}"'


def _tells(words: str, sale: dict) -> bool:
    conditions = sale.get("status", {}).get("conditions", [])
    return any(words in each["message"] for each in conditions)


def _said(logs, case: Case) -> bool:
    """Whether a log line is the API server's own sentence about the right."""
    return any(_words(case) in str(line.get("error", "")) for line in logs)


@pytest.fixture
async def admin(servers):
    async with cluster.connect(servers("inventory", "kafka", "apiserver")["KUBECONFIG"]) as api:
        yield Kube(api)


async def _as(environment, user, stack):
    api = await stack.enter_async_context(cluster.connect(environment["KUBECONFIG"]))
    api.set_default_header("Impersonate-User", user)
    return api


async def test_each_right_of_a_sales_life_is_missed_aloud(
    admin, servers, stack, sale_of, pool_of, name
):
    environment = servers()
    rights = sorted(GOLDEN - LEASES - WATCHES)
    cases = [Case(number, right) for number, right in enumerate(rights)]

    async def prepare(case: Case) -> None:
        own = f"{name}-{case.namespace}"
        target = {"name": "main", "hpaName": own, "warmReplicas": 2, "cooldownSeconds": 3600}
        times = {"opens_in": 6, "lasts": 4, "ttlSecondsAfterSettled": 0}
        sale = sale_of(own, warmup={"leadSeconds": 10}, scaling={"targets": [target]}, **times)
        await case.grant(admin)
        await case.fill(admin, sale, pool_of(own))

    with capture_logs() as logs:
        async with AsyncExitStack() as opened:
            session = await opened.enter_async_context(client.open_session())
            await asyncio.gather(*map(prepare, cases))
            for case in cases:
                api = await _as(environment, case.user, opened)
                running = _reconciling(api, case, environment, stack.layout.keys, session)
                await opened.enter_async_context(running)
            await _until_counted(*cases)
            for case in cases:
                if not _said(logs, case):  # then a condition of the sale says so
                    place = Kube(admin.client, case.namespace)
                    words, own = _words(case), f"{name}-{case.namespace}"
                    await place.until("FlashSale", own, partial(_tells, words))


async def test_each_right_of_the_election_is_missed_aloud(admin, servers):
    environment = servers()
    cases = [Case(100 + number, right) for number, right in enumerate(sorted(LEASES))]
    with capture_logs() as logs:
        async with AsyncExitStack() as opened:
            for case in cases:
                await case.grant(admin)
                api = await _as(environment, case.user, opened)
                leases = cluster.KubernetesLeases(api, case.namespace, LEASE)
                election = Election(leases, case.user, monotonic=time.monotonic, utc_now=utc_now)
                for _ in range(2):
                    await election.try_once()
                assert case.count() >= 1
    assert [case.right for case in cases if not _said(logs, case)] == []


async def test_a_watch_that_is_not_allowed_is_missed_aloud(
    admin, servers, stack, tmp_path, monkeypatch, caplog
):
    servers()
    authority = Authority(stack.layout.keys / "kubernetes", now=utc_now())
    (place,) = yaml.safe_load(stack.layout.kubeconfig.read_text())["clusters"]
    server = place["cluster"]["server"]
    for number, right in enumerate(sorted(WATCHES)):
        case = Case(200 + number, right)
        await case.grant(admin)
        authority.client(case.user, user=case.user)
        config = tmp_path / case.user
        config.write_text(authority.kubeconfig(case.user, server=server, namespace=case.namespace))
        monkeypatch.setitem(os.environ, "KUBECONFIG", str(config))
        async with handlers.watching(
            namespace=case.namespace, on_sale=lambda *_: None, on_pool=lambda *_: None
        ):
            await _until_counted(case)
        assert f'cannot watch resource "{right[1]}"' in caplog.text.replace("\\", "")


async def test_with_the_manifests_rights_nothing_is_forbidden_in_a_whole_life(
    servers, stack, sale_of, pool_of, name
):
    """The operator as a process with its own account; it would also be refused anything outside its namespace."""
    environment = servers("inventory", "operator")
    async with cluster.connect(environment["KUBECONFIG"]) as connection:
        api = Kube(connection)
        await api.create(pool_of(name))
        await api.create(
            sale_of(
                name, opens_in=4, lasts=3, warmup={"leadSeconds": 10}, ttlSecondsAfterSettled=0
            )
        )
        await api.until_gone("FlashSale", name, within_seconds=SEEN_WITHIN_SECONDS)
        assert "SaleSettled" in await api.events_of(name)
        await api.delete("InventoryPool", name)
        await api.until_gone("InventoryPool", name)
    assert "forbidden" not in stack.log("operator").read_text().lower()
    async with client.open_session() as session:
        url = f"{environment['DOORBUSTER_OPERATOR_ADMIN_URLS']}/metrics"
        async with session.get(url) as answer:
            assert "doorbuster_operator_forbidden_total{" not in await answer.text()
