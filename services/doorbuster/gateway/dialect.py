"""The short ``/api`` dialect: its own shapes in front of the canonical ``/v1`` calls; pure translation."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_NUMERIC = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")
_EXPIRY = re.compile(r"\s*([0-9]{1,2})\s*[/-]\s*([0-9]{2}|[0-9]{4})\s*")
_SNAKE = re.compile(r"_([a-z])")
_PAYMENT_WORDS = {"success": "CONFIRMED", "failed": "FAILED"}


class UntranslatableError(Exception):
    """The body breaks a rule of the short dialect; the message says which."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the dialect: what stands behind it and how its bodies are translated."""

    name: str
    owner: str
    path: str
    request: Callable[[Any], Any] | None
    answer: Callable[[Any], Any]


def find_call(method: str, segments: tuple[str, ...]) -> Call | None:
    """Return the call of a method and path (segments with ``api`` first); None when there is none."""
    match (method, segments):
        case ("POST", ("api", "checkout")):
            return Call(
                name="/api/checkout",
                owner="checkout",
                path="/v1/checkout",
                request=checkout_request,
                answer=checkout_answer,
            )
        case ("POST", ("api", "payment")):
            return Call(
                name="/api/payment",
                owner="payment",
                path="/v1/payment",
                request=payment_request,
                answer=payment_answer,
            )
        case ("GET", ("api", "orders", order_id, "status")):
            return Call(
                name="/api/orders/status",
                owner="order",
                path=f"/v1/orders/{order_id}/status",
                request=None,
                answer=status_answer,
            )
        case _:
            return None


def methods_of(segments: tuple[str, ...]) -> tuple[str, ...]:
    """Return the methods that a path of the dialect knows."""
    return tuple(method for method in ("GET", "POST") if find_call(method, segments))


def checkout_request(body: Any) -> dict[str, Any]:
    """Translate ``{cart_id?, products: [{product_id, quantity, price}], …}``; snake or camel case."""
    translated = _camel(body)
    products = translated.get("products")
    if isinstance(products, list):
        translated["products"] = [_line(product) for product in products]
    return translated


def _line(product: Any) -> dict[str, Any]:
    line = _camel(product)
    if isinstance(line.get("price"), str):
        line["price"] = _number(line["price"])
    return line


def checkout_answer(body: Any) -> dict[str, Any]:
    """Return ``{orderId}``."""
    return {"orderId": body["orderId"]}


def payment_request(body: Any) -> dict[str, Any]:
    """Translate ``{orderId, cardDetails: "4242…", expirationDate: "MM/YY", cvv}``.

    ``cardDetails`` may also be a PSP token (``pm_…``, then nothing else is needed). No message of an
    error repeats a card's data.
    """
    fields = _camel(body)
    translated = {
        "orderId": fields.pop("orderId", None),
        "paymentMethod": fields.pop("paymentMethod", "card"),
    }
    amount = fields.pop("amount", None)
    if amount is not None:
        translated["amount"] = _number(amount) if isinstance(amount, str) else amount
    card = fields.pop("cardDetails", None)
    if isinstance(card, str) and card.startswith(("pm_", "tok_")):
        return translated | {"token": card}
    expiry = fields.pop("expirationDate", None)
    cvv = fields.pop("cvv", None)
    if fields:
        raise UntranslatableError("unknown fields: " + ", ".join(sorted(fields))[:200])
    month, year = _expiry(expiry)
    number, cvc = _digits(card, "cardDetails"), _digits(cvv, "cvv")
    details = {"number": number, "expMonth": month, "expYear": year, "cvc": cvc}
    return translated | {"cardDetails": details}


def payment_answer(body: Any) -> dict[str, Any]:
    """Return ``{status: CONFIRMED | FAILED}``."""
    return {"status": _PAYMENT_WORDS[body["status"]]}


def status_answer(body: Any) -> dict[str, Any]:
    """Return ``{orderId, status}`` with the status in upper case."""
    return {"orderId": body["orderId"], "status": body["status"].upper()}


def _camel(body: Any) -> dict[str, Any]:
    if not isinstance(body, Mapping):
        raise UntranslatableError("an object is expected")
    translated: dict[str, Any] = {}
    for name, value in body.items():
        camel = _SNAKE.sub(lambda match: match[1].upper(), name)
        if camel in translated:
            raise UntranslatableError("a field is there twice, in two spellings")
        translated[camel] = value
    return translated


def _number(text: str) -> Decimal:
    if not _NUMERIC.fullmatch(text):
        raise UntranslatableError("a price or amount is no number")
    return Decimal(text)


def _expiry(value: Any) -> tuple[int, int]:
    found = _EXPIRY.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise UntranslatableError("expirationDate is MM/YY")
    year = int(found[2])
    return int(found[1]), year if year >= 1000 else 2000 + year


def _digits(value: Any, name: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise UntranslatableError(f"{name} is missing or no text")
    return value.replace("-", " ").strip()
