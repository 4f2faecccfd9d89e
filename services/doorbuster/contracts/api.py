"""The public ``/v1`` API: what buyers send and get. Money is a JSON number with the currency's exponent."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from typing_extensions import override

Text = Annotated[str, Meta(min_length=1, max_length=200)]
Email = Annotated[
    str,
    Meta(min_length=3, max_length=254, pattern=r"^[^@\s<>\x00-\x1f]+@[^@\s<>\x00-\x1f]+$(?!\n)"),
]
Password = Annotated[str, Meta(min_length=8, max_length=128)]
Identifier = Annotated[
    str, Meta(min_length=1, max_length=80, pattern=r"^[a-z]+_[0-9a-z]{26}$(?!\n)")
]
Phone = Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{6,14}$(?!\n)")]  # E.164
Quantity = Annotated[int, Meta(ge=1, le=1000)]
MAX_AMOUNT = 999_999_999_999
MAX_DECIMALS = 12

ORDER_STATUSES = Literal[
    "pending", "confirmed", "shipped", "delivered", "expired", "cancelled", "returned"
]


def require_sane(amount: Decimal | None) -> None:
    """Refuse what is no amount of money; msgspec knows no bounds for decimals."""
    if amount is None:
        return
    if not amount.is_finite() or not 0 <= amount <= MAX_AMOUNT:
        raise ValueError(f"an amount is between 0 and {MAX_AMOUNT}")
    _sign, _digits, power = amount.as_tuple()
    if isinstance(power, int) and abs(power) > MAX_DECIMALS:
        raise ValueError(f"an amount has at most {MAX_DECIMALS} decimals")


class SignUp(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``POST /v1/users``."""

    name: Text
    email: Email
    password: Password


class User(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Answer of sign-up (201) and of ``GET /v1/users/me``."""

    user_id: str
    name: str
    email: str
    phone: str | None = None
    role: Literal["buyer", "merchant", "admin"]
    created_at: datetime


class UserChange(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``PATCH /v1/users/me``: what a user may change of himself; what is absent stays, null deletes the phone."""

    name: Text | msgspec.UnsetType = msgspec.UNSET
    phone: Phone | msgspec.UnsetType | None = msgspec.UNSET


class LogIn(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/sessions``."""

    email: Email
    password: Annotated[str, Meta(min_length=1, max_length=128)]


class Refresh(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``POST /v1/sessions/refresh``: the refresh token is rotated, a used one revokes its family."""

    refresh_token: Annotated[str, Meta(min_length=20, max_length=200)]


class Session(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Answer of log-in (201) and refresh (200); ``expires_in`` in seconds."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int
    refresh_token: str
    user_id: str


class LogOutQuery(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``DELETE /v1/sessions``: this session, or all of this user's."""

    everywhere: bool = False


class CheckoutLine(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """One product to buy; ``price`` is what the buyer saw for one unit."""

    product_id: Identifier
    quantity: Quantity
    price: Decimal | None = None

    def __post_init__(self) -> None:
        require_sane(self.price)


class Checkout(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``POST /v1/checkout`` with Idempotency-Key."""

    products: Annotated[list[CheckoutLine], Meta(min_length=1, max_length=50)]
    cart_id: Identifier | None = None
    address_id: Identifier | None = None
    discount_code: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class Totals(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What an amount is made of: subtotal - discount + shipping + tax, each to the currency's smallest unit."""

    subtotal: Decimal
    discount: Decimal
    shipping: Decimal
    tax: Decimal


class CheckoutDone(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """201: the units are held until ``pay_by``; ``amount`` is what is to be paid."""

    order_id: str
    amount: Decimal
    currency: str
    totals: Totals
    pay_by: datetime
    status: Literal["pending"] = "pending"


class SaleProduct(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One product of a public sale."""

    product_id: str
    sku: str
    price: Decimal
    currency: str
    per_user_limit: int
    available: bool


class Sale(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A sale as anybody may see it; ``id`` is ``namespace.name``, ``phase`` by the authority's clock."""

    id: str
    phase: Literal["Scheduled", "Open", "SoldOut", "Suspended", "Closed", "Cancelled"]
    open_time: datetime
    close_time: datetime
    server_time: datetime
    products: list[SaleProduct]


class SaleList(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /v1/sales?page=&size=``."""

    sales: list[Sale]
    pagination: "Pagination"


class Pagination(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Pages count from 1."""

    page: int
    size: int
    total_pages: int
    total_items: int


class CardDetails(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """Raw card fields: passed to the PSP's tokenisation at once, never stored, logged or traced."""

    number: Annotated[str, Meta(pattern=r"^[0-9 ]{12,23}$(?!\n)")]
    exp_month: Annotated[int, Meta(ge=1, le=12)]
    exp_year: Annotated[int, Meta(ge=2000, le=2100)]
    cvc: Annotated[str, Meta(pattern=r"^[0-9]{3,4}$(?!\n)")]

    @override
    def __repr__(self) -> str:
        return "CardDetails(***)"


class Payment(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``POST /v1/payment`` with Idempotency-Key; either ``card_details`` or a PSP ``token`` (``pm_…``)."""

    order_id: Identifier
    payment_method: Literal["card"] = "card"
    card_details: CardDetails | None = None
    token: Annotated[str, Meta(pattern=r"^(pm|tok)_[A-Za-z0-9_]{1,100}$(?!\n)")] | None = None
    amount: Decimal | None = None

    def __post_init__(self) -> None:
        require_sane(self.amount)


class PaymentDone(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """200 for both: ``failed`` means this attempt was declined and the order may be paid otherwise until pay-by."""

    status: Literal["success", "failed"]
    transaction_id: str
    order_id: str
    decline_code: str | None = None


class StatusChange(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One step in an order's history."""

    status: str
    at: datetime


class OrderStatus(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /v1/orders/{orderId}/status``."""

    order_id: str
    status: ORDER_STATUSES
    tracking_number: str | None = None
    estimated_delivery: datetime | None = None
    last_payment: Literal["declined"] | None = None
    pay_by: datetime | None = None
    return_requested_at: datetime | None = None
    history: list[StatusChange]


class OrderLine(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One line of an order with the price at purchase."""

    product_id: str
    quantity: int
    price: Decimal


class DeliveryAddress(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Where an order goes, as the address book had it when it was placed."""

    recipient: str
    line1: str
    line2: str = ""
    city: str
    region: str = ""
    postal_code: str
    country: str
    phone: str | None = None


class Order(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /v1/orders/{orderId}``; totals and address are shown there, not in lists."""

    order_id: str
    status: ORDER_STATUSES
    amount: Decimal
    currency: str
    products: list[OrderLine]
    placed_at: datetime
    totals: Totals | None = None
    address: DeliveryAddress | None = None


class OrderList(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /v1/orders?page=&size=``, newest first."""

    orders: list[Order]
    pagination: Pagination


class Problem(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """RFC 9457 problem+json; ``code`` is stable and meant for programs; ``position`` is that in a waiting room."""

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    instance: str = ""
    product_id: str | None = None
    retry_after: int | None = None
    position: int | None = None
