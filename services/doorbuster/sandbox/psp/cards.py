"""The test cards and test tokens that the sandbox knows, and how each behaves when it is charged."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

Conduct = Literal[
    "ok",
    "generic_decline",
    "insufficient_funds",
    "lost_card",
    "stolen_card",
    "expired_card",
    "incorrect_cvc",
    "processing_error",
    "authentication_required",
]


@dataclass(frozen=True, kw_only=True)
class Decline:
    """How a refused charge looks: Stripe's ``code``, its ``decline_code`` and the sentence for the buyer."""

    code: str
    decline_code: str | None
    message: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """What stays of a card: never its number."""

    brand: str
    last4: str
    exp_month: int
    exp_year: int
    conduct: Conduct


class CardRefusedError(Exception):
    """The card cannot even be made a payment method; ``code`` and ``param`` as Stripe names them."""

    def __init__(self, code: str, param: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


DECLINES: Mapping[Conduct, Decline] = {
    "generic_decline": Decline(
        code="card_declined", decline_code="generic_decline", message="Your card was declined."
    ),
    "insufficient_funds": Decline(
        code="card_declined",
        decline_code="insufficient_funds",
        message="Your card has insufficient funds.",
    ),
    "lost_card": Decline(
        code="card_declined", decline_code="lost_card", message="Your card was declined."
    ),
    "stolen_card": Decline(
        code="card_declined", decline_code="stolen_card", message="Your card was declined."
    ),
    "expired_card": Decline(
        code="expired_card", decline_code=None, message="Your card has expired."
    ),
    "incorrect_cvc": Decline(
        code="incorrect_cvc",
        decline_code=None,
        message="Your card's security code is incorrect.",
    ),
    "processing_error": Decline(
        code="processing_error",
        decline_code=None,
        message="An error occurred while processing your card. Try again in a little bit.",
    ),
    "authentication_required": Decline(
        code="authentication_required",
        decline_code="authentication_required",
        message="Your card was declined. This transaction requires authentication.",
    ),
}

_NUMBERS: Mapping[str, tuple[str, Conduct]] = {
    "4242424242424242": ("visa", "ok"),
    "4000056655665556": ("visa", "ok"),
    "5555555555554444": ("mastercard", "ok"),
    "2223003122003222": ("mastercard", "ok"),
    "5105105105105100": ("mastercard", "ok"),
    "378282246310005": ("amex", "ok"),
    "6011111111111117": ("discover", "ok"),
    "3566002020360505": ("jcb", "ok"),
    "4000000000000002": ("visa", "generic_decline"),
    "4000000000009995": ("visa", "insufficient_funds"),
    "4000000000009987": ("visa", "lost_card"),
    "4000000000009979": ("visa", "stolen_card"),
    "4000000000000069": ("visa", "expired_card"),
    "4000000000000127": ("visa", "incorrect_cvc"),
    "4000000000000119": ("visa", "processing_error"),
    "4000002500003155": ("visa", "authentication_required"),
    "4000002760003184": ("visa", "authentication_required"),
}

_TOKENS: Mapping[str, str] = {
    "visa": "4242424242424242",
    "visa_debit": "4000056655665556",
    "mastercard": "5555555555554444",
    "amex": "378282246310005",
    "discover": "6011111111111117",
    "jcb": "3566002020360505",
    "chargeDeclined": "4000000000000002",
    "chargeDeclinedInsufficientFunds": "4000000000009995",
    "chargeDeclinedLostCard": "4000000000009987",
    "chargeDeclinedStolenCard": "4000000000009979",
    "chargeDeclinedExpiredCard": "4000000000000069",
    "chargeDeclinedIncorrectCvc": "4000000000000127",
    "chargeDeclinedProcessingError": "4000000000000119",
    "authenticationRequired": "4000002760003184",
    "threeDSecureRequired": "4000002500003155",
}


def from_number(
    number: str, exp_month: int, exp_year: int, cvc: str | None, *, today: date
) -> Card:
    """Return what stays of a card; raises CardRefusedError as Stripe's checks do."""
    digits = number.replace(" ", "").replace("-", "")
    if not digits.isascii() or not digits.isdigit() or not is_luhn(digits):
        raise CardRefusedError("incorrect_number", "number", "Your card number is incorrect.")
    if not 1 <= exp_month <= 12:
        raise CardRefusedError(
            "invalid_expiry_month", "exp_month", "Your card's expiration month is invalid."
        )
    if (exp_year, exp_month) < (today.year, today.month) or exp_year > today.year + 50:
        raise CardRefusedError(
            "invalid_expiry_year", "exp_year", "Your card's expiration year is invalid."
        )
    if cvc is not None and not (cvc.isascii() and cvc.isdigit() and len(cvc) in (3, 4)):
        raise CardRefusedError("invalid_cvc", "cvc", "Your card's security code is invalid.")
    if digits not in _NUMBERS:
        raise CardRefusedError(
            "card_declined",
            "number",
            "Your card was declined. Your request was in test mode, but used a non test card.",
        )
    brand, conduct = _NUMBERS[digits]
    return Card(
        brand=brand, last4=digits[-4:], exp_month=exp_month, exp_year=exp_year, conduct=conduct
    )


def from_token(token: str, *, today: date) -> Card | None:
    """Return the card behind ``pm_card_visa``, ``tok_visa`` and their like; None for any other text."""
    name = token.removeprefix("pm_card_") if token.startswith("pm_card_") else ""
    name = name or (token.removeprefix("tok_") if token.startswith("tok_") else "")
    number = _TOKENS.get(name)
    return (number and from_number(number, 12, today.year + 3, "123", today=today)) or None


def is_luhn(digits: str) -> bool:
    """Tell whether the last digit checks the others (ISO/IEC 7812)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return 12 <= len(digits) <= 19 and total % 10 == 0
