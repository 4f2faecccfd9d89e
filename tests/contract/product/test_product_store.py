"""The product store, fake and real: versions, stock by version, deletion and return, pages, whole words."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from doorbuster.kit import ids
from doorbuster.product.domain import products as domain
from doorbuster.product.domain.products import (
    SkuTakenError,
    UnknownProductError,
    VersionChangedError,
)
from doorbuster.product.ports import Level, Wanted
from doorbuster.testing import catalogue
from doorbuster.testing.catalogue import NOW

LAMP = ids.product_id("lamp-1")


def words(**values: Any) -> domain.Content:
    return domain.content_of(catalogue.draft(**values))


async def test_a_product_is_read_back_as_it_was_stored(stores: Any) -> None:
    stored = await stores.products.add(catalogue.product())
    assert stored == await stores.products.find(LAMP) == catalogue.product()
    assert await stores.products.find(ids.product_id("other")) is None


async def test_a_sku_is_taken_once(stores: Any) -> None:
    outcomes = await asyncio.gather(
        *(stores.products.add(catalogue.product()) for _ in range(5)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == [
        "Product",
        *["SkuTakenError"] * 4,
    ]
    with pytest.raises(SkuTakenError):
        await stores.products.add(catalogue.product())


async def test_of_two_edits_of_one_version_one_wins(stores: Any) -> None:
    await stores.products.add(catalogue.product())
    later = NOW + timedelta(seconds=1)
    edits = [
        stores.products.replace(LAMP, words(title=f"Lamp {n}"), expected=1, now=later)
        for n in range(4)
    ]
    outcomes = await asyncio.gather(*edits, return_exceptions=True)
    won = [outcome for outcome in outcomes if isinstance(outcome, domain.Product)]
    assert len(won) == 1
    assert [type(other) for other in outcomes if other is not won[0]] == [VersionChangedError] * 3
    assert won[0] == await stores.products.find(LAMP)
    assert (won[0].content_version, won[0].version, won[0].updated_at) == (2, 2, later)


async def test_what_is_not_there_is_neither_changed_nor_deleted(stores: Any) -> None:
    with pytest.raises(UnknownProductError):
        await stores.products.replace(LAMP, words(), expected=1, now=NOW)
    with pytest.raises(UnknownProductError):
        await stores.products.remove(LAMP, expected=1, now=NOW)


async def test_stock_changes_the_version_but_not_the_merchants(stores: Any) -> None:
    await stores.products.add(catalogue.product())
    assert await stores.products.take_levels({LAMP: Level(available_qty=5, version=3)}) == 1
    found = await stores.products.find(LAMP)
    assert (found.available_qty, found.version, found.content_version) == (5, 2, 1)
    await stores.products.replace(LAMP, words(title="New"), expected=1, now=NOW)


async def test_an_old_or_repeated_number_changes_nothing(stores: Any) -> None:
    await stores.products.add(catalogue.product())
    await stores.products.take_levels({LAMP: Level(available_qty=5, version=3)})
    before = await stores.products.find(LAMP)
    for level in (
        Level(available_qty=9, version=2),
        Level(available_qty=9, version=3),
        Level(available_qty=9, version=0),
    ):
        assert await stores.products.take_levels({LAMP: level}) == 0
    assert await stores.products.find(LAMP) == before
    await stores.products.take_levels({LAMP: Level(available_qty=5, version=8)})
    assert (await stores.products.find(LAMP)).version == before.version


async def test_stock_that_was_told_before_the_product_was_made_is_not_forgotten(
    stores: Any,
) -> None:
    await stores.products.take_levels({LAMP: Level(available_qty=7, version=4)})
    await stores.products.take_levels({LAMP: Level(available_qty=1, version=2)})
    assert (await stores.products.add(catalogue.product())).available_qty == 7


async def test_a_product_and_its_stock_that_come_at_once_meet(stores: Any) -> None:
    for number in range(20):
        sku = f"lamp-{number}"
        level = {ids.product_id(sku): Level(available_qty=3, version=1)}
        await asyncio.gather(
            stores.products.add(catalogue.product(sku)), stores.products.take_levels(level)
        )
        assert (await stores.products.find(ids.product_id(sku))).available_qty == 3


async def test_a_product_made_again_goes_on_counting_and_keeps_its_stars(stores: Any) -> None:
    await stores.products.add(catalogue.product())
    await stores.products.replace(LAMP, words(title="Second"), expected=1, now=NOW)
    await stores.products.take_levels({LAMP: Level(available_qty=2, version=9)})
    await stores.reviews.add(catalogue.review(rating=5))
    last = await stores.products.find(LAMP)
    with pytest.raises(VersionChangedError):
        await stores.products.remove(LAMP, expected=1, now=NOW)
    await stores.products.remove(LAMP, expected=2, now=NOW)
    assert await stores.products.find(LAMP) is None
    again = await stores.products.add(catalogue.product())
    assert again.version > last.version + 1  # the deletion has a version of its own
    assert again.content_version == 3  # an old ETag names nothing
    assert (again.available_qty, again.stock_version) == (2, 9)
    assert (again.rating.sum, again.rating.count) == (5, 1)


@pytest.mark.parametrize("mongo_url", ["mongo"], indirect=True)
async def test_many_that_are_stored_at_once_go_on_counting_too(stores: Any) -> None:
    lamp, chair = catalogue.product(), catalogue.product("chair-1")
    assert await stores.products.add_many([lamp, chair]) == 2
    await stores.products.take_levels({LAMP: Level(available_qty=2, version=9)})
    last = await stores.products.find(LAMP)
    await stores.products.remove(LAMP, expected=1, now=NOW)
    assert await stores.products.add_many([lamp, chair]) == 1, "the chair is there"
    again = await stores.products.find(LAMP)
    assert again.version > last.version + 1  # the deletion has a version of its own
    assert again.content_version == 2
    assert (again.available_qty, again.stock_version) == (2, 9)
    assert (await stores.products.find(chair.product_id)).version == 1


async def test_pages_walk_the_whole_catalogue_once(stores: Any) -> None:
    for number in range(7):
        await stores.products.add(catalogue.product(f"lamp-{number}"))
    seen, after = [], ""
    while True:
        page, total = await stores.products.page(after=after, limit=3)
        assert total == 7
        if not page:
            break
        seen += [product.sku for product in page]
        after = page[-1].product_id
    assert sorted(seen) == [f"lamp-{number}" for number in range(7)]


async def test_quotes_leave_out_what_is_not_sold(stores: Any) -> None:
    await stores.products.add(catalogue.product())
    found = await stores.products.find_many([LAMP, LAMP, ids.product_id("none")])
    assert [(one.product_id, one.price_minor) for one in found] == [(LAMP, 1990)]


async def found_skus(stores: Any, **wanted: Any) -> list[str]:
    page, total = await stores.products.search(Wanted(**wanted), offset=0, limit=20)
    assert total == len(page)
    return [product.sku for product in page]


async def test_whole_words_find_what_has_all_of_them_within_every_filter(stores: Any) -> None:
    await stores.products.add(catalogue.product("red", title="Red lamp"))
    await stores.products.add(catalogue.product("blue", title="Blue Lamp", price=Decimal(35)))
    await stores.products.add(
        catalogue.product("chair", title="Red chair", category="chairs", manufacturer=None)
    )
    await stores.products.take_levels({ids.product_id("blue"): Level(available_qty=3, version=1)})
    await stores.reviews.add(catalogue.review(sku="red", rating=2))
    await stores.reviews.add(catalogue.review(sku="blue", rating=5))
    assert set(await found_skus(stores, words=("lamp",))) == {"red", "blue"}
    assert await found_skus(stores, words=("red", "lamp")) == ["red"]
    assert await found_skus(stores, words=("lam",)) == []
    assert set(await found_skus(stores)) == {"red", "blue", "chair"}
    assert await found_skus(stores, category="chairs") == ["chair"]
    assert await found_skus(stores, words=("lamp",), available=True) == ["blue"]
    assert set(await found_skus(stores, available=False)) == {"red", "chair"}
    assert await found_skus(stores, min_rating=4.5) == ["blue"]
    assert await found_skus(stores, min_price_minor=1991) == ["blue"]
    assert set(await found_skus(stores, max_price_minor=1990)) == {"red", "chair"}
    assert await found_skus(stores, currency="USD") == []
    assert set(await found_skus(stores, manufacturer="Lumora")) == {"red", "blue"}
    assert (await found_skus(stores, sort="price_desc"))[0] == "blue"
    assert (await found_skus(stores, sort="rating"))[:2] == ["blue", "red"]
