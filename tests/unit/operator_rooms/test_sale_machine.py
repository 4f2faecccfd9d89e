"""Any history of a sale: the reducer against a small reference that remembers instead of deriving.

The machine plays merchant, buyers, inventory and clock; the operator passes now and then, dies between its effects
and its status patch, or cannot reach inventory. After every pass that ends, phase and timeline must be what the
reference says.
"""

from datetime import datetime, timedelta

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from doorbuster.contracts import control
from doorbuster_operator.sale import model, resources
from doorbuster_operator.sale.facts import (
    CountUnread,
    EnsureTopic,
    PutGate,
    Seen,
    TargetSeen,
    WriteReport,
)
from doorbuster_operator.sale.lifecycle import decide
from doorbuster_operator.sale.model import Phase
from doorbuster_operator.testing.builders import (
    OPEN,
    TOPIC,
    after,
    build_gate,
    build_sale,
    build_seen,
)

TARGET = model.ScalingTarget(name="web", hpa_name="web", warm_replicas=10)
COLD, WARM = 8, 9
GRACE = timedelta(seconds=30)
LEAD = timedelta(seconds=600)
ROUNDS = 6


class SaleMachine(RuleBasedStateMachine):
    """One sale over one pool of five."""

    @initialize(
        late=st.sampled_from(["OpenImmediately", "Reject"]),
        cold=st.sampled_from(["OpenAnyway", "Hold"]),
        ready=st.sampled_from([COLD, WARM]),
    )
    def start(self, late: str, cold: str, ready: int) -> None:
        self.sale = build_sale(
            late_open_policy=late,
            warmup=model.Warmup(on_not_ready=cold),
            scaling=model.Scaling(targets=[TARGET]),
        )
        self.ready = ready
        self.is_reported = False
        self.now = after(-900)
        self.gate: control.SaleState | None = None
        self.is_silent = False
        self.unread = 0
        # What the reference remembers.
        self.armed_at: datetime | None = None
        self.was_open = False
        self.closed_at: datetime | None = None
        self.over: Phase | None = None
        self.last: Phase | None = None
        self.is_fresh = False

    # --- the world --------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 7, 30, 120, 300]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.is_fresh = False

    @precondition(lambda self: self.sale.spec.desired_state != "Cancelled" and not self.over)
    @rule(state=st.sampled_from(["Active", "Suspended", "Cancelled"]))
    def merchant_wants(self, state: control.DesiredState) -> None:
        self._edit(desired_state=state)

    @precondition(lambda self: self.closed_at is None and not self.over)
    @rule(seconds=st.sampled_from([30, 300, 900]))
    def merchant_moves_the_close(self, seconds: int) -> None:
        self._edit(close_time=after(seconds))

    def _edit(self, **changes: object) -> None:
        spec = msgspec.structs.replace(self.sale.spec, **changes)
        generation = self.sale.generation + 1
        self.sale = msgspec.structs.replace(self.sale, spec=spec, generation=generation)
        self.is_fresh = False

    @precondition(lambda self: self._sells())
    @rule(units=st.integers(1, 5), paid=st.booleans())
    def buyers_come(self, units: int, paid: bool) -> None:
        item = self.gate.items[0]
        units = min(units, item.available)
        if units:
            self._count(available=-units, sold=units if paid else 0, reserved=0 if paid else units)

    @precondition(lambda self: self.gate is not None and self.gate.items[0].reserved > 0)
    @rule(is_paid=st.booleans())
    def holds_end(self, is_paid: bool) -> None:
        held = self.gate.items[0].reserved
        self._count(available=0 if is_paid else held, sold=held if is_paid else 0, reserved=-held)

    @rule()
    def inventory_comes_and_goes(self) -> None:
        self.is_silent = not self.is_silent
        self.is_fresh = False

    @rule(unread=st.integers(0, 1))
    def readers_lag(self, unread: int) -> None:
        self.unread = unread
        self.is_fresh = False

    @rule(ready=st.sampled_from([COLD, WARM]))
    def replicas_come_and_go(self, ready: int) -> None:
        self.ready = ready
        self.is_fresh = False

    def _sells(self) -> bool:
        gate = self.gate
        return (
            gate is not None
            and gate.state == "Active"
            and gate.open_time <= self.now < gate.close_time
        )

    def _count(self, *, available: int, reserved: int, sold: int) -> None:
        gate = self.gate
        item = gate.items[0]
        fresh = msgspec.structs.replace(
            item,
            available=item.available + available,
            reserved=item.reserved + reserved,
            sold=item.sold + sold,
        )
        is_out = fresh.available == 0 and fresh.reserved == 0
        self.gate = msgspec.structs.replace(
            gate,
            items=[fresh],
            drained=fresh.reserved == 0,
            first_reservation_time=gate.first_reservation_time or self.now,
            sold_out_time=self.now if is_out else None,
        )
        self.is_fresh = False

    # --- the operator -----------------------------------------------------------------------------

    @rule(is_killed=st.booleans())
    def operator_passes(self, is_killed: bool) -> None:
        unread: int | None = None
        timeline = self.sale.status.timeline
        for _ in range(ROUNDS):
            seen = self._look(unread)
            sale = msgspec.structs.replace(
                self.sale, status=msgspec.structs.replace(self.sale.status, timeline=timeline)
            )
            decision = decide(sale, seen, self.now)
            timeline = decision.timeline
            if not decision.actions:
                break
            for action in decision.actions:
                match action:
                    case PutGate():
                        self._store(action)
                    case CountUnread():
                        unread = self.unread
                    case WriteReport():
                        self.is_reported = True
                    case EnsureTopic():
                        raise AssertionError("the topic is there and right")
        assert not decision.actions, "a pass comes to rest"
        if is_killed:
            self.is_reported = False
            return
        before = self.sale.status.timeline
        for name in before.__struct_fields__:
            known = getattr(before, name)
            assert known is None or getattr(timeline, name) == known, "times are set once"
        status = model.Status(
            phase=decision.phase, timeline=timeline, conditions=list(decision.conditions)
        )
        self.sale = msgspec.structs.replace(self.sale, status=status)
        self._reference()
        self.is_fresh = not self.is_silent

    def _look(self, unread: int | None) -> Seen:
        silence = "The inventory service does not answer." if self.is_silent else None
        web = TargetSeen(name="web", demand=10, minimum=10, ready=self.ready)
        return build_seen(
            gate=self.gate,
            silence=silence,
            topic=TOPIC,
            unread=unread,
            armed_at=self.armed_at,
            targets=(web,),
            is_reported=self.is_reported,
        )

    def _store(self, put: PutGate) -> None:
        assert not self.is_silent, "nothing is asked of a silent inventory"
        self._check_hold(put)
        wanted = resources.gate(self.sale, state=put.state, close_time=put.close_time, fence=1)
        if self.gate is None:
            assert self.now >= OPEN - LEAD, "the gate is armed in the lead, not before"
            assert put.state != "Cancelled", "a cancelled sale is never armed"
            self.gate, self.armed_at = build_gate(), self.now
        else:
            assert self.gate.state != "Cancelled", "a cancelled gate stays shut"
            # Reading the stored gate tells even a process that dies now that buyers came in.
        self.gate = msgspec.structs.replace(
            self.gate,
            state=put.state,
            close_time=wanted.close_time,
            generation=wanted.generation,
        )

    def _check_hold(self, put: PutGate) -> None:
        """A cold sale that is to be held waits; nothing else shuts a gate, and nothing one that was open."""
        gate, spec = self.gate, self.sale.spec
        if spec.desired_state != "Active":
            assert put.state == spec.desired_state
            return
        is_cold = spec.warmup.on_not_ready == "Hold" and self.ready < WARM
        has_opened = gate is not None and (
            self.was_open
            or gate.first_reservation_time is not None
            or (gate.state == "Active" and self.now >= OPEN)
        )
        if put.state == "Suspended":
            assert not has_opened, "what was open is never held"
            assert is_cold or self.now >= gate.close_time
        else:
            was_let_go = gate is not None and gate.state == "Active"
            assert not is_cold or has_opened or was_let_go, "the gate waits for the capacity"

    # --- the reference ----------------------------------------------------------------------------

    def _reference(self) -> None:
        """Remember what a pass that was written down has made known."""
        if self.is_silent:
            return
        self.last = self._expected()
        if self.last in (Phase.OPEN, Phase.SOLD_OUT, Phase.CLOSED, Phase.SETTLED):
            self.was_open = True
        if self.last in (Phase.CLOSED, Phase.SETTLED, Phase.CANCELLED):
            self.closed_at = self.closed_at or min(
                self.now, self.gate.close_time if self.gate else self.now
            )
        if self.last in (Phase.SETTLED, Phase.CANCELLED):
            self.over = self.last

    def _expected(self) -> Phase:
        if self.over:
            return self.over
        spec, gate, now = self.sale.spec, self.gate, self.now
        if gate is None:
            too_late = OPEN if spec.late_open_policy == "Reject" else spec.close_time
            if spec.desired_state == "Cancelled" or now >= too_late:
                return Phase.CANCELLED
            return Phase.SCHEDULED if now < OPEN - LEAD else Phase.WARMING
        came_in = self.was_open or gate.first_reservation_time is not None
        sold_any_time = came_in or self.sale.status.timeline.open_time is not None
        is_shut = gate.state == "Cancelled" or now >= gate.close_time
        if gate.state == "Cancelled" and not sold_any_time:
            return Phase.CANCELLED
        if is_shut:
            due = (self.closed_at or min(now, gate.close_time)) + GRACE
            done = gate.drained and self.unread == 0 and now >= due
            return Phase.SETTLED if done else Phase.CLOSED
        if now >= OPEN and (gate.state == "Active" or sold_any_time):
            item = gate.items[0]
            return Phase.SOLD_OUT if item.available + item.reserved == 0 else Phase.OPEN
        return Phase.WARMING

    @invariant()
    def a_pass_tells_the_phase_of_the_reference(self) -> None:
        if getattr(self, "is_fresh", False):
            assert self.sale.status.phase is self.last

    @invariant()
    def a_written_pass_leaves_nothing_to_do(self) -> None:
        if getattr(self, "is_fresh", False):
            again = decide(self.sale, self._look(self.unread), self.now)
            assert not [each for each in again.actions if isinstance(each, PutGate)]
            assert again.phase is self.sale.status.phase
            assert again.wake_at is None or again.wake_at > self.now


SaleMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestSaleMachine = SaleMachine.TestCase
