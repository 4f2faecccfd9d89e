"""How news travels in the model of payments: events, what inventory makes of them, and the sweeps behind them."""

from collections.abc import Iterator

from .payment_state import (
    EVENTS,
    FAILED,
    FAILED_EVENT,
    HELD,
    PAYING,
    REVERSED,
    REVERSED_EVENT,
    SELLABLE,
    SELLS,
    SOLD,
    SUCCEEDED,
    State,
    Step,
    publish,
    release,
    sell,
    spend,
    take_back,
)


def deliveries(state: State, without: frozenset[str]) -> Iterator[Step]:
    """Return the arrivals of events, in any order, again, or never."""
    for event in sorted(state.to_inventory):
        label = f"inventory hears {EVENTS[event[0]]}({event[1]})"
        heard = heard_by_inventory(state, event, without)
        yield label, heard._replace(to_inventory=state.to_inventory - {event}), True
        if state.left.duplicates:
            yield f"{label}, and will again", spend(heard, duplicates=1), False
    for event in sorted(state.to_order):
        label = f"order hears {EVENTS[event[0]]}({event[1]})"
        heard = state
        if event[0] == SUCCEEDED:
            made = 1 if "order_dedupe" not in without else min(2, state.orders + 1)
            heard = state._replace(orders=made)
        yield label, heard._replace(to_order=state.to_order - {event}), True
        if state.left.duplicates:
            yield f"{label}, and will again", spend(heard, duplicates=1), False
    if state.left.broker_losses and (state.to_inventory or state.to_order):
        lost = state._replace(to_inventory=frozenset(), to_order=frozenset())
        yield "the broker loses everything", spend(lost, broker_losses=1), False


def heard_by_inventory(state: State, event: tuple[int, int], without: frozenset[str]) -> State:
    """Confirm, decline or take back as inventory's SQL does."""
    kind, attempt = event
    is_same = attempt == state.row_attempt
    if kind == SUCCEEDED:
        if "pin" in without:
            is_ours = state.row == HELD
        elif "dedupe" in without:
            is_ours = is_same and state.row in (PAYING, SOLD)
        else:
            is_ours = is_same and state.row in SELLABLE["paying_only" in without]
        return sell(state) if is_ours else state
    if kind == REVERSED_EVENT:
        return take_back(state) if is_same and state.row in (SOLD, PAYING) else state
    if state.row == PAYING and (is_same or "attempt_of_failure" in without):
        return release(state) if state.is_expired else state._replace(row=HELD)
    if state.row == HELD and attempt > state.row_attempt and not state.is_expired:
        return state._replace(row_attempt=attempt)
    return state


def sweeps(state: State, without: frozenset[str], *, has_reversal_sweep: bool) -> Iterator[Step]:
    """Return what the pin sweep, the order sweep and a reversal sweep may do."""
    yield from _pin_sweep(state, without)
    for attempt, stored in enumerate(state.attempts, 1):
        is_told = (REVERSED_EVENT, attempt) in state.to_inventory
        is_sold = state.row == SOLD and state.row_attempt == attempt
        if has_reversal_sweep and stored in REVERSED and is_sold and not is_told:
            again = publish(state, REVERSED_EVENT, attempt)
            yield f"the reversal of attempt {attempt} is published again", again, True
        is_known = state.orders or (SUCCEEDED, attempt) in state.to_order
        if "order_sweep" not in without and stored in SELLS and not is_known:
            again = publish(state, SUCCEEDED, attempt)
            yield f"the order sweep publishes attempt {attempt} again", again, True


def _pin_sweep(state: State, without: frozenset[str]) -> Iterator[Step]:
    if state.swept is not None:
        applied = heard_by_inventory(state, state.swept, without)._replace(swept=None)
        yield f"the pin sweep applies {EVENTS[state.swept[0]]}", applied, True
    elif state.row == PAYING and "pin_sweep" not in without:
        verdict = _verdict(state.attempts[state.row_attempt - 1], without)
        if verdict is not None:
            asked = state._replace(swept=(verdict, state.row_attempt))
            yield f"the pin sweep asks: {EVENTS[verdict]}", asked, True


def _verdict(stored: int, without: frozenset[str]) -> int | None:
    if stored in SELLS:
        return SUCCEEDED
    if stored in REVERSED and "own_verdict" not in without:
        return REVERSED_EVENT
    return FAILED_EVENT if stored in FAILED | REVERSED else None
