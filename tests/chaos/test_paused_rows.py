"""The last row of the crash table: a process that is stopped past every deadline and wakes with old plans in hand.

A second copy of payment or inventory runs beside the stopped one, for its background workers: in production others
repair while one sleeps.
"""

import asyncio

import pytest

from chaos.scene import UNKNOWN, until

GRACE_SECONDS = 10.0
PERMIT_SECONDS = 4.0  # as in conftest, as the next
RECOVER_SECONDS = 6.0
START_SECONDS = 30.0  # the second copy may need that long to begin


async def reservation_is(stage, buyer, state, within_seconds):
    await until(
        f"reservation {state}",
        lambda: stage.stores.reservation(buyer.order_id),
        lambda seen: seen == state,
        within_seconds=within_seconds + START_SECONDS + GRACE_SECONDS,
    )


async def test_checkout_that_wakes_with_an_old_permit_finds_a_tombstone(stage, tmp_path):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("checkout-0", "checkout.permit.taken.stopped")
        call = asyncio.create_task(buyer.press())
        await life.stopped()
        await reservation_is(stage, buyer, "TOMB", PERMIT_SECONDS)
        await life.go_on()
        assert await call in (UNKNOWN, "HOLD_EXPIRED")
        assert await buyer.press_on() == "HOLD_EXPIRED"
        assert await stage.stores.reservation(buyer.order_id) == "TOMB"
        await scene.judge()


@pytest.mark.parametrize(
    ("point", "ends"),
    [
        pytest.param("payment.attempt.opened.stopped", "ABANDONED", marks=pytest.mark.variant),
        ("payment.pin.done.stopped", "ABANDONED"),
        pytest.param("payment.confirming.stored.stopped", "DECLINED", marks=pytest.mark.variant),
    ],
)
async def test_payment_that_wakes_before_the_card_is_asked_charges_nobody(
    stage, tmp_path, point, ends
):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("payment", point)
        await stage.start_twin("payment")
        await buyer.hold()
        call = asyncio.create_task(buyer.pay())
        await life.stopped()
        await until(
            f"the other copy ends the attempt {ends}",
            lambda: stage.stores.attempts(buyer.order_id),
            lambda seen: seen == [ends],
            within_seconds=RECOVER_SECONDS + START_SECONDS + GRACE_SECONDS,
        )
        await life.go_on()
        assert await call in (UNKNOWN, "DECLINED", "PAYMENT_IN_PROGRESS")
        assert await buyer.pay_on() == "DECLINED"
        assert await stage.stores.attempts(buyer.order_id) == [ends]
        assert not {"requires_capture", "succeeded"} & set(
            await stage.stores.intents(buyer.order_id)
        )
        assert await buyer.pay_on("p2") == "PAID"
        await scene.judge()


async def test_inventory_that_wakes_before_an_old_reserve_finds_a_tombstone(stage, tmp_path):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("inventory", "inventory.reserve.begun.stopped")
        await stage.start_twin("inventory")
        call = asyncio.create_task(buyer.press())
        await life.stopped()
        await reservation_is(stage, buyer, "TOMB", PERMIT_SECONDS)
        await life.go_on()
        assert await call in (UNKNOWN, "HOLD_EXPIRED")
        assert await buyer.press_on() == "HOLD_EXPIRED"
        await scene.judge()


async def test_inventory_that_wakes_with_an_old_epoch_does_not_load_it(stage, tmp_path):
    async with stage.sale(tmp_path) as scene:
        life = await stage.arm("inventory", "inventory.epoch.bumped.stopped")
        await stage.start_twin("inventory")
        raising = asyncio.create_task(
            scene.keeper.put_pool(scene.sku, scene.units + 1, generation=2)
        )
        await life.stopped()
        permits = await until(
            "the other copy warms",
            lambda: stage.stores.permits(scene.product),
            lambda seen: seen is not None and seen.free == scene.units + 1,
            within_seconds=START_SECONDS + GRACE_SECONDS,
        )
        await life.go_on()
        await asyncio.wait({raising}, timeout=GRACE_SECONDS)
        raising.exception()
        now = await stage.stores.permits(scene.product)
        assert (now.epoch >= permits.epoch, now.free) == (True, scene.units + 1)
        await scene.judge()
