"""The store of picture tickets, fake and real: one copy works on a ticket, nothing is shown that was removed."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from doorbuster.kit import ids
from doorbuster.product.domain import pictures
from doorbuster.product.domain.pictures import (
    CLAIM,
    State,
    Ticket,
    TooManyImagesError,
    UnknownImageError,
)
from doorbuster.product.domain.products import Picture, UnknownProductError
from doorbuster.testing import catalogue
from doorbuster.testing.catalogue import NOW

LAMP = ids.product_id("lamp-1")
SOON = NOW + timedelta(seconds=2)


def ticket() -> Ticket:
    return pictures.new_ticket(
        ids.new_id("img"), LAMP, content_type="image/png", size=100, alt="A lamp", now=NOW
    )


def picture_of(one: Ticket) -> Picture:
    name = f"images/{one.image_id}"
    return Picture(
        image_id=one.image_id, large=f"{name}/l", thumbnail=f"{name}/s", width=9, height=9
    )


async def shown(stores: Any) -> Ticket:
    await stores.products.add(catalogue.product())
    one = ticket()
    await stores.tickets.open(one, most=12)
    assert await stores.tickets.show(one, picture_of(one), NOW)
    return one


async def test_a_product_has_at_most_so_many_pictures_with_those_under_way(stores: Any) -> None:
    with pytest.raises(UnknownProductError):
        await stores.tickets.open(ticket(), most=3)
    await stores.products.add(catalogue.product())
    outcomes = await asyncio.gather(
        *(stores.tickets.open(ticket(), most=3) for _ in range(6)), return_exceptions=True
    )
    assert [type(one) for one in outcomes if one is not None] == [TooManyImagesError] * 3


async def test_a_due_ticket_is_claimed_by_one(stores: Any) -> None:
    await stores.products.add(catalogue.product())
    one = ticket()
    await stores.tickets.open(one, most=12)
    assert await stores.tickets.claim_due(NOW) is None
    claims = await asyncio.gather(*(stores.tickets.claim_due(SOON) for _ in range(4)))
    assert [found.image_id for found in claims if found is not None] == [one.image_id]
    assert await stores.tickets.overdue(SOON) == timedelta(0)
    # Whoever claimed it has died.
    assert await stores.tickets.claim_due(SOON + CLAIM) is not None


async def test_a_picture_is_shown_once_and_its_original_left_to_be_deleted(stores: Any) -> None:
    one = await shown(stores)
    assert not await stores.tickets.show(one, picture_of(one), NOW)
    product = await stores.products.find(LAMP)
    assert product.images == [picture_of(one)]
    left = await stores.tickets.claim_due(NOW)
    assert (left.state, left.objects) == (State.ADDED, [one.original])
    await stores.tickets.close(left, NOW)
    assert await stores.tickets.find(LAMP, one.image_id) is None


async def test_what_was_removed_while_it_was_made_is_not_shown(stores: Any) -> None:
    await stores.products.add(catalogue.product())
    one = ticket()
    await stores.tickets.open(one, most=12)
    assert await stores.tickets.name_objects(one.image_id, ["images/a"])
    await stores.tickets.remove(LAMP, one.image_id, NOW)
    assert not await stores.tickets.name_objects(one.image_id, ["images/b"])
    assert not await stores.tickets.show(one, picture_of(one), NOW)
    assert (await stores.products.find(LAMP)).images == []
    # Not before whoever worked on it is over.
    assert await stores.tickets.claim_due(NOW + CLAIM / 2) is None
    doomed = await stores.tickets.claim_due(NOW + CLAIM)
    assert set(doomed.objects) == {one.original, "images/a"}


async def test_a_removed_picture_leaves_its_objects_to_be_deleted(stores: Any) -> None:
    one = await shown(stores)
    await stores.tickets.remove(LAMP, one.image_id, NOW)
    with pytest.raises(UnknownImageError):
        await stores.tickets.remove(LAMP, one.image_id, NOW)
    doomed = await stores.tickets.claim_due(NOW)
    picture = picture_of(one)
    assert doomed.state is State.REMOVED
    assert set(doomed.objects) == {picture.large, picture.thumbnail, one.original}


async def test_a_deleted_product_leaves_the_objects_of_all_its_pictures(stores: Any) -> None:
    one = await shown(stores)
    await stores.tickets.close((await stores.tickets.claim_due(NOW)), NOW)
    waiting = ticket()
    await stores.tickets.open(waiting, most=12)
    await stores.products.remove(LAMP, expected=1, now=NOW)
    claimed = [await stores.tickets.claim_due(NOW + CLAIM) for _ in range(2)]
    assert {found.state for found in claimed} == {State.REMOVED}
    picture = picture_of(one)
    assert {name for found in claimed for name in found.objects} == {
        *(picture.large, picture.thumbnail, waiting.original)
    }
    assert await stores.tickets.claim_due(NOW + CLAIM) is None


async def test_a_deleted_product_whose_original_is_still_there_loses_both(stores: Any) -> None:
    one = await shown(stores)
    await stores.products.remove(LAMP, expected=1, now=NOW)
    doomed = await stores.tickets.claim_due(NOW)
    picture = picture_of(one)
    assert {picture.large, picture.thumbnail, one.original} <= set(doomed.objects)


async def test_a_refusal_can_be_read_after_its_objects_are_gone(stores: Any) -> None:
    await stores.products.add(catalogue.product())
    one = ticket()
    await stores.tickets.open(one, most=12)
    await stores.tickets.refuse(one.image_id, "no picture", NOW)
    due = await stores.tickets.claim_due(NOW)
    assert due.objects == [one.original]
    await stores.tickets.close(due, NOW)
    kept = await stores.tickets.find(LAMP, one.image_id)
    assert (kept.state, kept.reason, kept.due_at) == (State.REFUSED, "no picture", None)
    assert await stores.tickets.claim_due(NOW + timedelta(days=9)) is None


async def test_a_picture_is_under_way_until_its_ticket_has_no_work_left(stores: Any) -> None:
    await stores.products.add(catalogue.product())
    one, other = ticket(), ticket()
    await stores.tickets.open(one, most=12)
    await stores.tickets.open(other, most=12)
    await stores.tickets.refuse(other.image_id, "no picture", NOW)
    names = [one.image_id, other.image_id, "img_unknown"]
    assert await stores.tickets.under_way(names) == {one.image_id, other.image_id}
    await stores.tickets.close(await stores.tickets.find(LAMP, other.image_id), NOW)
    assert await stores.tickets.under_way(names) == {one.image_id}
    assert await stores.tickets.under_way([]) == set()
