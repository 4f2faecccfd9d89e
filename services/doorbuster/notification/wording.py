"""The words of letters: a text and an HTML template a kind, filled with facts; nothing in them is fetched from afar."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import jinja2

from doorbuster.kit import money

from .domain import Kind, Letter, Words, clean

MOST_LINES = 50
MAX_SMS_CHARACTERS = 320  # two or three segments
_SUBJECTS: dict[Kind, str] = {
    Kind.CONFIRMED: "Your order {order_id} is confirmed",
    Kind.DECLINED: "The payment for your order {order_id} did not go through",
    Kind.EXPIRED: "Your order {order_id} has expired",
    Kind.SHIPPED: "Your order {order_id} is on its way",
    Kind.DELIVERED: "Your order {order_id} was delivered",
    Kind.CANCELLED: "Your order {order_id} was cancelled",
    Kind.RETURNED: "We have received your return of order {order_id}",
    Kind.REFUNDED: "The money for your order {order_id} goes back to you",
}


@dataclass(frozen=True)
class Wording:
    """Renders the templates of this package; a name that a template lacks is an error, never a blank."""

    @cached_property
    def _environment(self) -> jinja2.Environment:
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("doorbuster.notification"),
            autoescape=lambda name: name is not None and name.endswith(".html"),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters["day"] = _day
        return environment

    def mail(self, letter: Letter, name: str, titles: Mapping[str, str]) -> Words:
        """Return subject, text and HTML; a product without a title is called by its id."""
        subject = _subject(letter)
        facts = {
            "subject": subject,
            "name": clean(name),
            "letter": letter,
            "lines": _lines(letter, titles),
            "more": max(len(letter.lines) - MOST_LINES, 0),
            "total": _price(letter.amount_minor or 0, letter.currency),
        }
        text, html = (
            self._environment.get_template(f"{letter.kind}.{suffix}").render(facts)
            for suffix in ("txt", "html")
        )
        return Words(subject=subject, text=text, html=html)

    def sms(self, letter: Letter) -> str:
        """Return the text message: a function of the letter alone, so that it can be recognised."""
        facts = {"subject": _subject(letter), "letter": letter}
        text = self._environment.get_template("sms.txt").render(facts)
        return text.strip()[:MAX_SMS_CHARACTERS]


def _subject(letter: Letter) -> str:
    return _SUBJECTS[letter.kind].format(order_id=letter.order_id)


def _lines(letter: Letter, titles: Mapping[str, str]) -> list[dict[str, str | int]]:
    return [
        {
            "quantity": line.quantity,
            "title": clean(titles.get(line.product_id, "")) or line.product_id,
            "price": _price(line.price_minor, letter.currency),
        }
        for line in letter.lines[:MOST_LINES]
    ]


def _price(amount_minor: int, currency: str | None) -> str:
    return f"{money.from_minor(amount_minor, currency or '')} {currency or ''}"


def _day(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%-d %B %Y}"
