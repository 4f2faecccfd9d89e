"""Fakes of the operator's peers, in memory: inventory's control API, the API server's part, topics, leases.

They keep the contracts that matter to the operator: fences only grow, a lower generation or an older fence is
STALE_EPOCH, another owner is RESOURCE_CONFLICT, less than is committed is BELOW_COMMITTED, two sales of one sku at
one time OVERLAP.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from doorbuster.contracts import control
from doorbuster.kit import client, clock, ids
from doorbuster_operator.autoscaler import BASE, Autoscaler
from doorbuster_operator.cluster import ClusterError, GoneError
from doorbuster_operator.election import LeaseConflictError, LeaseRecord
from doorbuster_operator.sale.facts import TopicSeen, TopicWanted
from doorbuster_operator.topics import TopicsUnavailableError

# Called with the name of a write; what it gives is entered before the write and left after it, so that a test may
# let the writer die at either moment.
OnWrite = Callable[[str], AbstractContextManager[Any]]


class FakeInventory:
    """The control API in memory, called as a client.ServiceClient is.

    ``is_down`` makes every call fail, ``utc_now`` is the deciding clock, ``on_write`` is called around each write.
    """

    def __init__(self, utc_now: clock.Clock = clock.utc_now) -> None:
        self.utc_now = utc_now
        self.is_down = False
        self.fence = 0
        self.revision = 0
        self.sales: dict[str, control.SaleState] = {}
        self.pools: dict[str, control.PoolState] = {}
        self.on_write: OnWrite = lambda what: nullcontext()

    async def call(
        self,
        method: str,
        path: str,
        answer: type[Any],
        *,
        body: Any = None,
        timeout_seconds: float | None = None,
    ) -> Any:
        """Answer as the service would; raises client.RefusedError or client.UnavailableError."""
        if self.is_down:
            raise client.UnavailableError("inventory does not answer")
        url = urlsplit(path)
        query = dict(parse_qsl(url.query))
        key = url.path.rpartition("/")[2]
        match method, url.path.split("/")[3]:
            case "POST", "fences":
                self.fence += 1
                return control.Fence(fence=self.fence)
            case "GET", "sales":
                return self._read_sales(int(query["since"]))
            case "GET", "pools":
                return self._read_pools(int(query["since"]))
            case "PUT", "sales":
                with self.on_write(f"gate {body.name} {body.state}"):
                    return self._put_sale(key, body)
            case "PUT", "pools":
                with self.on_write(f"stock {key} {body.capacity}"):
                    return self._put_pool(key, body)
            case "DELETE", "pools":
                with self.on_write(f"release {key}"):
                    return self._release_pool(key, query["ownerUid"], int(query["fence"]))
            case _:
                raise AssertionError(f"{method} {path} is no call of the control API")

    def change_sale(self, uid: str, **changes: Any) -> None:
        """Let something happen behind the gate."""
        self.revision += 1
        self.sales[uid] = msgspec.structs.replace(
            self.sales[uid], revision=self.revision, **changes
        )

    def sell(self, uid: str, units: int) -> None:
        """Sell units of a sale's first item, as buyers and payments would."""
        sale = self.sales[uid]
        item = sale.items[0]
        sold = msgspec.structs.replace(
            item, available=item.available - units, sold=item.sold + units
        )
        now = self.utc_now()
        self.change_sale(
            uid,
            items=[sold, *sale.items[1:]],
            first_reservation_time=sale.first_reservation_time or now,
            sold_out_time=now if sold.available == 0 else None,
        )
        pool = self.pools[item.sku]
        self.pools[item.sku] = msgspec.structs.replace(
            pool,
            available=pool.available - units,
            sold=pool.sold + units,
            revision=self.revision,
        )

    def _read_sales(self, since: int) -> control.SaleStates:
        found = [sale for sale in self.sales.values() if sale.revision > since]
        now = self.utc_now()
        return control.SaleStates(sales=found, revision=self.revision, server_time=now)

    def _read_pools(self, since: int) -> control.PoolStates:
        found = [pool for pool in self.pools.values() if pool.revision > since]
        now = self.utc_now()
        return control.PoolStates(pools=found, revision=self.revision, server_time=now)

    def _put_pool(self, sku: str, spec: control.PoolSpec) -> control.PoolState:
        old = self.pools.get(sku)
        committed = 0 if old is None else old.reserved + old.sold
        if spec.fence < self.fence:
            raise _refusal("STALE_EPOCH", "an older fence")
        if old is not None and old.owner_uid is not None:
            if old.owner_uid != spec.owner_uid:
                raise _refusal("RESOURCE_CONFLICT", f"{sku} belongs to another pool")
            if spec.generation < old.generation:
                raise _refusal("STALE_EPOCH", "an older generation")
        if spec.capacity < committed:
            raise _refusal("BELOW_COMMITTED", f"{committed} units are reserved or sold")
        self.revision += 1
        self.pools[sku] = control.PoolState(
            sku=sku,
            product_id=ids.product_id(sku),
            owner_uid=spec.owner_uid,
            generation=spec.generation,
            fence=spec.fence,
            capacity=spec.capacity,
            safety_stock=spec.safety_stock,
            available=spec.capacity - committed,
            reserved=0 if old is None else old.reserved,
            sold=0 if old is None else old.sold,
            epoch=1 if old is None else old.epoch + 1,
            bound_sales=[],
            revision=self.revision,
        )
        self._refill(sku)
        return self.pools[sku]

    def _refill(self, sku: str) -> None:
        """Give what a pool gained to the sale that takes the whole pool."""
        pool = self.pools[sku]
        for uid, sale in self.sales.items():
            item = sale.items[0]
            if item.sku == sku:
                fresh = msgspec.structs.replace(
                    item, allocated=pool.capacity, available=pool.available, epoch=pool.epoch
                )
                self.change_sale(uid, items=[fresh], sold_out_time=None)

    def _release_pool(self, sku: str, owner_uid: str, fence: int) -> None:
        if fence < self.fence:
            raise _refusal("STALE_EPOCH", "an older fence")
        pool = self.pools[sku]
        if pool.owner_uid not in (None, owner_uid):
            raise _refusal("RESOURCE_CONFLICT", f"{sku} belongs to another pool")
        self.revision += 1
        self.pools[sku] = msgspec.structs.replace(
            pool, owner_uid=None, generation=0, revision=self.revision
        )

    def _put_sale(self, uid: str, gate: control.SaleGate) -> control.SaleState:
        old = self.sales.get(uid)
        if gate.fence < self.fence or (old is not None and gate.generation < old.generation):
            raise _refusal("STALE_EPOCH", "an older fence or generation")
        self._check_overlap(uid, gate)
        self.revision += 1
        fields = {name: getattr(gate, name) for name in gate.__struct_fields__ if name != "items"}
        self.sales[uid] = control.SaleState(
            uid=uid,
            items=[self._item(each) for each in gate.items] if old is None else old.items,
            armed=True,
            armed_reason="",
            drained=True,
            first_reservation_time=None if old is None else old.first_reservation_time,
            sold_out_time=None if old is None else old.sold_out_time,
            revision=self.revision,
            server_time=self.utc_now(),
            **fields,
        )
        return self.sales[uid]

    def _check_overlap(self, uid: str, gate: control.SaleGate) -> None:
        skus = {item.sku for item in gate.items}
        for other in self.sales.values():
            shares = skus & {item.sku for item in other.items}
            is_apart = gate.close_time <= other.open_time or gate.open_time >= other.close_time
            if other.uid != uid and shares and not is_apart and other.state != "Cancelled":
                raise _refusal("OVERLAP", f"{other.name} sells {min(shares)} at that time")

    def _item(self, item: control.SaleItem) -> control.SaleItemState:
        pool = self.pools[item.sku]
        allocated = pool.available if item.quantity is None else item.quantity
        return control.SaleItemState(
            sku=item.sku,
            product_id=pool.product_id,
            allocated=allocated,
            available=allocated,
            reserved=0,
            sold=0,
            price_minor=item.price_minor,
            currency=item.currency,
            per_user_limit=item.per_user_limit,
            epoch=pool.epoch,
            armed=True,
        )


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


def _refusal(code: str, detail: str) -> client.RefusedError:
    return client.RefusedError(409, code, detail)
