"""What an order costs in all, to the smallest unit of any currency, and what a discount takes off."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.checkout.config import amounts, millionths
from doorbuster.checkout.domain import discounts, refusals, totals
from doorbuster.contracts import shopping
from doorbuster.kit import money

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
CURRENCIES = ("JPY", "EUR", "KWD", "CLF")  # 0, 2, 3 and 4 decimals


def draft(**fields):
    wanted = shopping.DiscountDraft(**{"kind": "percentage", "percent": 10} | fields)
    return discounts.draft("save10", wanted, NOW)


def fixed(amount, currency, **fields):
    return draft(kind="fixed", percent=None, amount=Decimal(amount), currency=currency, **fields)


@given(
    subtotal=st.integers(1, 10**12),
    shipping=st.integers(0, 10**6),
    tax=st.integers(0, 1_000_000),
    currency=st.sampled_from(CURRENCIES),
    percent=st.integers(1, 100) | st.none(),
    off=st.integers(1, 10**12 - 1),
)
def test_the_parts_are_the_amount_and_nothing_is_negative(
    subtotal, shipping, tax, currency, percent, off
):
    terms = totals.Terms(shipping_minor={currency: shipping}, tax_millionths=tax)
    if percent is None:
        discount = fixed(money.from_minor(off, currency), currency)
    else:
        discount = draft(percent=percent)
    try:
        found = discounts.apply(discount, subtotal, currency, terms, NOW)
    except refusals.DiscountNotApplicableError:
        assert shipping == 0, "only a discount to nothing is refused here"
        return
    taxed = found.subtotal_minor - found.discount_minor + found.shipping_minor
    assert taxed + found.tax_minor == totals.amount_minor(found) >= 1
    assert 0 <= found.discount_minor <= found.subtotal_minor == subtotal
    assert abs(found.tax_minor * 1_000_000 - taxed * tax) * 2 <= 1_000_000, "rounded once"


def test_half_a_unit_of_tax_is_rounded_up_once():
    terms = totals.Terms(shipping_minor={"EUR": 5}, tax_millionths=190_000)
    assert totals.reckon(45, "EUR", terms).tax_minor == 10  # 9.5 cents
    assert totals.reckon(45, "USD", terms).shipping_minor == 0


def test_an_amount_beyond_all_sense_is_refused():
    terms = totals.Terms(tax_millionths=1)
    assert totals.reckon(10**14, "EUR", terms)
    with pytest.raises(refusals.AmountTooLargeError):
        totals.reckon(10**15, "EUR", terms)


@pytest.mark.parametrize(
    ("discount", "currency"),
    [
        (draft(valid_from=NOW + timedelta(seconds=1)), "EUR"),
        (draft(valid_until=NOW), "EUR"),
        (draft(currency="EUR", minimum_amount=Decimal("10.01")), "EUR"),
        (draft(currency="EUR"), "USD"),
        (fixed("1", "EUR"), "USD"),
        (draft(percent=100), "EUR"),
        (fixed("9.51", "EUR"), "EUR"),  # 49 cents are left; no card is charged with that
    ],
    ids=["early", "late", "minimum", "currency", "fixed currency", "free", "smallest charge"],
)
def test_a_discount_that_does_not_apply_says_why(discount, currency):
    terms = totals.Terms(smallest_charge_minor={"EUR": 50})
    with pytest.raises(refusals.DiscountNotApplicableError) as refused:
        discounts.apply(discount, 1_000, currency, terms, NOW)
    assert str(refused.value) != refusals.DiscountNotApplicableError.says


def test_a_discount_applies_at_its_bounds():
    bounded = draft(
        valid_from=NOW,
        valid_until=NOW + timedelta(microseconds=1),
        currency="EUR",
        minimum_amount=Decimal("10.00"),
    )
    terms = totals.Terms(smallest_charge_minor={"EUR": 50})
    assert discounts.apply(bounded, 1_000, "EUR", terms, NOW).discount_minor == 100
    assert discounts.apply(fixed("9.50", "EUR"), 1_000, "EUR", terms, NOW).discount_minor == 950


def test_uses_are_left_or_not():
    discount = draft(total_uses=2, uses_per_user=1)
    discounts.require_left(replace(discount, used=1), 0)
    with pytest.raises(refusals.DiscountUsedUpError):
        discounts.require_left(replace(discount, used=2), 0)
    with pytest.raises(refusals.DiscountUsedUpError):
        discounts.require_left(discount, 1)
    with pytest.raises(refusals.UnknownDiscountCodeError):
        discounts.require_left(replace(discount, active=False), 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"percent": None},
        {"amount": Decimal(1), "currency": "EUR"},
        {"kind": "fixed", "percent": None, "amount": Decimal(1)},
        {"kind": "fixed", "percent": None, "currency": "EUR"},
        {"kind": "fixed", "amount": Decimal(1), "currency": "EUR"},
        {"kind": "fixed", "percent": None, "amount": Decimal(0), "currency": "EUR"},
        {"kind": "fixed", "percent": None, "amount": Decimal("0.001"), "currency": "EUR"},
        {"kind": "fixed", "percent": None, "amount": Decimal("999999999999"), "currency": "CLF"},
        {"minimum_amount": Decimal(1)},
        {"valid_from": NOW, "valid_until": NOW},
        {"valid_from": NOW.replace(tzinfo=None)},
        {"valid_from": datetime(1, 1, 1, tzinfo=UTC)},
        {"valid_until": datetime(9999, 12, 31, tzinfo=UTC)},
    ],
)
def test_a_draft_that_contradicts_itself_is_invalid(fields):
    with pytest.raises(discounts.InvalidDiscountError):
        draft(**fields)


def test_a_merchant_sees_what_he_wrote():
    shown = discounts.show(fixed("1.50", "EUR", minimum_amount=Decimal(10), total_uses=5))
    assert (shown.code, shown.amount, shown.minimum_amount) == (
        "SAVE10",
        Decimal("1.50"),
        Decimal("10.00"),
    )


def test_settings_are_read_or_refused():
    assert amounts("EUR:4.99, JPY:500") == (("EUR", 499), ("JPY", 500))
    assert (millionths("19"), millionths("8.875"), millionths("0")) == (190_000, 88_750, 0)
    for raw in (
        "EUR",
        "EUR:x",
        "EUR:4.999",
        "EUR:-1",
        "EURO:1",
        "eur:1",
        "EUR:NaN",
        "EUR:Infinity",
    ):
        with pytest.raises(ValueError, match=r".*"):
            amounts(raw)
    for raw in ("", "x", "-1", "100.1", "0.00001", "NaN", "Infinity", "1e9999"):
        with pytest.raises(ValueError, match=r".*"):
            millionths(raw)
