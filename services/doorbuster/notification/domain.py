"""What is told to whom and which way: the letter an event calls for, and what becomes of an attempt to send it."""

import enum
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime

from typing_extensions import override

from doorbuster.contracts import events

FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=5)
GIVEN_UP_AFTER = timedelta(hours=24)
_LONGEST_NAME = 80
# Longer than usual, so that a Message-ID is never folded: some mail programs compare it as it stands.
_PLAIN = SMTP.clone(max_line_length=160)
_WIDE = SMTPUTF8.clone(max_line_length=160)
# Stricter than the standard: no quoted local parts, no comments, no address literals.
_SPECIAL = r"\s@<>()\[\],;:\\\"\x00-\x20\x7f"
_ADDRESS = re.compile(rf"(?P<local>[^{_SPECIAL}]+)@(?P<domain>[^{_SPECIAL}]+)")


class UndeliverableError(Exception):
    """This letter will never arrive: the address is no address, or the buyer has no account any more."""


class NotNowError(Exception):
    """This buyer cannot be told now, whatever becomes of the others."""


class UnreachableError(Exception):
    """The buyer cannot be told this way: he has no telephone number. Nothing is amiss."""


class Channel(enum.StrEnum):
    """A way to tell a buyer."""

    EMAIL = "email"
    SMS = "sms"


class Kind(enum.StrEnum):
    """What a letter says; one of a kind goes out for an order and channel."""

    CONFIRMED = "order-confirmed"
    DECLINED = "payment-declined"
    EXPIRED = "order-expired"
    SHIPPED = "order-shipped"
    DELIVERED = "order-delivered"
    CANCELLED = "order-cancelled"
    RETURNED = "order-returned"
    REFUNDED = "order-refunded"


# About money that goes back: told by e-mail whatever the buyer prefers.
ALWAYS_BY_EMAIL = frozenset({Kind.CANCELLED, Kind.RETURNED, Kind.REFUNDED})
# A letter that has waited would mislead once there is one of these for its order.
_OVERTAKEN_BY: dict[Kind, frozenset[Kind]] = {
    Kind.CONFIRMED: frozenset({Kind.CANCELLED, Kind.REFUNDED}),
    Kind.DECLINED: frozenset({Kind.CONFIRMED, Kind.EXPIRED, Kind.CANCELLED}),
    Kind.EXPIRED: frozenset({Kind.CONFIRMED, Kind.CANCELLED}),
    Kind.SHIPPED: frozenset({Kind.DELIVERED, Kind.RETURNED}),
}


@dataclass(frozen=True, kw_only=True)
class Letter:
    """What is to be told, without the name or the address of anybody; money in minor units."""

    order_id: str
    kind: Kind
    user_id: str
    lines: tuple[events.Line, ...] = ()
    amount_minor: int | None = None
    currency: str | None = None
    carrier: str | None = None
    tracking_number: str | None = None
    estimated_delivery: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class LetterId:
    """Names one letter: what is told of an order, one way."""

    order_id: str
    kind: Kind
    channel: Channel

    @override
    def __str__(self) -> str:
        return f"{self.order_id}.{self.kind}.{self.channel}"


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """Which ways a user wants to be told."""

    email: bool = True
    sms: bool = False


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """Asked of the user service when a letter goes out, never stored; ``phone`` is E.164."""

    name: str
    email: str
    phone: str | None = None


@dataclass(frozen=True, kw_only=True)
class Words:
    """A letter in words, once as text and once as HTML."""

    subject: str
    text: str
    html: str


class Outcome(enum.Enum):
    """How an attempt to send ended."""

    SENT = "SENT"
    LATER = "PENDING"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


def letter_for(event: events.Event) -> Letter | None:
    """Return the letter an event calls for; None when it calls for none."""
    kind = _KINDS.get(type(event))
    if kind is None or (isinstance(event, events.OrderExpired) and event.reason == _LET_GO):
        return None
    bare = Letter(order_id=event.order_id, kind=kind, user_id=event.user_id)
    match event:
        case events.PaymentSucceeded():
            return replace(
                bare,
                lines=tuple(event.lines),
                amount_minor=event.amount_minor,
                currency=event.currency,
            )
        case events.OrderShipped():
            return replace(
                bare,
                carrier=event.carrier,
                tracking_number=event.tracking_number,
                estimated_delivery=event.estimated_delivery,
            )
        case _:
            return bare


_KINDS: dict[type[events.Event], Kind] = {
    events.PaymentSucceeded: Kind.CONFIRMED,
    events.PaymentFailed: Kind.DECLINED,
    events.OrderExpired: Kind.EXPIRED,
    events.OrderShipped: Kind.SHIPPED,
    events.OrderDelivered: Kind.DELIVERED,
    events.OrderCancelled: Kind.CANCELLED,
    events.OrderReturned: Kind.RETURNED,
    events.PaymentReversed: Kind.REFUNDED,
}
# Inventory's word for a hold that checkout gave up: the buyer was told, or has cancelled himself.
_LET_GO = "refused"
TOLD: tuple[type[events.Event], ...] = tuple(_KINDS)


def channels_for(kind: Kind, wanted: Preferences, *, sms_is_on: bool) -> frozenset[Channel]:
    """Return the ways in which a user who wants ``wanted`` is told of this."""
    ways = set()
    if wanted.email or kind in ALWAYS_BY_EMAIL:
        ways.add(Channel.EMAIL)
    if wanted.sms and sms_is_on:
        ways.add(Channel.SMS)
    return frozenset(ways)


def letter_id(text: str) -> LetterId | None:
    """Parse the text of a LetterId; None when it names no letter."""
    try:
        order_id, kind, channel = text.split(".")
        return LetterId(order_id=order_id, kind=Kind(kind), channel=Channel(channel))
    except ValueError:
        return None


def is_stale(kind: Kind, told: frozenset[Kind]) -> bool:
    """Tell whether a letter would mislead by now, given all kinds of letters of its order."""
    return bool(_OVERTAKEN_BY.get(kind, frozenset()) & told)


def next_attempt(attempts: int, now: datetime, jitter: float) -> datetime:
    """Return when to try again after ``attempts`` failures; ``jitter`` in [0, 1) spreads the crowd."""
    doublings = float(1 << min(max(attempts - 1, 0), 16))
    pause = min(FIRST_PAUSE * doublings, LONGEST_PAUSE)
    return now + pause * (0.5 + jitter / 2)


def after_failure(waiting_since: datetime, now: datetime) -> Outcome:
    """Return what a failed attempt means: try later, or give up after a day."""
    return Outcome.LATER if now - waiting_since < GIVEN_UP_AFTER else Outcome.FAILED


def compose(
    letter: Letter, words: Words, recipient: Recipient, *, sender: str, now: datetime
) -> EmailMessage:
    """Return the mail, as text and as HTML.

    Its Message-ID is made of the order and the kind, so that a mail that was sent twice (the server's answer
    was lost) is recognised as one by mail programs. Whatever a name holds, it cannot add a header.
    Raises UndeliverableError when an address is none.
    """
    message = EmailMessage(policy=_PLAIN if recipient.email.isascii() else _WIDE)
    try:
        message["From"] = _address("Doorbuster", sender)
        message["To"] = _address(clean(recipient.name), recipient.email)
    except ValueError as error:
        raise UndeliverableError("the address is no address") from error
    message["Subject"] = words.subject
    message["Date"] = format_datetime(now.astimezone(UTC))
    message["Message-ID"] = f"<{letter.order_id}.{letter.kind}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(words.text, cte=_encoding(words.text))
    message.add_alternative(words.html, subtype="html", cte=_encoding(words.html))
    return message


def _encoding(text: str) -> str:
    return "7bit" if text.isascii() else "quoted-printable"


def _address(name: str, email: str) -> Address:
    found = _ADDRESS.fullmatch(email)
    if found is None or not email.isprintable():
        raise ValueError("no address")
    email.encode()  # a lone surrogate is no character
    return Address(display_name=name, username=found["local"], domain=found["domain"])


def clean(name: str) -> str:
    """Return a name as one line of bounded length."""
    printable = "".join(letter if letter.isprintable() else " " for letter in name)
    return " ".join(printable.split())[:_LONGEST_NAME]
