"""What happens to a paid order under ``/v1``: shipments, deliveries, cancellations, returns; letters gone astray."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .api import ORDER_STATUSES, Order, OrderStatus, Pagination, Text

Reason = Annotated[str, Meta(max_length=500)]
Moment = Annotated[datetime, Meta(tz=True)]


class Cancel(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``POST /v1/orders/{orderId}/cancel``: before it is shipped; the money goes back."""

    reason: Reason = ""


class Return(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``POST /v1/orders/{orderId}/return``: within 30 days of its delivery; an admin accepts it when it is back."""

    reason: Reason = ""


class Shipment(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``POST /v1/admin/orders/{orderId}/shipments``: a repetition with the same content changes nothing."""

    carrier: Text
    tracking_number: Annotated[
        str, Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9 ._/-]+$(?!\n)")
    ]
    estimated_delivery: Moment | None = None


class Delivered(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``POST /v1/admin/orders/{orderId}/deliveries``: absent means now."""

    delivered_at: Moment | None = None


class AdminOrder(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An order as those see it who ship it; ``reason`` is what was written when it was cancelled or to be returned."""

    order: Order
    status: OrderStatus
    user_id: str
    carrier: str | None = None
    reason: str = ""


class AdminOrderQuery(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /v1/admin/orders``: newest first."""

    status: ORDER_STATUSES | None = None
    page: Annotated[int, Meta(ge=1, le=1000)] = 1
    size: Annotated[int, Meta(ge=1, le=100)] = 20


class AdminOrderList(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One page of all orders."""

    orders: list[AdminOrder]
    pagination: Pagination


class Letter(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A message to a buyer without his name or address; ``why`` is the last error in our own words."""

    letter_id: str
    order_id: str
    kind: str
    channel: Literal["email", "sms"]
    state: Literal["pending", "sent", "failed", "skipped"]
    attempts: int
    written_at: datetime
    why: str


class LetterQuery(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /v1/admin/letters``: newest first."""

    state: Literal["pending", "sent", "failed", "skipped"] = "failed"
    page: Annotated[int, Meta(ge=1, le=1000)] = 1
    size: Annotated[int, Meta(ge=1, le=100)] = 20


class LetterList(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One page of letters."""

    letters: list[Letter]
    pagination: Pagination


class Redrive(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``POST /v1/admin/letters:redrive``: these, or (absent) all that failed, oldest first, at most 1,000."""

    letter_ids: (
        Annotated[list[Annotated[str, Meta(min_length=1, max_length=200)]], Meta(max_length=1000)]
        | None
    ) = None


class Redriven(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How many letters will be tried again."""

    redriven: int
