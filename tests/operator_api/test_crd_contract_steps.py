"""What the API server refuses only after something happened, and what a right to scale is a right to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from kubernetes.aio import client as kube

from doorbuster_operator import cluster
from doorbuster_operator.testing.cluster import Kube, RefusedByServerError

SALE, POOL = "FlashSale", "InventoryPool"


@asynccontextmanager
async def _connected(environment: dict[str, str], **headers: str) -> AsyncIterator[Kube]:
    """A namespace that no operator watches, so that a status stays as a test wrote it."""
    async with cluster.connect(environment["KUBECONFIG"]) as client:
        for name, value in headers.items():
            client.set_default_header(name.replace("_", "-"), value)
        yield Kube(client, namespace="crd-contract")


@pytest.fixture
async def api(servers):
    async with _connected(servers("apiserver")) as connection:
        await connection.ensure_namespace()
        yield connection


async def test_a_cancelled_sale_stays_cancelled(api, sale_of, name):
    await api.create(sale_of(name))
    await api.patch(SALE, name, {"spec": {"desiredState": "Cancelled"}})
    with pytest.raises(RefusedByServerError, match="a cancelled sale stays cancelled"):
        await api.patch(SALE, name, {"spec": {"desiredState": "Active"}})
    await api.delete(SALE, name)


async def test_an_open_sale_is_deleted_only_with_the_annotation(api, sale_of, name):
    await api.create(sale_of(name))
    allow = {"metadata": {"annotations": {"doorbuster.dev/allow-delete": "maybe"}}}
    for phase in ("Open", "SoldOut"):
        await api.patch_status(SALE, name, {"phase": phase})
        words = await api.until_denied(SALE, name)
        assert "is open: set spec.desiredState to Cancelled first" in words
        await api.patch(SALE, name, allow)
    allow["metadata"]["annotations"]["doorbuster.dev/allow-delete"] = "true"
    await api.patch(SALE, name, allow)
    await api.delete(SALE, name)
    assert await api.get(SALE, name) is None


async def test_the_right_to_scale_a_pool_is_a_right_to_nothing_else(
    api, servers, sale_of, pool_of, name
):
    await api.create(pool_of(name))
    await api.create(sale_of(name))
    await _grant_scaling(api, "merchandiser")
    async with _connected(servers(), Impersonate_User="merchandiser") as merchandiser:
        await merchandiser.scale(name, 12)
        with pytest.raises(RefusedByServerError, match="greater than or equal to 0"):
            await merchandiser.scale(name, -1)
        forbidden = [
            merchandiser.get(POOL, name),
            merchandiser.patch(POOL, name, {"spec": {"safetyStock": 1}}),
            merchandiser.patch_status(POOL, name, {"capacity": 1}),
            merchandiser.delete(POOL, name),
            merchandiser.create(pool_of(f"{name}-2")),
            merchandiser.patch(SALE, name, {"spec": {"desiredState": "Cancelled"}}),
            merchandiser.delete(SALE, name),
        ]
        for attempt in forbidden:
            with pytest.raises(RefusedByServerError, match='"merchandiser" cannot'):
                await attempt
    assert (await api.get(POOL, name))["spec"] == pool_of(name, 12)["spec"] | {
        "auditIntervalSeconds": 30,
        "reclaimPolicy": "Retain",
        "safetyStock": 0,
    }
    await api.delete(POOL, name)
    await api.delete(SALE, name)


async def _grant_scaling(api: Kube, user: str) -> None:
    rights = kube.RbacAuthorizationV1Api(api.client)
    rule = {
        "apiGroups": ["doorbuster.dev"],
        "resources": ["inventorypools/scale"],
        "verbs": ["get", "patch"],
    }
    group = "rbac.authorization.k8s.io"
    await rights.create_namespaced_role(
        api.namespace, {"metadata": {"name": user}, "rules": [rule]}
    )
    await rights.create_namespaced_role_binding(
        api.namespace,
        {
            "metadata": {"name": user},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": user},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        },
    )
