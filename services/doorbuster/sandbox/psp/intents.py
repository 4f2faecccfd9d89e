"""The life of a PaymentIntent and its refunds: pure rules over immutable facts, in Stripe's words."""

from typing import Any, Literal

import msgspec

from .cards import DECLINES, Card, Decline

Status = Literal[
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "requires_capture",
    "canceled",
    "succeeded",
]
MAX_AMOUNT_MINOR = 999_999_999_999
_UNPAID: frozenset[Status] = frozenset(
    {"requires_payment_method", "requires_confirmation", "requires_action"}
)


class LastError(msgspec.Struct, frozen=True, kw_only=True):
    """Why the last confirmation failed."""

    code: str
    decline_code: str | None
    message: str
    payment_method: str


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """One intent to be paid; amounts in minor units, ``created`` in Unix seconds."""

    id: str
    amount: int
    currency: str
    capture_method: Literal["automatic", "manual"]
    created: int
    metadata: dict[str, str]
    status: Status = "requires_payment_method"
    payment_method: str | None = None
    amount_capturable: int = 0
    amount_received: int = 0
    amount_refunded: int = 0
    canceled_at: int | None = None
    cancellation_reason: str | None = None
    last_error: LastError | None = None

    @property
    def charge(self) -> str | None:
        """The id of the charge that an authorisation makes."""
        charged = self.amount_capturable or self.amount_received or self.last_error
        return "ch_" + self.id.removeprefix("pi_") if charged else None


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """Money given back of one intent."""

    id: str
    payment_intent: str
    amount: int
    currency: str
    created: int
    reason: str | None


class StateError(Exception):
    """The intent's status does not allow this."""

    def __init__(self, intent: Intent, action: str) -> None:
        super().__init__(
            f"This PaymentIntent could not be {action} because it has a status of {intent.status}."
        )
        self.intent = intent


class AmountError(Exception):
    """The amount does not fit what is there; ``code`` as Stripe names it."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


def confirm(
    intent: Intent, method_id: str, card: Card, *, error_on_action: bool
) -> tuple[Intent, Decline | None]:
    """Charge the card; returns the intent as it is then, and the decline if it was one. Raises StateError."""
    if intent.status not in _UNPAID:
        raise StateError(intent, "confirmed")
    if card.conduct == "authentication_required" and not error_on_action:
        waiting = msgspec.structs.replace(
            intent, status="requires_action", payment_method=method_id, last_error=None
        )
        return waiting, None
    if card.conduct != "ok":
        decline = DECLINES[card.conduct]
        failed = msgspec.structs.replace(
            intent,
            status="requires_payment_method",
            payment_method=None,
            last_error=LastError(
                code=decline.code,
                decline_code=decline.decline_code,
                message=decline.message,
                payment_method=method_id,
            ),
        )
        return failed, decline
    manual = intent.capture_method == "manual"
    paid = msgspec.structs.replace(
        intent,
        status="requires_capture" if manual else "succeeded",
        payment_method=method_id,
        amount_capturable=intent.amount if manual else 0,
        amount_received=0 if manual else intent.amount,
        last_error=None,
    )
    return paid, None


def capture(intent: Intent, amount: int | None) -> Intent:
    """Take the authorised money, all or a part; the rest is let go. Raises StateError or AmountError."""
    if intent.status != "requires_capture":
        raise StateError(intent, "captured")
    taken = intent.amount if amount is None else amount
    if not 0 < taken <= intent.amount_capturable:
        raise AmountError("The amount to capture is greater than what can be captured.")
    return msgspec.structs.replace(
        intent, status="succeeded", amount_capturable=0, amount_received=taken
    )


def cancel(intent: Intent, reason: str | None, *, now: int) -> Intent:
    """End an intent that was not captured; an authorisation is let go. Raises StateError."""
    if intent.status not in _UNPAID | {"requires_capture"}:
        raise StateError(intent, "canceled")
    return msgspec.structs.replace(
        intent,
        status="canceled",
        amount_capturable=0,
        canceled_at=now,
        cancellation_reason=reason,
    )


def expire(intent: Intent, *, now: int) -> Intent:
    """End an authorisation that was not captured in time. Raises StateError."""
    if intent.status != "requires_capture":
        raise StateError(intent, "expired")
    return cancel(intent, "automatic", now=now)


def refund(
    intent: Intent, amount: int | None, reason: str | None, *, refund_id: str, now: int
) -> tuple[Intent, Refund]:
    """Give money back; never more than was taken. Raises StateError or AmountError."""
    if intent.status != "succeeded":
        raise StateError(intent, "refunded")
    left = intent.amount_received - intent.amount_refunded
    if left == 0:
        raise AmountError("The charge has already been refunded.", "charge_already_refunded")
    given = left if amount is None else amount
    if not 0 < given <= left:
        raise AmountError("The refund is greater than what is left of the charge.")
    changed = msgspec.structs.replace(intent, amount_refunded=intent.amount_refunded + given)
    made = Refund(
        id=refund_id,
        payment_intent=intent.id,
        amount=given,
        currency=intent.currency,
        created=now,
        reason=reason,
    )
    return changed, made


def intent_json(intent: Intent, *, method: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the intent as Stripe shows it; ``method`` is its expanded payment method."""
    error = intent.last_error
    return {
        "id": intent.id,
        "object": "payment_intent",
        "amount": intent.amount,
        "amount_capturable": intent.amount_capturable,
        "amount_received": intent.amount_received,
        "canceled_at": intent.canceled_at,
        "cancellation_reason": intent.cancellation_reason,
        "capture_method": intent.capture_method,
        "confirmation_method": "automatic",
        "created": intent.created,
        "currency": intent.currency,
        "last_payment_error": error and _error_json(error),
        "latest_charge": intent.charge,
        "livemode": False,
        "metadata": intent.metadata,
        "next_action": {"type": "use_stripe_sdk"} if intent.status == "requires_action" else None,
        "payment_method": method or intent.payment_method,
        "payment_method_types": ["card"],
        "status": intent.status,
    }


def _error_json(error: LastError) -> dict[str, Any]:
    shown = {
        "type": "card_error",
        "code": error.code,
        "decline_code": error.decline_code,
        "message": error.message,
        "payment_method": {"id": error.payment_method, "object": "payment_method"},
    }
    return {name: value for name, value in shown.items() if value is not None}  # as Stripe does


def refund_json(refund: Refund) -> dict[str, Any]:
    """Return the refund as Stripe shows it."""
    return {
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "created": refund.created,
        "currency": refund.currency,
        "payment_intent": refund.payment_intent,
        "reason": refund.reason,
        "status": "succeeded",
    }


def method_json(method_id: str, card: Card, *, created: int) -> dict[str, Any]:
    """Return a payment method as Stripe shows it."""
    return {
        "id": method_id,
        "object": "payment_method",
        "type": "card",
        "created": created,
        "livemode": False,
        "metadata": {},
        "card": {
            "brand": card.brand,
            "last4": card.last4,
            "exp_month": card.exp_month,
            "exp_year": card.exp_year,
        },
    }
