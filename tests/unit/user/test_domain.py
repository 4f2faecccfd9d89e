"""The rules of addresses, names, refresh tokens and signing keys."""

from datetime import timedelta

import pytest

from doorbuster.testing.accounts import NOON
from doorbuster.user import domain
from doorbuster.user.domain import RefreshToken, RefreshVerdict, SigningKey

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Bo@Shop.Example", "bo@shop.example"),
        ("andr\u00e9@x.org", "Andre\u0301@X.ORG"),
        ("I@x.org", "i@x.org"),
    ],
)
def test_case_and_composition_make_no_second_account(one: str, other: str) -> None:
    assert domain.email_key(one) == domain.email_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a@strasse.example", "a@stra\u00dfe.example"),
        ("andre@x.org", "andr\u00e9@x.org"),
        ("bo+a@x.org", "bo@x.org"),
    ],
)
def test_different_mailboxes_stay_different(one: str, other: str) -> None:
    assert domain.email_key(one) != domain.email_key(other)


@pytest.mark.parametrize(
    "email",
    [
        "a b@x.org",
        "a@x.org ",
        "a\u00a0@x.org",
        "a\x00@x.org",
        "a\r\nBcc: b@x.org",
        "\u202ea@x.org",
    ],
)
def test_an_address_that_a_mail_header_cannot_hold_is_refused(email: str) -> None:
    with pytest.raises(domain.UnacceptableTextError):
        domain.email_key(email)


def test_an_address_that_grows_beyond_the_column_is_refused() -> None:
    grows = "\u0130" * 127 + "@" + "x" * 126
    assert len(grows) == domain.MAX_EMAIL_CHARACTERS
    with pytest.raises(domain.UnacceptableTextError):
        domain.email_key(grows)


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "a\x7fb", "\u2066a", "x" * 201, "\u2028"])
def test_a_name_without_anything_to_show_or_with_controls_is_refused(name: str) -> None:
    with pytest.raises(domain.UnacceptableTextError):
        domain.clean_name(name)


@pytest.mark.parametrize(
    "name", ["Bo", "  Bo ", "Jos\u00e9", "\u0645\u06cc\u200c\u062e", "\U0001f600"]
)
def test_people_may_have_any_name_that_can_be_shown(name: str) -> None:
    assert domain.clean_name(name) == name.strip()


def token(**changed: object) -> RefreshToken:
    fields: dict[str, object] = {
        "session_id": "sess_1",
        "used_at": None,
        "expires_at": NOON + DAY,
        "session_revoked_at": None,
        "session_started_at": NOON - DAY,
    }
    return RefreshToken(**{**fields, **changed})  # type: ignore[arg-type]  # real fields


@pytest.mark.parametrize(
    ("presented", "verdict"),
    [
        (None, RefreshVerdict.REFUSE),
        (token(), RefreshVerdict.ROTATE),
        (token(expires_at=NOON), RefreshVerdict.REFUSE),
        (token(session_revoked_at=NOON - MINUTE), RefreshVerdict.REFUSE),
        (token(used_at=NOON - MINUTE), RefreshVerdict.REVOKE_FAMILY),
        (token(used_at=NOON - MINUTE, session_revoked_at=NOON), RefreshVerdict.REFUSE),
        (token(used_at=NOON - MINUTE, expires_at=NOON), RefreshVerdict.REFUSE),
    ],
)
def test_a_refresh_token_is_judged(
    presented: RefreshToken | None, verdict: RefreshVerdict
) -> None:
    assert domain.judge_refresh(presented, NOON) is verdict


def test_a_session_cannot_be_refreshed_for_ever() -> None:
    started = NOON - domain.SESSION_LIFE + DAY
    assert domain.refresh_expiry(NOON, started) == NOON + DAY
    assert domain.refresh_expiry(NOON, NOON) == NOON + domain.REFRESH_TOKEN_LIFE


def key(number: int, age: timedelta) -> SigningKey:
    return SigningKey(
        number=number, kid=f"k{number}", public_pem="", sealed_private="", created_at=NOON - age
    )


def test_the_first_key_signs_at_once() -> None:
    assert domain.signing_key([key(1, timedelta())], NOON).number == 1


def test_a_new_key_signs_only_after_it_was_published_for_a_minute() -> None:
    old = key(1, 40 * DAY)
    assert domain.signing_key([old, key(2, MINUTE / 2)], NOON).number == 1
    assert domain.signing_key([key(2, MINUTE), old], NOON).number == 2


def test_a_key_is_published_at_once_and_until_its_last_token_is_dead() -> None:
    old = key(1, 40 * DAY)
    for age in (timedelta(), MINUTE, 15 * MINUTE, 20 * MINUTE):
        shown = domain.published_keys([old, key(2, age)], NOON)
        assert [one.number for one in shown] == [1, 2]
    assert [one.number for one in domain.published_keys([old, key(2, 22 * MINUTE)], NOON)] == [2]


def test_every_signing_key_is_published() -> None:
    keys = [key(1, 70 * DAY), key(2, 40 * DAY), key(3, 10 * DAY)]
    for minutes in range(0, 100_000, 7):
        now = NOON + minutes * MINUTE
        assert domain.signing_key(keys, now) in domain.published_keys(keys, now)


def test_the_next_key_is_made_when_the_newest_is_a_month_old() -> None:
    assert domain.next_key_number([], NOON) == 1
    assert domain.next_key_number([key(1, 29 * DAY)], NOON) is None
    assert domain.next_key_number([key(1, 60 * DAY), key(2, 30 * DAY)], NOON) == 3
