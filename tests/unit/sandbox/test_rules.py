"""The sandbox's rules: cards, forms, the life of an intent, faults that are switched on."""

from datetime import date

import pytest

from doorbuster.sandbox.psp import behaviour, cards, forms, intents
from doorbuster.sandbox.psp.behaviour import Behaviour, DeclineFault, FailFault, Fault
from doorbuster.sandbox.psp.cards import Card, CardRefusedError
from doorbuster.sandbox.psp.intents import AmountError, Intent, StateError

TODAY = date(2026, 6, 15)
GOOD = Card(brand="visa", last4="4242", exp_month=1, exp_year=2030, conduct="ok")
BAD = Card(brand="visa", last4="0002", exp_month=1, exp_year=2030, conduct="generic_decline")
SECURE = Card(
    brand="visa", last4="3155", exp_month=1, exp_year=2030, conduct="authentication_required"
)


def intent(**more: object) -> Intent:
    facts = {"id": "pi_1", "amount": 1000, "currency": "eur", "capture_method": "manual"}
    return Intent(**facts | {"created": 0, "metadata": {}} | more)  # type: ignore[arg-type]  # a test's facts


@pytest.mark.parametrize(
    ("number", "conduct"),
    [
        ("4242424242424242", "ok"),
        ("4242 4242 4242 4242", "ok"),
        ("378282246310005", "ok"),
        ("4000000000000002", "generic_decline"),
        ("4000000000009995", "insufficient_funds"),
        ("4000000000000069", "expired_card"),
        ("4000000000000127", "incorrect_cvc"),
        ("4000002500003155", "authentication_required"),
        ("4000002760003184", "authentication_required"),
    ],
)
def test_each_test_card_has_its_conduct(number: str, conduct: str) -> None:
    card = cards.from_number(number, 12, 2030, "123", today=TODAY)
    assert (card.conduct, card.last4) == (conduct, number[-4:])


@pytest.mark.parametrize(
    ("number", "month", "year", "cvc", "code"),
    [
        ("4242424242424241", 12, 2030, "123", "incorrect_number"),
        ("4242", 12, 2030, "123", "incorrect_number"),
        ("٤" * 16, 12, 2030, "123", "incorrect_number"),
        ("4111111111111111", 12, 2030, "123", "card_declined"),
        ("4242424242424242", 13, 2030, "123", "invalid_expiry_month"),
        ("4242424242424242", 5, 2026, "123", "invalid_expiry_year"),
        ("4242424242424242", 1, 2099, "123", "invalid_expiry_year"),
        ("4242424242424242", 12, 2030, "12", "invalid_cvc"),
    ],
)
def test_what_is_no_test_card_is_refused(
    number: str, month: int, year: int, cvc: str, code: str
) -> None:
    with pytest.raises(CardRefusedError) as refusal:
        cards.from_number(number, month, year, cvc, today=TODAY)
    assert refusal.value.code == code


def test_tokens_stand_for_cards() -> None:
    visa = cards.from_token("pm_card_visa", today=TODAY)
    declined = cards.from_token("tok_chargeDeclined", today=TODAY)
    assert visa is not None
    assert declined is not None
    assert (visa.conduct, declined.conduct) == ("ok", "generic_decline")
    for nothing in ("", "pm_", "pm_card_", "tok_", "visa", "pm_card_nothing"):
        assert cards.from_token(nothing, today=TODAY) is None


def test_forms_nest() -> None:
    form = forms.parse("card[number]=42&card[exp_month]=1&expand[0]=a&expand[1]=b&x=%C3%A9")
    assert form == {
        "card": {"number": "42", "exp_month": "1"},
        "expand": {"0": "a", "1": "b"},
        "x": "é",
    }


@pytest.mark.parametrize(
    "raw",
    [
        "a[b][c][d][e]=1",
        "a=1&a[b]=2",
        "a=1&a=2",
        "[]=1",
        "a]b=1",
        "&".join(f"f{n}=1" for n in range(201)),
    ],
)
def test_forms_that_make_no_sense_are_refused(raw: str) -> None:
    with pytest.raises(forms.FormError):
        forms.parse(raw)


@pytest.mark.parametrize("value", ["1.5", "x", "1e3", "9" * 12, "٣"])
def test_what_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(forms.FormError):
        forms.integer({"amount": value}, "amount")


def test_an_intent_is_authorised_captured_and_refunded_to_the_last_cent() -> None:
    paid, decline = intents.confirm(intent(), "pm_1", GOOD, error_on_action=True)
    assert (paid.status, paid.amount_capturable, decline) == ("requires_capture", 1000, None)
    taken = intents.capture(paid, 900)
    assert (taken.status, taken.amount_received, taken.amount_capturable) == ("succeeded", 900, 0)
    part, first = intents.refund(taken, 300, None, refund_id="re_1", now=1)
    full, rest = intents.refund(part, None, None, refund_id="re_2", now=1)
    assert (first.amount, rest.amount, full.amount_refunded) == (300, 600, 900)
    with pytest.raises(AmountError) as refusal:
        intents.refund(full, None, None, refund_id="re_3", now=1)
    assert refusal.value.code == "charge_already_refunded"


def test_a_decline_leaves_an_intent_that_may_be_tried_again() -> None:
    failed, decline = intents.confirm(intent(), "pm_1", BAD, error_on_action=True)
    assert decline is not None
    assert (failed.status, decline.code) == ("requires_payment_method", "card_declined")
    assert failed.last_error is not None
    paid, _ = intents.confirm(failed, "pm_2", GOOD, error_on_action=True)
    assert (paid.status, paid.last_error) == ("requires_capture", None)


def test_authentication_is_asked_for_or_declined() -> None:
    waiting, decline = intents.confirm(intent(), "pm_1", SECURE, error_on_action=False)
    assert (waiting.status, decline) == ("requires_action", None)
    failed, decline = intents.confirm(intent(), "pm_1", SECURE, error_on_action=True)
    assert decline is not None
    assert (failed.status, decline.code) == ("requires_payment_method", "authentication_required")


@pytest.mark.parametrize("status", ["requires_capture", "succeeded", "canceled"])
def test_no_intent_is_charged_twice(status: str) -> None:
    with pytest.raises(StateError):
        intents.confirm(intent(status=status), "pm_1", GOOD, error_on_action=True)


@pytest.mark.parametrize("status", ["requires_payment_method", "succeeded", "canceled"])
def test_only_an_authorisation_is_captured(status: str) -> None:
    with pytest.raises(StateError):
        intents.capture(intent(status=status, amount_capturable=1000), None)


@pytest.mark.parametrize("amount", [0, -1, 1001])
def test_no_more_than_authorised_is_captured(amount: int) -> None:
    with pytest.raises(AmountError):
        intents.capture(intent(status="requires_capture", amount_capturable=1000), amount)


def test_what_was_taken_or_cancelled_is_not_cancelled() -> None:
    held = intent(status="requires_capture", amount_capturable=1000)
    ended = intents.cancel(held, None, now=5)
    assert (ended.status, ended.amount_capturable, ended.canceled_at) == ("canceled", 0, 5)
    for over in (ended, intent(status="succeeded")):
        with pytest.raises(StateError):
            intents.cancel(over, None, now=6)


def test_only_an_authorisation_expires() -> None:
    held = intent(status="requires_capture", amount_capturable=1000)
    over = intents.expire(held, now=5)
    assert (over.status, over.amount_capturable) == ("canceled", 0)
    assert over.cancellation_reason == "automatic"
    for other in (over, intent(), intent(status="succeeded")):
        with pytest.raises(StateError):
            intents.expire(other, now=6)


def test_what_a_failure_does_not_have_is_left_out() -> None:
    expired = Card(brand="visa", last4="0069", exp_month=1, exp_year=2030, conduct="expired_card")
    failed, _ = intents.confirm(intent(), "pm_1", expired, error_on_action=True)
    shown = intents.intent_json(failed)["last_payment_error"]
    assert shown["code"] == "expired_card"
    assert "decline_code" not in shown


def test_only_one_operation_may_be_slow() -> None:
    state = Behaviour(delay_millis=20, delay_on="capture")
    state, quick = behaviour.take(state, "confirm")
    _, slow = behaviour.take(state, "capture")
    assert (quick.delay_seconds, slow.delay_seconds) == (0.0, 0.02)


def test_a_fault_strikes_its_operation_as_often_as_it_says() -> None:
    state = Behaviour(
        delay_millis=20,
        fail_next=FailFault(count=1, on="confirm"),
        drop_reply_next=Fault(count=2, on="any"),
        decline_next=DeclineFault(count=1),
    )
    state, first = behaviour.take(state, "create")
    assert (first.delay_seconds, first.fail, first.drop_reply, first.decline) == (
        0.02,
        None,
        True,
        None,
    )
    state, second = behaviour.take(state, "confirm")
    assert second.fail is not None
    assert (second.drop_reply, second.decline) == (True, "generic_decline")
    state, third = behaviour.take(state, "confirm")
    assert (third.fail, third.drop_reply, third.decline) == (None, False, None)
    assert state == Behaviour(delay_millis=20)
