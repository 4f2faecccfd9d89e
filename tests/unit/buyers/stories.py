"""Whole sales out of a seed: a history and the stores it leaves, in which every rule holds."""

import dataclasses
import random
from typing import Any

from buyers import facts, history

OPEN_MS = 1_000_000.0
SHIFT_MS = 900_000.0  # wall minus monotonic
ROUND_MS = 100.0
HOLD_ROUNDS = 3


@dataclasses.dataclass
class Hold:
    """A held unit: whose, under which order, until which round, and whether he will pay."""

    buyer: str
    order: str
    until: int
    pays: bool


class SaleStory:
    """Plays a sale in rounds: press, wait, pay or leave; lost replies and declined cards among it."""

    def __init__(self, seed: int, buyers: int, units: int) -> None:
        self.chance = random.Random(seed)
        self.units = units
        self.records: list[Any] = [
            history.Run(
                seed=seed,
                sale="default.drop",
                product="prod_x",
                open_ms=int(OPEN_MS),
                offset_ms=0.0,
                at=OPEN_MS - SHIFT_MS - 5_000,
                wall=OPEN_MS - 5_000,
                units=units,
            )
        ]
        self.reservations: list[facts.Reservation] = []
        self.payments: list[facts.PaymentRow] = []
        self.orders: list[facts.OrderRow] = []
        self.intents: list[facts.Intent] = []
        self._calls = 0
        self._holds: list[Hold] = []
        self._sold = 0
        self._round = 0
        names = [f"b{number:05d}" for number in range(buyers)]
        for name in names:
            self.records.append(history.Enrolled(buyer=name, user=f"user_{name}", is_able=True))
        self._play(names)
        at = self.now()
        self.records.append(history.Finished(at=at, wall=at + SHIFT_MS))

    def now(self) -> float:
        return OPEN_MS - SHIFT_MS + ROUND_MS * self._round + 10

    def call(self, buyer: str, op: Any, key: str, code: str, **more: Any) -> None:
        """One call of this round; the code ``?`` is an answer that was lost."""
        self._calls += 1
        at = more.pop("at", self.now() + self.chance.uniform(0, 20))
        begin = {"call": self._calls, "buyer": buyer, "op": op, "key": key}
        order = more.pop("order", None)
        asked = order if op == "pay" else None
        self.records.append(history.Invoke(**begin, at=at, wall=at + SHIFT_MS, order=asked))
        kind: Any = {"HELD": history.Ok, "PAID": history.Ok, "?": history.Unknown}.get(
            code, history.Fail
        )
        end = at + self.chance.uniform(1, 20)
        self.records.append(
            kind(
                **begin,
                at=end,
                wall=end + SHIFT_MS,
                millis=end - at,
                code="" if code == "?" else code,
                order=order,
                **more,
            )
        )

    def end(self, buyer: str, reason: Any) -> None:
        at = self.now() + 50
        self.records.append(history.Ended(buyer=buyer, reason=reason, at=at, wall=at + SHIFT_MS))

    def sample(self) -> None:
        at = self.now() + 60
        reserved = len(self._holds)
        self.records.append(
            history.Sample(
                at=at,
                wall=at + SHIFT_MS,
                available=self.units - reserved - self._sold,
                reserved=reserved,
                sold=self._sold,
                total=self.units,
                ledger_reserved=reserved,
                ledger_sold=self._sold,
            )
        )

    def _play(self, waiting: list[str]) -> None:
        while waiting or self._holds:
            self._let_pay_or_leave()
            self.chance.shuffle(waiting)
            waiting = [name for name in waiting if not self._press(name)]
            self.sample()
            self._round += 1

    def _press(self, name: str) -> bool:
        """Press once; True when the buyer need not press again."""
        key, order = f"{name}-c", f"order_{name}"
        if len(self._holds) + self._sold < self.units:
            if self.chance.random() < 0.2:
                self.call(name, "checkout", key, "?")
            self.call(name, "checkout", key, "HELD", order=order, amount="9.0", pay_by="then")
            pays = self.chance.random() < 0.8
            until = self._round + HOLD_ROUNDS
            self._holds.append(Hold(buyer=name, order=order, until=until, pays=pays))
            return True
        if self._holds:
            self.call(name, "checkout", key, "WAITING")
            return False
        self.call(name, "checkout", key, "SOLD_OUT")
        self.end(name, "sold_out")
        return True

    def _let_pay_or_leave(self) -> None:
        for hold in list(self._holds):
            if hold.pays and self.chance.random() < 0.7:
                self._holds.remove(hold)
                self._pay(hold)
            elif not hold.pays and self._round >= hold.until:
                self._holds.remove(hold)
                self._keep(hold, "RELEASED")
                self.end(hold.buyer, "left")

    def _pay(self, hold: Hold) -> None:
        attempt = 1
        if self.chance.random() < 0.3:
            self.call(hold.buyer, "pay", f"{hold.buyer}-p0", "DECLINED", order=hold.order)
            self.payments.append(_payment(hold.order, attempt, "DECLINED"))
            attempt = 2
        key = f"{hold.buyer}-p1"
        if self.chance.random() < 0.3:
            self.call(hold.buyer, "pay", key, "?", order=hold.order)
        self.call(hold.buyer, "pay", key, "PAID", order=hold.order, transaction="t")
        self.payments.append(_payment(hold.order, attempt, "CAPTURED"))
        self.orders.append(
            facts.OrderRow(order=hold.order, user=f"user_{hold.buyer}", status="confirmed")
        )
        self.intents.append(intent_of(hold.order))
        self._sold += 1
        self._keep(hold, "SOLD")
        self.end(hold.buyer, "paid")

    def _keep(self, hold: Hold, state: str) -> None:
        self.reservations.append(
            facts.Reservation(
                order=hold.order,
                user=f"user_{hold.buyer}",
                state=state,
                quantity=1,
                created_ms=OPEN_MS + ROUND_MS * max(0, hold.until - HOLD_ROUNDS) + 20,
            )
        )

    def snapshot(self) -> facts.Snapshot:
        """The stores at rest."""
        left = self.units - self._sold
        return facts.Snapshot(
            counters=facts.Counters(available=left, reserved=0, sold=self._sold, total=self.units),
            per_user_limit=1,
            reservations=self.reservations,
            user_quantities={row.user: 1 for row in self.reservations if row.state == "SOLD"},
            payments=self.payments,
            orders=self.orders,
            intents=self.intents,
            permits=left,
            pending={"inventory": 0},
        )


def intent_of(order: str, number: int = 1) -> facts.Intent:
    return facts.Intent(
        intent=f"pi_{order}_{number}",
        order=order,
        status="succeeded",
        captured_minor=900,
        refunded_minor=0,
    )


def _payment(order: str, attempt: int, state: str) -> facts.PaymentRow:
    return facts.PaymentRow(order=order, attempt=attempt, state=state, intent=f"pi_{order}")
