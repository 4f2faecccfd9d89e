"""Letters: which event calls for which, what they say, and that no name adds a header."""

import re
from datetime import timedelta
from email import message_from_string
from email.message import EmailMessage
from email.policy import SMTPUTF8

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.notification import domain
from doorbuster.notification.domain import Kind, Letter, Outcome, Recipient, UndeliverableError
from doorbuster.testing import stories

SENDER = "shop@doorbuster.example"
ADA = Recipient(name="Ada Lovelace", email="ada@buyers.example")
HEADERS = {
    "from", "to", "subject", "date", "message-id", "auto-submitted", "content-type",
    "content-transfer-encoding", "mime-version",
}  # fmt: skip


def sent(mail: EmailMessage) -> EmailMessage:
    """Return the mail as the other side reads it."""
    return message_from_string(mail.as_bytes().decode(), _class=EmailMessage, policy=SMTPUTF8)


def letter(event: object = None) -> Letter:
    found = domain.letter_for(event or stories.paid())  # type: ignore[arg-type]  # a test's shorthand
    assert found is not None
    return found


def test_each_event_calls_for_its_letter() -> None:
    assert letter(stories.paid()).kind is Kind.CONFIRMED
    assert letter(stories.failed()).kind is Kind.DECLINED
    assert letter(stories.expired()).kind is Kind.EXPIRED
    for silent in (stories.placed(), stories.captured(), stories.reversed_payment()):
        assert domain.letter_for(silent) is None


def test_a_confirmation_says_what_was_bought_for_how_much() -> None:
    mail = domain.compose(letter(), ADA, sender=SENDER, now=stories.at(7))
    text = mail.get_content()
    assert "Hello Ada Lovelace," in text
    assert f"1 x {stories.line().product_id} at 999.00 EUR" in text
    assert "Total: 999.00 EUR" in text
    assert stories.order_id() in mail["Subject"]


@pytest.mark.parametrize("event", [stories.failed(), stories.expired()])
def test_a_letter_about_no_sale_says_that_nothing_was_charged(event: object) -> None:
    text = domain.compose(letter(event), ADA, sender=SENDER, now=stories.at(7)).get_content()
    assert "You were not charged" in text or "you were not charged" in text


def test_the_message_id_is_the_same_whenever_it_is_sent() -> None:
    first = domain.compose(letter(), ADA, sender=SENDER, now=stories.at(7))
    again = domain.compose(letter(), ADA, sender=SENDER, now=stories.at(700))
    other = domain.compose(letter(stories.failed()), ADA, sender=SENDER, now=stories.at(7))
    assert first["Message-ID"] == again["Message-ID"] != other["Message-ID"]
    assert re.fullmatch(r"<[a-z0-9_.-]+@doorbuster\.example>", first["Message-ID"])


def test_the_date_is_the_time_of_sending() -> None:
    mail = domain.compose(letter(), ADA, sender=SENDER, now=stories.at(7))
    assert mail["Date"] == "Fri, 27 Nov 2026 09:00:07 +0000"


@given(st.text(max_size=200))
def test_no_name_adds_a_header_or_a_recipient(name: str) -> None:
    recipient = Recipient(name=name, email=ADA.email)
    parsed = sent(domain.compose(letter(), recipient, sender=SENDER, now=stories.at(7)))
    assert {header.lower() for header in parsed} <= HEADERS
    assert [address.addr_spec for address in parsed["To"].addresses] == [ADA.email]


@pytest.mark.parametrize("name", ["Eve\r\nBcc: all@victims.example", "Eve\nSubject: x", "\x00"])
def test_a_hostile_name_stays_a_name(name: str) -> None:
    recipient = Recipient(name=name, email=ADA.email)
    raw = domain.compose(letter(), recipient, sender=SENDER, now=stories.at(7)).as_bytes()
    assert b"\r\nBcc:" not in raw
    assert raw.lower().count(b"\r\nsubject:") == 1


@pytest.mark.parametrize(
    "email",
    ["", "ada", "a@b\r\nBcc: c@d", "a@b, c@d", "a@b\nX: y", "<a@b>", "a b@c", "a@", "@b", "a@b@c"],
)
def test_an_address_that_is_none_is_undeliverable(email: str) -> None:
    recipient = Recipient(name="Eve", email=email)
    with pytest.raises(UndeliverableError):
        domain.compose(letter(), recipient, sender=SENDER, now=stories.at(7))


@given(
    st.one_of(
        st.emails(),
        st.text(max_size=80),
        st.from_regex(r"[^@\s<>\x00-\x1f]+@[^@\s<>\x00-\x1f]+", fullmatch=True),
    )
)
def test_any_other_address_is_one_recipient_or_undeliverable(email: str) -> None:
    try:
        mail = domain.compose(
            letter(), Recipient(name="Eve", email=email), sender=SENDER, now=stories.at(7)
        )
    except UndeliverableError:
        return
    assert [address.addr_spec for address in sent(mail)["To"].addresses] == [email]


@pytest.mark.parametrize(
    "email", ["ada+shop@buyers.example", "o'neil@b.example", "ñandú@correo.example"]
)
def test_unusual_addresses_are_kept_as_they_are(email: str) -> None:
    recipient = Recipient(name="Ñandú, Eve", email=email)
    mail = domain.compose(letter(), recipient, sender=SENDER, now=stories.at(7))
    [address] = sent(mail)["To"].addresses
    assert (address.addr_spec, address.display_name) == (email, "Ñandú, Eve")


def test_a_long_order_makes_a_bounded_letter() -> None:
    event = stories.paid(lines=[stories.line()] * 500)
    text = domain.compose(letter(event), ADA, sender=SENDER, now=stories.at(7)).get_content()
    assert "and 450 more" in text


def test_pauses_double_to_a_bound_and_are_spread() -> None:
    now = stories.at(0)
    pauses = [domain.next_attempt(attempts, now, 1.0) - now for attempts in (1, 2, 3, 50)]
    assert pauses == [timedelta(seconds=seconds) for seconds in (5, 10, 20, 300)]
    assert domain.next_attempt(1, now, 0.0) - now == timedelta(seconds=2.5)


def test_a_letter_is_given_up_after_a_day() -> None:
    day = domain.GIVEN_UP_AFTER
    assert domain.after_failure(stories.at(0), stories.at(0) + day / 2) is Outcome.LATER
    assert domain.after_failure(stories.at(0), stories.at(0) + day) is Outcome.FAILED


def test_bad_news_about_a_paid_order_is_stale() -> None:
    assert domain.is_stale(Kind.DECLINED, True)
    assert not domain.is_stale(Kind.DECLINED, False)
    assert not domain.is_stale(Kind.CONFIRMED, True)
