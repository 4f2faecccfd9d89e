"""The judge: a history and a snapshot of the stores in, violations of I1..I8 and the figures out. Pure, linear.

I1 available + reserved + sold = total and none below zero, in every sample; no more is sold than was offered.
I2 The counters are the sums of the ledger by state.
I3 At rest what is sold, what is charged and what is confirmed are the same orders, one to one; nothing is held.
I4 Nobody has more than his limit.
I5 Every answer is true: what was granted has its row, what was refused was not done all the same, and nobody has
   a unit or a charge that he never asked for.
I6 After a terminal SOLD_OUT no unit is free again (a restock or a return apart), everybody hears a final answer,
   and no unit is left over while somebody would have paid for it.
I7 At rest Redis would hand out exactly what is available.
I8 One key has one outcome.

What cannot be judged for want of a store, or of the end of the history, is named in the verdict and never passed over.
"""

import collections
from collections.abc import Iterable, Iterator

from . import truth
from .facts import (
    CHARGED_STATES,
    HOLDING_STATES,
    OPEN_PAYMENT_STATES,
    Call,
    Facts,
    Snapshot,
    Store,
    index,
)
from .figures import CONFIRMED_STATUSES, told_paid, verdict_of, willing_buyers
from .history import Record
from .stock import Eras
from .verdict import Verdict

MAX_SENTENCES_A_RULE = 10
NEEDS: dict[str, tuple[Store, ...]] = {
    "I1": ("inventory",),
    "I2": ("inventory",),
    "I3": ("inventory", "checkout", "payment", "order", "psp"),
    "I4": ("inventory",),
    "I5": ("inventory", "payment", "order", "psp"),
    "I6": ("inventory",),
    "I7": ("inventory", "redis"),
    "I8": (),
}
CUT_OFF = "the history was cut off"


def check(history: Iterable[Record], snapshot: Snapshot, units: int | None = None) -> Verdict:
    """Judge one sale; ``units`` is what was promised, else what the sale offers. Raises HistoryError."""
    facts = index(history)
    promised = units if units is not None else facts.run.units
    if promised is None and "inventory" not in snapshot.missing:
        promised = snapshot.offered
    eras = Eras.of(facts.samples, snapshot)
    rules = (
        _conservation(facts, snapshot, promised),
        _ledger(facts, snapshot),
        _one_to_one(snapshot),
        _limits(facts, snapshot),
        truth.lies(facts, snapshot),
        _finality(facts, snapshot, eras, promised),
        _permits(snapshot),
        _same_key(facts, eras),
    )
    violations: list[str] = []
    for sentences in rules:
        violations.extend(_shorten(list(sentences)))
    return verdict_of(facts, snapshot, promised, violations, unjudged(facts, snapshot))


def unjudged(facts: Facts, snapshot: Snapshot) -> dict[str, str]:
    """Return the rules that could be judged in part or not at all, and why."""
    found: dict[str, list[str]] = collections.defaultdict(list)
    for rule, needed in NEEDS.items():
        lacking = [store for store in needed if store in snapshot.missing]
        if lacking:
            found[rule].append(f"nobody could ask {', '.join(lacking)}")
    if not facts.samples:
        found["I1"].append("the counters were not sampled during the run")
        found["I2"].append("the ledger was not sampled during the run")
    if not facts.is_finished:
        found["I5"].append(CUT_OFF)
        found["I6"].append(CUT_OFF)
    return {rule: "; ".join(reasons) for rule, reasons in sorted(found.items())}


# --- the rules --------------------------------------------------------------------------------


def _conservation(facts: Facts, snapshot: Snapshot, promised: int | None) -> Iterator[str]:
    for sample in facts.samples:
        parts = (sample.available, sample.reserved, sample.sold)
        if sum(parts) != sample.total or min(parts) < 0:
            after = round(sample.at - facts.open_at)
            yield f"I1: {after} ms after the opening {parts} did not make up {sample.total}"
    paid = told_paid(facts)
    # A unit whose money went back may be sold once more.
    given_back = sum(row.quantity for row in snapshot.reservations if row.state == "RETURNED")
    if promised is not None and len(paid) > promised + given_back:
        yield f"I1: {len(paid)} buyers were told that they had paid for {promised} units"
    if "inventory" in snapshot.missing:
        return
    stock = snapshot.counters
    if stock.available + stock.reserved + stock.sold != stock.total:
        yield f"I1: at rest the counters do not make up the total: {stock}"
    if min(stock.available, stock.reserved, stock.sold) < 0:
        yield f"I1: at rest a counter is below zero: {stock}"
    if snapshot.offered != promised:
        yield f"I1: the stock is {snapshot.offered} units, promised were {promised}"


def _ledger(facts: Facts, snapshot: Snapshot) -> Iterator[str]:
    for sample in facts.samples:
        counted = (sample.reserved, sample.sold)
        ledger = (sample.ledger_reserved, sample.ledger_sold)
        if counted != ledger:
            after = round(sample.at - facts.open_at)
            yield f"I2: {after} ms after the opening (reserved, sold) was {counted}, the ledger {ledger}"
    if "inventory" in snapshot.missing:
        return
    sums: collections.Counter[str] = collections.Counter()
    for row in snapshot.reservations:
        sums[row.state] += row.quantity
    if snapshot.counters.reserved != sums["HELD"] + sums["PAYING"]:
        yield f"I2: reserved is {snapshot.counters.reserved}, the ledger holds {dict(sums)}"
    if snapshot.counters.sold != sums["SOLD"]:
        yield f"I2: sold is {snapshot.counters.sold}, the ledger holds {dict(sums)}"


def _one_to_one(snapshot: Snapshot) -> Iterator[str]:
    found: dict[Store, tuple[str, set[str]]] = {
        "inventory": ("sold", snapshot.orders_in({"SOLD"})),
        "payment": (
            "captured",
            {row.order for row in snapshot.payments if row.state == "CAPTURED"},
        ),
        "order": (
            "confirmed",
            {row.order for row in snapshot.orders if row.status in CONFIRMED_STATUSES},
        ),
        "psp": (
            "charged",
            {each.order or each.intent for each in snapshot.intents if each.is_live},
        ),
    }
    known = [named for store, named in found.items() if store not in snapshot.missing]
    for name, orders in known[1:]:
        first, reference = known[0]
        for order in sorted(reference - orders):
            yield f"I3: {order} is {first} but not {name}"
        for order in sorted(orders - reference):
            yield f"I3: {order} is {name} but not {first}"
    for row in snapshot.reservations:
        if row.state in {"HELD", "PAYING"}:
            yield f"I3: {row.order} is still {row.state} at rest"
    for payment in snapshot.payments:
        if payment.state in OPEN_PAYMENT_STATES:
            yield f"I3: attempt {payment.attempt} of {payment.order} is still {payment.state} at rest"
    for intent in snapshot.intents:
        if intent.status == "requires_capture":
            yield f"I3: {intent.order or intent.intent} is authorised but never captured"
    yield from _charged_again(snapshot)
    for name, count in sorted(snapshot.pending.items()):
        if count:
            yield f"I3: {count} events wait in the outbox of {name} at rest"


def _charged_again(snapshot: Snapshot) -> Iterator[str]:
    charges = collections.Counter(each.order for each in snapshot.intents if each.is_live)
    for order, count in charges.items():
        if order and count > 1:
            yield f"I3: {order} is charged {count} times"
    captures = collections.Counter(
        row.order for row in snapshot.payments if row.state in CHARGED_STATES
    )
    for order, count in captures.items():
        if count > 1:
            yield f"I3: {count} attempts of {order} took the money"


def _limits(facts: Facts, snapshot: Snapshot) -> Iterator[str]:
    taken: collections.Counter[str] = collections.Counter()
    for row in snapshot.reservations:
        if row.state in HOLDING_STATES and not row.is_earlier:
            taken[row.user] += row.quantity
    paid = collections.Counter(told_paid(facts).values())
    for buyer, count in paid.items():
        if count > 1:
            yield f"I4: {buyer} wanted one unit and was told {count} times that he had paid"
    if "inventory" in snapshot.missing:
        return
    for user, quantity in taken.items():
        if quantity > snapshot.per_user_limit:
            yield f"I4: {user} has {quantity} units, the limit is {snapshot.per_user_limit}"
    for user in sorted(taken.keys() | snapshot.user_quantities.keys()):
        counted = snapshot.user_quantities.get(user, 0)
        if counted != taken[user]:
            yield f"I4: {user} is counted with {counted} units and has {taken[user]}"


def _finality(facts: Facts, snapshot: Snapshot, eras: Eras, promised: int | None) -> Iterator[str]:
    finals = eras.first_ends(
        (call.invoke.at, call.end) for call in _checkouts(facts) if call.code == "SOLD_OUT"
    )
    for calls in facts.by_key.values():
        yield from _granted_after(finals, eras, calls)
    if snapshot.allocated is None and "inventory" not in snapshot.missing:
        for sample in facts.samples:
            final = finals.get(eras.before(sample.at))
            free = sample.available - snapshot.counters.safety_stock + sample.reserved
            if final is not None and sample.at > final and free > 0:
                yield f"I6: {sample.at - final:.0f} ms after a SOLD_OUT {free} units were not sold"
    if not facts.is_finished:
        return
    willing = willing_buyers(facts)
    sold = len(told_paid(facts)) if "inventory" in snapshot.missing else snapshot.sold
    if promised is not None and len(willing) >= promised > sold:
        yield f"I6: {sold} of {promised} units are sold, {len(willing)} buyers would have paid"
    silent = len(facts.buyers) - sum(end.reason != "gave_up" for end in facts.endings.values())
    if silent:
        yield f"I6: {silent} buyers had no final answer before their patience was over"


def _granted_after(finals: dict[int, float], eras: Eras, calls: list[Call]) -> Iterator[str]:
    """A hold shown after the end is fine only if an earlier call of that key may have taken it."""
    if not finals or calls[0].invoke.op != "checkout":
        return
    taking = [call.invoke.at for call in calls if call.is_unknown or call.code == "HELD"]
    for call in calls:
        if call.code != "HELD":
            continue
        final = finals.get(eras.before(call.end))
        if final is not None and call.invoke.at > final and min(taking) > final:
            yield f"I6: {call.invoke.buyer} was given a unit after somebody was told SOLD_OUT"


def _permits(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.permits is None or snapshot.missing & {"inventory", "redis"}:
        return
    if snapshot.permits != snapshot.free:
        yield f"I7: Redis would hand out {snapshot.permits} permits, {snapshot.free} units are available"


def _same_key(facts: Facts, eras: Eras) -> Iterator[str]:
    for (op, key), calls in facts.by_key.items():
        granted = {_outcome(call) for call in calls if call.code in {"HELD", "PAID"}}
        if len(granted) > 1:
            yield f"I8: {op} with key {key} had {len(granted)} different outcomes"
        codes = {call.code for call in calls}
        if op == "checkout":
            if {"HELD", "SOLD_OUT"} <= codes and not eras.has_growth:
                yield f"I8: {op} with key {key} was both granted and refused for good"
            if "HOLD_EXPIRED" in codes and "HELD" in codes and _is_revived(calls):
                yield f"I8: {op} with key {key} was granted after its hold was over"
        elif len(codes & {"PAID", "DECLINED", "HOLD_EXPIRED"}) > 1:
            ends = ", ".join(sorted(codes & {"PAID", "DECLINED", "HOLD_EXPIRED"}))
            yield f"I8: {op} with key {key} ended in several ways: {ends}"


def _is_revived(calls: list[Call]) -> bool:
    over = min(call.end for call in calls if call.code == "HOLD_EXPIRED")
    return any(call.code == "HELD" and call.invoke.at > over for call in calls)


def _outcome(call: Call) -> tuple[str | None, ...]:
    assert call.answer is not None
    answer = call.answer
    return answer.order, answer.amount, answer.transaction, answer.pay_by


def _checkouts(facts: Facts) -> Iterator[Call]:
    for (op, _), calls in facts.by_key.items():
        if op == "checkout":
            yield from calls


def _shorten(sentences: list[str]) -> list[str]:
    if len(sentences) <= MAX_SENTENCES_A_RULE:
        return sentences
    more = len(sentences) - MAX_SENTENCES_A_RULE
    return [*sentences[:MAX_SENTENCES_A_RULE], f"{sentences[0][:2]}: and {more} more"]
