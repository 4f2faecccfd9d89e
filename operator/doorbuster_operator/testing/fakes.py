"""Fakes of the operator's peers, in memory: the API server's part, topics, leases; fake_inventory has inventory."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from doorbuster_operator.autoscaler import BASE, Autoscaler
from doorbuster_operator.cluster import ClusterError, GoneError
from doorbuster_operator.election import LeaseConflictError, LeaseRecord
from doorbuster_operator.sale.facts import TopicSeen, TopicWanted
from doorbuster_operator.testing.fake_inventory import OnWrite
from doorbuster_operator.topics import TopicsUnavailableError


class FakeCluster:
    """The API server's part in memory: whole statuses, finalizers, Events by name, versions that grow.

    An object whose deletion was asked for is gone with its last finalizer.
    """

    def __init__(self) -> None:
        self.version = 1
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.events: dict[str, dict[str, Any]] = {}
        self.autoscalers: dict[str, dict[str, Any]] = {}
        self.deployments: dict[str, int] = {}
        self.config_maps: dict[str, dict[str, Any]] = {}
        self.lists = 0
        self.refuses_lists = False
        self.refused_minimums: set[str] = set()
        self.on_write: OnWrite = lambda what: nullcontext()

    def put(self, plural: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create or replace an object as a user would; a changed spec is a new generation."""
        self.version += 1
        key = (plural, body["metadata"]["name"])
        old = self.objects.get(key)
        generation = 1 if old is None else old["metadata"]["generation"] + 1
        kept = {} if old is None else old["metadata"]
        metadata = {
            "namespace": "default",
            "uid": f"{plural}-{key[1]}",
            **kept,
            **body["metadata"],
            "generation": generation,
            "resourceVersion": str(self.version),
        }
        status = {} if old is None else old.get("status", {})
        self.objects[key] = {**body, "metadata": metadata, "status": status}
        return self.objects[key]

    def ask_deletion(self, plural: str, name: str) -> None:
        """Delete as a user would."""
        found = self.objects[plural, name]
        self.put(plural, found)
        self.objects[plural, name]["metadata"]["deletionTimestamp"] = "2026-11-27T12:00:00Z"
        self._collect(plural, name)

    async def apply_status(self, about: Mapping[str, Any], plural: str, status: Any) -> Any:
        """Replace the status."""
        name = about["metadata"]["name"]
        with self.on_write(f"status {plural} {status.get('phase', '')}"):
            return self._change(about, plural, name, status=status)

    async def apply_finalizers(
        self, about: Mapping[str, Any], plural: str, finalizers: list[str]
    ) -> Any:
        """Replace our finalizers."""
        name = about["metadata"]["name"]
        with self.on_write(f"finalizers {plural} {len(finalizers)}"):
            metadata = {**self._find(about, plural)["metadata"], "finalizers": finalizers}
            changed = self._change(about, plural, name, metadata=metadata)
            self._collect(plural, name)
            return changed

    async def delete(self, about: Mapping[str, Any], plural: str) -> Any:
        """Ask for the deletion of this very object; returns it, or a Status when nothing keeps it."""
        self._find(about, plural)
        name = about["metadata"]["name"]
        with self.on_write(f"delete {plural}"):
            self.ask_deletion(plural, name)
        return self.objects.get((plural, name), {"kind": "Status"})

    async def tell(self, event: Mapping[str, Any]) -> None:
        """Keep an Event; the same name is the same Event."""
        with self.on_write(f"event {event['reason']}"):
            self.events.setdefault(event["metadata"]["name"], dict(event))

    def put_autoscaler(
        self, name: str, *, base: int | None = 2, minimum: int = 2, maximum: int = 20
    ) -> None:
        """Create or replace an autoscaler over the Deployment of its name; without a base it is not marked."""
        marks = {} if base is None else {BASE: str(base)}
        self.autoscalers[name] = {
            "metadata": {"name": name, "uid": f"uid-{name}", "annotations": marks},
            "spec": {
                "minReplicas": minimum,
                "maxReplicas": maximum,
                "scaleTargetRef": {"kind": "Deployment", "name": name},
            },
        }

    async def list_autoscalers(self) -> list[Any]:
        """Return all autoscalers."""
        self._read()
        return list(self.autoscalers.values())

    async def list_deployments(self) -> list[Any]:
        """Return all Deployments; a test sets their ready replicas."""
        self._read()
        return [
            {"metadata": {"name": name}, "status": {"readyReplicas": ready}}
            for name, ready in self.deployments.items()
        ]

    def _read(self) -> None:
        self.lists += 1
        if self.refuses_lists:
            raise ClusterError("403 Forbidden: list is not allowed (fake)")

    async def apply_minimum(self, scaler: Autoscaler, minimum: int) -> Any:
        """Set minReplicas of this very autoscaler."""
        found = self.autoscalers.get(scaler.name)
        if found is None or found["metadata"]["uid"] != scaler.uid:
            raise GoneError(scaler.name)
        if scaler.name in self.refused_minimums:
            raise ClusterError("403 Forbidden: patch is not allowed (fake)")
        with self.on_write(f"minimum {scaler.name} {minimum}"):
            changed = {**found, "spec": {**found["spec"], "minReplicas": minimum}}
            self.autoscalers[scaler.name] = changed
        return changed

    async def read_config_map(self, name: str) -> Any | None:
        """Return a ConfigMap."""
        return self.config_maps.get(name)

    async def apply_config_map(self, body: Mapping[str, Any]) -> Any:
        """Write a ConfigMap."""
        name = body["metadata"]["name"]
        with self.on_write(f"config map {name}"):
            self.config_maps[name] = dict(body)

    def _find(self, about: Mapping[str, Any], plural: str) -> dict[str, Any]:
        found = self.objects.get((plural, about["metadata"]["name"]))
        if found is None or found["metadata"]["uid"] != about["metadata"]["uid"]:
            raise GoneError(about["metadata"]["name"])
        decided_on = about["metadata"].get("resourceVersion")
        if decided_on not in (None, found["metadata"]["resourceVersion"]):
            raise GoneError(f"{about['metadata']['name']} changed")
        return found

    def _change(
        self, about: Mapping[str, Any], plural: str, name: str, **parts: Any
    ) -> dict[str, Any]:
        found = {**self._find(about, plural), **parts}
        self.version += 1
        found["metadata"] = {**found["metadata"], "resourceVersion": str(self.version)}
        self.objects[plural, name] = found
        return found

    def _collect(self, plural: str, name: str) -> None:
        metadata = self.objects[plural, name]["metadata"]
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            del self.objects[plural, name]


class FakeTopics:
    """Topics in memory; ``is_down`` makes every call fail as an outage does."""

    def __init__(self) -> None:
        self.is_down = False
        self.topics: dict[str, TopicSeen] = {}
        self.unread_events: dict[str, int] = {}
        self.on_write: OnWrite = lambda what: nullcontext()

    async def exists(self, name: str) -> bool:
        """Tell whether there is a topic of this name."""
        self._check()
        return name in self.topics

    async def ensure(self, wanted: TopicWanted) -> TopicSeen:
        """Make or grow a topic."""
        self._check()
        old = self.topics.get(wanted.name)
        partitions = max(wanted.partitions, old.partitions if old else 0)
        with self.on_write(f"topic {wanted.partitions}"):
            self.topics[wanted.name] = TopicSeen(
                name=wanted.name,
                partitions=partitions,
                retention_seconds=wanted.retention_seconds,
            )
        return self.topics[wanted.name]

    async def unread(self, name: str) -> int:
        """Return what a test set, else 0."""
        self._check()
        return self.unread_events.get(name, 0)

    async def delete(self, name: str) -> None:
        """Delete a topic."""
        self._check()
        with self.on_write("drop topic"):
            self.topics.pop(name, None)

    def _check(self) -> None:
        if self.is_down:
            raise TopicsUnavailableError("Kafka does not answer (fake).")


class FakeLeases:
    """One lease in memory with versions; ``is_down`` makes both calls fail."""

    def __init__(self) -> None:
        self.is_down = False
        self.record: LeaseRecord | None = None
        self._version = 0

    async def read(self) -> LeaseRecord | None:
        """Return the lease."""
        self._check()
        return self.record

    async def write(self, record: LeaseRecord) -> LeaseRecord:
        """Store it if nobody else did since it was read."""
        self._check()
        stored = "" if self.record is None else self.record.version
        if record.version != stored:
            raise LeaseConflictError
        self._version += 1
        self.record = replace(record, version=str(self._version))
        return self.record

    def _check(self) -> None:
        if self.is_down:
            raise ConnectionError("the API server does not answer (fake)")
