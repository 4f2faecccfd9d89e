"""The judge: a history and a snapshot of the stores in, violations of I1..I8 and the figures out. Pure, linear.

I1 available + reserved + sold = total and none below zero, in every sample.
I2 The counters are the sums of the ledger by state.
I3 At rest what is sold, what is charged and what is confirmed are the same orders, one to one; nothing is held.
I4 Nobody has more than his limit.
I5 Every answer is true: what was granted has its row, what was refused was not done all the same.
I6 After a terminal SOLD_OUT no unit is free again, everybody hears a final answer, and no unit is left over
   while somebody would have paid for it.
I7 At rest Redis would hand out exactly what is available.
I8 One key has one outcome.
"""

import collections
from collections.abc import Iterable, Iterator

from .facts import Call, Facts, Intent, Snapshot, index
from .history import Record
from .verdict import Verdict, percentile

MAX_SENTENCES_A_RULE = 10
CHARGED_STATES = frozenset({"AUTHORISED", "CAPTURING", "CAPTURED"})
OPEN_PAYMENT_STATES = frozenset(
    {"NEW", "CONFIRMING", "CANCELLING", "AUTHORISED", "CAPTURING", "VOIDING", "REFUNDING"}
)
CONFIRMED_STATUSES = frozenset({"confirmed", "shipped", "delivered"})
REFUSALS = frozenset({"SOLD_OUT", "WAITING"})
FIRST_TRUTHS = REFUSALS | {"HELD", "PER_USER_LIMIT"}


def check(history: Iterable[Record], snapshot: Snapshot, units: int | None = None) -> Verdict:
    """Judge one sale; ``units`` is what was promised, else the stock there is. Raises HistoryError."""
    facts = index(history)
    promised = units if units is not None else facts.run.units
    if promised is None:
        promised = snapshot.counters.total
    rules = (
        _conservation(facts, snapshot, promised),
        _ledger(facts, snapshot),
        _one_to_one(snapshot),
        _limits(snapshot),
        _true_answers(facts, snapshot),
        _finality(facts, snapshot),
        _permits(snapshot),
        _same_key(facts),
    )
    violations: list[str] = []
    for sentences in rules:
        violations.extend(_shorten(list(sentences)))
    return _verdict(facts, snapshot, promised, violations)


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


# --- the rules --------------------------------------------------------------------------------


def _conservation(facts: Facts, snapshot: Snapshot, promised: int) -> Iterator[str]:
    for sample in facts.samples:
        parts = (sample.available, sample.reserved, sample.sold)
        if sum(parts) != sample.total or min(parts) < 0:
            after = round(sample.at - facts.open_at)
            yield f"I1: {after} ms after the opening {parts} did not make up {sample.total}"
    stock = snapshot.counters
    if stock.available + stock.reserved + stock.sold != stock.total:
        yield f"I1: at rest the counters do not make up the total: {stock}"
    if min(stock.available, stock.reserved, stock.sold) < 0:
        yield f"I1: at rest a counter is below zero: {stock}"
    if stock.total != promised:
        yield f"I1: the stock is {stock.total} units, promised were {promised}"


def _ledger(facts: Facts, snapshot: Snapshot) -> Iterator[str]:
    for sample in facts.samples:
        counted = (sample.reserved, sample.sold)
        ledger = (sample.ledger_reserved, sample.ledger_sold)
        if counted != ledger:
            after = round(sample.at - facts.open_at)
            yield f"I2: {after} ms after the opening (reserved, sold) was {counted}, the ledger {ledger}"
    sums: collections.Counter[str] = collections.Counter()
    for row in snapshot.reservations:
        sums[row.state] += row.quantity
    if snapshot.counters.reserved != sums["HELD"] + sums["PAYING"]:
        yield f"I2: reserved is {snapshot.counters.reserved}, the ledger holds {dict(sums)}"
    if snapshot.counters.sold != sums["SOLD"]:
        yield f"I2: sold is {snapshot.counters.sold}, the ledger holds {dict(sums)}"


def _one_to_one(snapshot: Snapshot) -> Iterator[str]:
    sold = {row.order for row in snapshot.reservations if row.state == "SOLD"}
    captured = {row.order for row in snapshot.payments if row.state == "CAPTURED"}
    confirmed = {row.order for row in snapshot.orders if row.status in CONFIRMED_STATUSES}
    charged = {intent.order or intent.intent for intent in snapshot.intents if intent.is_live}
    for name, orders in (("captured", captured), ("confirmed", confirmed), ("charged", charged)):
        for order in sorted(sold - orders):
            yield f"I3: {order} is sold but not {name}"
        for order in sorted(orders - sold):
            yield f"I3: {order} is {name} but not sold"
    for row in snapshot.reservations:
        if row.state in {"HELD", "PAYING"}:
            yield f"I3: {row.order} is still {row.state} at rest"
    for payment in snapshot.payments:
        if payment.state in OPEN_PAYMENT_STATES:
            yield f"I3: attempt {payment.attempt} of {payment.order} is still {payment.state} at rest"
    for intent in snapshot.intents:
        if intent.status == "requires_capture":
            yield f"I3: {intent.order or intent.intent} is authorised but never captured"
    for name, count in sorted(snapshot.pending.items()):
        if count:
            yield f"I3: {count} events wait in the outbox of {name} at rest"


def _limits(snapshot: Snapshot) -> Iterator[str]:
    taken: collections.Counter[str] = collections.Counter()
    for row in snapshot.reservations:
        if row.state in {"HELD", "PAYING", "SOLD"}:
            taken[row.user] += row.quantity
    for user, quantity in taken.items():
        if quantity > snapshot.per_user_limit:
            yield f"I4: {user} has {quantity} units, the limit is {snapshot.per_user_limit}"
    for user in sorted(taken.keys() | snapshot.user_quantities.keys()):
        counted = snapshot.user_quantities.get(user, 0)
        if counted != taken[user]:
            yield f"I4: {user} is counted with {counted} units and has {taken[user]}"


def _true_answers(facts: Facts, snapshot: Snapshot) -> Iterator[str]:
    reservations = {row.order: row for row in snapshot.reservations}
    captured = {row.order for row in snapshot.payments if row.state in CHARGED_STATES}
    charged = {intent.order for intent in snapshot.intents if intent.is_live}
    orders = {row.order for row in snapshot.orders}
    for calls in facts.by_key.values():
        for call in calls:
            yield from _false_grant(call, facts, reservations.keys(), captured, orders)
    for order in sorted(captured | {order for order in charged if order}):
        pays = facts.pays_by_order.get(order, [])
        if not any(call.code == "PAID" or call.is_unknown for call in pays):
            yield f"I5: {order} was charged, but nobody was told so and no call is open"
    for name, end in facts.endings.items():
        if end.reason == "refused":
            yield f"I5: {name} was refused with {end.code}, which no rule gives him"
    for name, calls in facts.by_buyer.items():
        for call in calls:
            if call.invoke.op == "status" and call.answer and call.answer.status == 404:
                yield f"I5: {name} was told that his own order {call.invoke.order} does not exist"
                break


def _false_grant(
    call: Call,
    facts: Facts,
    reserved: Iterable[str],
    captured: set[str],
    orders: set[str],
) -> Iterator[str]:
    if call.answer is None or call.code not in {"HELD", "PAID"}:
        return
    order = call.answer.order or ""
    if call.code == "HELD":
        if order not in reserved:
            yield f"I5: {order} was granted, but has no reservation"
        if call.end < facts.open_at:
            yield f"I5: {order} was granted {facts.open_at - call.end:.1f} ms before the opening"
        return
    if order not in captured:
        yield f"I5: {order} was told to be paid, but has no payment"
    if order not in orders:
        yield f"I5: {order} was told to be paid, but is no order"


def _finality(facts: Facts, snapshot: Snapshot) -> Iterator[str]:
    finals = [call.end for call in _checkouts(facts) if call.code == "SOLD_OUT"]
    if finals:
        final = min(finals)
        for calls in facts.by_key.values():
            yield from _granted_after(final, calls)
        for sample in facts.samples:
            free = sample.available - snapshot.counters.safety_stock + sample.reserved
            if sample.at > final and free > 0:
                yield f"I6: {sample.at - final:.0f} ms after a SOLD_OUT {free} units were not sold"
    willing, stock = willing_buyers(facts), snapshot.counters
    sellable = stock.total - stock.safety_stock
    if len(willing) >= sellable and stock.sold < sellable:
        yield f"I6: {stock.sold} of {sellable} units are sold, {len(willing)} buyers would have paid"
    silent = len(facts.buyers) - sum(end.reason != "gave_up" for end in facts.endings.values())
    if silent:
        yield f"I6: {silent} buyers had no final answer before their patience was over"


def _granted_after(final: float, calls: list[Call]) -> Iterator[str]:
    """A hold shown after the end is fine only if an earlier call of that key may have taken it."""
    may_hold = False
    for call in sorted(calls, key=lambda call: call.invoke.at):
        if call.invoke.op != "checkout":
            return
        if call.invoke.at < final and (call.is_unknown or call.code == "HELD"):
            may_hold = True
        if call.code == "HELD" and call.invoke.at > final and not may_hold:
            yield f"I6: {call.invoke.buyer} was given a unit after somebody was told SOLD_OUT"


def _permits(snapshot: Snapshot) -> Iterator[str]:
    sellable = snapshot.counters.available - snapshot.counters.safety_stock
    if snapshot.permits is not None and snapshot.permits != max(0, sellable):
        yield f"I7: Redis would hand out {snapshot.permits} permits, {sellable} units are available"


def _same_key(facts: Facts) -> Iterator[str]:
    for (op, key), calls in facts.by_key.items():
        granted = {_outcome(call) for call in calls if call.code in {"HELD", "PAID"}}
        if len(granted) > 1:
            yield f"I8: {op} with key {key} had {len(granted)} different outcomes"
        codes = {call.code for call in calls}
        if "HELD" in codes and "SOLD_OUT" in codes:
            yield f"I8: {op} with key {key} was both granted and refused for good"
        if "PAID" in codes and "DECLINED" in codes:
            yield f"I8: {op} with key {key} was both paid and declined"


def _outcome(call: Call) -> tuple[str | None, str | None, str | None]:
    assert call.answer is not None
    return call.answer.order, call.answer.amount, call.answer.transaction


def _checkouts(facts: Facts) -> Iterator[Call]:
    for (op, _), calls in facts.by_key.items():
        if op == "checkout":
            yield from calls


def _shorten(sentences: list[str]) -> list[str]:
    if len(sentences) <= MAX_SENTENCES_A_RULE:
        return sentences
    more = len(sentences) - MAX_SENTENCES_A_RULE
    return [*sentences[:MAX_SENTENCES_A_RULE], f"{sentences[0][:2]}: and {more} more"]


# --- the figures ------------------------------------------------------------------------------


def _verdict(facts: Facts, snapshot: Snapshot, units: int, violations: list[str]) -> Verdict:
    stock, willing = snapshot.counters, willing_buyers(facts)
    created = [row.created_ms for row in snapshot.reservations if row.state != "TOMB"]
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
        sold=stock.sold,
        oversold=max(0, _committed(snapshot, charges) - units),
        double_orders=_double_orders(snapshot),
        double_charges=_double_charges(snapshot, charges),
        lost_units=min(units, len(willing)) - stock.sold,
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
    )


def _committed(snapshot: Snapshot, charges: list[Intent]) -> int:
    """The most units anybody could claim: by the counters, the ledger, the charges, the orders."""
    ledger = sum(
        row.quantity for row in snapshot.reservations if row.state in {"HELD", "PAYING", "SOLD"}
    )
    confirmed = sum(row.status in CONFIRMED_STATUSES for row in snapshot.orders)
    counted = snapshot.counters.reserved + snapshot.counters.sold
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
