"""What an order is: a join of everything that was ever heard of it, in whatever order and however often.

Every event is first turned into the order as this event alone shows it (``observe``); two such views are
joined by ``merge``, which is commutative, associative and idempotent. So duplicates, reordering between
producers and redelivery cannot change the outcome, and no consumer needs to remember what it has seen.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from doorbuster.contracts import api, events, internal
from doorbuster.kit import money

SWEEP_MARGIN = timedelta(seconds=10)  # inventory's reaper and the bus get this long after pay-by
SWEEP_UNPLACED = timedelta(seconds=180)  # an order of which pay-by is not known yet
SWEEP_AGAIN = timedelta(seconds=30)


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
_SHOWN: dict[State, api.ORDER_STATUSES] = {
    State.PENDING: "pending",
    State.EXPIRED: "expired",
    State.CONFIRMED: "confirmed",
    State.SHIPPED: "shipped",
    State.DELIVERED: "delivered",
    State.CANCELLED: "cancelled",
    State.RETURNED: "returned",
}


@dataclass(frozen=True, kw_only=True)
class Details:
    """What was bought; ``amount_minor`` in minor units of ``currency``."""

    lines: tuple[events.Line, ...]
    amount_minor: int
    currency: str


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is known of an order.

    ``placed_at`` is checkout's time once ``pay_by`` is known, before that the earliest time heard of.
    ``payment_id`` is set by PaymentSucceeded only. ``steps`` says when each state was reached.
    """

    order_id: str
    user_id: str
    state: State
    placed_at: datetime
    pay_by: datetime | None = None
    details: Details | None = None
    payment_id: str | None = None
    declined_attempt: int = 0
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
        case events.OrderCancelled() | events.PaymentReversed():
            return _reached(event, State.CANCELLED, occurred_at)
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
            return _at(order, State.EXPIRED, now)
        case "SOLD":
            return _at(order, State.CONFIRMED, now)
        case "RETURNED":
            return _at(order, State.CANCELLED, now)
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
        steps=steps,
    )


def merge_all(views: Iterable[Order]) -> list[Order]:
    """Join the views order by order; the answer is sorted by id, the order in which rows are locked."""
    joined: dict[str, Order] = {}
    for view in views:
        known = joined.get(view.order_id)
        joined[view.order_id] = view if known is None else merge(known, view)
    return [joined[order_id] for order_id in sorted(joined)]


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


def show_status(order: Order) -> api.OrderStatus:
    """Return the order's status as its buyer sees it."""
    pending = order.state is State.PENDING
    return api.OrderStatus(
        order_id=order.order_id,
        status=_SHOWN[order.state],
        last_payment="declined" if pending and order.declined_attempt else None,
        pay_by=order.pay_by if pending else None,
        history=[
            api.StatusChange(status=_SHOWN[state], at=order.steps[state])
            for state in State
            if state in order.steps and (state is not State.EXPIRED or order.state is state)
        ],
    )


def show_order(order: Order, details: Details) -> api.Order:
    """Return the order as its buyer sees it."""
    return api.Order(
        order_id=order.order_id,
        status=_SHOWN[order.state],
        amount=money.from_minor(details.amount_minor, details.currency),
        currency=details.currency,
        products=[
            api.OrderLine(
                product_id=line.product_id,
                quantity=line.quantity,
                price=money.from_minor(line.price_minor, details.currency),
            )
            for line in details.lines
        ],
        placed_at=order.placed_at,
    )


def _bare(event: events.Event, state: State, at: datetime) -> Order:
    return Order(order_id=event.order_id, user_id=event.user_id, state=state, placed_at=at)


def _reached(event: events.Event, state: State, at: datetime) -> Order:
    return replace(_bare(event, state, at), steps={state: at})


def _at(order: Order, state: State, now: datetime) -> Order:
    return Order(
        order_id=order.order_id,
        user_id=order.user_id,
        state=state,
        placed_at=order.placed_at,
        steps={state: now},
    )


def _placed_at(one: Order, other: Order) -> datetime:
    if (one.pay_by is None) == (other.pay_by is None):
        return min(one.placed_at, other.placed_at)
    return one.placed_at if one.pay_by is not None else other.placed_at
