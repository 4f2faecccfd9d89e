"""I5, that every answer is true: what was told has its row, and nobody has what he never asked for."""

from collections.abc import Iterator

from .facts import CHARGED_STATES, HOLDING_STATES, ONCE_CHARGED_STATES, Call, Facts, Snapshot


def lies(facts: Facts, snapshot: Snapshot) -> Iterator[str]:
    """Yield a sentence for every answer that the stores contradict, and for what nobody was told."""
    kept = _Kept(snapshot)
    for calls in facts.by_key.values():
        for call in calls:
            if call.code == "HELD":
                yield from _false_hold(call, facts, kept)
            elif call.code == "PAID" and call.answer is not None:
                yield from kept.lacks_payment(call.answer.order or "")
    if facts.is_finished:
        yield from _untold_charges(facts, kept)
        yield from _untold_holds(facts, snapshot)
    for name, end in facts.endings.items():
        if end.reason == "refused":
            yield f"I5: {name} was refused with {end.code}, which no rule gives him"
    for name, calls in facts.by_buyer.items():
        yield from _false_status(name, calls, kept)


def _false_hold(call: Call, facts: Facts, kept: "_Kept") -> Iterator[str]:
    assert call.answer is not None
    order, buyer = call.answer.order or "", facts.buyers.get(call.invoke.buyer)
    yield from kept.lacks_hold(order, buyer.user if buyer else "")
    if call.end < facts.open_at:
        yield f"I5: {order} was granted {facts.open_at - call.end:.1f} ms before the opening"


def _false_status(name: str, calls: list[Call], kept: "_Kept") -> Iterator[str]:
    looks = [call for call in calls if call.invoke.op == "status" and call.answer is not None]
    denied = {call.invoke.order for call in looks if call.answer and call.answer.status == 404}
    for order in sorted(order or "" for order in denied):
        yield f"I5: {name} was told that his own order {order} does not exist"
    confirmed = {call.invoke.order for call in looks if call.code == "STATUS_confirmed"}
    for order in sorted(order or "" for order in confirmed):
        yield from kept.lacks_order(order, "confirmed")


def _untold_charges(facts: Facts, kept: "_Kept") -> Iterator[str]:
    for order in sorted(kept.charged):
        pays = facts.pays_by_order.get(order, [])
        if not any(call.code == "PAID" or call.is_unknown for call in pays):
            yield f"I5: {order} was charged, but nobody was told so and no call is open"


def _untold_holds(facts: Facts, snapshot: Snapshot) -> Iterator[str]:
    """A reservation must come from an answer its buyer got, or from a call whose answer he never got."""
    told: set[str] = set()
    unsure: set[str] = set()
    for name, calls in facts.by_buyer.items():
        for call in calls:
            if call.invoke.op != "checkout":
                continue
            if call.is_unknown:
                unsure.add(facts.buyers[name].user)
            elif call.answer is not None and call.answer.order:
                told.add(call.answer.order)
    users = {buyer.user for buyer in facts.buyers.values()}
    for row in snapshot.reservations:
        is_his = row.user in users and row.state in HOLDING_STATES and not row.is_earlier
        if is_his and row.order not in told and row.user not in unsure:
            yield f"I5: {row.order} holds a unit that {row.user} was never told of"


class _Kept:
    """What the stores keep of each order; a store that could not be asked contradicts nobody."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._missing = snapshot.missing
        self._users = {row.order: row.user for row in snapshot.reservations}
        self._sold = snapshot.orders_in({"SOLD", "RETURNED"})
        self._paid = {row.order for row in snapshot.payments if row.state in ONCE_CHARGED_STATES}
        self._orders = {row.order for row in snapshot.orders}
        taken = {row.order for row in snapshot.payments if row.state in CHARGED_STATES}
        charged = {each.order for each in snapshot.intents if each.is_live and each.order}
        self.charged = taken | charged

    def lacks_hold(self, order: str, user: str) -> Iterator[str]:
        if "inventory" in self._missing:
            return
        if order not in self._users:
            yield f"I5: {order} was granted, but has no reservation"
        elif self._users[order] != user:
            yield f"I5: {order} was granted to {user}, but is reserved for somebody else"

    def lacks_payment(self, order: str) -> Iterator[str]:
        if "payment" not in self._missing and order not in self._paid:
            yield f"I5: {order} was told to be paid, but has no payment"
        if "inventory" not in self._missing and order not in self._sold:
            yield f"I5: {order} was told to be paid, but its unit is not sold"
        yield from self.lacks_order(order, "paid")

    def lacks_order(self, order: str, told: str) -> Iterator[str]:
        if "order" not in self._missing and order not in self._orders:
            yield f"I5: {order} was told to be {told}, but is no order"
