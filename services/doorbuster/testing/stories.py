"""Builders of events with boring defaults: one order of one unit, placed, paid, sent, brought, given back."""

from datetime import UTC, datetime, timedelta
from typing import Any

from doorbuster.contracts import events
from doorbuster.kit import ids

OPENING = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
TOPIC = events.sale_topic("shop", "iphone-drop")


def order_id(number: int = 1) -> str:
    """Return the id of the numbered order."""
    return ids.order_id("user_of_stories", f"key-{number}")


def user_id(number: int = 1) -> str:
    """Return the id of the numbered buyer."""
    return ids.order_id("user_id", str(number)).replace("order_", "user_", 1)


def at(seconds: float) -> datetime:
    """Return the moment so many seconds after the opening."""
    return OPENING + timedelta(seconds=seconds)


def line(**values: Any) -> events.Line:
    """Return a line of one unit for 999.00."""
    defaults: dict[str, Any] = {
        "product_id": ids.product_id("iphone-17"),
        "quantity": 1,
        "price_minor": 99_900,
        "sale_uid": "0b5e0f5c-7d0e-4a57-9a0b-6a3c3f1f6a11",
    }
    return events.Line(**{**defaults, **values})


def placed(number: int = 1, **values: Any) -> events.OrderPlaced:
    """Return the OrderPlaced of the numbered order, placed 1 s after the opening, to be paid in 120 s."""
    defaults: dict[str, Any] = {
        **_who(number),
        "lines": [line()],
        "amount_minor": 99_900,
        "currency": "EUR",
        "placed_at": at(1),
        "pay_by": at(121),
        "topic": TOPIC,
    }
    return events.OrderPlaced(**{**defaults, **values})


def paid(number: int = 1, **values: Any) -> events.PaymentSucceeded:
    """Return the PaymentSucceeded of the numbered order, 5 s after the opening."""
    defaults: dict[str, Any] = {
        **_who(number),
        **_attempt(number),
        "lines": [line()],
        "amount_minor": 99_900,
        "currency": "EUR",
        "topic": TOPIC,
        "paid_at": at(5),
    }
    return events.PaymentSucceeded(**{**defaults, **values})


def failed(number: int = 1, **values: Any) -> events.PaymentFailed:
    """Return the PaymentFailed of the numbered order's first attempt."""
    defaults = {**_who(number), **_attempt(number), "reason": "card_declined", "topic": TOPIC}
    return events.PaymentFailed(**{**defaults, **values})


def captured(number: int = 1, **values: Any) -> events.PaymentCaptured:
    """Return the PaymentCaptured of the numbered order."""
    defaults = {**_who(number), **_attempt(number), "amount_minor": 99_900, "currency": "EUR"}
    return events.PaymentCaptured(**{**defaults, **values})


def expired(number: int = 1, **values: Any) -> events.OrderExpired:
    """Return the OrderExpired of the numbered order."""
    return events.OrderExpired(**{**_who(number), "reason": "not_paid", **values})


def cancelled(number: int = 1, **values: Any) -> events.OrderCancelled:
    """Return the OrderCancelled of the numbered order."""
    return events.OrderCancelled(**{**_who(number), "reason": "buyer", **values})


def shipped(number: int = 1, **values: Any) -> events.OrderShipped:
    """Return the OrderShipped of the numbered order, an hour after the opening."""
    defaults: dict[str, Any] = {
        **_who(number),
        "carrier": "Swift Parcels",
        "tracking_number": "SP-1",
        "estimated_delivery": at(90_000),
        "shipped_at": at(3600),
    }
    return events.OrderShipped(**{**defaults, **values})


def delivered(number: int = 1, **values: Any) -> events.OrderDelivered:
    """Return the OrderDelivered of the numbered order, a day after the opening."""
    defaults = {**_who(number), "lines": [line()], "delivered_at": at(86_400)}
    return events.OrderDelivered(**{**defaults, **values})


def returned(number: int = 1, **values: Any) -> events.OrderReturned:
    """Return the OrderReturned of the numbered order, ten days after the opening."""
    defaults = {**_who(number), "reason": "returned", "returned_at": at(864_000)}
    return events.OrderReturned(**{**defaults, **values})


def reversed_payment(number: int = 1, **values: Any) -> events.PaymentReversed:
    """Return the PaymentReversed of the numbered order."""
    defaults = {**_who(number), **_attempt(number), "reason": "voided"}
    return events.PaymentReversed(**{**defaults, **values})


def _who(number: int) -> dict[str, Any]:
    return {"order_id": order_id(number), "user_id": user_id(number)}


def _attempt(number: int) -> dict[str, Any]:
    return {
        "payment_id": ids.order_id("payment", str(number)).replace("order_", "txn_", 1),
        "attempt": 1,
    }
