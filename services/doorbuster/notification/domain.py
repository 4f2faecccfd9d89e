"""What is told to whom: the letter an event calls for, its words, and what becomes of an attempt to send it."""

import enum
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime

from doorbuster.contracts import events
from doorbuster.kit import money

FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=5)
GIVEN_UP_AFTER = timedelta(hours=24)
MOST_LINES = 50
_LONGEST_NAME = 80
# Longer than usual, so that a Message-ID is never folded: some mail programs compare it as it stands.
_PLAIN = SMTP.clone(max_line_length=160)
_WIDE = SMTPUTF8.clone(max_line_length=160)
# Stricter than the standard: no quoted local parts, no comments, no address literals.
_SPECIAL = r"\s@<>()\[\],;:\\\"\x00-\x20\x7f"
_ADDRESS = re.compile(rf"(?P<local>[^{_SPECIAL}]+)@(?P<domain>[^{_SPECIAL}]+)")


class UndeliverableError(Exception):
    """This letter will never arrive: the address is no address, or the buyer has no account any more."""


class Kind(enum.StrEnum):
    """What a letter says; one of a kind goes out for an order."""

    CONFIRMED = "order-confirmed"
    DECLINED = "payment-declined"
    EXPIRED = "order-expired"


@dataclass(frozen=True, kw_only=True)
class Letter:
    """What is to be told, without the name or the address of anybody; money in minor units."""

    order_id: str
    kind: Kind
    user_id: str
    lines: tuple[events.Line, ...] = ()
    amount_minor: int | None = None
    currency: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """Asked of the user service when a letter goes out, never stored."""

    name: str
    email: str


class Outcome(enum.Enum):
    """How an attempt to send ended."""

    SENT = "SENT"
    LATER = "PENDING"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


def letter_for(event: events.Event) -> Letter | None:
    """Return the letter an event calls for; None when it calls for none."""
    match event:
        case events.PaymentSucceeded():
            return Letter(
                order_id=event.order_id,
                kind=Kind.CONFIRMED,
                user_id=event.user_id,
                lines=tuple(event.lines),
                amount_minor=event.amount_minor,
                currency=event.currency,
            )
        case events.PaymentFailed():
            return Letter(order_id=event.order_id, kind=Kind.DECLINED, user_id=event.user_id)
        case events.OrderExpired():
            return Letter(order_id=event.order_id, kind=Kind.EXPIRED, user_id=event.user_id)
        case _:
            return None


def is_stale(kind: Kind, confirmed: bool) -> bool:
    """Tell whether a letter would mislead by now: the order was paid after all."""
    return confirmed and kind is not Kind.CONFIRMED


def next_attempt(attempts: int, now: datetime, jitter: float) -> datetime:
    """Return when to try again after ``attempts`` failures; ``jitter`` in [0, 1) spreads the crowd."""
    doublings = float(1 << min(max(attempts - 1, 0), 16))
    pause = min(FIRST_PAUSE * doublings, LONGEST_PAUSE)
    return now + pause * (0.5 + jitter / 2)


def after_failure(written_at: datetime, now: datetime) -> Outcome:
    """Return what a failed attempt means: try later, or give up after a day."""
    return Outcome.LATER if now - written_at < GIVEN_UP_AFTER else Outcome.FAILED


def compose(letter: Letter, recipient: Recipient, *, sender: str, now: datetime) -> EmailMessage:
    """Return the mail.

    Its Message-ID is made of the order and the kind, so that a mail that was sent twice (the server's answer
    was lost) is recognised as one by mail programs. Whatever a name holds, it cannot add a header.
    Raises UndeliverableError when an address is none.
    """
    subject, text = _words(letter, _clean(recipient.name))
    message = EmailMessage(policy=_PLAIN if recipient.email.isascii() else _WIDE)
    try:
        message["From"] = _address("Doorbuster", sender)
        message["To"] = _address(_clean(recipient.name), recipient.email)
    except ValueError as error:
        raise UndeliverableError("the address is no address") from error
    message["Subject"] = subject
    message["Date"] = format_datetime(now.astimezone(UTC))
    message["Message-ID"] = f"<{letter.order_id}.{letter.kind}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text, cte="7bit" if text.isascii() else "quoted-printable")
    return message


def _address(name: str, email: str) -> Address:
    found = _ADDRESS.fullmatch(email)
    if found is None or not email.isprintable():
        raise ValueError("no address")
    email.encode()  # a lone surrogate is no character
    return Address(display_name=name, username=found["local"], domain=found["domain"])


def _clean(name: str) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in name)
    return " ".join(printable.split())[:_LONGEST_NAME]


def _words(letter: Letter, name: str) -> tuple[str, str]:
    match letter.kind:
        case Kind.CONFIRMED:
            subject = f"Your order {letter.order_id} is confirmed"
            story = (
                f"thank you: your payment went through and the order is yours.\n\n{_bill(letter)}"
            )
        case Kind.DECLINED:
            subject = f"The payment for your order {letter.order_id} did not go through"
            story = (
                "your payment did not go through and you were not charged.\n"
                "While the order is held for you, you may pay with another card."
            )
        case Kind.EXPIRED:
            subject = f"Your order {letter.order_id} has expired"
            story = (
                "your order was not paid in time, so it went to the next in line.\n"
                "You were not charged."
            )
    return (
        subject,
        f"Hello {name},\n\n{story}\n\nOrder: {letter.order_id}\n\nYour Doorbuster shop\n",
    )


def _bill(letter: Letter) -> str:
    currency = letter.currency or ""
    rows = [
        f"  {line.quantity} x {line.product_id} at {_price(line.price_minor, currency)}"
        for line in letter.lines[:MOST_LINES]
    ]
    if len(letter.lines) > MOST_LINES:
        rows.append(f"  and {len(letter.lines) - MOST_LINES} more")
    rows.append(f"Total: {_price(letter.amount_minor or 0, currency)}")
    return "\n".join(rows)


def _price(amount_minor: int, currency: str) -> str:
    return f"{money.from_minor(amount_minor, currency)} {currency}"
