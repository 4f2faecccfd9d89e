"""A random history on the real stores: what may happen, what must hold after every step, and what at rest."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from doorbuster.contracts import control, internal
from doorbuster.escrow import PermitRequest, Settlement
from doorbuster.inventory.domain import BelowCommittedError
from doorbuster.testing.histories import LIMIT, HonestPayment, World

MOST_UNITS = 4
# Buyer b wants two units with one order, and has a second order.
ORDERS = {
    "a1": ("a", 1),
    "b1": ("b", 2),
    "b2": ("b", 1),
    "c1": ("c", 1),
    "d1": ("d", 3),
    "e1": ("e", 1),
}
NAMES = st.sampled_from(sorted(ORDERS))
# What may happen, the more often the more often it is named; steps of one order first.
OF_AN_ORDER = {
    "buy": 6,
    "permit": 3,
    "reserve_without_redis": 1,
    "pay": 2,
    "pay_again": 3,
    "pay_by_passes": 3,
}
OTHERS = {
    "reserve": 2,
    "reserve_and_settle_later": 3,
    "settle": 2,
    "untake": 1,
    "crash": 1,
    "pin": 2,
    "decide": 6,
    "reverse": 1,
    "deliver": 6,
    "lose_events": 1,
    "time_passes": 2,
    "hold_reaper": 2,
    "permit_reaper": 2,
    "return_worker": 3,
    "pin_sweep": 2,
    "warm": 1,
    "reconcile": 2,
    "flush": 1,
    "copy_or_roll_back": 2,
    "change_stock": 1,
    "change_gate": 1,
}
ACTS = st.sampled_from(
    [act for act, weight in (OF_AN_ORDER | OTHERS).items() for _ in range(weight)]
)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Stage:
    """A world and the loop it lives on, for tests that are not asynchronous themselves."""

    runner: asyncio.Runner
    world: World


class Machine(RuleBasedStateMachine):
    """One history; what is in flight is kept here, and may be dropped, delayed or sent twice."""

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self.world = self.stage.world
        self.paid = HonestPayment()
        self.granted: list[tuple[str, int]] = []  # every permit that was ever granted
        self.settling: list[Settlement] = []
        self.events: list[tuple[str, Any]] = []
        self.copy: dict[str, bytes] | None = None
        self.final_above: int | None = None  # SOLD_OUT was told for so many units
        self.number, self.coin = 0, False  # the luck of this step

    def run_in(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        answer: Answer = self.stage.runner.run(work)
        return answer

    def item(self, name: str, epoch: int | None) -> internal.ReserveItem:
        user, quantity = ORDERS[name]
        made: internal.ReserveItem = self.world.item(name, user, quantity, epoch)
        return made

    def heard(self, name: str, outcome: str) -> None:
        """A buyer is told: an owner never that there is nothing, and what is final stays so."""
        states = {row["order_id"]: row["state"] for row in self.run_in(self.world.rows())}
        if name in states:
            assert outcome in ("HELD", "PAID", "RELEASED"), (name, states[name], outcome)
        if outcome == "SOLD_OUT":
            quantity = ORDERS[name][1]
            self.final_above = min(quantity, self.final_above or quantity)

    # --- buyers and checkout ---------------------------------------------------------------------

    @initialize(units=st.integers(1, MOST_UNITS))
    def begin(self, units: int) -> None:
        self.run_in(self.world.enter(units))

    @rule(act=ACTS, name=NAMES, number=st.integers(0, 255))
    def happen(self, act: str, name: str, number: int) -> None:
        """One step. Hypothesis would switch some of many rules off for a whole history; all of these matter in all."""
        self.number, self.coin = number // 2, bool(number % 2)
        step = getattr(self, act)
        if act in OF_AN_ORDER:
            step(name)
        else:
            step()

    def pick(self, found: list[Answer]) -> Answer:
        return found[self.number % len(found)]

    def permit(self, name: str) -> None:
        user, quantity = ORDERS[name]
        answer = self.run_in(
            self.world.escrow.permit(
                PermitRequest(
                    order_id=name,
                    user_id=user,
                    product_id=self.world.product_id,
                    quantity=quantity,
                )
            )
        )
        if answer.outcome == "GRANTED":
            self.granted.append((name, answer.epoch))
        elif answer.outcome == "OUT":
            self.judge(name, answer.epoch)

    def judge(self, name: str, epoch: int) -> None:
        asked = internal.JudgeItem(
            order_id=name,
            user_id=ORDERS[name][0],
            request_hash="hash",
            product_id=self.world.product_id,
            quantity=ORDERS[name][1],
            sale_uid=f"uid-{self.world.sku}",
            epoch=epoch,
        )
        self.heard(name, self.run_in(self.world.reserver.judge([asked]))[0].outcome)

    def reserve(self) -> None:
        """Any permit that was ever granted may arrive with its reserve, now or again."""
        if not self.granted:
            return
        name, epoch = self.pick(self.granted)
        results = self.run_in(self.world.reserver.reserve([self.item(name, epoch)]))
        self.run_in(self.world.reserver.close())
        self.heard(name, results[0].outcome)

    def reserve_and_settle_later(self) -> None:
        if not self.granted:
            return
        name, epoch = self.pick(self.granted)
        outcome, ended = self.run_in(self.world.reserve_only(self.item(name, epoch)))
        self.settling += ended
        self.heard(name, outcome)

    def reserve_without_redis(self, name: str) -> None:
        outcome, _ = self.run_in(self.world.reserve_only(self.item(name, None)))
        self.heard(name, outcome)

    def buy(self, name: str) -> None:
        """The usual way at once, so that histories get far: permit, reserve, settle, pay, pin."""
        self.run_in(self.world.warmer.warm([self.world.product_id]))
        self.permit(name)
        if self.granted and self.granted[-1][0] == name:
            item = self.item(name, self.granted[-1][1])
            self.heard(name, self.run_in(self.world.reserver.reserve([item]))[0].outcome)
            self.run_in(self.world.reserver.close())
            attempt = self.paid.open(name)
            if attempt is not None:
                self.send_pin(attempt)

    def settle(self) -> None:
        if not self.settling:
            return
        at = self.number % len(self.settling)
        self.run_in(self.world.escrow.settle([self.settling.pop(at)]))

    def untake(self) -> None:
        if not self.granted:
            return
        at = self.number % len(self.granted)
        name, epoch = self.granted.pop(at)
        # Checkout untakes what it never sent: only an order id that has no row.
        if name not in {row["order_id"] for row in self.run_in(self.world.rows())}:
            self.run_in(self.world.escrow.untake(name, self.world.product_id, epoch))

    def crash(self) -> None:
        """Everything in flight is gone; nobody remembers a permit."""
        self.granted.clear()
        self.settling.clear()

    # --- payment ---------------------------------------------------------------------------------

    def pay(self, name: str) -> None:
        self.paid.open(name)

    def attempt(self, *states: str) -> Any:
        found = [attempt for attempt in self.paid.all() if attempt.state in states]
        return self.pick(found) if found else None

    def pin(self) -> None:
        """Also of an attempt that was given up long ago: its process was asleep."""
        attempt = self.attempt("NEW", "ABANDONED", "DECLINED")
        if attempt is not None:
            self.send_pin(attempt)

    def pay_again(self, name: str) -> None:
        """Another card, pinned at once."""
        attempt = self.paid.open(name)
        if attempt is not None:
            self.send_pin(attempt)

    def send_pin(self, attempt: Any) -> None:
        asked = internal.PinItem(order_id=attempt.order_id, attempt=attempt.number)
        answer = self.run_in(self.world.reserver.pin([asked]))[0]
        attempt.is_pinned = attempt.is_pinned or answer.outcome == "PINNED"

    def decide(self) -> None:
        attempt = self.attempt("NEW")
        if attempt is None:
            return
        if not attempt.is_pinned:
            attempt.state = "ABANDONED"
        else:
            attempt.state = "DECLINED" if self.coin else "AUTHORISED"
        word = "succeed" if attempt.state == "AUTHORISED" else "fail"
        self.events.append((word, attempt.named))

    def reverse(self) -> None:
        attempt = self.attempt("AUTHORISED")
        if attempt is None:
            return
        attempt.state = "REVERSED"
        self.events.append(("reverse", attempt.named))
        self.final_above = None

    def deliver(self) -> None:
        """Any event, in any order, and perhaps again later."""
        if not self.events:
            return
        at = self.number % len(self.events)
        word, attempt = self.events[at] if self.coin else self.events.pop(at)
        self.run_in(getattr(self.world.payments, word)([attempt]))
        if word == "reverse":
            self.final_above = None

    def lose_events(self) -> None:
        """The broker loses everything, except reversals: nothing tells those again."""
        self.events = [event for event in self.events if event[0] == "reverse"]

    # --- time and workers ------------------------------------------------------------------------

    def pay_by_passes(self, name: str) -> None:
        self.run_in(self.world.expire(name))
        if self.coin:
            self.run_in(self.world.holds.step())

    def time_passes(self) -> None:
        self.run_in(self.world.pass_time())

    def hold_reaper(self) -> None:
        self.run_in(self.world.holds.step())

    def permit_reaper(self) -> None:
        self.run_in(self.world.permits.step())

    def return_worker(self) -> None:
        self.run_in(self.world.returns.step())

    def pin_sweep(self) -> None:
        self.run_in(self.world.sweep(self.paid).step())

    def warm(self) -> None:
        self.run_in(self.world.warmer.warm([self.world.product_id]))

    def reconcile(self) -> None:
        self.run_in(self.world.reconciler.step())

    # --- Redis, the operator ---------------------------------------------------------------------

    def flush(self) -> None:
        self.run_in(self.world.client.flushdb())

    def copy_or_roll_back(self) -> None:
        if self.copy is None:
            self.copy = self.run_in(self.world.copy_redis())
        else:
            self.run_in(self.world.roll_back(self.copy, is_restart=self.coin))
            self.copy = None

    def change_stock(self) -> None:
        units = self.number % (2 * MOST_UNITS)
        before = self.run_in(self.world.counters())
        try:
            self.run_in(self.world.set_stock(units))
        except BelowCommittedError:
            assert units < before["reserved_qty"] + before["sold_qty"]
            return
        assert units >= before["reserved_qty"] + before["sold_qty"]
        self.final_above = None

    def change_gate(self) -> None:
        state: control.DesiredState = "Active" if self.number % 4 else "Suspended"
        self.run_in(self.world.set_gate(state))

    # --- rules that always hold ------------------------------------------------------------------

    @invariant()
    def ledger_is_whole(self) -> None:
        if not self.world.sku:
            return
        found = self.run_in(self.world.counters())
        rows = self.run_in(self.world.rows())
        counters = found["available_qty"], found["reserved_qty"], found["sold_qty"]
        assert min(counters) >= 0, ("I1", counters)
        assert sum(counters) == found["total_qty"], ("I1", counters, found["total_qty"])
        held = sum(row["qty"] for row in rows if row["state"] in ("HELD", "PAYING"))
        sold = sum(row["qty"] for row in rows if row["state"] == "SOLD")
        assert counters[1:] == (held, sold), ("I2", counters, held, sold)
        assert (found["sale_reserved"], found["sale_sold"]) == (held, sold), "I2"
        assert found["of_users"] == held + sold, "I4"
        assert found["most_of_a_user"] <= LIMIT, "I4"
        if self.final_above is not None:
            assert found["available_qty"] < self.final_above, "I6"
        states = {row["order_id"]: (row["state"], row["attempt"]) for row in rows}
        for attempt in self.paid.all():
            if attempt.state == "AUTHORISED":
                state, pinned_for = states[attempt.order_id]
                assert state in ("PAYING", "SOLD"), ("S4: paid without a unit", attempt, state)
                assert pinned_for == attempt.number, ("S4: pinned for another", attempt)

    # --- rest ------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if self.world.sku:
            self.run_in(self._rest())

    async def _rest(self) -> None:
        for attempt in self.paid.all():
            if attempt.state == "NEW":
                attempt.state = "ABANDONED"
        await self.world.set_gate("Active")
        for word, event in self.events:
            await getattr(self.world.payments, word)([event])
        free = await self.world.come_to_rest(self.paid)
        rows = await self.world.rows()
        paid = {one.order_id for one in self.paid.all() if one.state == "AUTHORISED"}
        assert {row["order_id"] for row in rows if row["state"] == "SOLD"} == paid, "I3"
        await self.world.sell_rest(free)
