"""What the buyers' history says, indexed for the checker; and the snapshot of the stores beside it."""

import collections
import dataclasses
from collections.abc import Collection, Iterable
from typing import Literal

from .history import (
    Ended,
    Enrolled,
    Fail,
    Finished,
    HistoryError,
    Invoke,
    Ok,
    Record,
    Run,
    Sample,
    Torn,
    Unknown,
)

Store = Literal["inventory", "checkout", "payment", "order", "psp", "redis"]

HOLDING_STATES = frozenset({"HELD", "PAYING", "SOLD"})
OPEN_PAYMENT_STATES = frozenset(
    {"NEW", "CONFIRMING", "CANCELLING", "AUTHORISED", "CAPTURING", "VOIDING", "REFUNDING"}
)
CHARGED_STATES = frozenset({"AUTHORISED", "CAPTURING", "CAPTURED"})
ONCE_CHARGED_STATES = CHARGED_STATES | {
    *("VOIDING", "VOIDED", "REFUNDING", "REFUNDED", "CAPTURE_FAILED"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counters:
    """The inventory row of the product."""

    available: int
    reserved: int
    sold: int
    total: int
    safety_stock: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reservation:
    """One order's reservation of the product; ``created_ms`` is Unix time by the authority's clock.

    ``is_earlier``: made before this run began, by an earlier sale of the same stock.
    """

    order: str
    user: str
    state: str
    quantity: int
    created_ms: float
    is_earlier: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaymentRow:
    """One attempt in the payment store."""

    order: str
    attempt: int
    state: str
    intent: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class OrderRow:
    """One order as the order store shows it, status in lower case."""

    order: str
    user: str
    status: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Intent:
    """One PaymentIntent at the PSP; amounts in minor units."""

    intent: str
    order: str | None
    status: str
    captured_minor: int
    refunded_minor: int

    @property
    def is_live(self) -> bool:
        """Whether the card is charged or will be: authorised or captured, and not all given back."""
        if self.status == "requires_capture":
            return True
        return self.status == "succeeded" and self.captured_minor > self.refunded_minor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The stores at rest; ``permits`` is what Redis would hand out (None: the sale uses no permits).

    ``sold_out_ms`` is when the last unit was sold, Unix time by the authority's clock. ``allocated`` is the sale's
    share of the stock (None: all of it), ``sellable`` what may be sold now (None: what the counters say).
    ``missing`` names the stores that could not be asked: what would come from them is empty.
    """

    counters: Counters
    per_user_limit: int
    reservations: list[Reservation]
    user_quantities: dict[str, int]
    payments: list[PaymentRow]
    orders: list[OrderRow]
    intents: list[Intent]
    permits: int | None
    sold_out_ms: float | None = None
    pending: dict[str, int] = dataclasses.field(default_factory=dict)
    allocated: int | None = None
    sellable: int | None = None
    missing: frozenset[Store] = frozenset()

    @property
    def sold_earlier(self) -> int:
        """Units of this stock that an earlier sale sold."""
        return sum(
            row.quantity for row in self.reservations if row.is_earlier and row.state == "SOLD"
        )

    def orders_in(self, states: Collection[str]) -> set[str]:
        """Return the orders of this run's reservations that are in one of these states."""
        return {
            row.order for row in self.reservations if row.state in states and not row.is_earlier
        }

    @property
    def offered(self) -> int:
        """Units that the sale could sell."""
        stock = self.counters.total - self.counters.safety_stock - self.sold_earlier
        return stock if self.allocated is None else min(stock, self.allocated)

    @property
    def sold(self) -> int:
        """Units that the sale sold."""
        return self.counters.sold - self.sold_earlier

    @property
    def free(self) -> int:
        """Units that may be sold now."""
        if self.sellable is not None:
            return self.sellable
        return max(0, self.counters.available - self.counters.safety_stock)


@dataclasses.dataclass(kw_only=True)
class Call:
    """One call from its sending to its end; ``end`` is infinite when no end was recorded."""

    invoke: Invoke
    answer: Ok | Fail | Unknown | None = None

    @property
    def end(self) -> float:
        """When it ended, monotonic milliseconds."""
        return self.answer.at if self.answer is not None else float("inf")

    @property
    def code(self) -> str:
        """What it came to; empty when unknown."""
        return self.answer.code if isinstance(self.answer, Ok | Fail) else ""

    @property
    def is_unknown(self) -> bool:
        """Whether its effect is not known."""
        return not isinstance(self.answer, Ok | Fail)


@dataclasses.dataclass(kw_only=True)
class Facts:
    """The history by buyer, by key and by order, each in the order of time."""

    run: Run
    buyers: dict[str, Enrolled]
    endings: dict[str, Ended]
    by_buyer: dict[str, list[Call]]
    by_key: dict[tuple[str, str], list[Call]]
    pays_by_order: dict[str, list[Call]]
    samples: list[Sample]
    is_finished: bool
    torn_lines: int

    @property
    def open_at(self) -> float:
        """The opening in monotonic milliseconds of the crowd's machine."""
        return self.run.open_ms - self.run.offset_ms - self.run.wall + self.run.at


def index(history: Iterable[Record]) -> Facts:
    """Index a history in one pass; raises HistoryError when it is not one."""
    runs: list[Run] = []
    buyers: dict[str, Enrolled] = {}
    endings: dict[str, Ended] = {}
    calls: dict[int, Call] = {}
    samples: list[Sample] = []
    ends: list[Finished | Torn] = []
    for record in history:
        match record:
            case Run():
                runs.append(record)
            case Enrolled():
                buyers[record.buyer] = record
            case Ended():
                endings[record.buyer] = record
            case Sample():
                samples.append(record)
            case Invoke():
                calls[record.call] = Call(invoke=record)
            case Ok() | Fail() | Unknown():
                if record.call not in calls:
                    raise HistoryError(f"call {record.call} was answered but never sent")
                calls[record.call].answer = record
            case Finished() | Torn():
                ends.append(record)
    seen = Facts(
        run=_only(runs),
        buyers=buyers,
        endings=endings,
        by_buyer=collections.defaultdict(list),
        by_key=collections.defaultdict(list),
        pays_by_order=collections.defaultdict(list),
        samples=sorted(samples, key=lambda sample: sample.at),
        is_finished=any(isinstance(record, Finished) for record in ends),
        torn_lines=sum(isinstance(record, Torn) for record in ends),
    )
    for call in calls.values():
        _arrange(call, seen)
    return seen


def _only(runs: list[Run]) -> Run:
    if len(runs) != 1:
        raise HistoryError(f"the history has {len(runs)} runs")
    return runs[0]


def _arrange(call: Call, seen: Facts) -> None:
    invoke = call.invoke
    seen.by_buyer[invoke.buyer].append(call)
    if invoke.op != "status":
        seen.by_key[invoke.op, invoke.key].append(call)
    if invoke.op == "pay" and invoke.order:
        seen.pays_by_order[invoke.order].append(call)
