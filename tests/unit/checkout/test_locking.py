"""Sales with the strategy Lock: one order at a time asks, and nothing depends on it."""

import asyncio
from collections import Counter

import pytest

from doorbuster.checkout.domain import refusals
from doorbuster.checkout.usecases import meters
from doorbuster.contracts import api
from doorbuster.kit import ids

PHONE, CASE = ids.product_id("phone"), ids.product_id("case")


@pytest.fixture
def locked(make_world, sale):
    return make_world(sale(strategy="Lock"))


def degraded(missing):
    return meters.DEGRADED.labels(missing)._value.get()


async def test_an_order_is_held_under_the_lock_and_asks_redis_for_no_permit(locked):
    held_meanwhile = []
    reserve = locked.inventory.reserve

    async def watched(item):
        held_meanwhile.append(list(locked.locks.held))
        return await reserve(item)

    locked.inventory.reserve = watched
    order = await locked.buy()
    assert order.amount_minor == 9_990
    assert held_meanwhile == [[PHONE]]
    assert locked.locks.held == []
    assert locked.permits.asked == 0


async def test_the_lock_is_free_again_before_the_order_is_stored(locked):
    place = locked.store.place

    async def watched(stored):
        assert locked.locks.held == []
        return await place(stored)

    locked.store.place = watched
    await locked.buy()


async def test_five_units_among_forty_buyers(locked):
    answers = await asyncio.gather(
        *(locked.buy(f"user_{n}", f"key-{n}") for n in range(40)), return_exceptions=True
    )
    assert Counter(type(answer).__name__ for answer in answers) == {
        "PlacedOrder": 5,
        "WaitingError": 35,
    }


async def test_whose_turn_does_not_come_waits_and_reserves_nothing(locked):
    locked.locks.kept.add(PHONE)
    with pytest.raises(refusals.WaitingError):
        await locked.buy()
    assert locked.inventory.calls["reserve"] == 0
    locked.locks.kept.clear()
    assert (await locked.buy()).amount_minor == 9_990


async def test_whose_turn_does_not_come_is_told_that_all_is_sold(locked):
    for n in range(5):
        order = await locked.buy(f"user_{n}", f"key-{n}")
        locked.inventory.sell(order.order_id)
    locked.locks.kept.add(PHONE)
    with pytest.raises(refusals.SoldOutError):
        await locked.buy("late", "late")


async def test_an_owner_gets_his_order_though_others_keep_the_lock(locked):
    order = await locked.buy()
    locked.restart()
    locked.locks.kept.add(PHONE)
    assert await locked.buy() == order


async def test_a_gate_that_moved_on_is_waiting_and_not_asked_again(locked):
    await locked.board.sighting()
    locked.inventory.units[PHONE].epoch += 1
    locked.locks.kept.add(PHONE)
    with pytest.raises(refusals.WaitingError):
        await locked.buy()
    assert locked.inventory.calls["judge"] == 1


async def test_without_redis_orders_go_on_without_the_lock_and_are_counted(locked):
    locked.locks.is_away = True
    before = degraded("lock")
    assert (await locked.buy()).amount_minor == 9_990
    assert degraded("lock") == before + 1


async def test_permits_of_other_lines_go_back_when_the_turn_does_not_come(make_world, sale, item):
    world = make_world(
        sale(item("case"), uid="1"), sale(item("phone"), uid="2", name="locked", strategy="Lock")
    )
    world.locks.kept.add(PHONE)
    wish = api.Checkout(
        products=[
            api.CheckoutLine(product_id=CASE, quantity=1),
            api.CheckoutLine(product_id=PHONE, quantity=1),
        ]
    )
    with pytest.raises(refusals.WaitingError):
        await world.buy(wish=wish)
    assert world.permits.products[CASE].available == 5
    world.locks.kept.clear()
    assert len((await world.buy(wish=wish)).lines) == 2


async def test_locks_are_taken_in_product_order_and_freed_together(make_world, sale, item):
    world = make_world(sale(item("phone"), item("case"), strategy="Lock"))
    seen = []
    reserve = world.inventory.reserve

    async def watched(asked):
        seen.append(list(world.locks.held))
        return await reserve(asked)

    world.inventory.reserve = watched
    wish = api.Checkout(
        products=[api.CheckoutLine(product_id=name, quantity=1) for name in (PHONE, CASE)]
    )
    await world.buy(wish=wish)
    assert seen == [sorted([PHONE, CASE])]
    assert world.locks.held == []


async def test_the_time_for_all_locks_of_an_order_is_one(locked, monkeypatch):
    asked = []
    hold = locked.locks.hold

    def noted(product_id, *, within_seconds):
        asked.append(within_seconds)
        return hold(product_id, within_seconds=within_seconds)

    monkeypatch.setattr(locked.locks, "hold", noted)
    await locked.buy()
    assert asked == [pytest.approx(3.0)]
