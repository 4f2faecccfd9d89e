"""What the buyers' history says, indexed for the checker; and the snapshot of the stores beside it."""

import collections
import dataclasses
from collections.abc import Iterable

from .history import Ended, Enrolled, Fail, Invoke, Ok, Record, Run, Sample, Unknown


class HistoryError(Exception):
    """The history is not one: it has no run, or an answer without its call."""


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
    """One order's reservation of the product; ``created_ms`` is Unix time by the authority's clock."""

    order: str
    user: str
    state: str
    quantity: int
    created_ms: float


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

    ``sold_out_ms`` is when the last unit was sold, Unix time by the authority's clock.
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
    if len(runs) != 1:
        raise HistoryError(f"the history has {len(runs)} runs")
    return _arrange(runs[0], buyers, endings, list(calls.values()), samples)


def _arrange(
    run: Run,
    buyers: dict[str, Enrolled],
    endings: dict[str, Ended],
    calls: list[Call],
    samples: list[Sample],
) -> Facts:
    by_buyer: dict[str, list[Call]] = collections.defaultdict(list)
    by_key: dict[tuple[str, str], list[Call]] = collections.defaultdict(list)
    pays: dict[str, list[Call]] = collections.defaultdict(list)
    for call in calls:
        by_buyer[call.invoke.buyer].append(call)
        if call.invoke.op != "status":
            by_key[call.invoke.op, call.invoke.key].append(call)
        if call.invoke.op == "pay" and call.invoke.order:
            pays[call.invoke.order].append(call)
    return Facts(
        run=run,
        buyers=buyers,
        endings=endings,
        by_buyer=by_buyer,
        by_key=by_key,
        pays_by_order=pays,
        samples=samples,
    )
