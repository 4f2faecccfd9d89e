"""InventoryPool as the operator reads it from the API server: frozen structs of the CRD's schema."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from doorbuster_operator.conditions import Condition

GROUP = "doorbuster.dev"
VERSION = "v1alpha1"
PLURAL = "inventorypools"
KIND = "InventoryPool"
FINALIZER = "doorbuster.dev/stock"


class Spec(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The stock as it shall be; defaults are those of the CRD."""

    sku: str
    capacity: int
    safety_stock: int = 0
    audit_interval_seconds: int = 30
    reclaim_policy: Literal["Retain", "Delete"] = "Retain"


class Status(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The part of an earlier status that the operator goes on from."""

    capacity: int | None = None
    last_audit_time: datetime | None = None
    conditions: list[Condition] = []


class InventoryPool(msgspec.Struct, frozen=True, kw_only=True):
    """One InventoryPool with its identity; ``version`` grows with every write of the object."""

    namespace: str
    name: str
    uid: str
    version: int
    generation: int
    is_deleting: bool
    is_finalized: bool
    spec: Spec
    status: Status
    raw_status: Mapping[str, Any]


def parse(body: Mapping[str, Any]) -> InventoryPool:
    """Read an object of the API server; raises msgspec.ValidationError when it is none of ours."""
    metadata = body["metadata"]
    raw_status = dict(body.get("status") or {})
    return InventoryPool(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        generation=metadata.get("generation", 1),
        is_deleting="deletionTimestamp" in metadata,
        is_finalized=FINALIZER in metadata.get("finalizers", ()),
        spec=msgspec.convert(dict(body["spec"]), Spec),
        status=msgspec.convert(raw_status, Status),
        raw_status=raw_status,
    )
