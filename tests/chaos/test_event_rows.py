"""The rows of the crash table behind the point of sale: relay, broker, consumers."""

import asyncio

import msgspec
import pytest

from chaos import broker
from chaos.scene import until
from doorbuster.contracts import events
from doorbuster.kit import bus

GRACE_SECONDS = 10.0
SESSION_SECONDS = 10.0  # how long Kafka keeps the share of a consumer that died
ORDER_KNOWN_SECONDS = 4.0  # as in conftest, as the next
PIN_SWEEP_SECONDS = 5.0
ORDER_MARGIN_SECONDS = 10.0  # the order service's own, past the pay-by


async def order_is(stage, buyer, state, within_seconds=SESSION_SECONDS + GRACE_SECONDS):
    await until(
        f"order {state}",
        lambda: stage.stores.order(buyer.order_id),
        lambda seen: seen == state,
        within_seconds=within_seconds,
    )


async def reservation_is(stage, buyer, state, within_seconds):
    await until(
        f"reservation {state}",
        lambda: stage.stores.reservation(buyer.order_id),
        lambda seen: seen == state,
        within_seconds=within_seconds,
    )


@pytest.mark.parametrize(
    "point", [pytest.param("outbox.taken", marks=pytest.mark.variant), "outbox.produced"]
)
async def test_event_that_was_produced_and_not_deleted_makes_one_order(stage, tmp_path, point):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        await buyer.hold()
        # An event that an earlier sale left behind would be the first to come to the point.
        await until(
            "payment has told all",
            lambda: stage.stores.unsent("payment"),
            lambda left: left == 0,
            within_seconds=GRACE_SECONDS,
        )
        life = await stage.arm("payment", point)
        await buyer.pay()
        await life.died()
        waiting = await stage.stores.waiting_events("payment", buyer.order_id)
        assert waiting[0] == "PaymentSucceeded"
        if point == "outbox.produced":
            await order_is(stage, buyer, "CONFIRMED")  # it was told, and will be told again
        await stage.start("payment")
        assert await buyer.pay_on() == "PAID"
        await scene.judge()
        assert await stage.stores.waiting_events("payment", buyer.order_id) == []
        await one_letter(stage, buyer)


async def everything_is_read(stage, group):
    """Wait until what earlier sales left to this group is handled, so that only this sale comes to the point."""
    bootstrap = stage.environment["DOORBUSTER_KAFKA_BOOTSTRAP"]
    await until(
        f"{group} has read everything",
        lambda: broker.unread(bootstrap, group),
        lambda count: count == 0,
        within_seconds=SESSION_SECONDS + 2 * GRACE_SECONDS,
    )


async def one_letter(stage, buyer):
    await until(
        "one letter, sent",
        lambda: stage.stores.letters(buyer.order_id),
        lambda seen: seen == [("order-confirmed", "SENT")],
        within_seconds=SESSION_SECONDS + 2 * GRACE_SECONDS,
    )


@pytest.mark.parametrize(
    ("part", "point"),
    [
        ("order", "order.orders.merged"),
        ("order", "consumer.handled"),
        ("inventory", "inventory.sold.committed"),
        pytest.param("inventory", "consumer.handled", marks=pytest.mark.variant),
        ("notification", "notification.letters.written"),
    ],
)
async def test_event_that_was_handled_and_not_committed_is_handled_once(
    stage, tmp_path, part, point
):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        await buyer.hold()
        await order_is(stage, buyer, "PENDING")
        await everything_is_read(stage, f"{part}.sales")
        life = await stage.arm(part, point)
        assert await buyer.pay_on() == "PAID"
        await life.died()
        if part == "inventory":
            assert await stage.stores.reservation(buyer.order_id) == "SOLD"
        await stage.start(part)
        await order_is(stage, buyer, "CONFIRMED")
        await scene.judge()
        await one_letter(stage, buyer)


async def test_broker_that_loses_everything_costs_no_order_and_no_unit(stage, tmp_path):
    async with stage.sale(tmp_path, units=3, hold_seconds=8) as scene:
        unpaid, sold, pinned = scene.buyers[:3]
        await unpaid.hold()
        await order_is(stage, unpaid, "PENDING")
        await stage.stop("order")  # from now on its events lie in the broker alone
        await sold.hold()
        assert await sold.pay_on() == "PAID"
        await reservation_is(stage, sold, "SOLD", PIN_SWEEP_SECONDS + GRACE_SECONDS)
        await pinned.hold()
        await stage.stores.behave(delayMillis=700)
        paying = asyncio.create_task(pinned.pay_on())
        await reservation_is(stage, pinned, "PAYING", GRACE_SECONDS)
        await stage.kill("inventory")
        assert await paying == "PAID"
        await stage.stores.behave()
        for buyer in (sold, pinned):
            await until(
                "the relay has brought everything to the broker",
                lambda buyer=buyer: stage.stores.waiting_events("payment", buyer.order_id),
                lambda seen: seen == [],
                within_seconds=GRACE_SECONDS,
            )
        loss = await broker.lose_everything(stage.environment["DOORBUSTER_KAFKA_BOOTSTRAP"])
        await loss.strike(stage.stack)
        await loss.heal(stage.stack)
        await stage.start("inventory")
        await stage.start("order")
        await reservation_is(stage, pinned, "SOLD", PIN_SWEEP_SECONDS + 2 + GRACE_SECONDS)
        for buyer in (sold, pinned):
            known = ORDER_KNOWN_SECONDS + 2 + SESSION_SECONDS + GRACE_SECONDS
            await order_is(stage, buyer, "CONFIRMED", known)
        await order_is(stage, unpaid, "EXPIRED", ORDER_MARGIN_SECONDS + 2 + GRACE_SECONDS)
        await scene.judge()


async def test_pin_sweep_that_died_asks_again_and_needs_no_broker(stage, tmp_path):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("inventory", "inventory.verdict.heard")
        await buyer.hold()
        await stage.stop("kafka")
        assert await buyer.pay_on() == "PAID"
        assert await stage.stores.reservation(buyer.order_id) == "PAYING"
        await life.died()
        await stage.start("inventory")
        await reservation_is(stage, buyer, "SOLD", PIN_SWEEP_SECONDS + 2 + GRACE_SECONDS)
        await stage.start("kafka")
        await scene.judge()


@pytest.mark.parametrize(
    "point",
    [pytest.param("payment.order.asked", marks=pytest.mark.variant), "payment.order.published"],
)
async def test_order_sweep_that_died_tells_again_once_more(stage, tmp_path, point):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        await stage.stop("order")
        life = await stage.arm("payment", point)
        await buyer.hold()
        assert await buyer.pay_on() == "PAID"
        loss = await broker.lose_everything(stage.environment["DOORBUSTER_KAFKA_BOOTSTRAP"])
        await until(
            "the event is in the broker",
            lambda: stage.stores.waiting_events("payment", buyer.order_id),
            lambda seen: seen == [],
            within_seconds=GRACE_SECONDS,
        )
        await loss.strike(stage.stack)
        await loss.heal(stage.stack)
        await stage.start("order")
        await life.died()
        await stage.start("payment")
        await order_is(stage, buyer, "CONFIRMED")
        await scene.judge()


@pytest.mark.parametrize(
    ("part", "point"),
    [
        pytest.param("payment", "payment.reversal.stored", marks=pytest.mark.variant),
        ("payment", "payment.reversal.acknowledged"),
        ("inventory", "inventory.reversal.committed"),
    ],
)
async def test_cancelled_order_is_refunded_and_its_unit_returned_once(
    stage, tmp_path, part, point
):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        await buyer.hold()
        assert await buyer.pay_on() == "PAID"
        await attempt_is(stage, buyer, "CAPTURED")
        await reservation_is(stage, buyer, "SOLD", SESSION_SECONDS + GRACE_SECONDS)
        life = await stage.arm(part, point)
        await cancel(stage, buyer)
        await life.died()
        await stage.start(part)
        await attempt_is(stage, buyer, "REFUNDED")
        await reservation_is(stage, buyer, "RETURNED", SESSION_SECONDS + GRACE_SECONDS)
        picture = await scene.rest()
        units = picture.counters
        assert (units.available, units.reserved, units.sold) == (scene.units, 0, 0)
        assert picture.permits == scene.units
        assert [intent.is_live for intent in picture.intents] == [False]
        other = scene.buyers[1]
        assert await other.press_on() == "HELD"
        assert await other.pay_on() == "PAID"
        assert (await scene.rest()).counters.sold == 1


async def attempt_is(stage, buyer, state):
    await until(
        f"attempt {state}",
        lambda: stage.stores.attempts(buyer.order_id),
        lambda seen: seen == [state],
        within_seconds=SESSION_SECONDS + 2 * GRACE_SECONDS,
    )


async def cancel(stage, buyer):
    """Say what the order service will say of a paid order that was cancelled."""
    event = events.OrderCancelled(
        order_id=buyer.order_id, user_id=buyer.user_id, reason="requested"
    )
    headers = (("id", buyer.order_id), ("type", event.type), ("version", "1"))
    async with bus.open_bus(stage.environment["DOORBUSTER_KAFKA_BOOTSTRAP"]) as opened:
        message = bus.Message(
            topic=events.ORDERS_TOPIC,
            key=buyer.order_id,
            value=msgspec.json.encode(event),
            headers=headers,
        )
        await opened.send([message])
