"""A model of units and permits: the escrow's scripts, reserve_batch, the reapers, returns, warming, the reconciler.

Modelled after escrow/lua and inventory/migrations/sql as they are. One product, every order wants one unit. Payment is
reduced to what inventory sees of it: a pin, then a verdict. What is in the network, or in the memory of a process, is
part of the state, may be lost where a crash is left to happen, and may arrive at any time later.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .permit_losses import losses
from .permit_state import (
    ASKING,
    BUYERS,
    COLD,
    DONE,
    DROP,
    FATES,
    HELD,
    HOLDING,
    IN_FLIGHT,
    KEEP,
    MOST_MESSAGES,
    NEITHER,
    NO_ENTRY,
    NO_PERMIT,
    NONE,
    NOTHING,
    PAYING,
    PHANTOM,
    RELEASED,
    RETURN,
    RETURNED,
    RETURNED_BIT,
    ROWS,
    SETTLED,
    SOLD,
    TOLD_OUT,
    TOMB,
    UNREAD,
    WAITING,
    Left,
    Order,
    State,
    Step,
    add,
    also,
    drift,
    fate_of,
    kind_of,
    phase_of,
    put,
    reserved,
    returning,
    spend,
    without,
)


@dataclass(frozen=True, kw_only=True)
class Permits:
    """``without`` names the rules that are taken away; see ``scenarios.py``.

    ``forgives_phantoms`` lets a permit too many stand at rest, where no reconciler looks: it harms nobody.
    """

    buyers: int
    units: int
    left: Left = NOTHING
    without: frozenset[str] = frozenset()
    forgives_phantoms: bool = False

    def initial(self) -> State:
        """Return a warm product, nobody has asked."""
        return State(
            redis_epoch=1,
            permits=self.units,
            saved_epoch=-1,
            saved_permits=0,
            is_new_run=False,
            epoch=1,
            available=self.units,
            total=self.units,
            loads=(),
            is_final=False,
            left=self.left,
            orders=(Order(),) * self.buyers,
        )

    def canonical(self, state: State) -> State:
        """Sort the orders: buyers are alike."""
        return state._replace(orders=tuple(sorted(state.orders)))

    def steps(self, state: State) -> Iterator[Step]:
        """Return everything that may happen next."""
        for at, order in enumerate(state.orders):
            who = BUYERS[at]
            yield from self._checkout(state, at, order, who)
            if order.reserves:
                yield from self._reserve(state, at, order, who)
            if order.settles:
                yield from self._settle(state, at, order, who)
            if order.row in (HELD, PAYING, SOLD):
                yield from self._after_hold(state, at, order, who)
            yield from self._workers(state, at, order, who)
        yield from self._warm(state)
        if state.loads:
            yield from self._loads(state)
        yield from losses(state)

    # --- checkout ---------------------------------------------------------------------------------

    def _checkout(self, state: State, at: int, order: Order, who: str) -> Iterator[Step]:
        if order.phase == WAITING:
            if not order.reserves:
                yield (
                    f"{who}: no answer comes, so he asks again",
                    put(state, at, order._replace(phase=ASKING)),
                    True,
                )
            elif state.left.crashes:
                less = spend(state, crashes=1)
                gone = order._replace(phase=ASKING)
                yield (
                    f"{who}: checkout dies, its reserve is under way",
                    put(less, at, gone),
                    False,
                )
                gone = gone._replace(reserves=())
                yield f"{who}: checkout dies before it reserves", put(less, at, gone), False
        if state.left.leaves and order.phase in (ASKING, WAITING):
            less = spend(state, leaves=1)
            yield f"{who}: goes away", put(less, at, order._replace(phase=DONE)), False
        if order.phase != ASKING or len(order.reserves) >= MOST_MESSAGES:
            return
        if state.left.outages:
            sent = order._replace(phase=WAITING, reserves=also(order.reserves, NO_PERMIT))
            less = spend(state, outages=1)
            yield (
                f"{who}: Redis does not answer, checkout reserves direct",
                put(less, at, sent),
                False,
            )
        if state.redis_epoch == COLD:
            return
        sent = order._replace(phase=WAITING, reserves=also(order.reserves, state.redis_epoch))
        if order.entry > NEITHER:
            yield f"{who}: his permit is replayed", put(state, at, sent), True
        elif state.permits > 0:
            sent = sent._replace(entry=IN_FLIGHT)
            taken = state._replace(permits=state.permits - 1)
            yield f"{who}: takes a permit", put(taken, at, sent), True
        else:
            yield f"{who}: finds no permit and is judged", self._judge(state, at, order), True

    def _judge(self, state: State, at: int, order: Order) -> State:
        if order.row != NONE:
            return put(state, at, order._replace(phase=phase_of(order.row)))
        if "judgement" in self.without or state.available + reserved(state) < 1:
            out = order._replace(phase=TOLD_OUT)
            return put(state._replace(is_final=True), at, out)
        return state

    # --- reserve_batch and the settlement behind it ------------------------------------------------

    def _reserve(self, state: State, at: int, order: Order, who: str) -> Iterator[Step]:
        for epoch in order.reserves:
            rest = order._replace(reserves=without(order.reserves, epoch))
            committed, after, phase, fate = self._verdict(state, rest, epoch)
            answered = after
            if order.phase == WAITING:
                answered = after._replace(phase=phase)
            if epoch != NO_PERMIT and fate is not None:
                answered = answered._replace(settles=also(answered.settles, (epoch, fate)))
            if phase == TOLD_OUT and order.phase == WAITING:
                told = committed._replace(is_final=True)
            else:
                told = committed
            yield f"{who}: reserve commits ({ROWS[after.row]})", put(told, at, answered), True
            if state.left.crashes:
                died = after._replace(phase=ASKING) if order.phase == WAITING else after
                yield (
                    f"{who}: reserve commits ({ROWS[after.row]}) and inventory dies",
                    put(spend(committed, crashes=1), at, died),
                    False,
                )

    def _verdict(
        self, state: State, order: Order, epoch: int
    ) -> tuple[State, Order, int, int | None]:
        """Return the state and order after the commit, what the buyer hears, and the fate of his permit."""
        if order.row != NONE:
            return state, order, phase_of(order.row), fate_of(order, epoch)
        if "guard" not in self.without:
            if state.available + reserved(state) < 1:
                return state, order, TOLD_OUT, PHANTOM
            if epoch not in (NO_PERMIT, state.epoch):
                return state, order, ASKING, None
            if state.available < 1:
                return state, order, ASKING, PHANTOM
        held = order._replace(row=HELD, row_epoch=epoch)
        return state._replace(available=state.available - 1), held, HOLDING, KEEP

    def _settle(self, state: State, at: int, order: Order, who: str) -> Iterator[Step]:
        for epoch, fate in order.settles:
            rest = order._replace(settles=without(order.settles, (epoch, fate)))
            after = state
            if epoch == state.redis_epoch and kind_of(order.entry) == IN_FLIGHT:
                is_known = fate == KEEP or (fate == DROP and "drop_settles" not in self.without)
                kind = SETTLED if is_known else NEITHER
                rest = rest._replace(entry=kind | (order.entry & RETURNED_BIT))
                if fate == RETURN or (fate == DROP and "one_adds" in self.without):
                    after = state._replace(permits=state.permits + 1)
            yield f"{who}: the permit is settled ({FATES[fate]})", put(after, at, rest), True

    # --- what becomes of a hold --------------------------------------------------------------------

    def _after_hold(self, state: State, at: int, order: Order, who: str) -> Iterator[Step]:
        left = state.left
        if order.row == HELD:
            yield (
                f"{who}: the hold runs out and is released",
                self._release(state, at, order),
                True,
            )
            if order.phase == HOLDING:
                pinned = order._replace(row=PAYING, phase=DONE)
                yield f"{who}: pays, the units are pinned", put(state, at, pinned), True
        elif order.row == PAYING:
            yield f"{who}: the payment succeeds", put(state, at, order._replace(row=SOLD)), True
            if left.declines:
                less = spend(state, declines=1)
                again = order._replace(row=HELD, phase=HOLDING)
                yield f"{who}: the card is declined in time", put(less, at, again), False
                late = self._release(less, at, order)
                yield f"{who}: the card is declined too late", late, False
        if order.row != HELD and left.reversals:
            less = spend(state, reversals=1)._replace(
                available=state.available + 1,
                epoch=state.epoch + 1,
                loads=add(state.loads, UNREAD),
                is_final=False,
            )
            back = order._replace(row=RETURNED, phase=DONE)
            yield f"{who}: the payment is reversed", put(less, at, back), False

    def _release(self, state: State, at: int, order: Order) -> State:
        phase = DONE if order.phase == HOLDING else order.phase
        free = order._replace(row=RELEASED, back=state.epoch, phase=phase)
        return put(state._replace(available=state.available + 1), at, free)

    # --- workers -----------------------------------------------------------------------------------

    def _workers(self, state: State, at: int, order: Order, who: str) -> Iterator[Step]:
        if kind_of(order.entry) == IN_FLIGHT and "permit_reaper" not in self.without:
            found = order if order.row != NONE else order._replace(row=TOMB)
            fate = (state.redis_epoch, fate_of(found, state.redis_epoch))
            if len(found.settles) < MOST_MESSAGES:
                found = found._replace(settles=also(found.settles, fate))
                label = f"{who}: the permit reaper looks ({ROWS[found.row]})"
                yield label, put(state, at, found), True
        if order.back and state.redis_epoch != COLD and order.back <= state.redis_epoch:
            yield from self._give_back(state, at, order, who)
        if state.left.forgets and order.entry not in (NO_ENTRY, SETTLED):
            if kind_of(order.entry) != IN_FLIGHT:
                less = spend(state, forgets=1)
                gone = order._replace(entry=NO_ENTRY)
                yield (
                    f"{who}: a minute passes, Redis forgets the entry",
                    put(less, at, gone),
                    False,
                )

    def _give_back(self, state: State, at: int, order: Order, who: str) -> Iterator[Step]:
        after, entry = state, order.entry
        if order.back == state.redis_epoch and not entry & RETURNED_BIT:
            entry = (entry or NEITHER) | RETURNED_BIT
            if "two_flags" in self.without:
                entry = NEITHER | RETURNED_BIT
            after = state._replace(permits=state.permits + 1)
        brought = order._replace(entry=entry, back=0)
        yield f"{who}: the return worker brings the permit", put(after, at, brought), True
        if state.left.crashes:
            kept = order._replace(entry=entry)
            label = f"{who}: the return worker brings the permit and dies"
            yield label, put(spend(after, crashes=1), at, kept), False

    def _warm(self, state: State) -> Iterator[Step]:
        """A new epoch: on COLD and STALE by whoever asks; on anything out of step by the reconciler."""
        is_away = state.redis_epoch != state.epoch
        is_reconciled = "reconciler" not in self.without
        is_calm = not state.loads
        if is_away or state.is_new_run:
            is_asked = is_away and any(
                order.phase == ASKING or order.back for order in state.orders
            )
            if not (is_reconciled or is_asked):
                return
            label = "a new epoch is started: Redis is out of step"
        else:
            if not is_reconciled or "drift_watch" in self.without or not drift(state):
                return
            # Seen twice: in the worst moment, or when nothing is under way any more.
            is_calm = is_calm and not any(o.reserves or o.settles for o in state.orders)
            label = "a new epoch is started: the permits have drifted"
        if not is_calm and not state.left.eager:
            return
        bumped = state if is_calm else spend(state, eager=1)
        yield (
            label,
            bumped._replace(
                epoch=state.epoch + 1,
                is_new_run=False,
                loads=add(state.loads, (state.epoch + 1, state.available)),
            ),
            is_calm,
        )

    def _loads(self, state: State) -> Iterator[Step]:
        for load in sorted(set(state.loads)):
            rest = state._replace(loads=without(state.loads, load))
            if load == UNREAD:
                permits = max(0, state.available - returning(state))
                read = rest._replace(loads=add(rest.loads, (state.epoch, permits)))
                yield "the facts of the new epoch are read", read, True
            elif load[0] > state.redis_epoch:
                fresh = tuple(o._replace(entry=NO_ENTRY) for o in state.orders)
                loaded = rest._replace(redis_epoch=load[0], permits=load[1], orders=fresh)
                yield f"epoch {load[0]} is loaded with {load[1]} permits", loaded, True
            else:
                yield "a load comes too late and is refused", rest, True
            if state.left.crashes:
                label = "inventory dies between the new epoch and its load"
                yield label, spend(rest, crashes=1), False

    # --- rules -------------------------------------------------------------------------------------

    def broken(self, state: State) -> str | None:
        """Check I1, I2 and I6, and that no owner was ever told that there is nothing."""
        if state.available < 0:
            return "oversold: available is below zero (I1)"
        taken = sum(HELD <= order.row <= SOLD for order in state.orders)
        if state.available + taken != state.total:
            return "the counters are not what the rows say (I2)"
        if state.is_final and state.available + reserved(state) > 0:
            return "a unit can still be had after a final SOLD_OUT (I6)"
        if any(o.phase == TOLD_OUT and HELD <= o.row <= SOLD for o in state.orders):
            return "a buyer who owns a unit was told SOLD_OUT (I6)"
        return None

    def broken_at_rest(self, state: State) -> str | None:
        """Check I3's unit half, I6's second half and I7."""
        if any(order.row in (HELD, PAYING) for order in state.orders):
            return "a unit is still held at rest (I3)"
        if any(order.phase in (ASKING, WAITING, HOLDING) for order in state.orders):
            return "a buyer asks for ever, neither served nor told that all is sold (I6)"
        if any(order.back for order in state.orders):
            return "a released unit never came back to Redis (I7)"
        if state.redis_epoch != state.epoch:
            return "Redis is out of step at rest (I7)"
        if state.permits < state.available:
            return "Redis hides a unit at rest (I7)"
        if state.permits > state.available and not self.forgives_phantoms:
            return "Redis has a permit too many at rest (I7)"
        return None
