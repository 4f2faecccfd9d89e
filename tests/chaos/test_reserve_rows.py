"""The rows of the crash table from the request to the stored order: received, permit, reserve, checkout's row."""

import pytest

from chaos.scene import UNKNOWN, until

PERMIT_SECONDS = 4.0  # as in conftest
REAPER_SECONDS = 1.0
GRACE_SECONDS = 10.0
BURIED_WITHIN = PERMIT_SECONDS + REAPER_SECONDS + GRACE_SECONDS
LONG = {"DOORBUSTER_PERMIT_SECONDS": "60"}


async def buried(stage, scene, buyer):
    """Wait until the permit reaper has buried the order id and the unit is a permit again."""
    await until(
        "a tombstone",
        lambda: stage.stores.reservation(buyer.order_id),
        lambda state: state == "TOMB",
        within_seconds=BURIED_WITHIN,
    )
    await permits_are(stage, scene, scene.units)


async def permits_are(stage, scene, free, within_seconds=GRACE_SECONDS):
    await until(
        f"{free} permits and none in flight",
        lambda: stage.stores.permits(scene.product),
        lambda seen: seen is not None and (seen.free, seen.unsettled) == (free, 0),
        within_seconds=within_seconds,
    )


async def released(stage, scene, buyer, within_seconds):
    """Wait until nothing is held any more and the unit is for sale in both stores."""
    await until(
        "released",
        lambda: stage.stores.reservation(buyer.order_id),
        lambda state: state == "RELEASED",
        within_seconds=within_seconds,
    )
    await permits_are(stage, scene, scene.units)
    units = await stage.stores.units(scene.product)
    assert (units.available, units.reserved) == (scene.units, 0)


async def test_request_received_leaves_nothing_and_the_retry_is_fresh(stage, tmp_path):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("checkout-0", "checkout.request.received")
        assert await buyer.press() == UNKNOWN
        await life.died()
        assert await stage.stores.reservation(buyer.order_id) is None
        permits = await stage.stores.permits(scene.product, buyer.order_id)
        assert (permits.free, permits.entry) == (scene.units, "")
        await stage.start("checkout-0")
        await buyer.hold()
        assert await buyer.pay_on() == "PAID"
        await scene.judge()


async def test_permit_taken_is_replayed_by_the_retry(stage, tmp_path):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("checkout-0", "checkout.permit.taken", **LONG)
        assert await buyer.press() == UNKNOWN
        await life.died()
        permits = await stage.stores.permits(scene.product, buyer.order_id)
        assert (permits.free, permits.unsettled, permits.entry) == (scene.units - 1, 1, "I0")
        assert await stage.stores.reservation(buyer.order_id) is None
        await stage.start("checkout-0")
        await buyer.hold()
        await permits_are(stage, scene, scene.units - 1)
        assert await buyer.pay_on() == "PAID"
        await scene.judge()


async def test_permit_that_nobody_comes_back_for_is_buried(stage, tmp_path):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("checkout-0", "checkout.permit.taken")
        assert await buyer.press() == UNKNOWN
        await life.died()
        await buried(stage, scene, buyer)
        await stage.start("checkout-0")
        assert await buyer.press_on() == "HOLD_EXPIRED"
        assert await buyer.press_on("c2") == "HELD"
        assert await buyer.pay_on() == "PAID"
        await scene.judge()


async def test_inventory_dies_between_burial_and_settlement(stage, tmp_path):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        reaper = await stage.arm("inventory", "inventory.burial.committed")
        life = await stage.arm("checkout-0", "checkout.permit.taken")
        assert await buyer.press() == UNKNOWN
        await life.died()
        await reaper.died()
        assert await stage.stores.reservation(buyer.order_id) == "TOMB"
        permits = await stage.stores.permits(scene.product, buyer.order_id)
        assert (permits.free, permits.entry) == (scene.units - 1, "I0")
        await stage.start("inventory")
        await buried(stage, scene, buyer)
        await stage.start("checkout-0")
        assert await buyer.press_on() == "HOLD_EXPIRED"
        await scene.judge()


async def test_permit_whose_reply_was_lost_is_settled_by_the_reaper(stage, tmp_path):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        await stage.arm("checkout-0", "checkout.permit.reply_lost")
        assert await buyer.press_on() == "HELD"
        await permits_are(stage, scene, scene.units - 1, BURIED_WITHIN)
        assert await buyer.pay_on() == "PAID"
        await scene.judge()


async def test_reserve_that_was_not_committed_is_made_by_the_retry(stage, tmp_path):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("inventory", "inventory.reserve.begun")
        assert await buyer.press() == UNKNOWN
        await life.died()
        assert await stage.stores.reservation(buyer.order_id) is None
        await stage.start("inventory")
        assert await buyer.press_on() == "HELD"
        assert await buyer.pay_on() == "PAID"
        await scene.judge()


@pytest.mark.parametrize(
    "point",
    [
        "inventory.reserve.committed",
        pytest.param("inventory.reserve.settled", marks=pytest.mark.variant),
        pytest.param("http.post.reservations.handled", marks=pytest.mark.variant),
    ],
)
async def test_reserve_that_was_committed_is_found_by_the_retry(stage, tmp_path, point):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("inventory", point)
        first = await buyer.press()
        await life.died()
        assert await stage.stores.reservation(buyer.order_id) == "HELD"
        await stage.start("inventory")
        assert await buyer.press_on() == "HELD"
        assert first in (UNKNOWN, "HELD")  # settling is behind the answer
        await permits_are(stage, scene, scene.units - 1, BURIED_WITHIN)
        assert await buyer.pay_on() == "PAID"
        await scene.judge()


async def test_reserve_whose_reply_was_lost_is_found_by_the_retry(stage, tmp_path):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        await stage.arm("inventory", "http.post.reservations.reply_lost")
        assert await buyer.press() == UNKNOWN
        assert await stage.stores.reservation(buyer.order_id) == "HELD"
        assert await buyer.press_on() == "HELD"
        assert await buyer.pay_on() == "PAID"
        await scene.judge()


async def test_hold_of_a_buyer_who_never_heard_of_it_is_released_once(stage, tmp_path):
    async with stage.sale(tmp_path, hold_seconds=2) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("inventory", "inventory.reserve.committed")
        assert await buyer.press() == UNKNOWN
        await life.died()
        assert await stage.stores.reservation(buyer.order_id) == "HELD"
        await stage.start("inventory")
        await released(stage, scene, buyer, within_seconds=2 + GRACE_SECONDS)
        assert await buyer.press_on() == "HOLD_EXPIRED"
        await scene.judge()


async def test_checkout_row_that_was_not_written_is_written_by_the_retry(stage, tmp_path):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("checkout-0", "checkout.order.held")
        assert await buyer.press() == UNKNOWN
        await life.died()
        assert await stage.stores.reservation(buyer.order_id) == "HELD"
        assert not await stage.stores.is_placed(buyer.order_id)
        await stage.start("checkout-0")
        assert await buyer.press_on() == "HELD"
        assert await stage.stores.is_placed(buyer.order_id)
        assert await buyer.pay_on() == "PAID"
        await scene.judge()


async def test_hold_without_a_checkout_row_is_released(stage, tmp_path):
    async with stage.sale(tmp_path, hold_seconds=2) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("checkout-0", "checkout.reserve.answered")
        assert await buyer.press() == UNKNOWN
        await life.died()
        assert not await stage.stores.is_placed(buyer.order_id)
        await released(stage, scene, buyer, within_seconds=2 + GRACE_SECONDS)
        await stage.start("checkout-0")
        assert await buyer.press_on() == "HOLD_EXPIRED"
        await scene.judge()


async def test_order_stored_before_the_reply_is_the_same_order(stage, tmp_path):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("checkout-0", "checkout.order.placed")
        assert await buyer.press() == UNKNOWN
        await life.died()
        assert await stage.stores.is_placed(buyer.order_id)
        assert await stage.stores.waiting_events("checkout", buyer.order_id) == ["OrderPlaced"]
        await stage.start("checkout-0")
        assert await buyer.press_on() == "HELD"
        assert await buyer.pay_on() == "PAID"
        await scene.judge()
