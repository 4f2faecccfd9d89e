"""FlashSale as the operator reads it from the API server: frozen structs of the CRD's schema."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec

from doorbuster.contracts import control
from doorbuster_operator.conditions import Condition

GROUP = "doorbuster.dev"
VERSION = "v1alpha1"
PLURAL = "flashsales"
KIND = "FlashSale"
FINALIZER = "doorbuster.dev/gate"
TOPIC_FINALIZER = "doorbuster.dev/topic"
ADOPT_TOPIC = "doorbuster.dev/adopt-topic"


class Phase(StrEnum):
    """Where a sale stands; a summary for people."""

    PENDING = "Pending"
    SCHEDULED = "Scheduled"
    WARMING = "Warming"
    OPEN = "Open"
    SOLD_OUT = "SoldOut"
    CLOSED = "Closed"
    SETTLED = "Settled"
    CANCELLED = "Cancelled"


OVER = frozenset({Phase.SETTLED, Phase.CANCELLED})


class _Read(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Unknown fields are ignored: an older operator may meet a newer object."""


class Price(_Read, frozen=True, kw_only=True):
    """The price of one unit in minor units."""

    currency: str
    amount_minor: int


class Item(_Read, frozen=True, kw_only=True):
    """One sku on sale; no quantity means the whole pool."""

    sku: str
    pool_name: str
    price: Price
    quantity: int | None = None
    per_user_limit: int = 1


class Admission(_Read, frozen=True, kw_only=True):
    """How buyers come to the units; the rate counts in the waiting room only."""

    mode: Literal["Direct", "WaitingRoom"] = "Direct"
    rate_per_second: int | None = None


class Warmup(_Read, frozen=True, kw_only=True):
    """How long before the opening the gate is armed, and how much capacity must be there by then."""

    lead_seconds: int = 600
    min_ready_percent: int = 90
    on_not_ready: Literal["OpenAnyway", "Hold"] = "OpenAnyway"


class ScalingTarget(_Read, frozen=True, kw_only=True):
    """An autoscaler to be warmed."""

    name: str
    hpa_name: str
    warm_replicas: int
    cooldown_seconds: int = 300


class Scaling(_Read, frozen=True, kw_only=True):
    """The autoscalers to be warmed."""

    targets: list[ScalingTarget] = []


class Messaging(_Read, frozen=True, kw_only=True):
    """The sale's own topic."""

    partitions: int = 3
    replication_factor: int = 1
    retention_seconds: int = 604_800
    reclaim_policy: Literal["Retain", "Delete"] = "Retain"


class Settlement(_Read, frozen=True, kw_only=True):
    """When the books may close at the earliest."""

    grace_seconds: int = 300


class Spec(_Read, frozen=True, kw_only=True):
    """What the merchant wants; defaults are those of the CRD."""

    open_time: datetime
    close_time: datetime
    items: list[Item]
    desired_state: control.DesiredState = "Active"
    late_open_policy: Literal["OpenImmediately", "Reject"] = "OpenImmediately"
    strategy: control.Strategy = "Escrow"
    reservation_timeout_seconds: int = 120
    admission: Admission = Admission()
    warmup: Warmup = Warmup()
    scaling: Scaling = Scaling()
    messaging: Messaging = Messaging()
    settlement: Settlement = Settlement()
    ttl_seconds_after_settled: int | None = None


class Timeline(_Read, frozen=True, kw_only=True, omit_defaults=True):
    """What happened when, by the authority's clock; each field is set once."""

    warmup_start_time: datetime | None = None
    armed_time: datetime | None = None
    open_time: datetime | None = None
    first_reservation_time: datetime | None = None
    open_latency_millis: int | None = None
    sold_out_time: datetime | None = None
    close_time: datetime | None = None
    settle_time: datetime | None = None


class Clock(_Read, frozen=True, kw_only=True, omit_defaults=True):
    """The authority's clock minus ours."""

    offset_millis: int | None = None


class Status(_Read, frozen=True, kw_only=True):
    """The part of an earlier status that the operator goes on from."""

    phase: Phase | None = None
    timeline: Timeline = Timeline()
    clock: Clock = Clock()
    conditions: list[Condition] = []


class FlashSale(msgspec.Struct, frozen=True, kw_only=True):
    """One FlashSale with its identity; ``version`` grows with every write of the object.

    ``owns_topic``: its finalizer says that the topic is ours; ``adopts_topic``: the merchant says that it shall be.
    """

    namespace: str
    name: str
    uid: str
    version: int
    generation: int
    is_deleting: bool
    is_finalized: bool
    owns_topic: bool = False
    adopts_topic: bool = False
    spec: Spec
    status: Status
    raw_status: Mapping[str, Any]


def parse(body: Mapping[str, Any]) -> FlashSale:
    """Read an object of the API server; raises msgspec.ValidationError when it is none of ours."""
    metadata = body["metadata"]
    raw_status = dict(body.get("status") or {})
    return FlashSale(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        generation=metadata.get("generation", 1),
        is_deleting="deletionTimestamp" in metadata,
        is_finalized=FINALIZER in metadata.get("finalizers", ()),
        owns_topic=TOPIC_FINALIZER in metadata.get("finalizers", ()),
        adopts_topic=(metadata.get("annotations") or {}).get(ADOPT_TOPIC) == "true",
        spec=msgspec.convert(dict(body["spec"]), Spec),
        status=msgspec.convert(raw_status, Status),
        raw_status=raw_status,
    )
