"""Taking a payment: once, with pinned units, and never a failure that is not one."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from doorbuster.payment import domain
from doorbuster.payment.domain import (
    AmountMismatchError,
    Card,
    HoldExpiredError,
    IdempotencyKeyReusedError,
    PaymentInProgressError,
    Purchase,
    State,
    Token,
    TooManyAttemptsError,
    UnknownOrderError,
)
from doorbuster.payment.ports import Facts, NewAttempt
from doorbuster.testing import payments

BAD = payments.DECLINED_CARD


async def test_a_good_card_sells(shop: Any, bought: Purchase) -> None:
    attempt = await shop.pay(bought)
    assert attempt.state is State.AUTHORISED
    assert shop.told() == ["PaymentSucceeded"]
    assert shop.store.told[0][0] == "sale.a.b.orders"
    assert shop.others.pins == {bought.order_id: 1}
    assert shop.announced == [True]
    assert shop.settlement.capture.is_set()


async def test_a_declined_card_gives_its_units_back(shop: Any, bought: Purchase) -> None:
    attempt = await shop.pay(bought, BAD)
    assert (attempt.state, attempt.decline_code) == (State.DECLINED, "generic_decline")
    assert shop.told() == ["PaymentFailed"]
    assert shop.others.unpinned[bought.order_id] == [1]
    assert (await shop.pay(bought)).state is State.AUTHORISED


async def test_a_decline_stands_though_inventory_cannot_be_told(
    shop: Any, bought: Purchase
) -> None:
    shop.others.away.add("unpin")
    assert (await shop.pay(bought, BAD)).state is State.DECLINED
    assert shop.told() == ["PaymentFailed"]


async def test_a_card_that_is_no_card_never_pins(shop: Any, bought: Purchase) -> None:
    nonsense = Card(number="0" * 16, exp_month=1, exp_year=2040, cvc="123")
    attempt = await shop.pay(bought, nonsense)
    assert (attempt.state, attempt.decline_code) == (State.DECLINED, "incorrect_number")
    assert shop.others.pins == {}
    assert shop.provider.calls["create"] == 0


async def test_an_unknown_token_is_cancelled_before_it_is_declined(
    shop: Any, bought: Purchase
) -> None:
    attempt = await shop.pay(bought, Token(value="pm_nobodyknows"))
    assert (attempt.state, attempt.decline_code) == (State.DECLINED, "resource_missing")
    assert shop.provider.calls["cancel"] == 1


async def test_the_same_key_is_the_same_answer(shop: Any, bought: Purchase) -> None:
    first = await shop.pay(bought, idempotency_key="k")
    assert await shop.pay(bought, idempotency_key="k") == first
    assert shop.provider.calls["confirm"] == 1


async def test_a_double_click_without_a_key_is_one_attempt(shop: Any, bought: Purchase) -> None:
    answers = await asyncio.gather(*(shop.pay(bought) for _ in range(20)))
    assert len({answer.payment_id for answer in answers}) == 1
    assert shop.provider.calls["confirm"] == 1


async def test_a_key_is_bound_to_its_card(shop: Any, bought: Purchase) -> None:
    await shop.pay(bought, BAD, idempotency_key="k")
    with pytest.raises(IdempotencyKeyReusedError):
        await shop.pay(bought, idempotency_key="k")


async def test_another_key_after_success_is_the_same_success(shop: Any, bought: Purchase) -> None:
    first = await shop.pay(bought, idempotency_key="a")
    assert await shop.pay(bought, idempotency_key="b") == first
    assert len(shop.provider.charges()) == 1


async def test_another_key_while_one_is_live_is_refused(shop: Any, bought: Purchase) -> None:
    await _left_behind(shop, bought)
    with pytest.raises(PaymentInProgressError):
        await shop.pay(bought, idempotency_key="other")


async def test_another_buyers_order_does_not_exist(shop: Any, bought: Purchase) -> None:
    for _ in range(2):
        with pytest.raises(UnknownOrderError):
            await shop.pay(bought, user_id="user_2", idempotency_key="k")
        await shop.pay(bought, idempotency_key="k")


async def test_an_unknown_order_leaves_no_row(shop: Any) -> None:
    with pytest.raises(UnknownOrderError):
        await shop.pay(payments.purchase(key="never placed"))
    assert shop.store.attempts == {}


async def test_a_wrong_amount_is_refused_before_and_after(shop: Any, bought: Purchase) -> None:
    for _ in range(2):
        with pytest.raises(AmountMismatchError):
            await shop.pay(bought, amount=Decimal("1.00"), idempotency_key="k")
        await shop.pay(bought, amount=Decimal("999.00"), idempotency_key="k")


async def test_an_expired_hold_charges_nobody(shop: Any, bought: Purchase) -> None:
    shop.others.expired.add(bought.order_id)
    for _ in range(2):
        with pytest.raises(HoldExpiredError):
            await shop.pay(bought)
    assert shop.state(bought) is State.ABANDONED
    assert shop.provider.intents == {}


async def test_checkout_away_at_the_start_leaves_no_row(shop: Any, bought: Purchase) -> None:
    shop.others.away.add("order")
    with pytest.raises(ConnectionError):
        await shop.pay(bought)
    assert shop.store.attempts == {}


@pytest.mark.parametrize("operation", ["tokenise", "create", "confirm"])
@pytest.mark.parametrize("when", ["fail_before", "fail_after"])
async def test_what_has_no_answer_is_asked_again(
    shop: Any, bought: Purchase, operation: str, when: str
) -> None:
    getattr(shop.provider, when)[operation] = 2
    assert (await shop.pay(bought)).state is State.AUTHORISED
    assert len(shop.provider.charges()) == 1


@pytest.mark.parametrize("operation", ["tokenise", "create", "confirm"])
async def test_a_provider_that_stays_away_is_no_failure(
    shop: Any, bought: Purchase, operation: str
) -> None:
    shop.provider.fail_before[operation] = 1000
    with pytest.raises(PaymentInProgressError):
        await shop.pay(bought)
    assert shop.state(bought) in (State.NEW, State.CONFIRMING)
    assert shop.told() == []


async def test_a_provider_that_is_slow_costs_nobody_his_hold(shop: Any, bought: Purchase) -> None:
    shop.provider.fail_before["tokenise"] = 1000
    with pytest.raises(PaymentInProgressError):
        await shop.pay(bought)
    assert shop.others.pins == {bought.order_id: 1}, "from the pin on time alone frees nothing"


async def test_the_same_key_goes_on_where_a_dead_process_stopped(
    shop: Any, bought: Purchase
) -> None:
    await _left_behind(shop, bought)
    shop.clock.pass_by(6)
    assert (await shop.pay(bought)).state is State.AUTHORISED
    assert len(shop.provider.charges()) == 1


async def test_the_same_key_waits_while_somebody_is_at_it(shop: Any, bought: Purchase) -> None:
    await _left_behind(shop, bought)
    with pytest.raises(PaymentInProgressError):
        await shop.pay(bought)
    assert shop.provider.calls["create"] == 0


async def test_who_lost_the_race_answers_from_the_stored_outcome(
    shop: Any, bought: Purchase
) -> None:
    """A process that pauses before its confirm finds that recovery has given the attempt up."""
    confirm = shop.provider.confirm

    async def paused(attempt: Any) -> Any:
        shop.clock.pass_by(60)
        await shop.recovery.step()
        return await confirm(attempt)

    shop.provider.confirm = paused
    attempt = await shop.pay(bought)
    assert (attempt.state, attempt.decline_code) == (State.DECLINED, "not_finished")
    assert shop.provider.charges() == []
    assert shop.told() == ["PaymentFailed"]


async def test_who_authorised_after_being_given_up_sells_nothing(
    shop: Any, bought: Purchase
) -> None:
    """The authorisation comes between recovery's look and its cancel: the row had moved first."""
    confirm = shop.provider.confirm

    async def late(attempt: Any) -> Any:
        moved = await shop.store.move(
            attempt, State.CANCELLING, now=shop.clock(), facts=Facts(decline_code="not_finished")
        )
        charge = await confirm(attempt)
        assert charge.status == "authorised"
        await shop.settlement.finish_cancel(moved, by="recovery")
        return charge

    shop.provider.confirm = late
    assert (await shop.pay(bought)).state is State.DECLINED
    assert shop.provider.charges() == []
    assert shop.told() == ["PaymentFailed"]


async def test_too_many_cards_are_stopped(shop: Any, bought: Purchase) -> None:
    for number in range(10):
        await shop.pay(bought, replace(BAD, cvc=str(100 + number)))
    with pytest.raises(TooManyAttemptsError):
        await shop.pay(bought)


async def _left_behind(shop: Any, bought: Purchase) -> None:
    """Leave the NEW row of the derived key of a good card, as a process does that dies at once."""
    print_ = domain.fingerprint(bought.order_id, payments.GOOD_CARD, "s")
    new = NewAttempt(
        purchase=bought,
        payment_id="txn_0",
        idempotency_key=f"derived:{print_}",
        fingerprint=print_,
    )
    assert await shop.store.open(new, now=shop.clock()) is not None
