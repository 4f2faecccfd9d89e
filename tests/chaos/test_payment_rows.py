"""The rows of the crash table around the card: opened, pinned, intent, cancelling, authorised, declined, captured."""

import asyncio

import pytest

from chaos.scene import UNKNOWN, until

HOLD_SECONDS = 6
RECOVER_SECONDS = 6.0  # as in conftest
PIN_SWEEP_SECONDS = 5.0
GRACE_SECONDS = 10.0
RECOVERED_WITHIN = RECOVER_SECONDS + 1.0 + GRACE_SECONDS
CARD_THAT_DECLINES = "4000000000000002"
NOT_SOON = {"DOORBUSTER_PAYMENT_RECOVER_SECONDS": "120"}
CHARGED = {"requires_capture", "succeeded"}

# point, the process that dies there, states left: the attempt, the reservation, the intents
OPEN_POINTS = [
    ("payment.attempt.opened", "payment", "NEW", "HELD", []),
    ("inventory.pin.committed", "inventory", "NEW", "PAYING", []),
    pytest.param(
        "checkout.pin.answered", "checkout-0", "NEW", "PAYING", [], marks=pytest.mark.variant
    ),
    ("payment.pin.done", "payment", "NEW", "PAYING", []),
    pytest.param(
        "payment.card.tokenised", "payment", "NEW", "PAYING", [], marks=pytest.mark.variant
    ),
    ("payment.intent.created", "payment", "NEW", "PAYING", ["requires_payment_method"]),
    ("payment.confirming.stored", "payment", "CONFIRMING", "PAYING", ["requires_payment_method"]),
]


async def attempts_are(stage, buyer, *states, within_seconds=RECOVERED_WITHIN):
    await until(
        f"attempts {states}",
        lambda: stage.stores.attempts(buyer.order_id),
        lambda seen: seen == list(states),
        within_seconds=within_seconds,
    )


async def unit_is_back(stage, scene, buyer, within_seconds=RECOVERED_WITHIN):
    """Wait until the order holds nothing and the unit is for sale in both stores."""
    await until(
        "released",
        lambda: stage.stores.reservation(buyer.order_id),
        lambda state: state == "RELEASED",
        within_seconds=within_seconds,
    )
    await until(
        "every permit back",
        lambda: stage.stores.permits(scene.product),
        lambda seen: seen is not None and (seen.free, seen.unsettled) == (scene.units, 0),
        within_seconds=GRACE_SECONDS,
    )


async def is_not_charged(stage, buyer):
    assert not CHARGED & set(await stage.stores.intents(buyer.order_id))


async def is_charged_once(stage, buyer):
    intents = await stage.stores.intents(buyer.order_id)
    assert [state for state in intents if state in CHARGED] == ["succeeded"]


async def dies_while_paying(stage, buyer, part, *points, **how):
    """Arm, hold a unit, pay, and see the process die at the point."""
    settings = how.pop("settings", {})
    life = await stage.arm(part, *points, **settings)
    await buyer.hold()
    code = await buyer.pay(**how)
    await life.died()
    return code


@pytest.mark.parametrize(("point", "part", "attempt", "held", "intents"), OPEN_POINTS)
async def test_attempt_that_nobody_finishes_charges_nobody_and_gives_the_unit_back(
    stage, tmp_path, point, part, attempt, held, intents
):
    async with stage.sale(tmp_path, hold_seconds=HOLD_SECONDS) as scene:
        buyer = scene.buyers[0]
        if part == "payment":
            assert await dies_while_paying(stage, buyer, part, point) == UNKNOWN
        else:
            # Payment lives on and would pin again: it dies, too, before anybody answers it.
            life = await stage.arm(part, point)
            await buyer.hold()
            call = asyncio.create_task(buyer.pay())
            await life.died()
            await stage.kill("payment")
            assert await call == UNKNOWN
        assert await stage.stores.attempts(buyer.order_id) == [attempt]
        assert await stage.stores.reservation(buyer.order_id) == held
        assert await stage.stores.intents(buyer.order_id) == intents
        if part != "payment":
            await stage.start(part)
        await stage.start("payment")
        ends = "DECLINED" if attempt == "CONFIRMING" else "ABANDONED"
        await attempts_are(stage, buyer, ends)
        await unit_is_back(stage, scene, buyer)
        await is_not_charged(stage, buyer)
        if attempt == "CONFIRMING":
            assert await stage.stores.intents(buyer.order_id) == ["canceled"]
        assert await buyer.pay_on() == "DECLINED"
        await scene.judge()


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("payment.attempt.opened", marks=pytest.mark.variant),
        pytest.param("payment.pin.done", marks=pytest.mark.variant),
        "payment.intent.created",
        pytest.param("payment.confirming.stored", marks=pytest.mark.variant),
    ],
)
async def test_attempt_whose_buyer_comes_again_is_paid_once(stage, tmp_path, point):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        await dies_while_paying(stage, buyer, "payment", point, settings=NOT_SOON)
        await stage.start("payment")
        assert await buyer.pay_on() == "PAID"
        assert await stage.stores.attempts(buyer.order_id) in (
            ["AUTHORISED"],
            ["CAPTURING"],
            ["CAPTURED"],
        )
        await scene.judge()
        await is_charged_once(stage, buyer)


@pytest.mark.parametrize(
    "point",
    ["http.post.pins.reply_lost", "http.post.orders.order_id.begin_payment.reply_lost"],
)
async def test_pin_whose_reply_was_lost_is_found_again(stage, tmp_path, point):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        await stage.arm("inventory" if "pins" in point else "checkout-0", point)
        await buyer.hold()
        assert await buyer.pay_on() == "PAID"
        await scene.judge()
        await is_charged_once(stage, buyer)


@pytest.mark.parametrize(
    ("point", "intent"),
    [
        pytest.param(
            "payment.cancelling.stored", "requires_payment_method", marks=pytest.mark.variant
        ),
        ("payment.cancel.acknowledged", "canceled"),
    ],
)
async def test_cancelling_is_cancelled_again_whether_or_not_the_provider_acted(
    stage, tmp_path, point, intent
):
    async with stage.sale(tmp_path, hold_seconds=HOLD_SECONDS) as scene:
        buyer = scene.buyers[0]
        await dies_while_paying(stage, buyer, "payment", "payment.confirming.stored")
        recovering = await stage.arm("payment", point)
        await recovering.died()
        assert await stage.stores.attempts(buyer.order_id) == ["CANCELLING"]
        assert await stage.stores.intents(buyer.order_id) == [intent]
        await stage.start("payment")
        await attempts_are(stage, buyer, "DECLINED")
        assert await stage.stores.intents(buyer.order_id) == ["canceled"]
        await unit_is_back(stage, scene, buyer)
        await scene.judge()


async def test_authorised_whose_process_died_is_sold_once_without_the_buyer(stage, tmp_path):
    async with stage.sale(tmp_path, hold_seconds=HOLD_SECONDS) as scene:
        buyer = scene.buyers[0]
        await dies_while_paying(stage, buyer, "payment", "payment.charge.authorised")
        assert await stage.stores.attempts(buyer.order_id) == ["CONFIRMING"]
        assert await stage.stores.intents(buyer.order_id) == ["requires_capture"]
        await stage.start("payment")
        await attempts_are(stage, buyer, "CAPTURED")
        await until(
            "sold",
            lambda: stage.stores.reservation(buyer.order_id),
            lambda state: state == "SOLD",
            within_seconds=PIN_SWEEP_SECONDS + GRACE_SECONDS,
        )
        assert await buyer.pay_on() == "PAID"
        await scene.judge()
        await is_charged_once(stage, buyer)


@pytest.mark.parametrize(("card", "told"), [(None, "PAID"), (CARD_THAT_DECLINES, "DECLINED")])
async def test_confirmation_whose_reply_was_lost_is_looked_up(stage, tmp_path, card, told):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        await buyer.hold()
        await stage.stores.behave(dropReplyNext={"count": 1, "on": "confirm"})
        assert await buyer.pay_on(**({"card": card} if card else {})) == told
        if told == "DECLINED":
            await is_not_charged(stage, buyer)
            assert await buyer.pay_on("p2") == "PAID"
        await scene.judge()
        await is_charged_once(stage, buyer)


async def test_declined_whose_process_died_gives_the_unit_back(stage, tmp_path):
    async with stage.sale(tmp_path, hold_seconds=HOLD_SECONDS) as scene:
        buyer = scene.buyers[0]
        await dies_while_paying(
            stage, buyer, "payment", "payment.charge.declined", card=CARD_THAT_DECLINES
        )
        assert await stage.stores.attempts(buyer.order_id) == ["CONFIRMING"]
        assert await stage.stores.reservation(buyer.order_id) == "PAYING"
        await stage.start("payment")
        await attempts_are(stage, buyer, "DECLINED")
        await unit_is_back(stage, scene, buyer)
        await is_not_charged(stage, buyer)
        assert await buyer.pay_on(card=CARD_THAT_DECLINES) == "DECLINED"
        await scene.judge()


async def test_decline_whose_process_died_before_it_told_inventory_is_told_by_its_event(
    stage, tmp_path
):
    async with stage.sale(tmp_path, hold_seconds=HOLD_SECONDS) as scene:
        buyer = scene.buyers[0]
        await dies_while_paying(
            stage, buyer, "payment", "payment.failure.stored", card=CARD_THAT_DECLINES
        )
        assert await stage.stores.attempts(buyer.order_id) == ["DECLINED"]
        assert await stage.stores.reservation(buyer.order_id) == "PAYING"
        assert await stage.stores.waiting_events("payment", buyer.order_id) == ["PaymentFailed"]
        await stage.start("payment")
        await unit_is_back(stage, scene, buyer)
        await scene.judge()


async def test_inventory_that_died_after_it_put_a_declined_unit_back_takes_another_card(
    stage, tmp_path
):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("inventory", "inventory.decline.committed")
        await buyer.hold()
        assert await buyer.pay_on(card=CARD_THAT_DECLINES) == "DECLINED"
        await life.died()
        assert await stage.stores.reservation(buyer.order_id) == "HELD"
        await stage.start("inventory")
        assert await buyer.pay_on("p2") == "PAID"
        await scene.judge()
        await is_charged_once(stage, buyer)


async def test_authorised_commit_leaves_its_event_and_everything_follows(stage, tmp_path):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        await dies_while_paying(stage, buyer, "payment", "payment.authorised.stored")
        assert await stage.stores.attempts(buyer.order_id) == ["AUTHORISED"]
        waiting = await stage.stores.waiting_events("payment", buyer.order_id)
        assert waiting == ["PaymentSucceeded"]
        assert await stage.stores.intents(buyer.order_id) == ["requires_capture"]
        await stage.start("payment")
        assert await buyer.pay_on() == "PAID"
        await scene.judge()
        await is_charged_once(stage, buyer)
        await until(
            "one letter",
            lambda: stage.stores.letters(buyer.order_id),
            lambda seen: seen == [("order-confirmed", "SENT")],
            within_seconds=30.0,
        )


@pytest.mark.parametrize(
    ("point", "state", "intent"),
    [
        pytest.param(
            "payment.capturing.stored", "CAPTURING", "requires_capture", marks=pytest.mark.variant
        ),
        ("payment.capture.acknowledged", "CAPTURING", "succeeded"),
        pytest.param(
            "payment.captured.stored", "CAPTURED", "succeeded", marks=pytest.mark.variant
        ),
    ],
)
async def test_capture_is_finished_by_whoever_comes_and_charges_once(
    stage, tmp_path, point, state, intent
):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        await dies_while_paying(stage, buyer, "payment", point)
        assert await stage.stores.attempts(buyer.order_id) == [state]
        assert await stage.stores.intents(buyer.order_id) == [intent]
        await stage.start("payment")
        await attempts_are(stage, buyer, "CAPTURED")
        assert await buyer.pay_on() == "PAID"
        await scene.judge()
        await is_charged_once(stage, buyer)


async def test_capture_whose_reply_was_lost_charges_once(stage, tmp_path):
    async with stage.sale(tmp_path) as scene:
        buyer = scene.buyers[0]
        await buyer.hold()
        await stage.stores.behave(dropReplyNext={"count": 1, "on": "capture"})
        assert await buyer.pay_on() == "PAID"
        await attempts_are(stage, buyer, "CAPTURED")
        await scene.judge()
        await is_charged_once(stage, buyer)
