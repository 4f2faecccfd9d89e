"""The figures of a sale: how many, how fast, how it ended for everybody; history and snapshot in, a verdict out."""

import collections
import itertools
from collections.abc import Iterator

from .facts import Call, Facts, Intent, Snapshot
from .verdict import Verdict, percentile

CONFIRMED_STATUSES = frozenset({"confirmed", "shipped", "delivered"})
REFUSALS = frozenset({"SOLD_OUT", "WAITING"})
FIRST_TRUTHS = REFUSALS | {"HELD", "PER_USER_LIMIT", "WAITING_ROOM"}


def willing_buyers(facts: Facts) -> set[str]:
    """Return the buyers able and willing to pay: they pressed, have a card that works and did not leave.

    Who gave up without an answer stays among them: the shop, not he, failed.
    """
    left = {name for name, end in facts.endings.items() if end.reason == "left"}
    return {
        name
        for name, buyer in facts.buyers.items()
        if buyer.is_able and name not in left and name in facts.by_buyer
    }


def told_paid(facts: Facts) -> dict[str, str]:
    """Return the orders that somebody was told to have paid, and who."""
    return {
        call.answer.order or "": call.invoke.buyer
        for call in _pays(facts)
        if call.code == "PAID" and call.answer is not None
    }


def verdict_of(
    facts: Facts,
    snapshot: Snapshot,
    units: int | None,
    violations: list[str],
    unjudged: dict[str, str],
) -> Verdict:
    """Return the verdict; without the inventory's store the history says how many were sold."""
    is_told = "inventory" in snapshot.missing
    sold = len(told_paid(facts)) if is_told else snapshot.sold
    willing = willing_buyers(facts)
    due = min(units, len(willing)) if units is not None and facts.is_finished else sold
    created = [row.created_ms for row in snapshot.reservations if not row.is_earlier]
    open_delay = round(min(created) - facts.run.open_ms, 1) if created else None
    if open_delay is not None and open_delay < 0:
        violations.append(f"I5: the first hold was taken {-open_delay} ms before the opening")
    sold_out = snapshot.sold_out_ms
    ends = [end.at for end in facts.endings.values() if end.reason in {"sold_out", "paid"}]
    refused, told = _refused(facts)
    first = _first_answers(facts)
    endings = collections.Counter(end.reason for end in facts.endings.values())
    charges = [intent for intent in snapshot.intents if intent.is_live]
    return Verdict(
        seed=facts.run.seed,
        sale=facts.run.sale,
        buyers=len(facts.buyers),
        units=units,
        sold=sold,
        oversold=max(
            0, max(sold, _committed(snapshot, charges)) - (sold if units is None else units)
        ),
        double_orders=_double_orders(snapshot),
        double_charges=_double_charges(snapshot, charges),
        lost_units=due - sold,
        refused=refused,
        refused_p50_millis=percentile(told, 0.50),
        refused_p99_millis=percentile(told, 0.99),
        open_delay_millis=open_delay,
        sold_out_after_millis=round(sold_out - facts.run.open_ms, 1) if sold_out else None,
        violations=violations,
        first_answer_p50_millis=percentile(first, 0.50),
        first_answer_p99_millis=percentile(first, 0.99),
        terminal_after_millis=round(max(ends) - facts.open_at, 1) if ends else None,
        willing=len(willing),
        left=endings["left"],
        declined=sum(call.code == "DECLINED" for call in _pays(facts)),
        unanswered=len(facts.buyers) - sum(endings.values()) + endings["gave_up"],
        holds=len(created),
        calls=dict(sorted(_codes(facts).items())),
        endings=dict(sorted(endings.items())),
        unjudged=unjudged,
        samples=len(facts.samples),
        longest_sample_gap_millis=_longest_gap(facts),
        torn_lines=facts.torn_lines,
    )


def _longest_gap(facts: Facts) -> float | None:
    """Return how long nobody looked at the counters between the first and the last look, milliseconds."""
    pairs = itertools.pairwise(sample.at for sample in facts.samples)
    gaps = [later - earlier for earlier, later in pairs]
    return round(max(gaps), 1) if gaps else None


def _committed(snapshot: Snapshot, charges: list[Intent]) -> int:
    """The most units anybody could claim: by the counters, the ledger, the charges, the orders."""
    ledger = sum(
        row.quantity
        for row in snapshot.reservations
        if row.state in {"HELD", "PAYING", "SOLD"} and not row.is_earlier
    )
    confirmed = sum(row.status in CONFIRMED_STATUSES for row in snapshot.orders)
    counted = snapshot.counters.reserved + snapshot.sold
    return max(counted, ledger, confirmed, len({intent.order for intent in charges}))


def _double_orders(snapshot: Snapshot) -> int:
    """Confirmed orders beyond one a buyer: everybody wanted one unit."""
    orders = collections.Counter(
        row.user for row in snapshot.orders if row.status in CONFIRMED_STATUSES
    )
    return sum(count - 1 for count in orders.values())


def _double_charges(snapshot: Snapshot, charges: list[Intent]) -> int:
    """Live charges beyond one a buyer; a charge of an order nobody knows counts by its order."""
    users = {row.order: row.user for row in snapshot.reservations}
    charged = collections.Counter(
        users.get(intent.order or "", intent.order or intent.intent) for intent in charges
    )
    return sum(count - 1 for count in charged.values())


def _refused(facts: Facts) -> tuple[int, list[float]]:
    """Return how many went home refused, and how long the call took that first told each of them so."""
    told: list[float] = []
    refused = 0
    for name, calls in facts.by_buyer.items():
        end = facts.endings.get(name)
        if end is None or end.reason not in {"sold_out", "closed", "refused"}:
            continue
        refused += 1
        first = [call for call in calls if call.code in REFUSALS]
        if first:
            earliest = min(first, key=lambda call: call.end)
            told.append(earliest.end - earliest.invoke.at)
    return refused, told


def _first_answers(facts: Facts) -> list[float]:
    """Return, for each buyer, the time from his first press after the opening to his first true answer."""
    waits: list[float] = []
    for calls in facts.by_buyer.values():
        presses = [
            call for call in calls if call.invoke.op == "checkout" and call.code != "SALE_NOT_OPEN"
        ]
        truths = [call.end for call in presses if call.code in FIRST_TRUTHS]
        if truths:
            waits.append(min(truths) - min(call.invoke.at for call in presses))
    return waits


def _pays(facts: Facts) -> Iterator[Call]:
    for (op, _), calls in facts.by_key.items():
        if op == "pay":
            yield from calls


def _codes(facts: Facts) -> collections.Counter[str]:
    return collections.Counter(
        call.code or "unknown" for calls in facts.by_buyer.values() for call in calls
    )
