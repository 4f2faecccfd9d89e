"""What people do with an order: decided on the order as it is stored, under its lock.

Each decision ends as one more view of the order and the event that tells of it; one that was taken before is None.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from doorbuster.contracts import events

from .order import Order, Shipment, State, money_back, step_to

RETURN_WITHIN = timedelta(days=30)
LONGEST_DELIVERY = timedelta(days=366)
CLOCKS_DIFFER = timedelta(minutes=5)


class NotCancellableError(Exception):
    """The order is on its way, or its time to pay is over."""


class NotShippableError(Exception):
    """The order is not paid, is over, or has arrived."""


class NotShippedError(Exception):
    """What was never sent cannot arrive."""


class NotReturnableError(Exception):
    """The order has not arrived, arrived too long ago, or nobody asked to return it."""


class ImpossibleTimeError(Exception):
    """A delivery before the order or in the future, or an estimate nobody can mean."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What somebody did with an order: the view to be joined in, and the event that tells of it, if any."""

    view: Order
    event: events.Event | None


def cancel(order: Order, words: str, now: datetime) -> Change | None:
    """Cancel an order before it is shipped; None when it is cancelled. Raises NotCancellableError.

    An unpaid one as well: checkout hears of it and lets go of its units, and a payment that wins the race is given
    back (``wants_money_back``).
    """
    if order.state is State.CANCELLED:
        return None
    if order.state not in (State.PENDING, State.CONFIRMED):
        raise NotCancellableError(f"the order is {order.state.lower()}")
    view = replace(step_to(order, State.CANCELLED, now), words=words)
    return Change(view=view, event=money_back(view))


def ship(order: Order, entered: Shipment, now: datetime) -> Change | None:
    """Enter the parcel, or correct it until it has arrived; None when it says nothing new.

    Raises NotShippableError, ImpossibleTimeError.
    """
    known = order.shipment
    if known is not None and known.says_the_same(entered):
        return None
    if order.state not in (State.CONFIRMED, State.SHIPPED):
        raise NotShippableError(f"the order is {order.state.lower()}")
    estimate = entered.estimated_delivery
    if estimate is not None and not order.placed_at <= estimate <= now + LONGEST_DELIVERY:
        raise ImpossibleTimeError("estimatedDelivery must be after the order and within a year")
    if known is not None:
        now = max(now, known.shipped_at + timedelta(microseconds=1))
    shipment = replace(entered, shipped_at=now)
    event = events.OrderShipped(
        order_id=order.order_id,
        user_id=order.user_id,
        carrier=shipment.carrier,
        tracking_number=shipment.tracking_number,
        estimated_delivery=estimate,
        shipped_at=now,
    )
    return Change(view=replace(step_to(order, State.SHIPPED, now), shipment=shipment), event=event)


def deliver(order: Order, at: datetime | None, now: datetime) -> Change | None:
    """Enter that the order has arrived; None when that is known, whenever it was.

    Raises NotShippedError, ImpossibleTimeError.
    """
    if State.DELIVERED in order.steps:
        return None
    if order.state is not State.SHIPPED:
        raise NotShippedError(f"the order is {order.state.lower()}")
    if at is not None and not order.placed_at <= at <= now + CLOCKS_DIFFER:
        raise ImpossibleTimeError("deliveredAt must be after the order and not in the future")
    at = at or max(now, order.placed_at)
    event = events.OrderDelivered(
        order_id=order.order_id,
        user_id=order.user_id,
        lines=list(order.details.lines) if order.details else [],
        delivered_at=at,
    )
    return Change(view=step_to(order, State.DELIVERED, at), event=event)


def ask_return(order: Order, words: str, now: datetime) -> Change | None:
    """Note that the buyer wants to return it, which nobody is told; None when that is known.

    Raises NotReturnableError.
    """
    if order.return_requested_at is not None:
        return None
    if order.state is not State.DELIVERED:
        raise NotReturnableError(f"the order is {order.state.lower()}")
    if now > order.steps[State.DELIVERED] + RETURN_WITHIN:
        raise NotReturnableError(f"it was delivered more than {RETURN_WITHIN.days} days ago")
    wish = replace(step_to(order, State.DELIVERED, now), steps={})
    return Change(view=replace(wish, return_requested_at=now, words=words), event=None)


def accept_return(order: Order, words: str, now: datetime) -> Change | None:
    """Accept what came back, so that the money goes back; None when that is done. Raises NotReturnableError."""
    if order.state is State.RETURNED:
        return None
    if order.state is not State.DELIVERED or order.return_requested_at is None:
        raise NotReturnableError("nobody asked to return this order")
    view = replace(step_to(order, State.RETURNED, now), words=order.words or words)
    return Change(view=view, event=money_back(view))
