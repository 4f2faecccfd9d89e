"""What an order is: a join of everything that was ever heard of it, in whatever order and however often.

Every event is first turned into the order as this event alone shows it (``observe``); two such views are
joined by ``merge``, which is commutative, associative and idempotent. So duplicates, reordering between
producers and redelivery cannot change the outcome, and no consumer needs to remember what it has seen.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from doorbuster.contracts import events, internal

SWEEP_MARGIN = timedelta(seconds=10)  # inventory's reaper and the bus get this long after pay-by
SWEEP_UNPLACED = timedelta(seconds=180)  # an order of which pay-by is not known yet
SWEEP_AGAIN = timedelta(seconds=30)
TELL_AGAIN = timedelta(seconds=10)  # then payment is asked again to give the money back


class UnknownOrderError(Exception):
    """There is no such order, or it is somebody else's."""


class State(enum.StrEnum):
    """In the order of growing knowledge: a later one always wins over an earlier one."""

    PENDING = "PENDING"
    EXPIRED = "EXPIRED"
    CONFIRMED = "CONFIRMED"
    SHIPPED = "SHIPPED"
    DELIVERED = "DELIVERED"
    CANCELLED = "CANCELLED"
    RETURNED = "RETURNED"

    @property
    def rank(self) -> int:
        """Position in that order."""
        return _RANKS[self]


REVERSED = frozenset({State.CANCELLED, State.RETURNED})
_RANKS = {state: rank for rank, state in enumerate(State)}


@dataclass(frozen=True, kw_only=True)
class Details:
    """What was bought; ``amount_minor`` in minor units of ``currency``."""

    lines: tuple[events.Line, ...]
    amount_minor: int
    currency: str


@dataclass(frozen=True, kw_only=True)
class Shipment:
    """The parcel; one that is entered later corrects what was entered before."""

    shipped_at: datetime
    carrier: str
    tracking_number: str
    estimated_delivery: datetime | None = None

    def says_the_same(self, other: "Shipment") -> bool:
        """Tell whether somebody entered the same content twice."""
        return replace(self, shipped_at=other.shipped_at) == other

    def _age(self) -> tuple[Any, ...]:
        estimate = self.estimated_delivery or self.shipped_at
        return (self.shipped_at, self.tracking_number, self.carrier, estimate)

    @staticmethod
    def latest(one: "Shipment | None", other: "Shipment | None") -> "Shipment | None":
        """Return the correction."""
        return max(filter(None, (one, other)), key=Shipment._age, default=None)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is known of an order.

    ``placed_at`` is checkout's time once ``pay_by`` is known, before that the earliest time heard of.
    ``payment_id`` is set by PaymentSucceeded only, ``reversed_at`` by PaymentReversed only. ``steps`` says when each
    state was reached. ``words`` are those of whoever cancelled it or asked for its return; no event carries them.
    """

    order_id: str
    user_id: str
    state: State
    placed_at: datetime
    pay_by: datetime | None = None
    details: Details | None = None
    payment_id: str | None = None
    declined_attempt: int = 0
    shipment: Shipment | None = None
    return_requested_at: datetime | None = None
    reversed_at: datetime | None = None
    words: str = ""
    steps: Mapping[State, datetime] = field(default_factory=dict)


def observe(event: events.Event, occurred_at: datetime) -> Order | None:
    """Return the order as this event alone shows it; None for events that say nothing about it."""
    match event:
        case events.OrderPlaced():
            return placed(event)
        case events.PaymentFailed():
            return replace(
                _bare(event, State.PENDING, occurred_at), declined_attempt=event.attempt
            )
        case events.OrderExpired():
            return _reached(event, State.EXPIRED, occurred_at)
        case events.PaymentSucceeded():
            details = Details(
                lines=tuple(event.lines),
                amount_minor=event.amount_minor,
                currency=event.currency,
            )
            paid = _reached(event, State.CONFIRMED, event.paid_at)
            return replace(paid, details=details, payment_id=event.payment_id)
        case events.PaymentCaptured():
            return _reached(event, State.CONFIRMED, occurred_at)
        case events.OrderShipped():
            shipment = Shipment(
                shipped_at=event.shipped_at,
                carrier=event.carrier,
                tracking_number=event.tracking_number,
                estimated_delivery=event.estimated_delivery,
            )
            return replace(_reached(event, State.SHIPPED, event.shipped_at), shipment=shipment)
        case events.OrderDelivered():
            return _reached(event, State.DELIVERED, event.delivered_at)
        case events.OrderCancelled():
            return _reached(event, State.CANCELLED, occurred_at)
        case events.OrderReturned():
            return _reached(event, State.RETURNED, event.returned_at)
        case events.PaymentReversed():
            # Also the end of a return: RETURNED outranks CANCELLED, whichever is heard first.
            cancelled = _reached(event, State.CANCELLED, occurred_at)
            return replace(cancelled, reversed_at=occurred_at)
        case _:
            return None


def placed(order: events.OrderPlaced | internal.PlacedOrder) -> Order:
    """Return the order as checkout placed it."""
    return Order(
        order_id=order.order_id,
        user_id=order.user_id,
        state=State.PENDING,
        placed_at=order.placed_at,
        pay_by=order.pay_by,
        details=Details(
            lines=tuple(order.lines), amount_minor=order.amount_minor, currency=order.currency
        ),
        steps={State.PENDING: order.placed_at},
    )


def settle(order: Order, reservation: internal.ReservationState, now: datetime) -> Order | None:
    """Return what inventory's answer makes of an unpaid order past its pay-by; None: ask again later."""
    match reservation.state:
        case "RELEASED" | "TOMB":
            return step_to(order, State.EXPIRED, now)
        case "SOLD":
            return step_to(order, State.CONFIRMED, now)
        case "RETURNED":
            return step_to(order, State.CANCELLED, now)
        case "HELD" | "PAYING":
            return None


def merge(one: Order, other: Order) -> Order:
    """Join two views of the same order; commutative, associative, idempotent."""
    if one.order_id != other.order_id:
        raise ValueError("two orders are not one")
    steps = dict(one.steps)
    for state, at in other.steps.items():
        steps[state] = min(at, steps.get(state, at))
    return Order(
        order_id=one.order_id,
        user_id=one.user_id,
        state=max(one.state, other.state, key=lambda state: state.rank),
        placed_at=_placed_at(one, other),
        pay_by=one.pay_by or other.pay_by,
        details=one.details or other.details,
        payment_id=one.payment_id or other.payment_id,
        declined_attempt=max(one.declined_attempt, other.declined_attempt),
        shipment=Shipment.latest(one.shipment, other.shipment),
        return_requested_at=_earliest(one.return_requested_at, other.return_requested_at),
        reversed_at=_earliest(one.reversed_at, other.reversed_at),
        words=max(one.words, other.words),
        steps=steps,
    )


def merge_all(views: Iterable[Order]) -> list[Order]:
    """Join the views order by order; the answer is sorted by id, the order in which rows are locked."""
    joined: dict[str, Order] = {}
    for view in views:
        known = joined.get(view.order_id)
        joined[view.order_id] = view if known is None else merge(known, view)
    return [joined[order_id] for order_id in sorted(joined)]


def wants_money_back(order: Order) -> bool:
    """Tell whether money was taken for an order that is over and has not come back yet, for all we heard."""
    return order.state in REVERSED and order.payment_id is not None and order.reversed_at is None


def money_back(order: Order) -> events.OrderCancelled | events.OrderReturned:
    """Return the event on which payment gives back what was paid for an order that is over."""
    who = {"order_id": order.order_id, "user_id": order.user_id}
    if order.state is State.RETURNED:
        at = order.steps[State.RETURNED]
        return events.OrderReturned(**who, reason="returned", returned_at=at)
    return events.OrderCancelled(**who, reason="cancelled")


def tell_at(order: Order, now: datetime) -> datetime | None:
    """Return when payment is to be asked again for the money; None when there is none to come back."""
    return now + TELL_AGAIN if wants_money_back(order) else None


def check_at(order: Order, now: datetime) -> datetime | None:
    """Return when the sweep should ask inventory about the order; None when its fate is known."""
    if order.state is not State.PENDING:
        return None
    if order.pay_by is None:
        return now + SWEEP_UNPLACED
    return order.pay_by + SWEEP_MARGIN


def overdue_seconds(
    now: datetime, *, first_pay_by: datetime | None, first_unplaced: datetime | None
) -> float:
    """Return for how long the sweep should have asked about the oldest of unpaid orders; 0 when it need not."""
    due = [first_pay_by and first_pay_by + SWEEP_MARGIN]
    due.append(first_unplaced and first_unplaced + SWEEP_UNPLACED)
    return max((max(0.0, (now - at).total_seconds()) for at in due if at is not None), default=0.0)


def _bare(event: events.Event, state: State, at: datetime) -> Order:
    return Order(order_id=event.order_id, user_id=event.user_id, state=state, placed_at=at)


def _reached(event: events.Event, state: State, at: datetime) -> Order:
    return replace(_bare(event, state, at), steps={state: at})


def step_to(order: Order, state: State, at: datetime) -> Order:
    """Return the view that shows nothing but that the order got there."""
    return Order(
        order_id=order.order_id,
        user_id=order.user_id,
        state=state,
        placed_at=order.placed_at,
        steps={state: at},
    )


def _earliest(one: datetime | None, other: datetime | None) -> datetime | None:
    return min(filter(None, (one, other)), default=None)


def _placed_at(one: Order, other: Order) -> datetime:
    if (one.pay_by is None) == (other.pay_by is None):
        return min(one.placed_at, other.placed_at)
    return one.placed_at if one.pay_by is not None else other.placed_at
