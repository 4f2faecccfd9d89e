"""The real API server as tests see it: objects in, objects or the server's own words out.

It uses the official client directly, on purpose: a test must not read the world through what it tests.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from kubernetes.aio import client as kube

GROUP, VERSION = "doorbuster.dev", "v1alpha1"
PLURALS = {"FlashSale": "flashsales", "InventoryPool": "inventorypools"}
MERGE = "application/merge-patch+json"


class RefusedByServerError(RuntimeError):
    """The API server refused; the message is its own."""


class Kube:
    """The custom objects of one namespace, as an administrator."""

    def __init__(self, api: Any, namespace: str = "default") -> None:
        self.client = api
        self.namespace = namespace
        self.connection = api
        self._objects = kube.CustomObjectsApi(api)
        self._core = kube.CoreV1Api(api)

    async def ensure_namespace(self) -> None:
        """Make the namespace if it is not there."""
        body = {"metadata": {"name": self.namespace}}
        try:
            await self._ask(self._core.create_namespace(body))
        except RefusedByServerError as error:
            if "already exists" not in str(error):
                raise

    def _where(self, kind: str) -> tuple[str, str, str, str]:
        return (GROUP, VERSION, self.namespace, PLURALS[kind])

    async def create(self, body: dict[str, Any], *, dry_run: bool = False) -> Any:
        return await self._ask(
            self._objects.create_namespaced_custom_object(
                *self._where(body["kind"]), body, **({"dry_run": "All"} if dry_run else {})
            )
        )

    async def get(self, kind: str, name: str) -> Any:
        try:
            return await self._ask(
                self._objects.get_namespaced_custom_object(*self._where(kind), name)
            )
        except RefusedByServerError as error:
            if "not found" in str(error):
                return None
            raise

    async def patch(self, kind: str, name: str, change: dict[str, Any]) -> Any:
        return await self._ask(
            self._objects.patch_namespaced_custom_object(
                *self._where(kind), name, change, _content_type=MERGE
            )
        )

    async def patch_status(self, kind: str, name: str, status: dict[str, Any]) -> Any:
        return await self._ask(
            self._objects.patch_namespaced_custom_object_status(
                *self._where(kind), name, {"status": status}, _content_type=MERGE
            )
        )

    async def scale(self, name: str, replicas: int) -> Any:
        return await self._ask(
            self._objects.patch_namespaced_custom_object_scale(
                *self._where("InventoryPool"),
                name,
                {"spec": {"replicas": replicas}},
                _content_type=MERGE,
            )
        )

    async def delete(self, kind: str, name: str) -> None:
        await self._ask(self._objects.delete_namespaced_custom_object(*self._where(kind), name))

    async def lease(self) -> Any:
        return await self._ask(self._objects.get_namespaced_custom_object(*self._lease()))

    async def delete_lease(self) -> None:
        await self._ask(self._objects.delete_namespaced_custom_object(*self._lease()))

    async def patch_lease(self, spec: dict[str, Any]) -> None:
        await self._ask(
            self._objects.patch_namespaced_custom_object(
                *self._lease(), {"spec": spec}, _content_type=MERGE
            )
        )

    def _lease(self) -> tuple[str, str, str, str, str]:
        return ("coordination.k8s.io", "v1", self.namespace, "leases", "doorbuster-operator")

    async def events_of(self, name: str, uid: str | None = None) -> list[str]:
        """The reasons of the Events about an object (or this very one), in the order in which they were told."""
        found = await self._ask(
            self._objects.list_namespaced_custom_object(
                "events.k8s.io", "v1", self.namespace, "events"
            )
        )
        about = [
            each
            for each in found["items"]
            if each["regarding"].get("name") == name
            and uid in (None, each["regarding"].get("uid"))
        ]
        return [each["reason"] for each in sorted(about, key=lambda each: each["eventTime"])]

    async def until(
        self,
        kind: str,
        name: str,
        holds: Callable[[dict[str, Any]], bool],
        *,
        within_seconds: float = 20.0,
    ) -> Any:
        """Wait until the object is as told; fails with its last state."""
        deadline = time.monotonic() + within_seconds
        found: dict[str, Any] | None = None
        while time.monotonic() < deadline:
            found = await self.get(kind, name)
            if found is not None and holds(found):
                return found
            await asyncio.sleep(0.1)
        status = json.dumps((found or {}).get("status"), indent=1)
        raise AssertionError(f"{kind} {name} did not get there in {within_seconds} s: {status}")

    async def until_gone(self, kind: str, name: str, *, within_seconds: float = 20.0) -> None:
        deadline = time.monotonic() + within_seconds
        while time.monotonic() < deadline:
            if await self.get(kind, name) is None:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{kind} {name} is still there after {within_seconds} s")

    async def until_denied(self, kind: str, name: str, *, within_seconds: float = 15.0) -> str:
        """Try to delete without doing it until a policy denies it; returns its words."""
        deadline = time.monotonic() + within_seconds
        while time.monotonic() < deadline:
            try:
                await self._ask(
                    self._objects.delete_namespaced_custom_object(
                        *self._where(kind), name, dry_run="All"
                    )
                )
            except RefusedByServerError as error:
                return str(error)
            await asyncio.sleep(0.2)
        raise AssertionError(f"nobody denies to delete {kind} {name}")

    async def _ask(self, request: Any) -> Any:
        try:
            return await request
        except kube.ApiException as error:
            try:
                message = json.loads(error.body)["message"]
            except (ValueError, KeyError, TypeError):
                message = str(error.body)
            raise RefusedByServerError(message) from error
