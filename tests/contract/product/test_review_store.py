"""The review store, fake and real: one review a buyer, stars that lose nothing, receipts in any order."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from doorbuster.kit import ids
from doorbuster.product.domain.products import UnknownProductError
from doorbuster.product.domain.reviews import AlreadyReviewedError, Receipt, UnknownReviewError
from doorbuster.testing import catalogue
from doorbuster.testing.catalogue import NOW

LAMP = ids.product_id("lamp-1")


async def stars(stores: Any) -> tuple[int, int]:
    rating = (await stores.products.find(LAMP)).rating
    return rating.sum, rating.count


async def test_a_buyer_reviews_a_product_once(stores: Any) -> None:
    await stores.products.add(catalogue.product())
    outcomes = await asyncio.gather(
        *(stores.reviews.add(catalogue.review()) for _ in range(4)), return_exceptions=True
    )
    assert [type(one) for one in outcomes if one is not None] == [AlreadyReviewedError] * 3
    assert await stars(stores) == (4, 1)


async def test_only_what_is_sold_is_reviewed_and_only_what_is_written_changed(stores: Any) -> None:
    with pytest.raises(UnknownProductError):
        await stores.reviews.add(catalogue.review())
    await stores.products.add(catalogue.product())
    with pytest.raises(UnknownReviewError):
        await stores.reviews.replace(catalogue.review())
    with pytest.raises(UnknownReviewError):
        await stores.reviews.remove(LAMP, "user_1")
    assert await stars(stores) == (0, 0)


async def test_a_change_keeps_the_author_and_the_date(stores: Any) -> None:
    await stores.products.add(catalogue.product())
    first = catalogue.review()
    await stores.reviews.add(first)
    later = NOW + timedelta(days=1)
    changed = await stores.reviews.replace(
        catalogue.review(rating=1, text="Broke.", author="", changed_at=later, written_at=later)
    )
    assert (changed.review_id, changed.author, changed.written_at) == (
        first.review_id,
        "Ada",
        NOW,
    )
    assert (changed.rating, changed.text, changed.changed_at) == (1, "Broke.", later)
    assert await stores.reviews.page(LAMP, offset=0, limit=5) == [changed]
    assert await stars(stores) == (1, 1)


async def test_stars_are_those_of_the_reviews_whatever_happens_at_once(stores: Any) -> None:
    await stores.products.add(catalogue.product())
    dice = random.Random(7)

    async def buyer(number: int) -> None:
        user = f"user_{number}"
        await stores.reviews.add(catalogue.review(user, rating=dice.randint(1, 5)))
        await stores.reviews.replace(catalogue.review(user, rating=dice.randint(1, 5)))
        if number % 3 == 0:
            await stores.reviews.remove(LAMP, user)

    await asyncio.gather(*(buyer(number) for number in range(12)))
    left = await stores.reviews.page(LAMP, offset=0, limit=50)
    assert len(left) == 8
    assert await stars(stores) == (sum(review.rating for review in left), 8)


async def test_reviews_come_newest_first_page_by_page(stores: Any) -> None:
    await stores.products.add(catalogue.product())
    for number in range(5):
        at = NOW + timedelta(minutes=number)
        await stores.reviews.add(catalogue.review(f"user_{number}", written_at=at))
    pages = [await stores.reviews.page(LAMP, offset=start, limit=2) for start in (0, 2, 4, 6)]
    assert [[review.user_id for review in page] for page in pages] == [
        ["user_4", "user_3"],
        ["user_2", "user_1"],
        ["user_0"],
        [],
    ]


async def test_who_received_and_did_not_return_has_it_in_any_order(stores: Any) -> None:
    delivered = Receipt(order_id="order_1", user_id="user_1", product_ids=(LAMP,))
    returned = Receipt(order_id="order_1", user_id="user_1", returned=True)
    await stores.reviews.take_receipts([delivered, delivered])
    assert await stores.reviews.has_received(LAMP, "user_1")
    assert not await stores.reviews.has_received(LAMP, "user_2")
    assert not await stores.reviews.has_received(ids.product_id("other"), "user_1")
    await stores.reviews.take_receipts([returned])
    await stores.reviews.take_receipts([delivered])
    assert not await stores.reviews.has_received(LAMP, "user_1")
    early = Receipt(order_id="order_2", user_id="user_1", returned=True)
    late = Receipt(order_id="order_2", user_id="user_1", product_ids=(LAMP,))
    await stores.reviews.take_receipts([early, late])
    assert not await stores.reviews.has_received(LAMP, "user_1")
    second = Receipt(order_id="order_3", user_id="user_1", product_ids=(LAMP,))
    await stores.reviews.take_receipts([second])
    assert await stores.reviews.has_received(LAMP, "user_1")
