"""What an order costs in all: the terms of the shop, and one sum to the currency's smallest unit.

Prices are without tax. The tax is reckoned once, on subtotal - discount + shipping, and its half units are rounded up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from doorbuster.contracts import internal

from . import refusals

MILLION = 1_000_000
LARGEST_AMOUNT_MINOR = 10**15  # far from what a bigint or a JSON number holds exactly


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the shop adds to prices, and what it cannot charge.

    ``shipping_minor`` is a flat cost an order by currency (absent: free), ``tax_millionths`` the rate (190000 is
    19 %), ``smallest_charge_minor`` what the payment provider takes at least by currency (absent: 1).
    """

    shipping_minor: Mapping[str, int] = field(default_factory=dict)
    tax_millionths: int = 0
    smallest_charge_minor: Mapping[str, int] = field(default_factory=dict)


def reckon(
    subtotal_minor: int, currency: str, terms: Terms, *, discount_minor: int = 0
) -> internal.TotalsMinor:
    """Return the totals; raises AmountTooLargeError. A discount never exceeds the subtotal."""
    discount = min(discount_minor, subtotal_minor)
    shipping = terms.shipping_minor.get(currency, 0)
    taxed = subtotal_minor - discount + shipping
    totals = internal.TotalsMinor(
        subtotal_minor=subtotal_minor,
        discount_minor=discount,
        shipping_minor=shipping,
        tax_minor=share(taxed, terms.tax_millionths),
    )
    if max(subtotal_minor, amount_minor(totals)) > LARGEST_AMOUNT_MINOR:
        raise refusals.AmountTooLargeError
    return totals


def is_chargeable(totals: internal.TotalsMinor, currency: str, terms: Terms) -> bool:
    """Tell whether the payment provider takes an amount that is not smaller."""
    return amount_minor(totals) >= terms.smallest_charge_minor.get(currency, 1)


def amount_minor(totals: internal.TotalsMinor) -> int:
    """Return what is to be paid."""
    return totals.subtotal_minor - totals.discount_minor + totals.shipping_minor + totals.tax_minor


def share(whole_minor: int, millionths: int) -> int:
    """Return a share of an amount that is not negative, a half unit rounded up."""
    return (2 * whole_minor * millionths + MILLION) // (2 * MILLION)
