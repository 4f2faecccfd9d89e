"""Discount codes: what one takes off an order, when it applies, and how often it may be used."""

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

from doorbuster.contracts import internal, shopping
from doorbuster.kit import money

from . import refusals, totals

PERCENT_IN_MILLIONTHS = 10_000
LOOK_AFTER = timedelta(seconds=30)  # past pay-by: the event that an order is over is much faster


class InvalidDiscountError(Exception):
    """The draft contradicts itself; the message says how."""


@dataclass(frozen=True, kw_only=True)
class Discount:
    """One code, in capitals; ``used`` are its uses by orders that are placed and alive, amounts are minor units."""

    code: str
    kind: Literal["percentage", "fixed"]
    percent: int | None
    amount_minor: int | None
    currency: str | None
    minimum_minor: int | None
    valid_from: datetime | None
    valid_until: datetime | None
    total_uses: int | None
    uses_per_user: int | None
    active: bool
    created_at: datetime
    used: int = 0


_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def normalise(code: str) -> str:
    """Return the one spelling of a code: buyers type as they like."""
    return code.upper()


def draft(code: str, wanted: shopping.DiscountDraft, now: datetime) -> Discount:
    """Read what a merchant wants; raises InvalidDiscountError."""
    has_percent, has_amount = wanted.percent is not None, wanted.amount is not None
    has_currency = wanted.currency is not None
    is_fixed = wanted.kind == "fixed"
    moments = [moment for moment in (wanted.valid_from, wanted.valid_until) if moment is not None]
    rules = (
        (is_fixed or (has_percent and not has_amount), "a percentage has percent and no amount"),
        (
            not is_fixed or (has_amount and has_currency and not has_percent),
            "a fixed discount has amount and currency and no percent",
        ),
        (wanted.amount is None or wanted.amount > 0, "amount is more than 0"),
        (has_currency or wanted.minimum_amount is None, "minimumAmount needs a currency"),
        (all(moment.tzinfo is not None for moment in moments), "times have a zone"),
    )
    for is_kept, rule in rules:
        if not is_kept:
            raise InvalidDiscountError(rule)
    for moment in moments:
        if not _EARLIEST <= moment <= _LATEST:
            raise InvalidDiscountError("times are between the years 2000 and 2200")
    if len(moments) == 2 and moments[0] >= moments[1]:
        raise InvalidDiscountError("validUntil is after validFrom")
    return Discount(
        code=normalise(code),
        kind=wanted.kind,
        percent=wanted.percent,
        amount_minor=_minor(wanted.amount, wanted.currency),
        currency=wanted.currency,
        minimum_minor=_minor(wanted.minimum_amount, wanted.currency),
        valid_from=wanted.valid_from,
        valid_until=wanted.valid_until,
        total_uses=wanted.total_uses,
        uses_per_user=wanted.uses_per_user,
        active=wanted.active,
        created_at=now,
    )


def _minor(amount: Decimal | None, currency: str | None) -> int | None:
    if amount is None or currency is None:
        return None
    try:
        found = money.to_minor(amount, currency)
    except money.FractionTooFineError as error:
        raise InvalidDiscountError(f"{currency} has fewer decimals than that") from error
    if found > totals.LARGEST_AMOUNT_MINOR:
        raise InvalidDiscountError("the amount is too large")
    return found


def show(discount: Discount) -> shopping.Discount:
    """Show a discount to a merchant."""
    fields = dataclasses.asdict(discount)
    amount, minimum = fields.pop("amount_minor"), fields.pop("minimum_minor")
    currency = discount.currency or ""
    return shopping.Discount(
        **fields,
        amount=None if amount is None else money.from_minor(amount, currency),
        minimum_amount=None if minimum is None else money.from_minor(minimum, currency),
    )


def require_left(discount: Discount, used_by_user: int) -> None:
    """Raise UnknownDiscountCodeError or DiscountUsedUpError when the code cannot be used once more."""
    if not discount.active:
        raise refusals.UnknownDiscountCodeError
    if discount.total_uses is not None and discount.used >= discount.total_uses:
        raise refusals.DiscountUsedUpError
    if discount.uses_per_user is not None and used_by_user >= discount.uses_per_user:
        raise refusals.DiscountUsedUpError(says="you have used this discount code already")


def apply(
    discount: Discount, subtotal_minor: int, currency: str, terms: totals.Terms, now: datetime
) -> internal.TotalsMinor:
    """Return the totals with the discount on the whole subtotal; raises DiscountNotApplicableError."""
    if discount.valid_from is not None and now < discount.valid_from:
        raise refusals.DiscountNotApplicableError(says="the discount is not valid yet")
    if discount.valid_until is not None and now >= discount.valid_until:
        raise refusals.DiscountNotApplicableError(says="the discount is no longer valid")
    if discount.currency not in (None, currency):
        raise refusals.DiscountNotApplicableError(
            says=f"the discount is for orders in {discount.currency}"
        )
    if subtotal_minor < (discount.minimum_minor or 0):
        raise refusals.DiscountNotApplicableError(
            says="the order is below the discount's minimum amount"
        )
    off = discount.amount_minor or 0
    if discount.percent is not None:
        off = totals.share(subtotal_minor, discount.percent * PERCENT_IN_MILLIONTHS)
    reckoned = totals.reckon(subtotal_minor, currency, terms, discount_minor=off)
    if not totals.is_chargeable(reckoned, currency, terms):
        raise refusals.DiscountNotApplicableError(
            says="what is left to pay is less than a card can be charged with"
        )
    return reckoned
