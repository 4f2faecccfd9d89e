"""Histories that the explorer found, walked on the real stores: each broke a rule before it was mended."""

from typing import Any

from doorbuster.contracts import internal
from doorbuster.escrow import Fate, PermitRequest, Settlement

ORDER = "order-1"
ATTEMPT = internal.Attempt(order_id=ORDER, attempt=1)


async def _hold(world: Any) -> int:
    """Take a permit and reserve with it, as far as the commit; returns the permit's epoch."""
    epoch = await _permit(world)
    outcome, _ = await world.reserve_only(world.item(ORDER, "user", 1, epoch))
    assert outcome == "HELD"
    return epoch


async def _permit(world: Any) -> int:
    asked = PermitRequest(order_id=ORDER, user_id="user", product_id=world.product_id, quantity=1)
    answer = await world.escrow.permit(asked)
    assert answer.outcome == "GRANTED"
    epoch: int = answer.epoch
    return epoch


def test_a_late_success_sells_nothing_that_was_reversed(stage: Any) -> None:
    """PAYING; the payment is reversed, inventory is told that it failed, then hears both events the wrong way round."""

    async def walk() -> None:
        world = stage.world
        await world.enter(1)
        await _hold(world)
        asked = internal.PinItem(order_id=ORDER, attempt=1)
        assert (await world.reserver.pin([asked]))[0].outcome == "PINNED"
        await world.payments.fail([ATTEMPT])
        await world.payments.reverse([ATTEMPT])
        await world.payments.succeed([ATTEMPT])
        await world.expire()
        await world.holds.step()
        found = await world.counters()
        assert (found["available_qty"], found["reserved_qty"], found["sold_qty"]) == (1, 0, 0)

    stage.runner.run(walk())


def test_an_order_released_before_its_settlement_takes_no_second_permit(stage: Any) -> None:
    """Reserved and released before the settlement came; its buyer asks again before the return comes."""

    async def walk() -> None:
        world = stage.world
        await world.enter(2)
        epoch = await _hold(world)
        await world.expire()
        await world.holds.step()
        dropped = Settlement(
            order_id=ORDER, product_id=world.product_id, epoch=epoch, fate=Fate.RELEASED
        )
        assert await world.escrow.settle([dropped]) == 1
        again = await _permit(world)
        outcome, ended = await world.reserve_only(world.item(ORDER, "user", 1, again))
        assert outcome == "RELEASED"
        await world.escrow.settle(ended)
        await world.returns.step()
        held = (await world.escrow.snapshot([world.product_id]))[world.product_id]
        assert (held.permits, held.unsettled) == (2, 0)

    stage.runner.run(walk())
