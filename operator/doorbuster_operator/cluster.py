"""The Kubernetes API: the only module that knows the official client.

Every write is one that may be repeated: server-side apply of what is ours alone, an Event whose name says what it
tells, a delete of one uid.
"""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import aiohttp
from kubernetes.aio import client as kube
from kubernetes.aio import config as kube_config

from doorbuster_operator import manifest, metrics
from doorbuster_operator.autoscaler import Autoscaler
from doorbuster_operator.election import LeaseConflictError, LeaseRecord

REQUEST_SECONDS = 5.0
# More would wait in the API server, and the renewal of the lease behind them: a burst must not cost the lease.
WRITES_AT_ONCE = 16
PAGE = 500
MAX_PAGES = 20
GROUP = "doorbuster.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
Objects = list[dict[str, Any]]
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_LEASES = ("coordination.k8s.io", "v1")
_FORBIDDEN = re.compile(r"cannot (\w+) resource \\*\"([\w./-]+?)\\*\"")


class ClusterError(ConnectionError):
    """The API server did not answer, or refused for a reason of its own (its words are the message)."""


class GoneError(Exception):
    """The object is not there any more, or another one has its name."""


class ConflictError(ClusterError):
    """What is there is somebody else's or must not change: trying again does not help."""


class NotLeadingError(ClusterError):
    """The lease is not held any more, as far as this process knows: it writes nothing."""


class Cluster:
    """What the operator reads from and writes to one namespace; use :func:`connect`.

    ``may_write`` is asked right before every write: a process that was paused learns there, before anybody
    tells it, that its lease has run out.
    """

    def __init__(
        self, api: Any, namespace: str, *, may_write: Callable[[], bool] = lambda: True
    ) -> None:
        self._objects = kube.CustomObjectsApi(api)
        self._core = kube.CoreV1Api(api)
        self._may_write = may_write
        self._turns = asyncio.Semaphore(WRITES_AT_ONCE)
        self.namespace = namespace

    async def apply_status(self, about: Mapping[str, Any], plural: str, status: Any) -> Any:
        """Apply a whole status; returns the object. Raises GoneError or ClusterError."""
        return await self._write(
            self._objects.patch_namespaced_custom_object_status(
                GROUP,
                VERSION,
                self.namespace,
                plural,
                about["metadata"]["name"],
                {**about, "status": status},
                field_manager=manifest.MANAGER,
                force=True,
                _content_type=_APPLY,
                _request_timeout=REQUEST_SECONDS,
            )
        )

    async def apply_finalizers(
        self, about: Mapping[str, Any], plural: str, finalizers: list[str]
    ) -> Any:
        """Set our own finalizers, none for an empty list; returns the object. Raises GoneError or ClusterError."""
        body = {**about, "metadata": {**about["metadata"], "finalizers": finalizers}}
        found = await self._patch_finalizers(body, plural, force=True, _content_type=_APPLY)
        kept, ours = _split_finalizers(found)
        if finalizers or not ours:
            return found
        # An apply leaves what another field manager owns as well, as those of a restored object are.
        version = found["metadata"]["resourceVersion"]
        metadata = {**about["metadata"], "finalizers": kept, "resourceVersion": version}
        body = {"metadata": metadata}
        found = await self._patch_finalizers(body, plural, _content_type=_MERGE)
        if _split_finalizers(found)[1]:
            raise ClusterError(f"{metadata['name']} still has {', '.join(ours)}")
        return found

    async def _patch_finalizers(self, body: Mapping[str, Any], plural: str, **options: Any) -> Any:
        return await self._write(
            self._objects.patch_namespaced_custom_object(
                GROUP,
                VERSION,
                self.namespace,
                plural,
                body["metadata"]["name"],
                body,
                # A manager of its own, so that a status patch never takes part in who owns the finalizer.
                field_manager=f"{manifest.MANAGER}-finalizer",
                _request_timeout=REQUEST_SECONDS,
                **options,
            )
        )

    async def delete(self, about: Mapping[str, Any], plural: str) -> Any:
        """Delete one object, if it is still the one with this uid. Raises GoneError or ClusterError.

        Returns the object while a finalizer keeps it, else the API server's Status.
        """
        return await self._write(
            self._objects.delete_namespaced_custom_object(
                GROUP,
                VERSION,
                self.namespace,
                plural,
                about["metadata"]["name"],
                body={"preconditions": {"uid": about["metadata"]["uid"]}},
                _request_timeout=REQUEST_SECONDS,
            )
        )

    async def tell(self, event: Mapping[str, Any], *, is_last_word: bool = False) -> None:
        """Create an Event; one that is there already was told already. Raises ClusterError.

        The last word of a process that does not lead any more is told all the same.
        """
        send = self._call if is_last_word else self._write
        try:
            await send(
                self._core.create_namespaced_event(
                    self.namespace,
                    dict(event),
                    field_manager=manifest.MANAGER,
                    _request_timeout=REQUEST_SECONDS,
                )
            )
        except GoneError:
            return

    async def list_autoscalers(self) -> Objects:
        """Return all HorizontalPodAutoscalers. Raises ClusterError."""
        return await self._list("autoscaling", "v2", "horizontalpodautoscalers")

    async def list_deployments(self) -> Objects:
        """Return all Deployments. Raises ClusterError."""
        return await self._list("apps", "v1", "deployments")

    async def apply_minimum(self, scaler: Autoscaler, minimum: int) -> Any:
        """Own minReplicas of one autoscaler, nothing else of it. Raises GoneError or ClusterError."""
        body = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": scaler.name, "namespace": self.namespace, "uid": scaler.uid},
            "spec": {"minReplicas": minimum},
        }
        return await self._write(
            self._objects.patch_namespaced_custom_object(
                "autoscaling",
                "v2",
                self.namespace,
                "horizontalpodautoscalers",
                scaler.name,
                body,
                field_manager=f"{manifest.MANAGER}-capacity",
                force=True,
                _content_type=_APPLY,
                _request_timeout=REQUEST_SECONDS,
            )
        )

    async def read_config_map(self, name: str) -> Any | None:
        """Return name and labels of a ConfigMap, or None. Raises ClusterError."""
        try:
            found = await self._call(
                self._core.read_namespaced_config_map(
                    name, self.namespace, _request_timeout=REQUEST_SECONDS
                )
            )
        except GoneError:
            return None
        return {"metadata": {"name": name, "labels": found.metadata.labels or {}}}

    async def apply_config_map(self, body: Mapping[str, Any]) -> Any:
        """Apply a ConfigMap; what others own of it stays theirs.

        Raises ConflictError when others own what we would write or it is immutable, GoneError or ClusterError.
        """
        try:
            return await self._write(
                self._core.patch_namespaced_config_map(
                    body["metadata"]["name"],
                    self.namespace,
                    dict(body),
                    field_manager=manifest.MANAGER,
                    _content_type=_APPLY,
                    _request_timeout=REQUEST_SECONDS,
                )
            )
        except (GoneError, ClusterError) as error:
            if _is_lasting(error.__cause__):
                raise ConflictError(str(error)) from error
            raise

    async def list(self, plural: str) -> Objects:
        """Return all objects of one of our kinds. Raises ClusterError."""
        return await self._list(GROUP, VERSION, plural)

    async def _list(self, group: str, version: str, plural: str) -> Objects:
        found: Objects = []
        token = ""
        for _ in range(MAX_PAGES):
            page = await self._call(
                self._objects.list_namespaced_custom_object(
                    group,
                    version,
                    self.namespace,
                    plural,
                    limit=PAGE,
                    _continue=token,
                    _request_timeout=REQUEST_SECONDS,
                )
            )
            found.extend(page["items"])
            token = page["metadata"].get("continue", "")
            if not token:
                return found
        raise ClusterError(f"there are more than {PAGE * MAX_PAGES} {plural}")

    async def _write(self, request: Any) -> Any:
        try:
            async with self._turns:
                if not self._may_write():
                    raise NotLeadingError("this process does not hold the lease any more")
                return await self._call(request)
        finally:
            request.close()

    async def _call(self, request: Any) -> Any:
        try:
            return await request
        except kube.ApiException as error:
            if error.status in {404, 409}:
                raise GoneError(_message(error)) from error
            raise ClusterError(_message(error)) from error
        except (TimeoutError, aiohttp.ClientError, OSError, ssl.SSLError) as error:
            raise ClusterError(
                f"the API server does not answer ({type(error).__name__})"
            ) from error


class KubernetesLeases:
    """The operator's Lease, as the election reads and writes it."""

    def __init__(self, api: Any, namespace: str, name: str) -> None:
        self._objects = kube.CustomObjectsApi(api)
        self._where = (*_LEASES, namespace, "leases")
        self._namespace = namespace
        self._name = name

    async def read(self) -> LeaseRecord | None:
        """Return the lease as it is, or None. Raises ConnectionError."""
        try:
            found = await self._objects.get_namespaced_custom_object(
                *self._where, self._name, _request_timeout=2
            )
        except kube.ApiException as error:
            if error.status == 404:
                return None
            raise ClusterError(_message(error)) from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ClusterError("the API server does not answer") from error
        return self._parse(found)

    async def write(self, record: LeaseRecord) -> LeaseRecord:
        """Create or replace the lease. Raises LeaseConflictError when it changed since, or ConnectionError."""
        body: dict[str, Any] = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": record.holder,
                "leaseDurationSeconds": record.duration_seconds,
                "leaseTransitions": record.transitions,
                "acquireTime": _micro(record.acquire_time),
                "renewTime": _micro(record.renew_time),
            },
        }
        try:
            if not record.version:
                found = await self._objects.create_namespaced_custom_object(
                    *self._where, body, _request_timeout=2
                )
            else:
                body["metadata"]["resourceVersion"] = record.version
                found = await self._objects.replace_namespaced_custom_object(
                    *self._where, self._name, body, _request_timeout=2
                )
        except kube.ApiException as error:
            if error.status in {404, 409}:
                raise LeaseConflictError from error
            raise ClusterError(_message(error)) from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ClusterError("the API server does not answer") from error
        return self._parse(found)

    def _parse(self, found: Mapping[str, Any]) -> LeaseRecord:
        spec = found.get("spec", {})
        return LeaseRecord(
            holder=spec.get("holderIdentity") or "",
            acquire_time=_moment(spec.get("acquireTime")),
            renew_time=_moment(spec.get("renewTime")),
            duration_seconds=spec.get("leaseDurationSeconds") or 1,
            transitions=spec.get("leaseTransitions") or 0,
            version=found["metadata"]["resourceVersion"],
        )


@asynccontextmanager
async def connect(kubeconfig: str) -> AsyncIterator[Any]:
    """Open a client for a kubeconfig file, or for the cluster this process runs in. Raises ClusterError."""
    configuration = kube.Configuration()
    try:
        if kubeconfig:
            await kube_config.load_kube_config(kubeconfig, client_configuration=configuration)
        else:
            kube_config.load_incluster_config(client_configuration=configuration)
    except (kube_config.ConfigException, OSError) as error:
        raise ClusterError(f"no access to a cluster: {error}") from error
    configuration.retries = 0
    async with kube.ApiClient(configuration) as api:
        yield api


def _message(error: Any) -> str:
    """Return the API server's own sentence, and count a right that is missing."""
    try:
        text = str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        text = str(error.body or "")
    if error.status == 403:
        count_forbidden(text)
    return f"{error.status} {error.reason}: {text[:300]}"


def count_forbidden(text: str) -> None:
    """Count a missing right by the verb and resource that the API server's sentence names.

    Admission, a quota or a namespace that ends forbid as well, and no right would help there.
    """
    found = _FORBIDDEN.search(text)
    if found is not None:
        metrics.FORBIDDEN.labels(*found.groups()).inc()


def _split_finalizers(found: Any) -> tuple[list[str], list[str]]:
    """Return the finalizers of an object that are not ours, and those that are."""
    kept: list[str] = []
    ours: list[str] = []
    for each in found["metadata"].get("finalizers", ()):
        (ours if each.startswith(f"{GROUP}/") else kept).append(each)
    return kept, ours


def _is_lasting(error: BaseException | None) -> bool:
    """Tell whether an apply was refused for what the object is: a conflict of owners, or a body that is invalid."""
    if not isinstance(error, kube.ApiException):
        return False
    is_owned = error.status == 409 and "FieldManagerConflict" in str(error.body)
    return is_owned or error.status == 422


def _micro(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _moment(text: str | None) -> datetime | None:
    return None if not text else datetime.fromisoformat(text)
