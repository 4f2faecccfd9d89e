"""Autoscalers, Deployments and ConfigMaps of the real API server as tests see them; no controller runs there."""

import asyncio
import time
from typing import Any

from kubernetes.aio import client as kube

from doorbuster_operator.autoscaler import BASE

MERGE = "application/merge-patch+json"


class Workloads:
    """What a chart would bring into one namespace, and what kubelets would tell of it."""

    def __init__(self, api: Any, namespace: str = "default") -> None:
        self._scalers = kube.AutoscalingV2Api(api)
        self._apps = kube.AppsV1Api(api)
        self._core = kube.CoreV1Api(api)
        self._namespace = namespace

    async def make(self, name: str, *, base: int | None = 2, maximum: int = 20) -> None:
        """Make a Deployment and its autoscaler, as our charts render them: without minReplicas."""
        labels = {"app": name}
        container = {"name": "web", "image": "registry.example/web"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"selector": {"matchLabels": labels}, "template": template}
        await self._apps.create_namespaced_deployment(
            self._namespace, {"metadata": {"name": name}, "spec": spec}
        )
        marks = {} if base is None else {BASE: str(base)}
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        await self._scalers.create_namespaced_horizontal_pod_autoscaler(
            self._namespace,
            {
                "metadata": {"name": name, "annotations": marks},
                "spec": {"maxReplicas": maximum, "scaleTargetRef": target},
            },
        )

    async def change(self, name: str, change: dict[str, Any]) -> None:
        """Change an autoscaler by hand."""
        await self._scalers.patch_namespaced_horizontal_pod_autoscaler(
            name, self._namespace, change, _content_type=MERGE
        )

    async def set_ready(self, name: str, replicas: int) -> None:
        """Let a Deployment have this many ready replicas."""
        counts = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")
        await self._apps.patch_namespaced_deployment_status(
            name, self._namespace, {"status": dict.fromkeys(counts, replicas)}, _content_type=MERGE
        )

    async def minimum(self, name: str) -> int:
        """Return an autoscaler's minReplicas."""
        found = await self._scalers.read_namespaced_horizontal_pod_autoscaler(
            name, self._namespace
        )
        return int(found.spec.min_replicas)

    async def owners(self, name: str) -> dict[str, Any]:
        """Return which fields of an autoscaler's spec each field manager owns."""
        found = await self._scalers.read_namespaced_horizontal_pod_autoscaler(
            name, self._namespace
        )
        return {
            each.manager: each.fields_v1.get("f:spec") for each in found.metadata.managed_fields
        }

    async def until_minimum(self, name: str, wanted: int, *, within_seconds: float = 20.0) -> None:
        """Wait until an autoscaler has these minReplicas; fails with what it has."""
        deadline = time.monotonic() + within_seconds
        while (found := await self.minimum(name)) != wanted:
            assert time.monotonic() < deadline, f"minReplicas is {found}, not {wanted}"
            await asyncio.sleep(0.1)

    async def remove(self, name: str) -> None:
        """Take Deployment and autoscaler away."""
        await self._scalers.delete_namespaced_horizontal_pod_autoscaler(name, self._namespace)
        await self._apps.delete_namespaced_deployment(name, self._namespace)

    async def put_config_map(self, name: str, data: dict[str, str]) -> None:
        """Make a ConfigMap that is nobody's report."""
        await self._core.create_namespaced_config_map(
            self._namespace, {"metadata": {"name": name}, "data": data}
        )

    async def config_map(self, name: str) -> Any | None:
        """Return a ConfigMap, or None."""
        try:
            return await self._core.read_namespaced_config_map(name, self._namespace)
        except kube.ApiException as error:
            if error.status == 404:
                return None
            raise

    async def drop_config_map(self, name: str) -> None:
        """Delete a ConfigMap."""
        await self._core.delete_namespaced_config_map(name, self._namespace)
