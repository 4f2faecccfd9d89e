"""What a sale's decision is made of and what it consists of: facts seen, actions wanted (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from doorbuster.contracts import control
from doorbuster_operator.conditions import Condition, Notice

from .model import Phase, Timeline


@dataclass(frozen=True, kw_only=True)
class PoolSeen:
    """An InventoryPool as a sale sees it; ``is_applied``: inventory has its stock, under this owner."""

    sku: str
    is_deleting: bool = False
    is_applied: bool = True
    is_conserved: bool = True


@dataclass(frozen=True, kw_only=True)
class TopicWanted:
    """The topic that a sale asks for."""

    name: str
    partitions: int
    replication_factor: int
    retention_seconds: int


@dataclass(frozen=True, kw_only=True)
class TopicSeen:
    """The sale's topic, read back."""

    name: str
    partitions: int
    retention_seconds: int


@dataclass(frozen=True, kw_only=True)
class TargetSeen:
    """A scaling target as it was last seen.

    ``demand`` is what this sale asks for now; ``minimum`` and ``ready`` are None where nothing could be seen;
    ``problem`` is a reason with its sentence. ``is_returned``: nothing of this sale, which is being deleted, is left in
    the autoscaler.
    """

    name: str
    demand: int
    minimum: int | None = None
    ready: int | None = None
    problem: tuple[str, str] | None = None
    is_returned: bool = True


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an action did not work for this generation, and when to try again.

    A refusal is an answer (the thing is wrong), anything else is an outage (nobody answered).
    """

    reason: str
    message: str
    retry_at: datetime
    generation: int
    is_refusal: bool = False


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the world looks like to one sale.

    ``silence`` says why nothing is known of inventory now; then ``gate`` is the last that was known.
    ``armed_at`` is the authority's time of this process's own first PUT. ``unread`` counts the events of
    the topic that a consumer group has not read; None is unknown. ``is_topic_free``: nobody has the name of the
    sale's topic. ``is_reported``: the final report is written. ``offset`` is the authority's clock minus ours.
    """

    pools: Mapping[str, PoolSeen]
    silence: str | None = None
    gate: control.SaleState | None = None
    armed_at: datetime | None = None
    gate_failure: Failure | None = None
    topic: TopicSeen | None = None
    topic_failure: Failure | None = None
    is_topic_free: bool = False
    targets: tuple[TargetSeen, ...] = ()
    is_reported: bool = False
    report_failure: Failure | None = None
    unread: int | None = None
    unread_failure: Failure | None = None
    offset: timedelta | None = None


@dataclass(frozen=True)
class AddFinalizer:
    """Make sure that nothing is left behind, before the first effect outside.

    ``owns_topic`` also writes down that the sale's topic is ours, before it is made.
    """

    owns_topic: bool


@dataclass(frozen=True)
class DropFinalizer:
    """Let the object go."""


@dataclass(frozen=True)
class LookForTopic:
    """See whether somebody else has the name of the sale's topic."""


@dataclass(frozen=True)
class EnsureTopic:
    """Make the sale's topic, or bring it up to date."""


@dataclass(frozen=True)
class PutGate:
    """Store the gate in inventory."""

    state: control.DesiredState
    close_time: datetime


@dataclass(frozen=True)
class CountUnread:
    """Ask Kafka how much of the topic is still unread."""


@dataclass(frozen=True)
class DropTopic:
    """Delete the sale's topic."""


@dataclass(frozen=True)
class WriteReport:
    """Write the final report, which outlives the sale."""


@dataclass(frozen=True)
class DeleteSale:
    """Delete the object itself: its time to live is over."""


Action = (
    AddFinalizer
    | DropFinalizer
    | LookForTopic
    | EnsureTopic
    | PutGate
    | CountUnread
    | DropTopic
    | WriteReport
    | DeleteSale
)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a sale is now and what is to be done; ``wake_at``: when time alone makes it worth asking again.

    ``is_watched``: inventory must be polled for this sale.
    """

    phase: Phase
    timeline: Timeline
    conditions: tuple[Condition, ...]
    notices: tuple[Notice, ...]
    summary: str
    actions: tuple[Action, ...]
    next_phase: Phase | None
    next_time: datetime | None
    wake_at: datetime | None
    is_watched: bool
