"""The API server as an administrator, past every proxy: namespaces, objects in, objects out."""

from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml

MERGE = "application/merge-patch+json"
RIGHTS = Path(__file__).resolve().parents[2] / "manifests" / "operator" / "rbac.yaml"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


class AdminError(RuntimeError):
    """The API server refused; the message is its own."""


class Admin:
    """Plain calls with an administrator's certificate."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session = session
        self.base = base

    async def create(self, folder: str, body: Any) -> Any:
        """Create an object; ``folder`` is the path of its kind. Raises AdminError."""
        return await self._call("POST", folder, body)

    async def change(self, path: str, change: Any) -> Any:
        """Merge a change into an object. Raises AdminError."""
        return await self._call("PATCH", path, change, MERGE)

    async def delete(self, path: str) -> Any:
        """Delete an object. Raises AdminError."""
        return await self._call("DELETE", path)

    async def items(self, folder: str) -> list[Any]:
        """Return all objects of a kind. Raises AdminError."""
        found: list[Any] = (await self._call("GET", folder))["items"]
        return found

    async def make_namespace(self, namespace: str) -> None:
        """Make a namespace in which the operator has its rights."""
        await self.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        for document in yaml.safe_load_all(RIGHTS.read_text(encoding="utf-8")):
            if document["kind"] not in {"Role", "RoleBinding"}:
                continue
            document["metadata"]["namespace"] = namespace
            folder = f"{RBAC}/namespaces/{namespace}/{document['kind'].lower()}s"
            await self.create(folder, document)

    async def _call(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> Any:
        payload = None if body is None else msgspec.json.encode(body)
        async with self.session.request(
            method, self.base + path, data=payload, headers={"Content-Type": kind}
        ) as answer:
            raw = await answer.read()
        found = msgspec.json.decode(raw)
        if answer.status >= 300:
            raise AdminError(found.get("message", raw.decode()))
        return found
