"""The events on Kafka: JSON payloads of frozen structs; id, type, version and trace context travel in headers.

No event carries personal data and no consumer may rely on the order of events between producers:
``PaymentSucceeded`` alone makes a confirmed order, ``OrderPlaced`` only fills in details.
"""

from datetime import datetime
from typing import ClassVar

import msgspec

ORDERS_TOPIC = "orders"
SALE_TOPIC_PATTERN = r"^sale\..+\.orders$"


def sale_topic(namespace: str, name: str) -> str:
    """Return the topic that carries the first events of one sale's orders."""
    return f"sale.{namespace}.{name}.orders"


class Line(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One product of an order; the price is the price at purchase, in minor units."""

    product_id: str
    quantity: int
    price_minor: int
    sale_uid: str | None = None


class Event(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What every event has: the order it speaks of, which is also its Kafka key."""

    type: ClassVar[str] = ""
    version: ClassVar[int] = 1

    order_id: str
    user_id: str


class OrderPlaced(Event, frozen=True, kw_only=True):
    """Checkout holds units for the buyer until ``pay_by``; nothing is paid."""

    type: ClassVar[str] = "OrderPlaced"

    lines: list[Line]
    amount_minor: int
    currency: str
    pay_by: datetime
    placed_at: datetime
    topic: str


class OrderExpired(Event, frozen=True, kw_only=True):
    """Inventory released the units of an unpaid order."""

    type: ClassVar[str] = "OrderExpired"

    reason: str


class PaymentSucceeded(Event, frozen=True, kw_only=True):
    """The point of sale: the payment is authorised and the unit is the buyer's."""

    type: ClassVar[str] = "PaymentSucceeded"

    payment_id: str
    attempt: int
    lines: list[Line]
    amount_minor: int
    currency: str
    topic: str
    paid_at: datetime


class PaymentFailed(Event, frozen=True, kw_only=True):
    """One attempt ended without a charge; another card may be tried until pay-by."""

    type: ClassVar[str] = "PaymentFailed"

    payment_id: str
    attempt: int
    reason: str
    topic: str


class PaymentCaptured(Event, frozen=True, kw_only=True):
    """The authorised money was taken."""

    type: ClassVar[str] = "PaymentCaptured"

    payment_id: str
    attempt: int
    amount_minor: int
    currency: str


class PaymentReversed(Event, frozen=True, kw_only=True):
    """The money of a paid order is back with the buyer (void or refund is done)."""

    type: ClassVar[str] = "PaymentReversed"

    payment_id: str
    attempt: int
    reason: str


class OrderCancelled(Event, frozen=True, kw_only=True):
    """An order was cancelled before it was shipped; what was paid for it, if anything, payment gives back."""

    type: ClassVar[str] = "OrderCancelled"

    reason: str


class OrderShipped(Event, frozen=True, kw_only=True):
    """The parcel is on its way; a later ``shipped_at`` corrects what was said of it before."""

    type: ClassVar[str] = "OrderShipped"

    carrier: str
    tracking_number: str
    estimated_delivery: datetime | None
    shipped_at: datetime


class OrderDelivered(Event, frozen=True, kw_only=True):
    """The buyer has it, and may review what he bought."""

    type: ClassVar[str] = "OrderDelivered"

    lines: list[Line]
    delivered_at: datetime


class OrderReturned(Event, frozen=True, kw_only=True):
    """A delivered order came back and was accepted; payment refunds it."""

    type: ClassVar[str] = "OrderReturned"

    reason: str
    returned_at: datetime


BY_TYPE: dict[str, type[Event]] = {
    event.type: event
    for event in (
        OrderPlaced,
        OrderExpired,
        PaymentSucceeded,
        PaymentFailed,
        PaymentCaptured,
        PaymentReversed,
        OrderCancelled,
        OrderShipped,
        OrderDelivered,
        OrderReturned,
    )
}
