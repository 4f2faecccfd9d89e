"""Checkout's settings."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from doorbuster.kit import money
from doorbuster.kit.config import comma_list, setting

MOST_MINOR = 10**9
_TAX_DECIMALS = 4
Amounts = tuple[tuple[str, int], ...]
# What a card must be charged with at least, as Stripe publishes it; other currencies: one minor unit.
_CARD_MINIMUMS = (
    "EUR:0.50,USD:0.50,GBP:0.30,CHF:0.50,JPY:50,AED:2,AUD:0.50,BRL:0.50,CAD:0.50,CZK:15,DKK:2.50,HKD:4,"
    "HUF:175,INR:0.50,MXN:10,MYR:2,NOK:3,NZD:0.50,PLN:2,RON:2,SEK:3,SGD:0.50,THB:10"
)


def amounts(raw: str) -> Amounts:
    """Parse ``EUR:4.99,JPY:500`` to currencies with minor units; raises ValueError."""
    found: dict[str, int] = {}
    for part in comma_list(raw):
        currency, _, amount = part.partition(":")
        try:
            minor = money.to_minor(Decimal(amount), currency)
        except (ArithmeticError, money.FractionTooFineError) as error:
            raise ValueError(part) from error
        is_code = len(currency) == 3 and currency.isascii() and currency.isupper()
        if not is_code or not 0 <= minor <= MOST_MINOR:
            raise ValueError(part)
        found[currency] = minor
    return tuple(found.items())


def millionths(raw: str) -> int:
    """Parse a percentage of 0 to 100 with at most 4 decimals; raises ValueError."""
    try:
        scaled = Decimal(raw).scaleb(_TAX_DECIMALS)
    except ArithmeticError as error:
        raise ValueError(raw) from error
    if not scaled.is_finite() or scaled != int(scaled) or not 0 <= scaled <= 1_000_000:
        raise ValueError(raw)
    return int(scaled)


@dataclass(frozen=True, kw_only=True)
class CheckoutConfig:
    """Where checkout's store and peers are, and how much it takes on at once.

    ``permit_seconds``: how long a permit may stay in flight before inventory asks PostgreSQL about it; it must
    exceed the longest reserve call. ``shipping_minor``, by currency, is a flat cost an order; ``tax_millionths``
    is added to prices, which are without tax; ``smallest_charge_minor`` is what cards can be charged with at least,
    by currency: no order and no discount goes below it.
    """

    dsn: str = setting("DOORBUSTER_CHECKOUT_DSN", secret=True)
    redis_url: str = setting("DOORBUSTER_REDIS_URL", secret=True)
    kafka_bootstrap: str = setting("DOORBUSTER_KAFKA_BOOTSTRAP")
    inventory_urls: tuple[str, ...] = setting("DOORBUSTER_INVENTORY_URLS", comma_list)
    user_urls: tuple[str, ...] = setting("DOORBUSTER_USER_URLS", comma_list)
    product_urls: tuple[str, ...] = setting("DOORBUSTER_PRODUCT_URLS", comma_list)
    cart_urls: tuple[str, ...] = setting("DOORBUSTER_CART_URLS", comma_list)
    service_key_file: Path = setting("DOORBUSTER_SERVICE_KEY_FILE", Path)
    service_keys_dir: Path = setting("DOORBUSTER_SERVICE_KEYS_DIR", Path)
    most_per_product: int = setting("DOORBUSTER_CHECKOUT_MOST_PER_PRODUCT", int, default=2_000)
    most_direct: int = setting("DOORBUSTER_CHECKOUT_MOST_DIRECT", int, default=512)
    permit_seconds: float = setting("DOORBUSTER_PERMIT_SECONDS", float, default=10.0)
    shipping_minor: Amounts = setting("DOORBUSTER_SHIPPING", amounts, default=())
    tax_millionths: int = setting("DOORBUSTER_TAX_PERCENT", millionths, default=0)
    smallest_charge_minor: Amounts = setting(
        "DOORBUSTER_SMALLEST_CHARGE", amounts, default=amounts(_CARD_MINIMUMS)
    )
