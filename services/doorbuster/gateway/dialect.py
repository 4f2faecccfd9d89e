"""The short ``/api`` dialect: its own shapes in front of the canonical ``/v1`` calls; pure translation."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from doorbuster.contracts import short, surface

_NUMERIC = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")
_EXPIRY = re.compile(r"\s*([0-9]{1,2})\s*[/-]\s*([0-9]{2}|[0-9]{4})\s*")
_SNAKE = re.compile(r"_([a-z])")
_PLACES = ("page", "cursor")
_PAYMENT_WORDS = {"success": "CONFIRMED", "failed": "FAILED"}


class UntranslatableError(Exception):
    """The body breaks a rule of the short dialect; the message says which."""


def _no_headers(_body: Any, _query: str) -> dict[str, str]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the dialect: what stands behind it and how its bodies are translated.

    ``headers`` are added to a successful answer, made of the canonical body and the request's query.
    """

    name: str
    owner: str
    path: str
    answer: Callable[[Any], Any]
    request: Callable[[Any], Any] | None = None
    headers: Callable[[Any, str], dict[str, str]] = _no_headers
    signed_in: bool = True


def find_call(method: str, segments: tuple[str, ...]) -> Call | None:
    """Return the call of a method and path (segments with ``api`` first); None when there is none."""
    match (method, segments):
        case ("GET", ("api", "products", "search")):
            return Call(
                name="/api/products/search",
                owner="search",
                path="/v1/products/search",
                answer=search_answer,
                headers=paging_headers,
                signed_in=False,
            )
        case ("GET", ("api", "products", product_id)):
            return Call(
                name="/api/products",
                owner="product",
                path=f"/v1/products/{product_id}",
                answer=details_answer,
                signed_in=False,
            )
        case ("POST", ("api", "cart", "add")):
            return Call(
                name="/api/cart/add",
                owner="cart",
                path="/v1/cart/add",
                request=_camel,
                answer=cart_answer,
                signed_in=False,
            )
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
                answer=status_answer,
            )
        case _:
            return None


def methods_of(segments: tuple[str, ...]) -> tuple[str, ...]:
    """Return the methods that a path of the dialect knows."""
    return tuple(method for method in ("GET", "POST") if find_call(method, segments))


def _described(
    method: str, path: str, behind: str, *, answer: Any, body: type[Any] | None = None
) -> surface.Call:
    """Describe a call like the one behind it, with the dialect's own shapes."""
    [canonical] = [call for call in surface.CALLS if (call.method, call.path) == (method, behind)]
    return replace(canonical, path=path, body=body, answer=answer)


def surface_calls() -> tuple[surface.Call, ...]:
    """Return the dialect's calls as the API's description shows them."""
    return (
        _described("GET", "/api/products/search", "/v1/products/search", answer=list[short.Card]),
        _described(
            "GET", "/api/products/{productId}", "/v1/products/{productId}", answer=short.Details
        ),
        _described(
            "POST", "/api/cart/add", "/v1/cart/add", body=short.AddToCart, answer=short.Added
        ),
        _described(
            "POST", "/api/checkout", "/v1/checkout", body=short.ShortOrder, answer=short.Ordered
        ),
        _described(
            "POST", "/api/payment", "/v1/payment", body=short.ShortPayment, answer=short.Paid
        ),
        _described(
            "GET",
            "/api/orders/{orderId}/status",
            "/v1/orders/{orderId}/status",
            answer=short.Status,
        ),
    )


def search_answer(body: Any) -> list[short.Card]:
    """Return ``[{product_id, name, thumbnail_url, price}]``."""
    return [
        short.Card(
            product_id=product["productId"],
            name=product["title"],
            thumbnail_url=product["thumbnail"],
            price=product["price"],
        )
        for product in body["products"]
    ]


def paging_headers(body: Any, query: str) -> dict[str, str]:
    """Return how much there is and where the same search goes on; the link stays on this host."""
    pages = body["pagination"]
    headers = {
        "X-Total-Count": str(pages["totalItems"]),
        "X-Total-Pages": str(pages["totalPages"]),
        "X-Page": str(pages["page"]),
    }
    cursor = body.get("nextCursor")
    if cursor:
        asked = [(name, value) for name, value in parse_qsl(query) if name not in _PLACES]
        following = urlencode([*asked, ("cursor", cursor)], quote_via=quote)
        headers["Link"] = f'</api/products/search?{following}>; rel="next"'
    return headers


def details_answer(body: Any) -> short.Details:
    """Return a product under the dialect's names."""
    return short.Details(
        product_id=body["productId"],
        name=body["title"],
        description=body["description"],
        price=body["price"],
        currency=body["currency"],
        image_urls=[image["url"] for image in body["images"]],
        specifications=body["specifications"],
        reviews=[
            short.ShortReview(
                rating=review["rating"],
                title=review["title"],
                text=review["text"],
                author=review["author"],
                written_at=review["writtenAt"],
            )
            for review in body["reviews"]
        ],
        available_qty=body["availableQty"],
    )


def cart_answer(body: Any) -> short.Added:
    """Return ``{cart_id}``, with the token of a new cart of nobody."""
    return short.Added(cart_id=body["cartId"], cart_token=body.get("cartToken"))


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
