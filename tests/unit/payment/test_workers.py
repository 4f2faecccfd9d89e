"""Recovery, capture, reversal and the order sweep: from each state that can be left behind."""

from dataclasses import replace
from typing import Any

import pytest

from doorbuster.contracts import internal
from doorbuster.payment.domain import Attempt, PaymentInProgressError, Purchase, State
from doorbuster.testing import payments


async def _stuck(shop: Any, bought: Purchase, method: Any, *operations: str) -> Attempt:
    """Leave an attempt where these operations give no answer (``-operation``: though they act)."""
    for operation in operations:
        acts = operation.startswith("-")
        faults = shop.provider.fail_after if acts else shop.provider.fail_before
        faults[operation.removeprefix("-")] = 1000
    with pytest.raises(PaymentInProgressError):
        await shop.pay(bought, method)
    shop.provider.fail_before.clear()
    shop.provider.fail_after.clear()
    left: Attempt = shop.store.attempts[(bought.order_id, 1)]
    return left


async def test_nothing_is_recovered_before_its_time(shop: Any, bought: Purchase) -> None:
    await _stuck(shop, bought, payments.GOOD_CARD, "create")
    shop.clock.pass_by(14)
    await shop.recovery.step()
    assert shop.state(bought) is State.NEW


async def test_new_is_abandoned_and_its_units_given_back(shop: Any, bought: Purchase) -> None:
    await _stuck(shop, bought, payments.GOOD_CARD, "create")
    shop.clock.pass_by(16)
    await shop.recovery.step()
    assert shop.state(bought) is State.ABANDONED
    assert shop.others.unpinned[bought.order_id] == [1]
    assert shop.told() == ["PaymentFailed"]


async def test_confirming_that_was_authorised_is_sold(shop: Any, bought: Purchase) -> None:
    await _stuck(shop, bought, payments.GOOD_CARD, "-confirm", "retrieve")
    shop.clock.pass_by(16)
    await shop.recovery.step()
    assert shop.state(bought) is State.AUTHORISED
    assert shop.told() == ["PaymentSucceeded"]


async def test_confirming_that_was_declined_is_declined(shop: Any, bought: Purchase) -> None:
    await _stuck(shop, bought, payments.DECLINED_CARD, "-confirm", "retrieve")
    shop.clock.pass_by(16)
    await shop.recovery.step()
    assert shop.state(bought) is State.DECLINED
    assert shop.told() == ["PaymentFailed"]


async def test_confirming_that_was_never_asked_is_cancelled_first(
    shop: Any, bought: Purchase
) -> None:
    await _stuck(shop, bought, payments.GOOD_CARD, "confirm", "retrieve")
    shop.clock.pass_by(16)
    shop.provider.fail_before["cancel"] = 1
    await shop.recovery.step()
    assert shop.state(bought) is State.CANCELLING
    assert shop.told() == []
    shop.clock.pass_by(16)
    await shop.recovery.step()
    assert shop.state(bought) is State.DECLINED
    assert shop.provider.charges() == []


async def test_cancelling_ends_though_the_reply_was_lost(shop: Any, bought: Purchase) -> None:
    await _stuck(shop, bought, payments.GOOD_CARD, "confirm", "retrieve")
    shop.clock.pass_by(16)
    shop.provider.fail_after["cancel"] = 1
    await shop.recovery.step()
    assert shop.state(bought) is State.CANCELLING
    shop.clock.pass_by(16)
    await shop.recovery.step()
    assert shop.state(bought) is State.DECLINED


async def test_recovery_goes_on_with_the_others_when_one_fails(shop: Any) -> None:
    lost, fine = payments.purchase(key="lost"), payments.purchase(key="fine")
    for one in (lost, fine):
        shop.others.place(one)
        await _stuck(shop, one, payments.GOOD_CARD, "-confirm", "retrieve")
    del shop.provider.intents[f"pi_{lost.order_id}:1"]
    shop.clock.pass_by(16)
    await shop.recovery.step()
    assert (shop.state(lost), shop.state(fine)) == (State.CONFIRMING, State.AUTHORISED)


async def test_a_hint_settles_but_never_cancels(shop: Any, bought: Purchase) -> None:
    await _stuck(shop, bought, payments.GOOD_CARD, "confirm", "retrieve")
    shop.clock.pass_by(2)
    await shop.recovery.hear(bought.order_id, 1)
    assert shop.state(bought) is State.CONFIRMING
    await shop.provider.confirm(shop.store.attempts[(bought.order_id, 1)])
    await shop.recovery.hear(bought.order_id, 1)
    assert shop.state(bought) is State.AUTHORISED
    await shop.recovery.hear(bought.order_id, 1)
    await shop.recovery.hear(bought.order_id, 9)
    assert shop.told() == ["PaymentSucceeded"]


async def test_a_hint_leaves_a_call_under_way_alone(shop: Any, bought: Purchase) -> None:
    await _stuck(shop, bought, payments.GOOD_CARD, "-confirm", "retrieve")
    await shop.recovery.hear(bought.order_id, 1)
    assert shop.state(bought) is State.CONFIRMING
    assert shop.told() == []


async def test_money_is_captured_once(shop: Any, bought: Purchase) -> None:
    await shop.pay(bought)
    for _ in range(3):
        await shop.capture.step()
        shop.clock.pass_by(60)
    assert shop.state(bought) is State.CAPTURED
    assert shop.provider.calls["capture"] == 1
    assert shop.told() == ["PaymentSucceeded", "PaymentCaptured"]


@pytest.mark.parametrize("when", ["fail_before", "fail_after"])
async def test_a_capture_without_an_answer_is_finished_later(
    shop: Any, bought: Purchase, when: str
) -> None:
    await shop.pay(bought)
    getattr(shop.provider, when)["capture"] = 1
    await shop.capture.step()
    assert shop.state(bought) is State.CAPTURING
    await shop.capture.step()
    assert shop.state(bought) is State.CAPTURING
    shop.clock.pass_by(6)
    await shop.capture.step()
    assert shop.state(bought) is State.CAPTURED
    assert shop.told() == ["PaymentSucceeded", "PaymentCaptured"]


async def test_a_lost_authorisation_takes_the_sale_back_by_event(
    shop: Any, bought: Purchase
) -> None:
    attempt = await shop.pay(bought)
    await shop.provider.cancel(attempt)
    await shop.capture.step()
    assert shop.state(bought) is State.CAPTURE_FAILED
    assert shop.told() == ["PaymentSucceeded", "PaymentReversed"]


async def test_an_order_cancelled_before_the_capture_is_voided(
    shop: Any, bought: Purchase
) -> None:
    await shop.pay(bought)
    for _ in range(2):
        await shop.reversal.ask(bought.order_id, "cancelled")
    await shop.capture.step()
    await shop.reversal.step()
    assert shop.state(bought) is State.VOIDED
    assert shop.provider.charges() == []
    assert shop.told() == ["PaymentSucceeded", "PaymentReversed"]


async def test_an_order_cancelled_during_the_capture_is_refunded(
    shop: Any, bought: Purchase
) -> None:
    await shop.pay(bought)
    shop.provider.fail_after["capture"] = 1
    await shop.capture.step()
    await shop.reversal.ask(bought.order_id, "cancelled")
    shop.clock.pass_by(6)
    await shop.capture.step()
    await shop.reversal.step()
    assert shop.state(bought) is State.REFUNDED
    assert shop.told() == ["PaymentSucceeded", "PaymentCaptured", "PaymentReversed"]


@pytest.mark.parametrize("when", ["fail_before", "fail_after"])
async def test_a_refund_without_an_answer_is_made_once(
    shop: Any, bought: Purchase, when: str
) -> None:
    await shop.pay(bought)
    await shop.capture.step()
    await shop.reversal.ask(bought.order_id, "cancelled")
    getattr(shop.provider, when)["refund"] = 1
    await shop.reversal.step()
    assert shop.state(bought) is State.REFUNDING
    shop.clock.pass_by(6)
    await shop.reversal.step()
    assert shop.state(bought) is State.REFUNDED
    assert len(shop.provider.refunded) == 1


async def test_a_void_whose_reply_was_lost_is_finished(shop: Any, bought: Purchase) -> None:
    await shop.pay(bought)
    await shop.reversal.ask(bought.order_id, "cancelled")
    shop.provider.fail_after["cancel"] = 1
    await shop.reversal.step()
    assert shop.state(bought) is State.VOIDING
    shop.clock.pass_by(6)
    await shop.reversal.step()
    assert shop.state(bought) is State.VOIDED


async def test_an_order_without_a_payment_needs_no_reversal(shop: Any, bought: Purchase) -> None:
    await shop.reversal.ask(bought.order_id, "cancelled")
    await shop.pay(bought, payments.DECLINED_CARD)
    await shop.reversal.ask(bought.order_id, "cancelled")
    assert shop.state(bought) is State.DECLINED


async def test_a_sale_that_order_does_not_know_is_told_again_until_it_does(
    shop: Any, bought: Purchase
) -> None:
    await shop.pay(bought)
    await shop.sweep.step()
    assert shop.told() == ["PaymentSucceeded"]
    for _ in range(2):
        shop.store.told.clear()  # the relay brought it to a broker that forgot it
        shop.clock.pass_by(11)
        await shop.sweep.step()
        assert [topic for topic, _ in shop.store.told] == ["orders"], "the sale's may be gone"
        assert shop.told() == ["PaymentSucceeded"]
    shop.others.known.add(bought.order_id)
    shop.store.told.clear()
    for _ in range(2):
        shop.clock.pass_by(11)
        await shop.sweep.step()
    assert shop.told() == []


async def test_what_waits_for_the_relay_is_not_told_twice(shop: Any, bought: Purchase) -> None:
    await shop.pay(bought)
    shop.store.told.clear()
    for _ in range(3):
        shop.clock.pass_by(11)
        await shop.sweep.step()
    assert shop.told() == ["PaymentSucceeded"]


async def test_order_away_is_asked_again(shop: Any, bought: Purchase) -> None:
    await shop.pay(bought)
    shop.others.away.add("missing")
    shop.clock.pass_by(11)
    with pytest.raises(ConnectionError):
        await shop.sweep.step()
    shop.others.away.clear()
    shop.clock.pass_by(11)
    await shop.sweep.step()
    assert shop.told() == ["PaymentSucceeded"] * 2


async def test_verdicts_answer_each_attempt_in_order(shop: Any, bought: Purchase) -> None:
    await shop.pay(bought, payments.DECLINED_CARD)
    await shop.pay(bought, replace(payments.GOOD_CARD, cvc="999"))
    asked = [internal.Attempt(order_id=bought.order_id, attempt=n) for n in (2, 1, 3)]
    found = await shop.verdicts.of(asked)
    assert [one.verdict for one in found] == ["SUCCEEDED", "FAILED", "UNKNOWN"]
    assert [one.attempt for one in found] == [2, 1, 3]
