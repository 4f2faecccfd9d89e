"""Money: integer minor units inside, decimal numbers with the currency's exponent outside."""

from decimal import Decimal

# ISO 4217: every currency has exponent 2 but these.
_EXPONENTS = {
    **dict.fromkeys(
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0
    ),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys("CLF UYW".split(), 4),
}


class FractionTooFineError(Exception):
    """The amount has more decimals than the currency knows."""


def exponent(currency: str) -> int:
    """Return how many decimals a currency has."""
    return _EXPONENTS.get(currency.upper(), 2)


def to_minor(amount: Decimal, currency: str) -> int:
    """Return the amount in minor units; raises FractionTooFineError rather than round."""
    scaled = amount.scaleb(exponent(currency))
    if scaled != scaled.to_integral_value():
        raise FractionTooFineError(currency)
    return int(scaled)


def from_minor(amount_minor: int, currency: str) -> Decimal:
    """Return minor units as a decimal with the currency's number of decimals."""
    return Decimal(amount_minor).scaleb(-exponent(currency))
