"""The words of letters: every kind in text, HTML and SMS; facts are shown, never interpreted."""

import re

import pytest

from doorbuster.kit import ids
from doorbuster.notification import domain
from doorbuster.notification.domain import Kind, Letter, Words
from doorbuster.notification.wording import MAX_SMS_CHARACTERS, Wording
from doorbuster.testing import stories

WORDING = Wording()
EVENTS = {
    Kind.CONFIRMED: stories.paid(),
    Kind.DECLINED: stories.failed(),
    Kind.EXPIRED: stories.expired(),
    Kind.SHIPPED: stories.shipped(),
    Kind.DELIVERED: stories.delivered(),
    Kind.CANCELLED: stories.cancelled(),
    Kind.RETURNED: stories.returned(),
    Kind.REFUNDED: stories.reversed_payment(),
}
HOSTILE = "<script>alert(1)</script>{{ letter }}"


def letter(event: object) -> Letter:
    found = domain.letter_for(event)  # type: ignore[arg-type]  # a test's shorthand
    assert found is not None
    return found


def mail(event: object, name: str = "Ada Lovelace", **titles: str) -> Words:
    return WORDING.mail(letter(event), name, titles)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_told_in_text_html_and_sms(kind: Kind) -> None:
    words, sms = mail(EVENTS[kind]), WORDING.sms(letter(EVENTS[kind]))
    assert "Hello Ada Lovelace," in words.text
    assert "Hello Ada Lovelace," in words.html
    for told in (words.subject, words.text, words.html, sms):
        assert stories.order_id() in told
    assert sms.startswith("Doorbuster: ")
    assert "\n" not in sms + words.subject
    assert "\n\n\n" not in words.text


@pytest.mark.parametrize("kind", Kind)
def test_a_letter_fetches_nothing_and_runs_nothing(kind: Kind) -> None:
    html = mail(EVENTS[kind]).html
    assert not re.search(r"(?i)https?:|src=|url\(|<script|<img|<link|@import|href=", html)


@pytest.mark.parametrize("kind", Kind)
def test_markup_in_a_name_stays_text(kind: Kind) -> None:
    words = mail(EVENTS[kind], HOSTILE)
    assert "<script" not in words.html
    assert "&lt;script&gt;" in words.html
    assert f"Hello {HOSTILE}," in words.text


def test_markup_in_a_title_and_a_carrier_stays_text() -> None:
    titled = WORDING.mail(letter(stories.paid()), "Ada", {stories.line().product_id: HOSTILE})
    shipped = mail(stories.shipped(carrier=HOSTILE))
    assert "<script" not in titled.html + shipped.html
    assert "&lt;script&gt;" in titled.html
    assert "&lt;script&gt;" in shipped.html


def test_a_confirmation_says_what_was_bought_for_how_much() -> None:
    words = mail(stories.paid())
    for told in (words.text, words.html):
        assert stories.line().product_id in told
        assert "999.00 EUR" in told
    assert "  1 x " in words.text
    assert "Total: 999.00 EUR" in words.text


def test_a_product_is_called_by_its_title_where_it_is_known() -> None:
    known, unknown = stories.line(), stories.line(product_id=ids.product_id("other"))
    paid = letter(stories.paid(lines=[known, unknown]))
    words = WORDING.mail(paid, "Ada", {known.product_id: "Phone\n17"})
    for told in (words.text, words.html):
        assert "Phone 17" in told
        assert known.product_id not in told
        assert unknown.product_id in told


@pytest.mark.parametrize("event", [stories.failed(), stories.expired()])
def test_a_letter_about_no_sale_says_that_nothing_was_charged(event: object) -> None:
    words = mail(event)
    assert "were not charged" in words.text
    assert "were not charged" in words.html


def test_a_parcel_is_told_with_carrier_number_and_day() -> None:
    words, sms = mail(stories.shipped()), WORDING.sms(letter(stories.shipped()))
    for told in (words.text, words.html, sms):
        assert "Swift Parcels" in told
        assert "SP-1" in told
    assert "Estimated delivery: 28 November 2026" in words.text
    assert "28 November 2026" in words.html
    assert "Estimated" not in mail(stories.shipped(estimated_delivery=None)).text


def test_a_long_order_makes_a_bounded_letter() -> None:
    words = mail(stories.paid(lines=[stories.line()] * 500))
    assert "and 450 more" in words.text
    assert "and 450 more" in words.html


def test_a_text_message_is_bounded() -> None:
    long = stories.shipped(carrier="c" * 200, tracking_number="t" * 100)
    assert len(WORDING.sms(letter(long))) <= MAX_SMS_CHARACTERS
