"""Money in the model of payments: capture, void, refund; each reads the row and the provider anew."""

from collections.abc import Iterator

from .payment_state import (
    AUTHORISED,
    CAPTURE_FAILED,
    CAPTURED,
    CAPTURING,
    CAPTURING_FLAGGED,
    INTENTS,
    PSP_AUTHORISED,
    PSP_CANCELLED,
    PSP_CAPTURED,
    PSP_REFUNDED,
    REFUNDED,
    REFUNDING,
    REVERSED,
    REVERSED_EVENT,
    SELLS,
    STATES,
    VOIDED,
    VOIDING,
    State,
    Step,
    publish,
    put,
    spend,
)


def money(state: State, attempt: int, key: int) -> Iterator[Step]:
    """Return what may happen to the money of a decided attempt whose intent stands at ``key``."""
    stored, intent = state.attempts[attempt - 1], state.intents[key]
    if stored in SELLS and state.left.cancels and stored != CAPTURING_FLAGGED:
        to = {AUTHORISED: VOIDING, CAPTURING: CAPTURING_FLAGGED, CAPTURED: REFUNDING}[stored]
        less = spend(state, cancels=1)._replace(attempts=put(state.attempts, attempt, to))
        yield (
            f"the order is cancelled while attempt {attempt} is {STATES[stored]}",
            less,
            False,
        )
    if stored in (AUTHORISED, CAPTURING) and intent == PSP_AUTHORISED and state.left.lapses:
        lapsed = state._replace(
            intents=put(state.intents, key + 1, PSP_CANCELLED), has_lapsed=True
        )
        yield "the bank lets the authorisation lapse", spend(lapsed, lapses=1), False
    if stored == AUTHORISED:
        begun = state._replace(attempts=put(state.attempts, attempt, CAPTURING))
        yield f"attempt {attempt}: AUTHORISED -> CAPTURING", begun, True
    asked = {
        (CAPTURING, PSP_AUTHORISED): PSP_CAPTURED,
        (CAPTURING_FLAGGED, PSP_AUTHORISED): PSP_CAPTURED,
        (VOIDING, PSP_AUTHORISED): PSP_CANCELLED,
        (REFUNDING, PSP_CAPTURED): PSP_REFUNDED,
    }.get((stored, intent))
    if asked is not None:
        done = state._replace(intents=put(state.intents, key + 1, asked))
        yield f"the provider acts on attempt {attempt}: {INTENTS[asked]}", done, True
    ended = {
        (CAPTURING, PSP_CAPTURED): CAPTURED,
        (CAPTURING_FLAGGED, PSP_CAPTURED): REFUNDING,
        (CAPTURING, PSP_CANCELLED): CAPTURE_FAILED,
        (CAPTURING_FLAGGED, PSP_CANCELLED): CAPTURE_FAILED,
        (VOIDING, PSP_CANCELLED): VOIDED,
        (REFUNDING, PSP_REFUNDED): REFUNDED,
    }.get((stored, intent))
    if ended is not None:
        after = state._replace(attempts=put(state.attempts, attempt, ended))
        if ended in REVERSED:
            after = publish(after, REVERSED_EVENT, attempt)
        yield f"attempt {attempt}: {STATES[stored]} -> {STATES[ended]}", after, True
