"""The public sees the board, also while inventory is away."""

from datetime import timedelta

import pytest

from doorbuster.checkout.usecases.show_sales import list_sales, show_sale


async def test_a_sale_is_shown_by_the_authoritys_clock(world):
    shown = await show_sale(world.board, "shop.drop")
    assert shown.phase == "Open"
    assert shown.server_time == world.clocks.now
    assert await show_sale(world.board, "shop.other") is None


async def test_the_clock_goes_on_while_inventory_is_away(world):
    await world.board.step()
    world.inventory.is_away = True
    world.clocks.advance(7)
    await world.board.step()
    shown = await show_sale(world.board, "shop.drop")
    assert shown.server_time == world.clocks.now
    assert not world.board.is_trusted


async def test_without_any_sighting_there_is_no_answer(world):
    world.inventory.is_away = True
    with pytest.raises(ConnectionError):
        await show_sale(world.board, "shop.drop")


async def test_pages_are_bounded_and_ordered_by_opening(world, sale):
    world.inventory.listed = [
        sale(uid=f"{number}", name=f"s{number}", opens=world.clocks.now + timedelta(hours=-number))
        for number in range(5)
    ]
    first = await list_sales(world.board, page=1, size=2)
    last = await list_sales(world.board, page=3, size=2)
    beyond = await list_sales(world.board, page=9, size=2)
    assert [entry.id for entry in first.sales] == ["shop.s4", "shop.s3"]
    assert [entry.id for entry in last.sales] == ["shop.s0"]
    assert beyond.sales == []
    assert (first.pagination.total_pages, first.pagination.total_items) == (3, 5)


async def test_of_a_name_used_again_the_newest_sale_is_shown(world, sale):
    world.inventory.listed = [
        sale(uid="new", opens=world.clocks.now + timedelta(hours=1)),
        sale(uid="old"),
    ]
    assert (await show_sale(world.board, "shop.drop")).phase == "Scheduled"
