"""Sales with a waiting room: who may ask for units, in which order, and what the others are told."""

import asyncio

import pytest
from msgspec import structs

from doorbuster.checkout.domain import refusals
from doorbuster.checkout.usecases import meters
from doorbuster.contracts import api
from doorbuster.kit import ids

CASE = ids.product_id("case")
OTHER_SALE = "22222222-2222-2222-2222-222222222222"


@pytest.fixture
def queued(make_world, sale):
    """One buyer a second for five phones, at most two a person."""
    return make_world(sale(admit_per_second=1))


async def press(world, *names):
    """Have buyers press, one after the other; returns the orders, or the refusals of those who wait."""
    answers = []
    for name in names:
        try:
            answers.append(await world.buy(f"user_{name}", f"key-{name}"))
        except refusals.WaitingRoomError as refusal:
            answers.append(refusal)
    return answers


def held(answers):
    return [not isinstance(answer, Exception) for answer in answers]


async def test_buyers_go_on_in_the_order_in_which_they_came(queued):
    first, second, third = await press(queued, "a", "b", "c")
    assert first.amount_minor == 9_990
    assert (second.position, second.retry_after) == (1, 1)
    assert (third.position, third.retry_after) == (2, 2)
    assert queued.permits.asked == 1, "who waits asks for no unit"
    queued.clocks.advance(1)
    assert held(await press(queued, "c", "b", "d")) == [False, True, False]
    queued.clocks.advance(1)
    assert held(await press(queued, "d", "c")) == [False, True]


async def test_asking_again_keeps_the_place(queued):
    await press(queued, "a", "b", "c")
    for _ in range(5):
        [again] = await press(queued, "c")
        assert (again.position, again.retry_after) == (2, 2)
    queued.clocks.advance(2)
    assert held(await press(queued, "c")) == [True]


async def test_who_is_in_stays_in_with_other_orders_too(make_world, sale, item):
    world = make_world(sale(item(per_user_limit=2), admit_per_second=1))
    await press(world, "a", "b")
    assert (await world.buy("user_a", "another key")).amount_minor == 9_990
    with pytest.raises(refusals.PerUserLimitError):
        await world.buy("user_a", "a third key")


async def test_an_order_is_answered_again_though_its_buyer_has_lost_his_place(queued):
    [order] = await press(queued, "a")
    queued.rooms.forget()
    await press(queued, "b")
    assert await press(queued, "a") == [order]
    queued.inventory.sell(order.order_id)
    assert await press(queued, "a") == [order]
    with pytest.raises(refusals.KeyReusedError):
        await queued.buy("user_a", "key-a", quantity=2)


async def test_the_rate_may_change_while_people_wait(queued):
    await press(queued, *(f"n{n}" for n in range(50)))
    [far] = await press(queued, "late")
    assert (far.position, far.retry_after) == (50, 50)
    change(queued, admit_per_second=100)
    queued.clocks.advance(1)  # the board is looked at again
    await queued.board.step()
    [far] = await press(queued, "late")
    assert (far.position, far.retry_after) == (49, 1), "the second before counts at its own rate"
    queued.clocks.advance(0.5)
    assert held(await press(queued, "late")) == [True]


async def test_a_waiting_room_that_is_taken_away_lets_everybody_in(queued):
    await press(queued, "a", "b")
    change(queued, admit_per_second=None)
    await queued.board.step()
    assert held(await press(queued, "b", "c")) == [True, True]


def change(world, **changes):
    world.inventory.listed = [structs.replace(sale, **changes) for sale in world.inventory.listed]


async def test_nobody_is_told_to_come_again_later_than_in_a_minute(queued):
    await press(queued, *(f"n{n}" for n in range(200)))
    [far] = await press(queued, "late")
    assert (far.position, far.retry_after) == (200, 60)


async def test_who_waits_is_told_at_once_that_all_is_sold(queued):
    for n in range(5):
        queued.clocks.advance(1)
        assert held(await press(queued, f"n{n}")) == [True]
    assert held(await press(queued, "b", "c")) == [False, False]
    for order_id in list(queued.inventory.reservations):
        queued.inventory.sell(order_id)
    for name in "bc":
        with pytest.raises(refusals.SoldOutError):
            await queued.buy(f"user_{name}", f"key-{name}")


async def test_who_waits_is_told_that_the_sale_is_over(queued):
    await press(queued, "a", "b")
    change(queued, state="Cancelled")
    await queued.board.step()
    with pytest.raises(refusals.SaleClosedError):
        await queued.buy("user_b", "key-b")


async def test_nobody_has_a_place_before_the_opening(queued):
    queued.clocks.advance(-30)
    with pytest.raises(refusals.SaleNotOpenError) as refused:
        await queued.buy()
    assert refused.value.retry_after == 29
    assert queued.rooms.asked == 0


async def test_an_order_of_two_sales_waits_in_both_queues_for_the_later_turn(
    make_world, sale, item
):
    world = make_world(
        sale(admit_per_second=1),
        sale(item("case", per_user_limit=2), uid=OTHER_SALE, name="cases", admit_per_second=10),
    )
    both = api.Checkout(
        products=[
            api.CheckoutLine(product_id=line, quantity=1)
            for line in (ids.product_id("phone"), CASE)
        ]
    )
    await world.buy("user_a", "a")
    with pytest.raises(refusals.WaitingRoomError) as refused:
        await world.buy("user_b", "b", wish=both)
    assert refused.value.retry_after == 1
    assert refused.value.product_id == ids.product_id("phone")
    await world.buy("user_b", "only a case", product_id=CASE)
    world.clocks.advance(1)
    assert len((await world.buy("user_b", "b", wish=both)).lines) == 2


async def test_sales_without_a_waiting_room_ask_for_no_place(world):
    await world.buy()
    assert world.rooms.asked == 0


async def test_without_redis_everybody_goes_on_and_is_counted(queued):
    queued.rooms.is_away = True
    before = meters.DEGRADED.labels("waiting_room")._value.get()
    assert held(await press(queued, *"abcde")) == [True] * 5
    assert meters.DEGRADED.labels("waiting_room")._value.get() == before + 5


async def test_a_crowd_at_once_goes_in_one_after_the_other(queued):
    async def all_press():
        answers = await asyncio.gather(
            *(queued.buy(f"user_{n}", f"key-{n}") for n in range(8)), return_exceptions=True
        )
        return sum(not isinstance(answer, Exception) for answer in answers)

    for second in range(5):
        assert await all_press() == second + 1, "owners get theirs again, and one more goes in"
        queued.clocks.advance(1)
    assert len(queued.inventory.reservations) == 5


@pytest.mark.parametrize("strategy", ["Direct", "Lock"])
async def test_every_strategy_may_have_a_waiting_room(make_world, sale, strategy):
    world = make_world(sale(strategy=strategy, admit_per_second=1))
    assert held(await press(world, "a", "b")) == [True, False]
    world.clocks.advance(1)
    assert held(await press(world, "a", "b")) == [True, True]
