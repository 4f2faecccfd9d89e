"""The rules of accounts, sessions and signing keys: facts in, facts out."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Literal, TypedDict

from msgspec import structs

from doorbuster.contracts import shopping

Role = Literal["buyer", "merchant", "admin"]

MAX_EMAIL_CHARACTERS = 254
MAX_NAME_CHARACTERS = 200
MAX_PASSWORD_CHARACTERS = 128
MIN_PASSWORD_CHARACTERS = 8

ACCESS_TOKEN_LIFE = timedelta(minutes=15)
REFRESH_TOKEN_LIFE = timedelta(days=30)
SESSION_LIFE = timedelta(days=90)
MAX_SESSIONS_PER_USER = 20

KEY_PUBLISHED_BEFORE_USE = timedelta(minutes=1)
KEY_USE = timedelta(days=30)
# A retired key stays in the JWKS until the last token it signed is dead everywhere: life, leeway, clocks.
KEY_SHOWN_AFTER_USE = ACCESS_TOKEN_LIFE + timedelta(minutes=5)

TRUST_LIFE = timedelta(days=30)
MAX_ADDRESSES = shopping.MAX_ADDRESSES

# ISO 3166-1 alpha-2.
_COUNTRIES = frozenset(
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ"
    " CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO"
    " FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE"
    " JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO"
    " MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW"
    " PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM"
    " TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW".split()
)
_FORBIDDEN_IN_TEXT = ("Cc", "Cs", "Zl", "Zp")
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class UnacceptableTextError(Exception):
    """A name or an address holds characters that no mail header or page should show."""


class EmailTakenError(Exception):
    """There is an account with this e-mail address."""


class UnknownUserError(Exception):
    """There is no such account."""


class WrongCredentialsError(Exception):
    """E-mail and password name no account; which of the two is wrong is not told."""


class RefreshRefusedError(Exception):
    """The refresh token is unknown, expired, revoked or was used before."""


class WrongPasswordError(Exception):
    """The current password is another one."""


class TooManyAttemptsError(Exception):
    """Too many wrong passwords; ``retry_after`` in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many attempts; try again in {retry_after} s")
        self.retry_after = retry_after


class UnknownAddressError(Exception):
    """There is no such address, or it is another's."""


class TooManyAddressesError(Exception):
    """The address book is full."""


class BusyError(Exception):
    """More passwords wait to be hashed than is sensible."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user as others see him; ``email`` as he wrote it."""

    user_id: str
    name: str
    email: str
    role: Role
    created_at: datetime
    phone: str | None = None


class ProfileChange(TypedDict, total=False):
    """What a user changes of himself; what is absent stays, a phone of None is deleted."""

    name: str
    phone: str | None


@dataclass(frozen=True, kw_only=True)
class Address:
    """One address of a book."""

    address_id: str
    details: shopping.AddressDraft


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often somebody may be wrong: ``burst`` times at once, then once every ``step``."""

    step: timedelta
    burst: int


HERE = Pace(step=timedelta(minutes=1), burst=10)
ANYWHERE = Pace(step=timedelta(seconds=36), burst=100)


@dataclass(frozen=True, kw_only=True)
class Guard:
    """How busy the guessing was: ``busy_until`` moves on by a step with each attempt.

    ``trusted_until``: a log-in from here succeeded lately.
    """

    busy_until: datetime
    trusted_until: datetime


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An attempt to guess a secret, by the keys of its guards.

    ``here`` is the secret tried from this place, ``anywhere`` the same secret tried from all places where it has
    not been right lately.
    """

    here: str
    anywhere: str


@dataclass(frozen=True, kw_only=True)
class RefreshToken:
    """What is stored of a refresh token, with its session."""

    session_id: str
    used_at: datetime | None
    expires_at: datetime
    session_revoked_at: datetime | None
    session_started_at: datetime


class RefreshVerdict(Enum):
    """What a refresh token is good for."""

    ROTATE = "rotate"
    REFUSE = "refuse"
    REVOKE_FAMILY = "revoke_family"  # somebody holds a copy: who is the thief cannot be told


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """A key pair by the order of its making; the private part only as it is stored, encrypted."""

    number: int
    kid: str
    public_pem: str
    sealed_private: str
    created_at: datetime


def email_key(email: str) -> str:
    """Return the form under which an address is unique: case and Unicode composition do not count.

    Raises UnacceptableTextError. No ``casefold``: it would make one address of two different domains
    (strasse, straße).
    """
    key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", email).lower())
    if len(key) > MAX_EMAIL_CHARACTERS:
        raise UnacceptableTextError("the e-mail address is too long")
    _refuse_strange(key)
    if any(character.isspace() for character in key):
        raise UnacceptableTextError("an e-mail address has no spaces")
    return key


def clean_name(name: str) -> str:
    """Return a display name without outer spaces; raises UnacceptableTextError."""
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(cleaned) <= MAX_NAME_CHARACTERS:
        raise UnacceptableTextError(f"a name has 1 to {MAX_NAME_CHARACTERS} characters")
    _refuse_strange(cleaned)
    return cleaned


def clean_address(draft: shopping.AddressDraft) -> shopping.AddressDraft:
    """Return an address as it goes on a label: no outer spaces, no control characters, a real country.

    Raises UnacceptableTextError.
    """
    if draft.country not in _COUNTRIES:
        raise UnacceptableTextError("there is no such country")
    changed = {}
    for name in ("recipient", "line1", "line2", "city", "region", "label"):
        changed[name] = unicodedata.normalize("NFC", getattr(draft, name)).strip()
        _refuse_strange(changed[name])
    if not (changed["recipient"] and changed["line1"] and changed["city"]):
        raise UnacceptableTextError("recipient, line1 and city may not be blank")
    return structs.replace(draft, **changed)


def first_name(name: str) -> str:
    """Return what a review shows of its author."""
    return name.split()[0]


def wait_seconds(busy_until: datetime, pace: Pace, now: datetime) -> float:
    """Return for how long nobody may try again; 0 when an attempt is free."""
    return max(0.0, (busy_until + pace.step - pace.step * pace.burst - now).total_seconds())


def judge_attempt(here: Guard, anywhere: Guard, now: datetime) -> tuple[Guard, Guard]:
    """Return the guards after one more attempt; raises TooManyAttemptsError.

    Where the secret was right lately, what others try elsewhere does not count: a crowd of guessers slows
    strangers, not the owner.
    """
    is_trusted = here.trusted_until > now
    wait = wait_seconds(here.busy_until, HERE, now)
    if not is_trusted:
        wait = max(wait, wait_seconds(anywhere.busy_until, ANYWHERE, now))
    if wait > 0:
        raise TooManyAttemptsError(math.ceil(wait))
    after = replace(here, busy_until=max(here.busy_until, now) + HERE.step)
    if is_trusted:
        return after, anywhere
    return after, replace(anywhere, busy_until=max(anywhere.busy_until, now) + ANYWHERE.step)


def uncounted(here: Guard) -> Guard:
    """Return the guard of a place without its last attempt."""
    return replace(here, busy_until=here.busy_until - HERE.step)


def _refuse_strange(text: str) -> None:
    for character in text:
        if unicodedata.category(character) in _FORBIDDEN_IN_TEXT or character in _BIDI_CONTROLS:
            raise UnacceptableTextError("control characters are not allowed in a name or address")


def judge_refresh(token: RefreshToken | None, now: datetime) -> RefreshVerdict:
    """Decide about a presented refresh token; None means that it is not known."""
    if token is None or token.session_revoked_at is not None or token.expires_at <= now:
        return RefreshVerdict.REFUSE
    return RefreshVerdict.ROTATE if token.used_at is None else RefreshVerdict.REVOKE_FAMILY


def refresh_expiry(now: datetime, session_started_at: datetime) -> datetime:
    """Return until when a refresh token made now is good: idle life within the session's life."""
    return min(now + REFRESH_TOKEN_LIFE, session_started_at + SESSION_LIFE)


def next_key_number(keys: Sequence[SigningKey], now: datetime) -> int | None:
    """Return the number of the key to be made now, None when the newest still serves."""
    if not keys:
        return 1
    newest = max(keys, key=lambda key: key.number)
    return newest.number + 1 if newest.created_at + KEY_USE <= now else None


def signing_key(keys: Sequence[SigningKey], now: datetime) -> SigningKey:
    """Return the newest key that was published long enough; the first one when none was."""
    ordered = sorted(keys, key=lambda key: key.number)
    ripe = [key for key in ordered if key.created_at + KEY_PUBLISHED_BEFORE_USE <= now]
    return ripe[-1] if ripe else ordered[0]


def published_keys(keys: Sequence[SigningKey], now: datetime) -> list[SigningKey]:
    """Return the keys of the JWKS: all but those whose last token is dead, oldest first."""
    ordered = sorted(keys, key=lambda key: key.number)
    shown = []
    for key, successor in zip(ordered, [*ordered[1:], None], strict=True):
        if successor is None:
            shown.append(key)
            continue
        last_used = successor.created_at + KEY_PUBLISHED_BEFORE_USE
        if now < last_used + KEY_SHOWN_AFTER_USE:
            shown.append(key)
    return shown
