"""The machine of an attempt as a table, what each state means to whom, and what tells cards apart."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from doorbuster.payment import domain
from doorbuster.payment.domain import (
    AmountMismatchError,
    Attempt,
    Card,
    HoldExpiredError,
    Limits,
    State,
    Token,
)
from doorbuster.testing import payments

NOW = datetime(2026, 1, 1, tzinfo=UTC)
S = State
STEPS = {
    (S.NEW, S.CONFIRMING),
    (S.NEW, S.DECLINED),
    (S.NEW, S.ABANDONED),
    (S.CONFIRMING, S.AUTHORISED),
    (S.CONFIRMING, S.DECLINED),
    (S.CONFIRMING, S.CANCELLING),
    (S.CANCELLING, S.DECLINED),
    (S.AUTHORISED, S.CAPTURING),
    (S.AUTHORISED, S.VOIDING),
    (S.CAPTURING, S.CAPTURED),
    (S.CAPTURING, S.CAPTURE_FAILED),
    (S.CAPTURED, S.REFUNDING),
    (S.VOIDING, S.VOIDED),
    (S.REFUNDING, S.REFUNDED),
}


def attempt(state: State, **more: object) -> Attempt:
    return Attempt(
        purchase=payments.purchase(),
        attempt=1,
        payment_id="txn_1",
        idempotency_key="k",
        fingerprint="f",
        state=state,
        created_at=NOW,
        updated_at=NOW,
        **more,  # type: ignore[arg-type]  # a test's own facts
    )


@pytest.mark.parametrize("before", State)
def test_the_machine_has_these_steps_and_no_others(before: State) -> None:
    for after in State:
        assert domain.may_follow(before, after) == ((before, after) in STEPS)


def test_nothing_leaves_cancelling_but_a_decline() -> None:
    assert domain.NEXT[S.CANCELLING] == {S.DECLINED}


def test_only_what_has_failed_or_was_reversed_lets_another_attempt_in() -> None:
    assert set(State) - domain.LIVE == domain.FAILED | domain.REVERSED


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (S.NEW, "PENDING"),
        (S.CONFIRMING, "PENDING"),
        (S.CANCELLING, "PENDING"),
        (S.AUTHORISED, "SUCCEEDED"),
        (S.CAPTURING, "SUCCEEDED"),
        (S.CAPTURED, "SUCCEEDED"),
        (S.DECLINED, "FAILED"),
        (S.ABANDONED, "FAILED"),
        (S.VOIDING, "PENDING"),
        (S.VOIDED, "REVERSED"),
        (S.REFUNDING, "PENDING"),
        (S.REFUNDED, "REVERSED"),
        (S.CAPTURE_FAILED, "REVERSED"),
        (None, "UNKNOWN"),
    ],
)
def test_inventory_hears_of_each_state(state: State | None, verdict: str) -> None:
    assert domain.verdict(state) == verdict


@pytest.mark.parametrize("state", State)
def test_a_buyer_is_told_nothing_before_it_is_decided(state: State) -> None:
    assert domain.is_settled(attempt(state)) == (state not in (S.NEW, S.CONFIRMING, S.CANCELLING))


def test_an_expired_hold_is_told_as_such_every_time() -> None:
    expired = attempt(S.ABANDONED, decline_code=domain.HOLD_EXPIRED)
    for _ in range(2):
        with pytest.raises(HoldExpiredError):
            domain.is_settled(expired)


def test_recovery_comes_after_every_call_has_ended() -> None:
    limits = Limits()
    for state in (S.NEW, S.CONFIRMING, S.CANCELLING):
        due = domain.due_at(state, NOW, limits)
        assert due is not None
        assert due > NOW + limits.answer_within
    assert domain.due_at(S.AUTHORISED, NOW, limits) == NOW
    assert domain.due_at(S.CAPTURED, NOW, limits) is None
    assert domain.due_at(S.DECLINED, NOW, limits) is None
    assert domain.due_at(S.CAPTURING, NOW, limits) == NOW + timedelta(seconds=5)


def test_each_field_of_a_card_makes_another_fingerprint() -> None:
    card = Card(number="4242424242424242", exp_month=1, exp_year=2030, cvc="123")
    others = [
        Card(number="4242424242424241", exp_month=1, exp_year=2030, cvc="123"),
        Card(number="4242424242424242", exp_month=2, exp_year=2030, cvc="123"),
        Card(number="4242424242424242", exp_month=1, exp_year=2031, cvc="123"),
        Card(number="4242424242424242", exp_month=1, exp_year=2030, cvc="124"),
        Token(value="pm_card_visa"),
    ]
    prints = {domain.fingerprint("o", method, "secret") for method in [card, *others]}
    assert len(prints) == 6
    again = Card(number="4242424242424242", exp_month=1, exp_year=2030, cvc="123")
    assert domain.fingerprint("o", again, "secret") == domain.fingerprint("o", card, "secret")
    assert domain.fingerprint("p", card, "secret") != domain.fingerprint("o", card, "secret")
    assert domain.fingerprint("o", card, "other") != domain.fingerprint("o", card, "secret")


def test_a_card_shows_nothing_of_itself() -> None:
    text = repr(Card(number="4242424242424242", exp_month=1, exp_year=2030, cvc="987"))
    assert "4242" not in text
    assert "987" not in text


@pytest.mark.parametrize("amount", ["999", "999.00", "9.99e2", None])
def test_the_orders_own_amount_is_taken(amount: str | None) -> None:
    domain.require_amount(payments.purchase(), None if amount is None else Decimal(amount))


@pytest.mark.parametrize("amount", ["0", "998.99", "999.001", "99900", "1e-12"])
def test_any_other_amount_is_refused(amount: str) -> None:
    with pytest.raises(AmountMismatchError, match=r"999\.00 EUR"):
        domain.require_amount(payments.purchase(), Decimal(amount))


def test_the_point_of_sale_needs_its_time() -> None:
    with pytest.raises(ValueError, match="not paid"):
        domain.succeeded(attempt(S.CONFIRMING))
    event = domain.succeeded(domain.paid(attempt(S.CONFIRMING), NOW))
    assert (event.paid_at, event.amount_minor, event.attempt) == (NOW, 99_900, 1)
