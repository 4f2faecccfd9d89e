"""The cart, the address book, discounts and stock under ``/v1``."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .api import Identifier, Pagination, Password, Quantity, Text, require_sane
from .catalogue import Currency

DiscountCode = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{1,31}$(?!\n)")]
MAX_CART_LINES = 50
MAX_ADDRESSES = 20


class CartItem(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``POST /v1/cart/add`` (adds to what is there) and ``PUT /v1/cart/update`` (sets it)."""

    product_id: Identifier
    quantity: Quantity


class CartChanged(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``cart_token`` comes once, with a new cart of nobody: whoever has it has the cart (X-Cart-Token)."""

    cart_id: str
    version: int
    cart_token: str | None = None


class CartLine(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One product at today's price; without a price it is no longer sold."""

    product_id: str
    quantity: int
    title: str | None
    thumbnail: str | None
    price: Decimal | None
    currency: str | None
    line_total: Decimal | None
    available_qty: int | None
    availability: Literal["available", "insufficient", "sold_out", "gone", "unknown"]


class Cart(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /v1/cart``: live prices; ``total`` is of the lines with a price, absent with more than one currency."""

    cart_id: str | None
    version: int
    products: list[CartLine]
    total: Decimal | None
    currency: str | None


class CartMerge(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``POST /v1/cart/merge`` after log-in: the cart of nobody with this token becomes part of the user's."""

    cart_token: Annotated[str, Meta(min_length=20, max_length=100)]


class AddressDraft(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``POST /v1/users/me/addresses`` and ``PUT …/{addressId}``; ``country`` is ISO 3166-1 alpha-2."""

    recipient: Text
    line1: Text
    line2: Annotated[str, Meta(max_length=200)] = ""
    city: Text
    region: Annotated[str, Meta(max_length=100)] = ""
    postal_code: Annotated[
        str, Meta(min_length=1, max_length=16, pattern=r"^[A-Za-z0-9][A-Za-z0-9 -]*$(?!\n)")
    ]
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}$(?!\n)")]
    phone: Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{6,14}$(?!\n)")] | None = None
    label: Annotated[str, Meta(max_length=40)] = ""


class Address(AddressDraft, frozen=True, kw_only=True):
    """One address of the book."""

    address_id: str


class AddressList(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The whole book: at most 20."""

    addresses: list[Address]


class PasswordChange(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``PUT /v1/users/me/password``: every other session ends."""

    current_password: Annotated[str, Meta(min_length=1, max_length=128)]
    new_password: Password


class DiscountDraft(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``PUT /v1/admin/discounts/{code}``: a percentage, or an amount of one currency."""

    kind: Literal["percentage", "fixed"]
    percent: Annotated[int, Meta(ge=1, le=100)] | None = None
    amount: Decimal | None = None
    currency: Currency | None = None
    minimum_amount: Decimal | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    total_uses: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None
    uses_per_user: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    active: bool = True

    def __post_init__(self) -> None:
        require_sane(self.amount)
        require_sane(self.minimum_amount)


class Discount(DiscountDraft, frozen=True, kw_only=True):
    """A discount with how often it is in use."""

    code: str
    used: int
    created_at: datetime


class DiscountList(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /v1/admin/discounts?page=&size=``, by code."""

    discounts: list[Discount]
    pagination: Pagination


class StockLevel(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``PUT /v1/admin/stock/{productId}``: all units that there are, the sold ones among them."""

    total: Annotated[int, Meta(ge=0, le=1_000_000_000)]


class Stock(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """total = available + reserved + sold; ``managed_by_pool`` where an InventoryPool decides."""

    product_id: str
    total: int
    available: int
    reserved: int
    sold: int
    managed_by_pool: bool


class NotificationPreferences(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``GET`` and ``PUT /v1/notifications/preferences``: which ways a user wants to be told of his orders."""

    email: bool = True
    sms: bool = False
