"""What people may do with an order: when, what it tells, and that doing it twice is doing it once."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from doorbuster.contracts import events
from doorbuster.order import domain
from doorbuster.order.domain import Order, Shipment, State
from doorbuster.testing import stories

DAY = 86_400
PENDING = (stories.placed(),)
CONFIRMED = (*PENDING, stories.paid())
SHIPPED = (*CONFIRMED, stories.shipped())
DELIVERED = (*SHIPPED, stories.delivered())
EXPIRED = (*PENDING, stories.expired())
CANCELLED = (*CONFIRMED, stories.cancelled())
RETURNED = (*DELIVERED, stories.returned())
PARCEL = Shipment(shipped_at=stories.at(4000), carrier="Swift Parcels", tracking_number="SP-9")


def order_after(heard: tuple[events.Event, ...]) -> Order:
    views = [domain.observe(event, stories.at(50)) for event in heard]
    [order] = domain.merge_all(view for view in views if view is not None)
    return order


def done(order: Order, change: domain.Change | None) -> Order:
    assert change is not None
    return domain.merge(order, change.view)


def asked(order: Order, at: float = 2 * DAY) -> Order:
    return done(order, domain.ask_return(order, "too small", stories.at(at)))


@pytest.mark.parametrize("heard", [PENDING, CONFIRMED])
def test_an_order_is_cancelled_before_it_is_shipped(heard: Any) -> None:
    order = order_after(heard)
    change = domain.cancel(order, "changed my mind", stories.at(60))
    after = done(order, change)
    assert (after.state, after.words) == (State.CANCELLED, "changed my mind")
    assert change is not None
    assert change.event == events.OrderCancelled(
        order_id=order.order_id, user_id=order.user_id, reason="cancelled"
    ), "nobody's own words are told"
    assert domain.cancel(after, "again", stories.at(70)) is None


@pytest.mark.parametrize("heard", [EXPIRED, SHIPPED, DELIVERED, RETURNED])
def test_later_it_is_not_cancelled(heard: Any) -> None:
    with pytest.raises(domain.NotCancellableError):
        domain.cancel(order_after(heard), "", stories.at(60))


def test_only_a_paid_order_is_shipped() -> None:
    for heard in (PENDING, EXPIRED, CANCELLED, DELIVERED, RETURNED):
        with pytest.raises(domain.NotShippableError):
            domain.ship(order_after(heard), PARCEL, stories.at(4000))
    order = order_after(CONFIRMED)
    change = domain.ship(order, PARCEL, stories.at(4000))
    assert change is not None
    assert isinstance(change.event, events.OrderShipped)
    assert change.event.tracking_number == "SP-9"
    after = done(order, change)
    assert (after.state, after.shipment) == (State.SHIPPED, PARCEL)


def test_the_same_parcel_entered_again_says_nothing_even_after_it_arrived() -> None:
    order = order_after(CONFIRMED)
    after = done(order, domain.ship(order, PARCEL, stories.at(4000)))
    assert domain.ship(after, PARCEL, stories.at(5000)) is None
    arrived = done(after, domain.deliver(after, None, stories.at(6000)))
    assert domain.ship(arrived, PARCEL, stories.at(7000)) is None


def test_a_parcel_may_be_corrected_until_it_arrives_whatever_the_clock_says() -> None:
    order = order_after(SHIPPED)
    earlier = stories.at(100)  # another copy's clock
    change = domain.ship(order, PARCEL, earlier)
    after = done(order, change)
    assert after.shipment is not None
    assert after.shipment.tracking_number == "SP-9"
    assert after.steps[State.SHIPPED] == stories.at(3600)
    assert after.shipment.shipped_at == stories.at(3600) + timedelta(microseconds=1)


@pytest.mark.parametrize(
    "estimate",
    [
        stories.at(0),
        stories.at(4000) + timedelta(days=367),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
    ],
)
def test_an_estimate_nobody_can_mean_is_refused(estimate: datetime) -> None:
    parcel = Shipment(
        shipped_at=stories.at(0), carrier="c", tracking_number="t", estimated_delivery=estimate
    )
    with pytest.raises(domain.ImpossibleTimeError):
        domain.ship(order_after(CONFIRMED), parcel, stories.at(4000))


def test_only_what_was_shipped_is_delivered_and_the_event_names_what_was_bought() -> None:
    for heard in (PENDING, CONFIRMED, EXPIRED, CANCELLED):
        with pytest.raises(domain.NotShippedError):
            domain.deliver(order_after(heard), None, stories.at(DAY))
    order = order_after(SHIPPED)
    change = domain.deliver(order, stories.at(DAY), stories.at(2 * DAY))
    assert change is not None
    assert change.event == stories.delivered()
    after = done(order, change)
    assert after.state is State.DELIVERED
    assert domain.deliver(after, stories.at(DAY + 1), stories.at(2 * DAY)) is None


@pytest.mark.parametrize(
    "at", [stories.at(0), stories.at(DAY + 301), datetime(9999, 12, 31, tzinfo=UTC)]
)
def test_a_delivery_before_the_order_or_in_the_future_is_refused(at: datetime) -> None:
    with pytest.raises(domain.ImpossibleTimeError):
        domain.deliver(order_after(SHIPPED), at, stories.at(DAY))


def test_a_return_is_asked_for_within_thirty_days_and_told_to_nobody() -> None:
    order = order_after(DELIVERED)
    last = stories.delivered().delivered_at + domain.RETURN_WITHIN
    with pytest.raises(domain.NotReturnableError):
        domain.ask_return(order, "", last + timedelta(microseconds=1))
    change = domain.ask_return(order, "too small", last)
    assert change is not None
    assert change.event is None
    after = done(order, change)
    assert (after.state, after.words) == (State.DELIVERED, "too small")
    assert domain.show_status(after).return_requested_at == last
    assert domain.ask_return(after, "again", last + timedelta(days=9)) is None


@pytest.mark.parametrize("heard", [PENDING, CONFIRMED, SHIPPED, EXPIRED, CANCELLED])
def test_what_has_not_arrived_is_not_returned(heard: Any) -> None:
    order = order_after(heard)
    with pytest.raises(domain.NotReturnableError):
        domain.ask_return(order, "", stories.at(2 * DAY))
    with pytest.raises(domain.NotReturnableError):
        domain.accept_return(order, "", stories.at(2 * DAY))


def test_a_return_is_accepted_only_if_it_was_asked_for() -> None:
    order = order_after(DELIVERED)
    with pytest.raises(domain.NotReturnableError):
        domain.accept_return(order, "", stories.at(3 * DAY))
    wanted = asked(order)
    change = domain.accept_return(wanted, "fine", stories.at(3 * DAY))
    assert change is not None
    assert change.event == stories.returned(returned_at=stories.at(3 * DAY))
    after = done(wanted, change)
    assert (after.state, after.words) == (State.RETURNED, "too small")
    assert domain.accept_return(after, "", stories.at(4 * DAY)) is None
    assert domain.ask_return(after, "", stories.at(4 * DAY)) is None


def test_a_return_whose_money_came_back_stays_a_return() -> None:
    wanted = asked(order_after(DELIVERED))
    order = done(wanted, domain.accept_return(wanted, "", stories.at(3 * DAY)))
    view = domain.observe(stories.reversed_payment(), stories.at(3 * DAY + 5))
    assert view is not None
    after = domain.merge(order, view)
    assert domain.show_status(after).status == "returned"
    assert "cancelled" not in {step.status for step in domain.show_status(after).history}
