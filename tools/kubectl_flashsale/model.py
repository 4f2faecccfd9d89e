"""A FlashSale and its pools as the plugin reads them; what is absent is empty, what is unknown is left aside."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")

GROUP = "doorbuster.dev"
VERSION = "v1alpha1"
SALES = "flashsales"
POOLS = "inventorypools"
TEST_LABEL = f"{GROUP}/test"
PHASES = ("Pending", "Scheduled", "Warming", "Open", "SoldOut", "Closed", "Settled", "Cancelled")


class UnreadableError(Exception):
    """The API server's object is none that this version knows."""


class _Read(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Every part has a default, so that older and newer objects are read too."""


class Metadata(_Read, frozen=True, kw_only=True):
    """Who the object is."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 1
    labels: dict[str, str] = {}
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


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
    """How buyers come to the units."""

    mode: str = "Direct"
    rate_per_second: int | None = None


class Spec(_Read, frozen=True, kw_only=True):
    """What the merchant wants."""

    open_time: datetime
    close_time: datetime
    items: list[Item]
    desired_state: str = "Active"
    strategy: str = "Escrow"
    reservation_timeout_seconds: int = 120
    admission: Admission = Admission()


class Timeline(_Read, frozen=True, kw_only=True):
    """What happened when."""

    warmup_start_time: datetime | None = None
    armed_time: datetime | None = None
    open_time: datetime | None = None
    first_reservation_time: datetime | None = None
    open_latency_millis: int | None = None
    sold_out_time: datetime | None = None
    close_time: datetime | None = None
    settle_time: datetime | None = None


class Counters(_Read, frozen=True, kw_only=True):
    """Units of a sale or a pool."""

    capacity: int = 0
    available: int = 0
    reserved: int = 0
    sold: int = 0


class Clock(_Read, frozen=True, kw_only=True):
    """The deciding clock minus the operator's."""

    offset_millis: int | None = None


class Target(_Read, frozen=True, kw_only=True):
    """An autoscaler as it was last seen."""

    name: str
    hpa_name: str = ""
    demand: int | None = None
    min_replicas: int | None = None
    ready_replicas: int | None = None


class Topic(_Read, frozen=True, kw_only=True):
    """The sale's Kafka topic."""

    name: str = ""
    partitions: int = 0


class Condition(_Read, frozen=True, kw_only=True):
    """One condition."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


class Status(_Read, frozen=True, kw_only=True):
    """What the operator observed; ``phase`` is empty until it looked."""

    observed_generation: int = 0
    phase: str = ""
    summary: str = ""
    next_phase: str = ""
    next_transition_time: datetime | None = None
    epoch: int | None = None
    clock: Clock = Clock()
    timeline: Timeline = Timeline()
    inventory: Counters | None = None
    scaling: list[Target] = []
    topic: Topic | None = None
    conditions: list[Condition] = []

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of a type, or None."""
        return next((each for each in self.conditions if each.type == kind), None)


class FlashSale(_Read, frozen=True, kw_only=True):
    """One sale."""

    metadata: Metadata
    spec: Spec
    status: Status = Status()

    @property
    def is_observed(self) -> bool:
        """Whether the status speaks of the spec as it is now."""
        return self.status.observed_generation >= self.metadata.generation


class PoolStatus(Counters, frozen=True, rename="camel", kw_only=True):
    """The stock as the inventory service has it."""

    conditions: list[Condition] = []


class Pool(_Read, frozen=True, kw_only=True):
    """An InventoryPool; ``status`` is None until the operator looked."""

    metadata: Metadata
    status: PoolStatus | None = None


def sale(body: Mapping[str, Any]) -> FlashSale:
    """Read a FlashSale of the API server. Raises UnreadableError."""
    return _read(body, FlashSale)


def pool(body: Mapping[str, Any]) -> Pool:
    """Read an InventoryPool of the API server. Raises UnreadableError."""
    return _read(body, Pool)


def _read(body: Mapping[str, Any], kind: type[_T]) -> _T:
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        name = body.get("metadata", {}).get("name", "?")
        raise UnreadableError(f"{kind.__name__} {name} cannot be read: {error}") from error
