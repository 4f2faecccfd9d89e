"""A history made by hand: three buyers, two units, and the stores as they are after it."""

import dataclasses
from typing import Any

from buyers import facts, history

OPEN = 1_000_000.0  # wall and authority; monotonic is 900,000 less


class Story:
    """Builds a history: three buyers, two units; b1 and b2 buy, b3 hears WAITING and then SOLD_OUT."""

    def __init__(self) -> None:
        self.records: list[Any] = [
            history.Run(
                seed=1,
                sale="default.drop",
                product="prod_x",
                open_ms=int(OPEN),
                offset_ms=0.0,
                at=self.at(-5000),
                wall=OPEN - 5000,
            )
        ]
        self.records.append(history.Finished(at=self.at(2000), wall=OPEN + 2000))
        self._calls = 0
        for number in (1, 2, 3):
            self.records.append(
                history.Enrolled(buyer=f"b{number}", user=f"user_{number}", is_able=True)
            )

    @staticmethod
    def at(millis: float) -> float:
        return OPEN - 900_000 + millis

    def call(
        self,
        buyer: str,
        op: Any,
        key: str,
        code: str,
        *,
        start: float,
        millis: float = 10,
        **more: Any,
    ) -> None:
        """One call from ``start`` ms after the opening; code ``?`` is unknown."""
        self._calls += 1
        order = more.pop("order", None)
        begin = {"call": self._calls, "buyer": buyer, "op": op, "key": key, "order": order}
        at = self.at(start)
        self.records.append(history.Invoke(**begin, at=at, wall=at + 900_000))
        kind: Any = history.Unknown
        if code in {"HELD", "PAID", "STATUS_confirmed"}:
            kind = history.Ok
        elif code != "?":
            kind = history.Fail
        self.records.append(
            kind(
                **begin,
                at=at + millis,
                wall=at + millis + 900_000,
                millis=millis,
                code=code,
                **more,
            )
        )

    def end(self, buyer: str, reason: Any, at: float, code: str = "") -> None:
        self.records.append(
            history.Ended(buyer=buyer, reason=reason, at=self.at(at), wall=OPEN + at, code=code)
        )

    def sample(self, at: float, available: int, reserved: int, sold: int, **more: int) -> None:
        values = {"total": 2, "ledger_reserved": reserved, "ledger_sold": sold} | more
        self.records.append(
            history.Sample(
                at=self.at(at),
                wall=OPEN + at,
                available=available,
                reserved=reserved,
                sold=sold,
                **values,
            )
        )


def good_story() -> Story:
    story = Story()
    for number in (1, 2):
        buyer, order = f"b{number}", f"order_{number}"
        story.call(buyer, "checkout", f"k{number}", "HELD", start=number, order=order)
        story.call(buyer, "pay", f"p{number}", "PAID", start=100, order=order, transaction="t")
        story.call(buyer, "status", "", "STATUS_confirmed", start=300, order=order)
        story.end(buyer, "paid", 310)
    story.call("b3", "checkout", "k3", "WAITING", start=5, millis=30)
    story.call("b3", "checkout", "k3", "SOLD_OUT", start=1000, millis=20)
    story.end("b3", "sold_out", 1020)
    story.sample(-100, 2, 0, 0)
    story.sample(50, 0, 2, 0)
    story.sample(1100, 0, 0, 2)
    return story


def good_snapshot() -> facts.Snapshot:
    return facts.Snapshot(
        counters=facts.Counters(available=0, reserved=0, sold=2, total=2),
        per_user_limit=1,
        reservations=[reservation(1), reservation(2)],
        user_quantities={"user_1": 1, "user_2": 1},
        payments=[payment(1), payment(2)],
        orders=[order_row(1), order_row(2)],
        intents=[intent(1), intent(2)],
        permits=0,
        sold_out_ms=OPEN + 640,
        pending={"inventory": 0},
    )


def reservation(number: int, **changes: Any) -> facts.Reservation:
    row = facts.Reservation(
        order=f"order_{number}",
        user=f"user_{number}",
        state="SOLD",
        quantity=1,
        created_ms=OPEN + 4 + number,
    )
    return dataclasses.replace(row, **changes)


def payment(number: int, **changes: Any) -> facts.PaymentRow:
    row = facts.PaymentRow(
        order=f"order_{number}", attempt=1, state="CAPTURED", intent=f"pi_{number}"
    )
    return dataclasses.replace(row, **changes)


def order_row(number: int, **changes: Any) -> facts.OrderRow:
    row = facts.OrderRow(order=f"order_{number}", user=f"user_{number}", status="confirmed")
    return dataclasses.replace(row, **changes)


def intent(number: int, **changes: Any) -> facts.Intent:
    row = facts.Intent(
        intent=f"pi_{number}",
        order=f"order_{number}",
        status="succeeded",
        captured_minor=99900,
        refunded_minor=0,
    )
    return dataclasses.replace(row, **changes)
