"""Letters: which event calls for which, what they say, and that no name adds a header."""

import re
from datetime import timedelta
from email import message_from_string
from email.message import EmailMessage
from email.policy import SMTPUTF8

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorbuster.notification import domain
from doorbuster.notification.domain import (
    Channel,
    Kind,
    Letter,
    LetterId,
    Outcome,
    Preferences,
    Recipient,
    UndeliverableError,
    Words,
)
from doorbuster.testing import stories

SENDER = "shop@doorbuster.example"
ADA = Recipient(name="Ada Lovelace", email="ada@buyers.example")
WORDS = Words(subject="News", text="Hello, text\n", html="<p>Hello, HTML</p>\n")
HEADERS = {
    "from", "to", "subject", "date", "message-id", "auto-submitted", "content-type",
    "mime-version",
}  # fmt: skip


def sent(mail: EmailMessage) -> EmailMessage:
    """Return the mail as the other side reads it."""
    return message_from_string(mail.as_bytes().decode(), _class=EmailMessage, policy=SMTPUTF8)


def letter(event: object = None) -> Letter:
    found = domain.letter_for(event or stories.paid())  # type: ignore[arg-type]  # a test's shorthand
    assert found is not None
    return found


def compose(recipient: Recipient = ADA, seconds: float = 7, event: object = None) -> EmailMessage:
    return domain.compose(letter(event), WORDS, recipient, sender=SENDER, now=stories.at(seconds))


def test_nobody_is_told_that_a_hold_ran_out_which_was_given_up() -> None:
    given_up = msgspec.structs.replace(stories.expired(), reason="refused")
    assert domain.letter_for(given_up) is None


def test_each_event_calls_for_its_letter() -> None:
    assert letter(stories.paid()).kind is Kind.CONFIRMED
    assert letter(stories.failed()).kind is Kind.DECLINED
    assert letter(stories.expired()).kind is Kind.EXPIRED
    assert letter(stories.shipped()).kind is Kind.SHIPPED
    assert letter(stories.delivered()).kind is Kind.DELIVERED
    assert letter(stories.cancelled()).kind is Kind.CANCELLED
    assert letter(stories.returned()).kind is Kind.RETURNED
    assert letter(stories.reversed_payment()).kind is Kind.REFUNDED
    for silent in (stories.placed(), stories.captured()):
        assert domain.letter_for(silent) is None


def test_letters_keep_what_they_tell() -> None:
    paid, shipped = letter(stories.paid()), letter(stories.shipped())
    assert (paid.lines, paid.amount_minor, paid.currency) == ((stories.line(),), 99_900, "EUR")
    assert (shipped.carrier, shipped.tracking_number) == ("Swift Parcels", "SP-1")
    assert shipped.estimated_delivery == stories.at(90_000)


def test_nobody_is_told_by_sms_unless_he_wants_it_and_it_is_there() -> None:
    both = Preferences(email=True, sms=True)
    assert domain.channels_for(Kind.SHIPPED, Preferences(), sms_is_on=True) == {Channel.EMAIL}
    assert domain.channels_for(Kind.SHIPPED, both, sms_is_on=True) == set(Channel)
    assert domain.channels_for(Kind.SHIPPED, both, sms_is_on=False) == {Channel.EMAIL}


@pytest.mark.parametrize("kind", Kind)
def test_only_letters_about_money_that_goes_back_are_mailed_unasked(kind: Kind) -> None:
    none = Preferences(email=False, sms=False)
    expected = {Channel.EMAIL} if kind in domain.ALWAYS_BY_EMAIL else set()
    assert domain.channels_for(kind, none, sms_is_on=True) == expected
    assert {kind.value for kind in domain.ALWAYS_BY_EMAIL} == {
        "order-cancelled",
        "order-returned",
        "order-refunded",
    }


@settings(deadline=None)  # a busy machine is no failure
@given(st.sampled_from(Kind), st.sampled_from(Channel))
def test_a_letters_name_can_be_read_back(kind: Kind, channel: Channel) -> None:
    named = LetterId(order_id=stories.order_id(), kind=kind, channel=channel)
    assert domain.letter_id(str(named)) == named


@pytest.mark.parametrize(
    "text", ["", "..", "order_1.order-confirmed", "order_1.x.email", "order_1.order-shipped.fax"]
)
def test_what_names_no_letter_is_none(text: str) -> None:
    assert domain.letter_id(text) is None


def test_a_mail_has_a_text_and_an_html_part_of_ascii_lines() -> None:
    words = Words(subject="Grüße", text="Żółw\n", html="<p>Żółw</p>\n")
    mail = domain.compose(letter(), words, ADA, sender=SENDER, now=stories.at(7))
    assert mail.as_bytes().isascii()
    read = sent(mail)
    assert read.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in read.iter_parts()] == ["text/plain", "text/html"]
    assert [part.get_content().strip() for part in read.iter_parts()] == ["Żółw", "<p>Żółw</p>"]
    assert read["Subject"] == "Grüße"


def test_the_message_id_is_the_same_whenever_it_is_sent() -> None:
    first, again = compose(), compose(seconds=700)
    other = compose(event=stories.failed())
    assert first["Message-ID"] == again["Message-ID"] != other["Message-ID"]
    assert re.fullmatch(r"<[a-z0-9_.-]+@doorbuster\.example>", first["Message-ID"])


def test_the_date_is_the_time_of_sending() -> None:
    mail = compose()
    assert mail["Date"] == "Fri, 27 Nov 2026 09:00:07 +0000"


@settings(deadline=None)
@given(st.text(max_size=200))
def test_no_name_adds_a_header_or_a_recipient(name: str) -> None:
    recipient = Recipient(name=name, email=ADA.email)
    parsed = sent(compose(recipient))
    assert {header.lower() for header in parsed} <= HEADERS
    assert [address.addr_spec for address in parsed["To"].addresses] == [ADA.email]


@pytest.mark.parametrize("name", ["Eve\r\nBcc: all@victims.example", "Eve\nSubject: x", "\x00"])
def test_a_hostile_name_stays_a_name(name: str) -> None:
    recipient = Recipient(name=name, email=ADA.email)
    raw = compose(recipient).as_bytes()
    assert b"\r\nBcc:" not in raw
    assert raw.lower().count(b"\r\nsubject:") == 1


@pytest.mark.parametrize(
    "email",
    ["", "ada", "a@b\r\nBcc: c@d", "a@b, c@d", "a@b\nX: y", "<a@b>", "a b@c", "a@", "@b", "a@b@c"],
)
def test_an_address_that_is_none_is_undeliverable(email: str) -> None:
    recipient = Recipient(name="Eve", email=email)
    with pytest.raises(UndeliverableError):
        compose(recipient)


@settings(deadline=None)
@given(
    st.one_of(
        st.emails(),
        st.text(max_size=80),
        st.from_regex(r"[^@\s<>\x00-\x1f]+@[^@\s<>\x00-\x1f]+", fullmatch=True),
    )
)
def test_any_other_address_is_one_recipient_or_undeliverable(email: str) -> None:
    try:
        mail = compose(Recipient(name="Eve", email=email))
    except UndeliverableError:
        return
    assert [address.addr_spec for address in sent(mail)["To"].addresses] == [email]


@pytest.mark.parametrize(
    "email", ["ada+shop@buyers.example", "o'neil@b.example", "ñandú@correo.example"]
)
def test_unusual_addresses_are_kept_as_they_are(email: str) -> None:
    recipient = Recipient(name="Ñandú, Eve", email=email)
    mail = compose(recipient)
    [address] = sent(mail)["To"].addresses
    assert (address.addr_spec, address.display_name) == (email, "Ñandú, Eve")


def test_pauses_double_to_a_bound_and_are_spread() -> None:
    now = stories.at(0)
    pauses = [domain.next_attempt(attempts, now, 1.0) - now for attempts in (1, 2, 3, 50)]
    assert pauses == [timedelta(seconds=seconds) for seconds in (5, 10, 20, 300)]
    assert domain.next_attempt(1, now, 0.0) - now == timedelta(seconds=2.5)


def test_a_letter_is_given_up_after_a_day() -> None:
    day = domain.GIVEN_UP_AFTER
    assert domain.after_failure(stories.at(0), stories.at(0) + day / 2) is Outcome.LATER
    assert domain.after_failure(stories.at(0), stories.at(0) + day) is Outcome.FAILED


def test_a_letter_that_would_mislead_by_now_is_stale() -> None:
    overtaken = [
        *((Kind.DECLINED, Kind.CONFIRMED), (Kind.EXPIRED, Kind.CONFIRMED)),
        *((Kind.CONFIRMED, Kind.CANCELLED), (Kind.SHIPPED, Kind.DELIVERED)),
    ]
    for kind, later in overtaken:
        assert domain.is_stale(kind, frozenset({kind, later}))
        assert not domain.is_stale(later, frozenset({kind, later}))


@pytest.mark.parametrize("kind", Kind)
def test_no_letter_overtakes_itself_and_money_is_always_told(kind: Kind) -> None:
    assert not domain.is_stale(kind, frozenset({kind}))
    assert domain.is_stale(kind, frozenset(Kind)) == (
        kind not in {*domain.ALWAYS_BY_EMAIL, Kind.DELIVERED}
    )
