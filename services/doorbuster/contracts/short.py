"""The short dialect ``/api``: its own shapes in front of the ``/v1`` calls; requests may be in camel case, too."""

from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .api import Identifier, Quantity

CardOrToken = Annotated[str, Meta(pattern=r"^([0-9 ]{12,23}|(pm|tok)_[A-Za-z0-9_]{1,100})$(?!\n)")]


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One row of ``GET /api/products/search?term=``; X-Total-Count, X-Total-Pages and Link tell the rest."""

    product_id: str
    name: str
    thumbnail_url: str | None
    price: Decimal


class ShortReview(msgspec.Struct, frozen=True, kw_only=True):
    """One review."""

    rating: int
    title: str
    text: str
    author: str
    written_at: str


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /api/products/{product_id}``."""

    product_id: str
    name: str
    description: str
    price: Decimal
    currency: str
    image_urls: list[str]
    specifications: dict[str, str | bool | int | float]
    reviews: list[ShortReview]
    available_qty: int | None


class AddToCart(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /api/cart/add``."""

    product_id: Identifier
    quantity: Quantity


class Added(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The token comes with a new cart of somebody who has not logged in."""

    cart_id: str
    cart_token: str | None = None


class ShortLine(msgspec.Struct, frozen=True, kw_only=True):
    """One product to buy; the price may also come as text."""

    product_id: Identifier
    quantity: Quantity
    price: Decimal | None = None


class ShortOrder(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /api/checkout``."""

    products: Annotated[list[ShortLine], Meta(min_length=1, max_length=50)]
    cart_id: Identifier | None = None
    address_id: Identifier | None = None
    discount_code: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class Ordered(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """201 of checkout."""

    order_id: str


class ShortPayment(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``POST /api/payment``: a card, or in its place a token of the provider (``pm_…``) alone."""

    order_id: Identifier
    card_details: CardOrToken
    expiration_date: (
        Annotated[str, Meta(pattern=r"^[0-9]{1,2}[/-]([0-9]{2}|[0-9]{4})$(?!\n)")] | None
    ) = None
    cvv: Annotated[str, Meta(pattern=r"^[0-9]{3,4}$(?!\n)")] | None = None
    amount: Decimal | None = None


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """FAILED: this attempt was declined, another card may be tried."""

    status: Literal["CONFIRMED", "FAILED"]


class Status(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The status in upper case."""

    order_id: str
    status: Literal[
        "PENDING", "CONFIRMED", "SHIPPED", "DELIVERED", "EXPIRED", "CANCELLED", "RETURNED"
    ]
