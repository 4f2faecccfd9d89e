"""A model of one order's payment: attempts and their rows, drivers, recovery, the provider, events, both sweeps.

Modelled after payment/usecases and inventory/migrations/sql/transitions.sql as they are. The order holds one unit at
the beginning. A driver is whoever moves an attempt: the call of the buyer, a second call that takes over, or recovery
after it has looked at the provider. Requests to inventory and the provider may arrive after their sender died.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from .payment_money import money
from .payment_news import deliveries, sweeps
from .payment_state import (
    ABANDONED,
    ABSENT,
    AUTHORISED,
    BEGIN,
    CANCEL,
    CANCEL_DONE,
    CANCELLING,
    CONFIRM,
    CONFIRMING,
    CONFIRMING_THERE,
    CREATE,
    DECIDE,
    DECLINED,
    FAILED_EVENT,
    GIVE_UP,
    HELD,
    INTENTS,
    LIVE,
    NEW,
    NO_INTENT,
    NOTHING,
    OPEN,
    PAYING,
    PIN,
    PINNING,
    PSP_AUTHORISED,
    PSP_CANCELLED,
    PSP_CAPTURED,
    PSP_DECLINED,
    PUBLISH,
    RELEASED,
    RETURNED,
    REVERSED,
    REVERSING,
    ROWS,
    SELLS,
    SOLD,
    SUCCEEDED,
    UNDECIDED,
    Driver,
    Left,
    State,
    Step,
    add,
    end,
    has_room,
    publish,
    put,
    refused,
    release,
    spend,
)


@dataclass(frozen=True, kw_only=True)
class Payments:
    """``without`` names the rules that are taken away; see ``scenarios.py``.

    ``has_reversal_sweep`` adds a worker that the platform does not have: it tells a reversal until it is heard.
    """

    attempts: int
    left: Left = NOTHING
    without: frozenset[str] = frozenset()
    has_reversal_sweep: bool = False

    def initial(self) -> State:
        """Return a held unit nobody pays for yet."""
        no = (False,) * self.attempts
        none = (0,) * self.attempts
        return State(
            row=HELD,
            row_attempt=0,
            is_expired=False,
            reserved=1,
            sold=0,
            attempts=none,
            intents=none,
            said=none,
            pins=no,
            confirms=no,
            drivers=(),
            to_inventory=frozenset(),
            to_order=frozenset(),
            orders=0,
            swept=None,
            has_lapsed=False,
            is_misled=False,
            left=self.left,
        )

    def canonical(self, state: State) -> State:
        """Return the state itself: there is one order."""
        return state

    def steps(self, state: State) -> Iterator[Step]:
        """Return everything that may happen next."""
        yield from self._time(state)
        yield from self._opened(state)
        for attempt in range(1, self.attempts + 1):
            stored = state.attempts[attempt - 1]
            if stored in UNDECIDED:
                yield from self._taken_up(state, attempt, stored)
            elif stored != ABSENT:
                yield from money(state, attempt, self._key(attempt))
            if state.pins[attempt - 1]:
                yield self._pin_arrives(state, attempt)
            if state.confirms[attempt - 1]:
                yield from self._confirm_arrives(state, attempt)
        for driver in state.drivers:
            yield from self._drive(state, driver)
            if state.left.crashes:
                label = f"the driver of attempt {driver[1]} dies"
                yield label, spend(end(state, driver), crashes=1), False
        yield from deliveries(state, self.without)
        yield from sweeps(state, self.without, has_reversal_sweep=self.has_reversal_sweep)

    # --- time and buyers -----------------------------------------------------------------------------

    def _time(self, state: State) -> Iterator[Step]:
        if not state.is_expired:
            yield "the hold's time runs out", state._replace(is_expired=True), True
        elif state.row == HELD:
            yield "the hold reaper releases the unit", release(state), True

    def _opened(self, state: State) -> Iterator[Step]:
        """The buyer pays (again), when he likes."""
        used = sum(stored != ABSENT for stored in state.attempts)
        if used == self.attempts or state.row not in (HELD, PAYING):
            return
        if any(stored in REVERSED for stored in state.attempts):
            return
        if "single_live_row" not in self.without and any(s in LIVE for s in state.attempts):
            return
        attempt = used + 1
        opened = state._replace(attempts=put(state.attempts, attempt, NEW))
        yield f"the buyer pays: attempt {attempt} is NEW", add(opened, (PIN, attempt, 0)), False

    def _taken_up(self, state: State, attempt: int, stored: int) -> Iterator[Step]:
        """Recovery, at any moment; and a second call with the same key that takes over."""
        if stored == NEW:
            gone = self._decided(state, attempt, NEW, ABANDONED, FAILED_EVENT)
            yield f"recovery abandons attempt {attempt}", gone, True
        elif stored == CONFIRMING:
            seen = state.intents[self._key(attempt)]
            driver = (DECIDE, attempt, seen)
            if has_room(state, driver):
                label = f"recovery looks at attempt {attempt}: {INTENTS[seen]}"
                yield label, add(state, driver), True
        elif has_room(state, (CANCEL, attempt, 0)):
            yield (
                f"recovery takes up the cancel of {attempt}",
                add(state, (CANCEL, attempt, 0)),
                True,
            )
        if state.left.takeovers and stored != CANCELLING:
            driver = (PIN if stored == NEW else CONFIRM, attempt, 0)
            if has_room(state, driver):
                less = spend(state, takeovers=1)
                yield f"a second call takes over attempt {attempt}", add(less, driver), False

    # --- drivers -------------------------------------------------------------------------------------

    def _drive(self, state: State, driver: Driver) -> Iterator[Step]:
        doing, attempt, seen = driver
        does = self._next.get(doing)
        if does is not None:
            label, after = does(end(state, driver), attempt, seen)
            yield label, after, True

    @cached_property
    def _next(self) -> dict[int, Callable[[State, int, int], tuple[str, State]]]:
        """What a driver does by where it is; who waits for an answer does nothing."""
        return {
            PIN: self._send_pin,
            CREATE: self._create,
            BEGIN: self._begin,
            CONFIRM: self._send_confirm,
            DECIDE: self._decide,
            CANCEL: self._cancel,
            CANCEL_DONE: self._cancel_done,
            GIVE_UP: self._give_up,
            PUBLISH: self._publish_late,
        }

    def _send_pin(self, rest: State, attempt: int, _: int) -> tuple[str, State]:
        if "pin" in self.without:
            return f"attempt {attempt} goes on without a pin", add(rest, (CREATE, attempt, 0))
        sent = rest._replace(pins=put(rest.pins, attempt, True))
        return f"the pin of attempt {attempt} is sent", add(sent, (PINNING, attempt, 0))

    def _create(self, rest: State, attempt: int, _: int) -> tuple[str, State]:
        key = self._key(attempt)
        made = rest
        if rest.intents[key] == NO_INTENT:
            made = rest._replace(intents=put(rest.intents, key + 1, OPEN))
        return f"the intent of attempt {attempt} is made", add(made, (BEGIN, attempt, 0))

    def _begin(self, rest: State, attempt: int, _: int) -> tuple[str, State]:
        begun = self._moved(rest, attempt, NEW, CONFIRMING)
        if begun is not rest:
            begun = add(begun, (CONFIRM, attempt, 0))
        return f"attempt {attempt}: NEW -> CONFIRMING{refused(begun, rest)}", begun

    def _send_confirm(self, rest: State, attempt: int, _: int) -> tuple[str, State]:
        sent = rest._replace(confirms=put(rest.confirms, attempt, True))
        return f"the confirm of attempt {attempt} is sent", add(
            sent, (CONFIRMING_THERE, attempt, 0)
        )

    def _give_up(self, rest: State, attempt: int, _: int) -> tuple[str, State]:
        gone = self._decided(rest, attempt, NEW, ABANDONED, FAILED_EVENT)
        if gone is not rest:
            gone = gone._replace(is_misled=any(stored in SELLS for stored in rest.attempts))
        return f"attempt {attempt}: units gone, ABANDONED{refused(gone, rest)}", gone

    def _publish_late(self, rest: State, attempt: int, event: int) -> tuple[str, State]:
        return f"an event of attempt {attempt} is published", publish(rest, event, attempt)

    def _cancel(self, rest: State, attempt: int, _: int) -> tuple[str, State]:
        key = self._key(attempt)
        intent = rest.intents[key]
        done = rest
        if intent in (OPEN, PSP_AUTHORISED):
            done = rest._replace(intents=put(rest.intents, key + 1, PSP_CANCELLED))
        if intent != PSP_CAPTURED:
            done = add(done, (CANCEL_DONE, attempt, 0))
        return f"the provider cancels attempt {attempt}", done

    def _cancel_done(self, rest: State, attempt: int, _: int) -> tuple[str, State]:
        before = CANCELLING if "cancelling" not in self.without else CONFIRMING
        ended = self._decided(rest, attempt, before, DECLINED, FAILED_EVENT)
        return f"attempt {attempt}: cancelled, DECLINED{refused(ended, rest)}", ended

    def _decide(self, rest: State, attempt: int, seen: int) -> tuple[str, State]:
        if seen in (PSP_AUTHORISED, PSP_CAPTURED):
            sold = self._decided(rest, attempt, CONFIRMING, AUTHORISED, SUCCEEDED)
            return f"attempt {attempt}: CONFIRMING -> AUTHORISED{refused(sold, rest)}", sold
        if seen in (PSP_DECLINED, PSP_CANCELLED):
            ended = self._decided(rest, attempt, CONFIRMING, DECLINED, FAILED_EVENT)
            return f"attempt {attempt}: CONFIRMING -> DECLINED{refused(ended, rest)}", ended
        if "cancelling" in self.without:
            return f"attempt {attempt} is given up", add(rest, (CANCEL, attempt, 0))
        given = self._moved(rest, attempt, CONFIRMING, CANCELLING)
        if given is not rest:
            given = add(given, (CANCEL, attempt, 0))
        return f"attempt {attempt}: CONFIRMING -> CANCELLING{refused(given, rest)}", given

    def _key(self, attempt: int) -> int:
        return 0 if "key_per_attempt" in self.without else attempt - 1

    def _moved(self, state: State, attempt: int, before: int, after: int) -> State:
        if state.attempts[attempt - 1] != before:
            return state
        return state._replace(attempts=put(state.attempts, attempt, after))

    def _decided(self, state: State, attempt: int, before: int, after: int, event: int) -> State:
        """Compare and set, with the event in the same transaction."""
        moved = self._moved(state, attempt, before, after)
        if moved is state:
            return state
        if "outbox" in self.without:
            return add(moved, (PUBLISH, attempt, event))
        return publish(moved, event, attempt)

    # --- what arrives --------------------------------------------------------------------------------

    def _pin_arrives(self, state: State, attempt: int) -> Step:
        arrived = state._replace(pins=put(state.pins, attempt, False))
        answer = None
        if state.row == HELD and not state.is_expired and attempt > state.row_attempt:
            arrived = arrived._replace(row=PAYING, row_attempt=attempt)
            answer = CREATE
        elif state.row == PAYING and state.row_attempt == attempt:
            answer = CREATE
        elif state.row in (SOLD, RELEASED, RETURNED) or (state.row == HELD and state.is_expired):
            answer = GIVE_UP
        waiting = (PINNING, attempt, 0)
        if waiting in state.drivers:
            arrived = end(arrived, waiting)
            if answer is not None:
                arrived = add(arrived, (answer, attempt, 0))
        result = {CREATE: "PINNED", GIVE_UP: "EXPIRED", None: "CONFLICT"}[answer]
        return f"the pin of attempt {attempt} arrives: {result}", arrived, True

    def _confirm_arrives(self, state: State, attempt: int) -> Iterator[Step]:
        key = self._key(attempt)
        arrived = state._replace(confirms=put(state.confirms, attempt, False))
        answers: tuple[int, ...]
        if state.said[key]:
            answers = (state.said[key],)  # the same key, the stored answer
        elif state.intents[key] == OPEN:
            answers = (PSP_AUTHORISED, PSP_DECLINED)
        else:
            answers = (state.intents[key],)
        for answer in answers:
            after = arrived
            if state.intents[key] == OPEN and not state.said[key]:
                after = arrived._replace(
                    intents=put(state.intents, key + 1, answer),
                    said=put(state.said, key + 1, answer),
                )
            waiting = (CONFIRMING_THERE, attempt, 0)
            if waiting in state.drivers:
                after = add(end(after, waiting), (DECIDE, attempt, answer))
            yield f"the confirm of attempt {attempt} arrives: {INTENTS[answer]}", after, True

    # --- rules ---------------------------------------------------------------------------------------

    def broken(self, state: State) -> str | None:
        """Check S4, S5 and I2: no charge without the unit, no second charge, the counters."""
        selling = [at for at, stored in enumerate(state.attempts, 1) if stored in SELLS]
        if len(selling) > 1:
            return "two attempts of one order are paid (S5)"
        if selling and state.row not in (PAYING, SOLD):
            if not ("pin" in self.without and state.row == HELD):
                return f"attempt {selling[0]} is paid and the order holds no unit (S4)"
        if selling and "pin" not in self.without and state.row_attempt != selling[0]:
            return f"attempt {selling[0]} is paid, the unit is pinned for another (S4)"
        if selling and not state.has_lapsed:
            if state.intents[self._key(selling[0])] == PSP_CANCELLED:
                return "sold with a cancelled authorisation (S4)"
        if state.is_misled:
            return "a buyer who has paid is told that his units are gone (I8)"
        if state.orders > 1:
            return "two orders for one payment (S5)"
        expected = (int(state.row in (HELD, PAYING)), int(state.row == SOLD))
        if (state.reserved, state.sold) != expected:
            return "the counters are not what the rows say (I2)"
        return None

    def broken_at_rest(self, state: State) -> str | None:
        """Check I3: units sold = money kept = orders, one to one to one, and nothing is left under way."""
        if state.row in (HELD, PAYING):
            return f"the unit is {ROWS[state.row]} at rest (I3)"
        if any(stored in UNDECIDED | REVERSING for stored in state.attempts):
            return "an attempt is undecided at rest"
        if PSP_AUTHORISED in state.intents:
            return "money stays blocked at the provider at rest"
        captured = state.intents.count(PSP_CAPTURED)
        if captured != state.sold:
            return f"{state.sold} unit sold, {captured} payments kept (I3)"
        if captured and not state.orders:
            return "paid and no order (I3)"
        return None
