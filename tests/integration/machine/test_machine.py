"""Random histories on the real PostgreSQL and Redis: every step may come at any moment, no rule is ever broken.

A run is the same every time; DOORBUSTER_MACHINE_EXAMPLES=1000 draws that many new histories instead.
"""

import os
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from doorbuster.contracts import internal
from doorbuster.escrow import PermitRequest, Settlement
from doorbuster.inventory.domain import BelowCommittedError

EXAMPLES = int(os.environ.get("DOORBUSTER_MACHINE_EXAMPLES", "0"))
USUAL_EXAMPLES = 40
STEPS = 35
LIMIT = 3
MOST_UNITS = 4
ROUNDS_TO_REST = 12
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
Answer = TypeVar("Answer")


class Machine(RuleBasedStateMachine):
    """One history; what is in flight is kept here, and may be dropped, delayed or sent twice."""

    stage: Any
    payment: Any  # builds the honest payment

    def __init__(self) -> None:
        super().__init__()
        self.world = self.stage.world
        self.paid = self.payment()
        self.granted: list[tuple[str, int]] = []  # every permit that was ever granted
        self.settling: list[Settlement] = []
        self.events: list[tuple[str, Any]] = []
        self.copy: dict[str, bytes] | None = None
        self.final_above: int | None = None  # SOLD_OUT was told for so many units

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

    @rule(name=NAMES)
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

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def reserve(self, data: Any) -> None:
        """Any permit that was ever granted may arrive with its reserve, now or again."""
        name, epoch = data.draw(st.sampled_from(self.granted))
        results = self.run_in(self.world.reserver.reserve([self.item(name, epoch)]))
        self.run_in(self.world.reserver.close())
        self.heard(name, results[0].outcome)

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def reserve_and_settle_later(self, data: Any) -> None:
        name, epoch = data.draw(st.sampled_from(self.granted))
        outcome, ended = self.run_in(self.world.reserve_only(self.item(name, epoch)))
        self.settling += ended
        self.heard(name, outcome)

    @rule(name=NAMES)
    def reserve_without_redis(self, name: str) -> None:
        outcome, _ = self.run_in(self.world.reserve_only(self.item(name, None)))
        self.heard(name, outcome)

    @precondition(lambda self: self.settling)
    @rule(data=st.data())
    def settle(self, data: Any) -> None:
        at = data.draw(st.integers(0, len(self.settling) - 1))
        self.run_in(self.world.escrow.settle([self.settling.pop(at)]))

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def untake(self, data: Any) -> None:
        at = data.draw(st.integers(0, len(self.granted) - 1))
        name, epoch = self.granted.pop(at)
        # Checkout untakes what it never sent: only an order id that has no row.
        if name not in {row["order_id"] for row in self.run_in(self.world.rows())}:
            self.run_in(self.world.escrow.untake(name, self.world.product_id, epoch))

    @rule()
    def crash(self) -> None:
        """Everything in flight is gone; nobody remembers a permit."""
        self.granted.clear()
        self.settling.clear()

    # --- payment ---------------------------------------------------------------------------------

    @rule(name=NAMES)
    def pay(self, name: str) -> None:
        self.paid.open(name)

    def attempt(self, data: Any, *states: str) -> Any:
        found = [attempt for attempt in self.paid.all() if attempt.state in states]
        return data.draw(st.sampled_from(found)) if found else None

    @rule(data=st.data())
    def pin(self, data: Any) -> None:
        """Also of an attempt that was given up long ago: its process was asleep."""
        attempt = self.attempt(data, "NEW", "ABANDONED", "DECLINED")
        if attempt is None:
            return
        asked = internal.PinItem(order_id=attempt.order_id, attempt=attempt.number)
        answer = self.run_in(self.world.reserver.pin([asked]))[0]
        attempt.is_pinned = attempt.is_pinned or answer.outcome == "PINNED"

    @rule(data=st.data(), is_declined=st.booleans())
    def decide(self, data: Any, is_declined: bool) -> None:
        attempt = self.attempt(data, "NEW")
        if attempt is None:
            return
        if not attempt.is_pinned:
            attempt.state = "ABANDONED"
        else:
            attempt.state = "DECLINED" if is_declined else "AUTHORISED"
        word = "succeed" if attempt.state == "AUTHORISED" else "fail"
        self.events.append((word, attempt.named))

    @rule(data=st.data())
    def reverse(self, data: Any) -> None:
        attempt = self.attempt(data, "AUTHORISED")
        if attempt is not None:
            attempt.state = "REVERSED"
            self.events.append(("reverse", attempt.named))
            self.final_above = None

    @precondition(lambda self: self.events)
    @rule(data=st.data(), is_repeated=st.booleans())
    def deliver(self, data: Any, is_repeated: bool) -> None:
        """Any event, in any order, and perhaps again later."""
        at = data.draw(st.integers(0, len(self.events) - 1))
        word, attempt = self.events[at] if is_repeated else self.events.pop(at)
        self.run_in(getattr(self.world.payments, word)([attempt]))
        if word == "reverse":
            self.final_above = None

    @rule()
    def lose_events(self) -> None:
        """The broker loses everything, except reversals: nothing tells those again."""
        self.events = [event for event in self.events if event[0] == "reverse"]

    # --- time and workers ------------------------------------------------------------------------

    @rule(name=NAMES)
    def pay_by_passes(self, name: str) -> None:
        self.run_in(self.world.expire(name))

    @rule()
    def time_passes(self) -> None:
        self.run_in(self.world.pass_time())

    @rule()
    def hold_reaper(self) -> None:
        self.run_in(self.world.holds.step())

    @rule()
    def permit_reaper(self) -> None:
        self.run_in(self.world.permits.step())

    @rule()
    def return_worker(self) -> None:
        self.run_in(self.world.returns.step())

    @rule()
    def pin_sweep(self) -> None:
        self.run_in(self.world.sweep(self.paid).step())

    @rule()
    def warm(self) -> None:
        self.run_in(self.world.warmer.warm([self.world.product_id]))

    @rule()
    def reconcile(self) -> None:
        self.run_in(self.world.reconciler.step())

    # --- Redis, the operator ---------------------------------------------------------------------

    @rule()
    def flush(self) -> None:
        self.run_in(self.world.client.flushdb())

    @rule()
    def copy_redis(self) -> None:
        self.copy = self.run_in(self.world.copy_redis())

    @precondition(lambda self: self.copy is not None)
    @rule(is_restart=st.booleans())
    def roll_back(self, is_restart: bool) -> None:
        self.run_in(self.world.roll_back(self.copy, is_restart=is_restart))

    @rule(units=st.integers(0, MOST_UNITS + 2))
    def change_stock(self, units: int) -> None:
        before = self.run_in(self.world.counters())
        try:
            self.run_in(self.world.set_stock(units))
        except BelowCommittedError:
            assert units < before["reserved_qty"] + before["sold_qty"]
            return
        assert units >= before["reserved_qty"] + before["sold_qty"]
        self.final_above = None

    @rule(state=st.sampled_from(["Active", "Suspended"]))
    def change_gate(self, state: str) -> None:
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
        world = self.world
        await world.set_gate("Active")
        for attempt in self.paid.all():
            if attempt.state == "NEW":
                attempt.state = "ABANDONED"
        for _ in range(ROUNDS_TO_REST):
            for word, event in self.events:
                await getattr(world.payments, word)([event])
            self.events = []
            await world.pass_time()
            await world.expire()
            await world.sweep(self.paid).step()
            for worker in (world.holds, world.permits, world.returns, world.reconciler):
                await worker.step()
            found = await world.counters()
            held = (await world.escrow.snapshot([world.product_id])).get(world.product_id)
            is_done = (
                not found["reserved_qty"]
                and not found["returning"]
                and held is not None
                and (held.epoch, held.permits, held.unsettled)
                == (found["epoch"], found["available_qty"], 0)
            )
            if is_done:
                break
        assert is_done, ("I3, I7", dict(found), held)
        rows = await world.rows()
        paid = {one.order_id for one in self.paid.all() if one.state == "AUTHORISED"}
        assert {row["order_id"] for row in rows if row["state"] == "SOLD"} == paid, "I3"
        await self._sell_the_rest(found["available_qty"])

    async def _sell_the_rest(self, units: int) -> None:
        """What is free can be bought to the last unit, and then it is said that all is sold or held (I6)."""
        world = self.world
        for number in range(units + 1):
            request = PermitRequest(
                order_id=f"late-{number}",
                user_id=f"late-{number}",
                product_id=world.product_id,
                quantity=1,
            )
            answer = await world.escrow.permit(request)
            assert answer.outcome == ("GRANTED" if number < units else "OUT"), "I7"
            if number < units:
                late = world.item(f"late-{number}", f"late-{number}", 1, answer.epoch)
                assert (await world.reserver.reserve([late]))[0].outcome == "HELD", "I6"
        await world.reserver.close()


def run_machine(stage: Any, payment: Any, *, examples: int, phases: tuple[Phase, ...]) -> None:
    class Here(Machine):
        pass

    Here.stage, Here.payment = stage, staticmethod(payment)
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=EXAMPLES or examples,
            stateful_step_count=STEPS,
            derandomize=not EXAMPLES,
            database=None,
            deadline=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_history_breaks_a_rule(stage: Any, honest_payment: Any) -> None:
    phases = (Phase.generate,)
    run_machine(stage, honest_payment, examples=USUAL_EXAMPLES, phases=phases)


# Each takes one rule out of the database; the machine must see it. (function, what to find, what to put there)
BROKEN = {
    "no guard": [
        ("reserve_batch", "> fact.pool_room", "> fact.pool_room + 100"),
        ("reserve_batch", "fact.potential < fact.qty", "false"),
    ],
    "a pin that time can break": [
        ("expire_holds", "state = 'HELD' AND", "state IN ('HELD', 'PAYING') AND"),
    ],
    "a failure of any attempt": [
        ("decline_attempts", "r.state = 'PAYING' AND r.attempt = a.attempt", "r.state = 'PAYING'"),
    ],
    "a success counted twice": [
        ("confirm_sold", "r.state = 'PAYING'", "r.state IN ('PAYING', 'SOLD')"),
    ],
    "a final answer too early": [
        ("reserve_batch", "+ pool.reserved_qty", ""),
    ],
}


@pytest.mark.parametrize("broken", sorted(BROKEN))
def test_a_rule_taken_out_of_the_database_is_missed(
    stage: Any, honest_payment: Any, broken: str
) -> None:
    async def take_out() -> None:
        connection = stage.world.connection
        for name, what, instead in BROKEN[broken]:
            text = await connection.fetchval(
                "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = $1", name
            )
            assert what in text
            await connection.execute(text.replace(what, instead))
        for constraint in await connection.fetch(
            "SELECT conrelid::regclass::text AS of_table, conname FROM pg_constraint"
            " WHERE contype = 'c' AND conrelid IN ('inventory'::regclass, 'sale_item'::regclass)"
        ):
            await connection.execute(
                f'ALTER TABLE {constraint["of_table"]} DROP CONSTRAINT "{constraint["conname"]}"'
            )

    stage.runner.run(take_out())
    with pytest.raises(AssertionError):
        run_machine(stage, honest_payment, examples=300, phases=(Phase.generate,))
