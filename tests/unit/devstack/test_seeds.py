"""Made-up goods: the same on every machine, each one valid, spread as a shop's are."""

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from devstack.seeds import generator
from devstack.seeds.kinds import KINDS
from doorbuster.contracts.catalogue import NewProduct
from doorbuster.product.domain.products import new_product

NOW = datetime(2030, 11, 29, 12, tzinfo=UTC)
FIRST_TWO = [
    ("corvex-mira-350-lite-0", "Corvex Mira 350 Lite Phone, White"),
    ("vantabay-work-38-lite-1", "Vantabay Work 38 Lite Laptop, Silver"),
]
MANY = list(generator.seeds(2_000, seed=7))


def test_a_seed_gives_the_same_products_however_many_are_drawn():
    assert MANY[:50] == list(generator.seeds(50, seed=7))
    assert MANY[1_990:] == list(generator.seeds(10, seed=7, first=1_990))
    assert generator.draw(3, seed=7) != generator.draw(3, seed=8)


def test_what_is_drawn_is_known_word_for_word():
    """A judged list of searches names products by their sku: a change here changes what it means."""
    assert [(seed.draft.sku, seed.draft.title) for seed in generator.seeds(2)] == FIRST_TWO


def test_every_product_is_one_that_a_merchant_may_enter():
    for seed in MANY:
        encoded = msgspec.json.encode(seed.draft)
        assert msgspec.json.decode(encoded, type=NewProduct) == seed.draft
        new_product(seed.draft, NOW)


def test_no_two_products_share_a_sku():
    assert len({seed.draft.sku for seed in MANY}) == len(MANY)


def test_the_first_thirty_products_are_of_every_kind():
    assert {seed.draft.category for seed in MANY[:30]} == {kind.category for kind in KINDS}


def test_prices_stay_within_their_kind_and_differ():
    ranges = {kind.category: kind.prices for kind in KINDS}
    for seed in MANY:
        low, high = ranges[seed.draft.category]
        assert low - 1 <= seed.draft.price <= high + 1
    assert len({seed.draft.price for seed in MANY}) > len(MANY) / 4
    assert all(seed.draft.price > Decimal(0) for seed in MANY)


def test_stars_are_possible_and_some_products_have_none():
    assert all(s.rating_count <= s.rating_sum <= 5 * s.rating_count for s in MANY)
    without = sum(not seed.rating_count for seed in MANY)
    assert 0.2 * len(MANY) < without < 0.4 * len(MANY)


@pytest.mark.parametrize("stock", [None, 0])
def test_some_products_are_sold_out_and_some_unknown_to_inventory(stock):
    assert Counter(seed.units for seed in MANY)[stock] > len(MANY) / 30


def test_descriptions_are_short_and_long():
    lengths = sorted(len(seed.draft.description) for seed in MANY)
    assert lengths[len(lengths) // 20] < 120 < 350 < lengths[-len(lengths) // 20]
