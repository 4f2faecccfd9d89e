"""Draws products from the kinds: product ``index`` of a seed is always the same, however many are drawn."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from random import Random

from doorbuster.contracts.catalogue import Manufacturer, NewProduct

from .kinds import BRANDS, COLOURS, KINDS, QUALITIES, Kind

SUFFIXES = ("", "", "", "Pro", "Plus", "Mini", "Max", "SE", "Lite")
MOST_SENTENCES = 8
REVIEWED = 0.7
MOST_REVIEWS = 900
STOCKED = 0.85
SOLD_OUT = 0.1
MOST_UNITS = 500
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A product as a merchant would enter it, what buyers said of it, and how many units there are.

    ``units`` is None where inventory has never heard of it.
    """

    draft: NewProduct
    rating_sum: int
    rating_count: int
    units: int | None


def seeds(count: int, *, seed: int = 1, first: int = 0, currency: str = "USD") -> Iterator[Seed]:
    """Draw the products ``first`` to ``first + count - 1``."""
    for index in range(first, first + count):
        yield draw(index, seed=seed, currency=currency)


def draw(index: int, *, seed: int = 1, currency: str = "USD") -> Seed:
    """Draw one product; kinds take turns, so that even thirty products are of every kind."""
    random = Random(f"{seed}:{index}")
    kind = KINDS[index % len(KINDS)]
    brand, country = random.choice(BRANDS)
    model = " ".join(
        word
        for word in (
            random.choice(kind.series),
            str(random.randint(1, 99) * random.choice((1, 10, 100))),
            random.choice(SUFFIXES),
        )
        if word
    )
    noun, colour = random.choice(kind.nouns), random.choice(COLOURS)
    specifications = {name: random.choice(of) for name, of in kind.specifications.items()}
    rating_sum, rating_count = _rating(random)
    draft = NewProduct(
        sku=f"{_slug(f'{brand} {model}')}-{_base36(index)}",
        title=f"{brand} {model} {noun}, {colour}",
        description=_description(random, kind, brand, model, noun),
        category=kind.category,
        price=_price(random, kind),
        currency=currency,
        specifications={**specifications, "colour": colour},
        keywords=[*random.sample(kind.keywords, k=min(3, len(kind.keywords))), colour.lower()],
        manufacturer=Manufacturer(name=brand, country=country),
    )
    return Seed(
        draft=draft, rating_sum=rating_sum, rating_count=rating_count, units=_units(random)
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits or "0"


def _price(random: Random, kind: Kind) -> Decimal:
    """A price between the kind's two, cheap ones more often, with an end as shops like it."""
    low, high = (math.log(value) for value in kind.prices)
    whole = round(math.exp(random.betavariate(2.0, 2.6) * (high - low) + low))
    return Decimal(whole) + random.choice((Decimal("0.00"), Decimal("-0.01"), Decimal("0.50")))


def _description(random: Random, kind: Kind, brand: str, model: str, noun: str) -> str:
    """One sentence to several, as different merchants write."""
    first, second = random.sample(QUALITIES, k=2)
    sentences = [f"The {model} by {brand} is a {first} and {second} {noun.lower()}."]
    for _ in range(random.randint(0, MOST_SENTENCES - 1)):
        shape = random.randrange(4)
        use, quality = random.choice(kind.uses), random.choice(QUALITIES)
        name, values = random.choice(list(kind.specifications.items()))
        told = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
        sentences.append(
            (
                f"It was made for {use}.",
                f"Buyers call it {quality}, above all for {use}.",
                f"Its {told} sets it apart: compare {random.choice(values)} with others.",
                f"Made by {brand} to stay {quality} for years.",
            )[shape]
        )
    return " ".join(sentences)


def _rating(random: Random) -> tuple[int, int]:
    """(sum of stars, reviews): few have many, and most buyers are content."""
    if random.random() >= REVIEWED:
        return 0, 0
    count = max(1, round(random.paretovariate(0.9)))
    count = min(count, MOST_REVIEWS)
    mean = min(5.0, max(1.0, random.gauss(4.1, 0.5)))
    return min(5 * count, max(count, round(mean * count))), count


def _units(random: Random) -> int | None:
    if random.random() >= STOCKED:
        return None
    return 0 if random.random() < SOLD_OUT else random.randint(1, MOST_UNITS)
