"""A payment begins with a pin."""

import pytest

from doorbuster.checkout.domain import refusals
from doorbuster.checkout.usecases.begin_payment import begin_payment, show_order


async def begin(world, order_id, attempt=1):
    return await begin_payment(world.store, world.inventory, order_id, attempt)


async def test_a_pinned_order_is_returned_also_for_a_replay(world):
    order = await world.buy()
    assert await begin(world, order.order_id) == order
    assert await begin(world, order.order_id) == order
    assert await show_order(world.store, order.order_id) == order


async def test_another_attempt_while_one_is_under_way_is_in_progress(world):
    order = await world.buy()
    await begin(world, order.order_id)
    with pytest.raises(refusals.PaymentInProgressError):
        await begin(world, order.order_id, 2)


async def test_a_hold_that_ran_out_cannot_be_paid(world):
    order = await world.buy()
    world.clocks.advance(121)
    with pytest.raises(refusals.HoldExpiredError):
        await begin(world, order.order_id)


async def test_a_paid_order_is_paid(world):
    order = await world.buy()
    world.inventory.sell(order.order_id)
    with pytest.raises(refusals.AlreadyPaidError):
        await begin(world, order.order_id, 2)


async def test_an_unknown_order_pins_nothing(world):
    with pytest.raises(refusals.UnknownOrderError):
        await begin(world, "order_01h455vb4pex5vsknk084sn02q")
    assert world.inventory.calls["pin"] == 0
