"""The life of a payment attempt: its states, which may follow which, and what each means to whom.

An attempt that is live keeps every other attempt of its order out. CONFIRMING is left for CANCELLING **before**
a cancel is sent to the provider, and CANCELLING is left only for DECLINED: otherwise a copy that sees an
authorisation and a copy that cancels it could both believe to be right. The commit of AUTHORISED is the point
of sale.
"""

import dataclasses
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from doorbuster.contracts import events
from doorbuster.kit import money

MAX_ATTEMPTS = 10
MAX_CODE_LENGTH = 64
HOLD_EXPIRED = "hold_expired"
NOT_FINISHED = "not_finished"
AUTHORISATION_LOST = "authorisation_lost"
CANCELLED = "cancelled"


class State(StrEnum):
    """Where an attempt stands."""

    NEW = "NEW"  # the row is there; the units may be pinned, the card is not asked
    CONFIRMING = "CONFIRMING"  # the intent is known and may be authorised at any time
    CANCELLING = "CANCELLING"  # given up: whatever the provider says, it ends DECLINED
    AUTHORISED = "AUTHORISED"  # sold
    CAPTURING = "CAPTURING"
    CAPTURED = "CAPTURED"
    DECLINED = "DECLINED"
    ABANDONED = "ABANDONED"
    VOIDING = "VOIDING"  # the order was cancelled before the capture
    VOIDED = "VOIDED"
    REFUNDING = "REFUNDING"  # the order was cancelled after the capture
    REFUNDED = "REFUNDED"
    CAPTURE_FAILED = "CAPTURE_FAILED"  # the authorisation was gone when the money was to be taken


NEXT: Mapping[State, frozenset[State]] = {
    State.NEW: frozenset({State.CONFIRMING, State.DECLINED, State.ABANDONED}),
    State.CONFIRMING: frozenset({State.AUTHORISED, State.DECLINED, State.CANCELLING}),
    State.CANCELLING: frozenset({State.DECLINED}),
    State.AUTHORISED: frozenset({State.CAPTURING, State.VOIDING}),
    State.CAPTURING: frozenset({State.CAPTURED, State.CAPTURE_FAILED}),
    State.CAPTURED: frozenset({State.REFUNDING}),
    State.VOIDING: frozenset({State.VOIDED}),
    State.REFUNDING: frozenset({State.REFUNDED}),
    State.DECLINED: frozenset(),
    State.ABANDONED: frozenset(),
    State.VOIDED: frozenset(),
    State.REFUNDED: frozenset(),
    State.CAPTURE_FAILED: frozenset(),
}

UNDECIDED = frozenset({State.NEW, State.CONFIRMING, State.CANCELLING})
FAILED = frozenset({State.DECLINED, State.ABANDONED})
REVERSED = frozenset({State.VOIDED, State.REFUNDED, State.CAPTURE_FAILED})
REVERSING = frozenset({State.VOIDING, State.REFUNDING})
SOLD = frozenset({State.AUTHORISED, State.CAPTURING, State.CAPTURED})
LIVE = UNDECIDED | SOLD | REVERSING


class PaymentError(Exception):
    """Why a payment cannot be made; the message may be shown to the buyer."""


class UnknownOrderError(PaymentError):
    """There is no such order of this buyer."""


class AmountMismatchError(PaymentError):
    """The amount is not the amount of the order."""


class IdempotencyKeyReusedError(PaymentError):
    """This Idempotency-Key was used with another card."""


class PaymentInProgressError(PaymentError):
    """A payment of this order is under way and its end is not known yet."""


class HoldExpiredError(PaymentError):
    """The units are no longer held for this order."""


class OrderReversedError(HoldExpiredError):
    """What was paid for this order was given back; it cannot be paid again."""


class TooManyAttemptsError(PaymentError):
    """Too many cards were tried for one order."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Raw card fields on their way to the provider's tokenisation; never stored, logged or traced."""

    number: str = dataclasses.field(repr=False)
    exp_month: int = dataclasses.field(repr=False)
    exp_year: int = dataclasses.field(repr=False)
    cvc: str = dataclasses.field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Token:
    """A payment method that the provider already knows."""

    value: str


Method = Card | Token


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """What is to be paid: an order as checkout stored it."""

    order_id: str
    user_id: str
    lines: tuple[events.Line, ...]
    amount_minor: int
    currency: str
    topic: str
    traceparent: str | None


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt to pay one order; times are aware, amounts minor units."""

    purchase: Purchase
    attempt: int
    payment_id: str
    idempotency_key: str
    fingerprint: str
    state: State
    created_at: datetime
    updated_at: datetime
    intent_id: str | None = None
    token: str | None = None
    brand: str | None = None
    last4: str | None = None
    decline_code: str | None = None
    paid_at: datetime | None = None
    reversal: str | None = None

    @property
    def order_id(self) -> str:
        """The order that is paid."""
        return self.purchase.order_id

    def provider_key(self, step: str = "") -> str:
        """Return the provider's idempotency key of a step: it depends on order and attempt alone."""
        key = f"{self.order_id}:{self.attempt}"
        return f"{key}:{step}" if step else key


ChargeStatus = Literal["open", "authorised", "captured", "declined", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What the provider says of an intent; ``open`` means that no card was charged, but one may be."""

    status: ChargeStatus
    decline_code: str | None = None
    brand: str | None = None
    last4: str | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long things may take; ``recover_after`` is longer than any conversation with the provider."""

    answer_within: timedelta = timedelta(seconds=10)
    ask_again_after: timedelta = timedelta(milliseconds=50)  # doubles with every time
    take_over_after: timedelta = timedelta(seconds=5)
    hint_after: timedelta = timedelta(seconds=1)
    recover_after: timedelta = timedelta(seconds=15)
    capture_again_after: timedelta = timedelta(seconds=5)
    order_known_after: timedelta = timedelta(seconds=10)


def may_follow(before: State, after: State) -> bool:
    """Tell whether the machine has this step."""
    return after in NEXT[before]


def due_at(state: State, now: datetime, limits: Limits) -> datetime | None:
    """Return when a worker should look at an attempt that has just reached ``state``; None: never."""
    if state in UNDECIDED:
        return now + limits.recover_after
    if state is State.CAPTURING:
        return now + limits.capture_again_after
    if state is State.AUTHORISED or state in REVERSING:
        return now
    return None


def fingerprint(order_id: str, method: Method, secret: str) -> str:
    """Return what tells two payment methods of an order apart.

    It is keyed and short: without the secret, which no store holds, nobody can find a card by trying.
    """
    match method:
        case Card():
            expiry = f"{method.exp_month}/{method.exp_year}"
            said = f"card\x00{method.number}\x00{expiry}\x00{method.cvc}"
        case Token():
            said = f"token\x00{method.value}"
    text = f"{order_id}\x00{said}".encode()
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()[:32]


def require_amount(purchase: Purchase, amount: Decimal | None) -> None:
    """Raise AmountMismatchError unless the buyer means the order's own amount (or names none)."""
    if amount is None:
        return
    try:
        amount_minor = money.to_minor(amount, purchase.currency)
    except money.FractionTooFineError:
        amount_minor = None
    if amount_minor != purchase.amount_minor:
        due = money.from_minor(purchase.amount_minor, purchase.currency)
        raise AmountMismatchError(f"the order costs {due} {purchase.currency}")


def paid(attempt: Attempt, now: datetime) -> Attempt:
    """Return the attempt as it is once the money is authorised."""
    return dataclasses.replace(attempt, state=State.AUTHORISED, paid_at=now)


def is_settled(attempt: Attempt) -> bool:
    """Tell whether the buyer can be told how this attempt ended.

    Raises HoldExpiredError when it ended because the units were gone before the card was asked.
    """
    if attempt.state is State.ABANDONED and attempt.decline_code == HOLD_EXPIRED:
        raise HoldExpiredError("the units are no longer held for this order")
    return attempt.state not in UNDECIDED


Verdict = Literal["SUCCEEDED", "FAILED", "REVERSED", "PENDING", "UNKNOWN"]


def verdict(state: State | None) -> Verdict:
    """Say for inventory whether the units of an attempt are sold.

    One that is being reversed is not decided. A reversed one is no failed one: a failed one's buyer may try
    another card, a reversed order is over.
    """
    if state is None:
        return "UNKNOWN"
    if state in SOLD:
        return "SUCCEEDED"
    if state in REVERSED:
        return "REVERSED"
    return "FAILED" if state in FAILED else "PENDING"


def succeeded(attempt: Attempt) -> events.PaymentSucceeded:
    """Return the event of the point of sale; the attempt knows when it was paid."""
    if attempt.paid_at is None:
        raise ValueError("an attempt that is not paid has not succeeded")
    purchase = attempt.purchase
    return events.PaymentSucceeded(
        order_id=purchase.order_id,
        user_id=purchase.user_id,
        payment_id=attempt.payment_id,
        attempt=attempt.attempt,
        lines=list(purchase.lines),
        amount_minor=purchase.amount_minor,
        currency=purchase.currency,
        topic=purchase.topic,
        paid_at=attempt.paid_at,
    )


def failed(attempt: Attempt, reason: str) -> events.PaymentFailed:
    """Return the event of an attempt that ended without a charge."""
    return events.PaymentFailed(
        order_id=attempt.order_id,
        user_id=attempt.purchase.user_id,
        payment_id=attempt.payment_id,
        attempt=attempt.attempt,
        reason=reason,
        topic=attempt.purchase.topic,
    )


def last_word(attempt: Attempt) -> events.PaymentSucceeded | events.PaymentReversed:
    """Return what others must know of an attempt that was sold: that, or that it was given back since."""
    if attempt.state in REVERSED:
        return reversed_(attempt, attempt.reversal or CANCELLED)
    return succeeded(attempt)


def captured(attempt: Attempt) -> events.PaymentCaptured:
    """Return the event of money taken."""
    return events.PaymentCaptured(
        order_id=attempt.order_id,
        user_id=attempt.purchase.user_id,
        payment_id=attempt.payment_id,
        attempt=attempt.attempt,
        amount_minor=attempt.purchase.amount_minor,
        currency=attempt.purchase.currency,
    )


def reversed_(attempt: Attempt, reason: str) -> events.PaymentReversed:
    """Return the event of money given back, or never taken after all."""
    return events.PaymentReversed(
        order_id=attempt.order_id,
        user_id=attempt.purchase.user_id,
        payment_id=attempt.payment_id,
        attempt=attempt.attempt,
        reason=reason,
    )
