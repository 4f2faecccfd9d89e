"""An order is the join of its events: order and repetition of what arrives never matter."""

import itertools
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.contracts import events, internal
from doorbuster.order import domain
from doorbuster.order.domain import Order, State
from doorbuster.testing import stories

LIFE: tuple[tuple[events.Event, datetime], ...] = (
    (stories.placed(), stories.at(1)),
    (stories.failed(), stories.at(3)),
    (stories.paid(attempt=2), stories.at(5)),
    (stories.captured(attempt=2), stories.at(6)),
    (stories.reversed_payment(attempt=2), stories.at(60)),
)
RETURNED: tuple[tuple[events.Event, datetime], ...] = (
    *LIFE[:4],
    (stories.expired(), stories.at(122)),
    (stories.shipped(), stories.at(3600)),
    (stories.shipped(tracking_number="SP-2", shipped_at=stories.at(7200)), stories.at(7200)),
    (stories.delivered(), stories.at(86_400)),
    (stories.returned(), stories.at(864_000)),
    (stories.reversed_payment(attempt=2), stories.at(864_060)),
)


def fold(deliveries: Any) -> Order:
    views = [domain.observe(event, at) for event, at in deliveries]
    [order] = domain.merge_all(view for view in views if view is not None)
    return order


@pytest.mark.parametrize("length", range(1, len(LIFE) + 1))
def test_every_permutation_with_duplicates_is_the_same_order(length: int) -> None:
    part = LIFE[:length]
    expected = fold(part)
    for permutation in itertools.permutations(part):
        assert fold(permutation) == expected
        assert fold(permutation + permutation[::-1]) == expected


@given(st.permutations(RETURNED), st.lists(st.sampled_from(RETURNED), max_size=10))
def test_a_whole_life_ends_returned_in_whatever_order_it_is_heard(life: Any, again: Any) -> None:
    order = fold([*again, *life])
    assert order == fold(RETURNED)
    status = domain.show_status(order)
    assert (status.status, status.tracking_number) == ("returned", "SP-2")
    assert [step.status for step in status.history] == [
        *("pending", "confirmed", "shipped", "delivered", "returned")
    ]


@pytest.mark.parametrize(
    "tail",
    [
        (stories.cancelled(), stories.reversed_payment(attempt=2)),
        (stories.shipped(), stories.delivered()),
        (stories.returned(), stories.reversed_payment(attempt=2)),
    ],
)
def test_every_permutation_of_each_end_is_the_same_order(tail: Any) -> None:
    paid = (stories.placed(), stories.at(1)), (stories.paid(attempt=2), stories.at(5))
    life = [*paid, *((event, stories.at(900_000 + n)) for n, event in enumerate(tail))]
    expected = fold(life)
    for permutation in itertools.permutations(life):
        assert fold(permutation + permutation[::-1]) == expected


views = st.builds(
    lambda event, seconds, words, asked_at: replace(
        domain.observe(event, stories.at(seconds)), words=words, return_requested_at=asked_at
    ),
    st.one_of(
        st.sampled_from([event for event, _ in RETURNED] + [stories.cancelled()]),
        st.builds(
            lambda seconds, number: stories.shipped(
                shipped_at=stories.at(seconds), tracking_number=number
            ),
            st.integers(3600, 3602),
            st.sampled_from(["SP-1", "SP-2"]),
        ),
    ),
    st.integers(0, 300),
    st.sampled_from(["", "too small"]),
    st.sampled_from([None, stories.at(90_000), stories.at(90_001)]),
)


@given(views, views, views)
def test_merge_is_a_join(one: Order, two: Order, three: Order) -> None:
    assert domain.merge(one, two) == domain.merge(two, one)
    assert domain.merge(domain.merge(one, two), three) == domain.merge(
        one, domain.merge(two, three)
    )
    assert domain.merge(one, one) == one
    assert domain.merge(domain.merge(one, two), two) == domain.merge(one, two)


def test_a_parcel_of_an_order_nobody_heard_of_is_kept_until_its_details_come() -> None:
    order = fold([(stories.shipped(), stories.at(3600))])
    assert (order.state, order.details) == (State.SHIPPED, None)
    order = fold([(stories.shipped(), stories.at(3600)), (stories.placed(), stories.at(1))])
    assert (order.state, order.placed_at) == (State.SHIPPED, stories.at(1))
    assert order.details is not None


def test_money_is_out_until_its_return_is_heard() -> None:
    life = [(stories.paid(), stories.at(5)), (stories.cancelled(), stories.at(9))]
    assert not domain.wants_money_back(fold(life[1:])), "nothing was paid"
    assert domain.tell_at(fold(life), stories.at(9)) == stories.at(9) + domain.TELL_AGAIN
    life.append((stories.reversed_payment(), stories.at(12)))
    assert domain.tell_at(fold(life), stories.at(12)) is None


def test_payment_succeeded_alone_makes_a_confirmed_order() -> None:
    order = fold([(stories.paid(), stories.at(5))])
    assert order.state is State.CONFIRMED
    assert order.details is not None
    shown = domain.show_order(order, order.details)
    assert (str(shown.amount), shown.currency, len(shown.products)) == ("999.00", "EUR", 1)


def test_order_placed_after_the_payment_lowers_nothing_and_fills_in() -> None:
    order = fold([(stories.paid(), stories.at(5)), (stories.placed(), stories.at(1))])
    assert order.state is State.CONFIRMED
    assert order.placed_at == stories.at(1)
    assert order.pay_by == stories.at(121)


def test_captured_alone_confirms_but_the_payment_still_counts_as_missing() -> None:
    order = fold([(stories.captured(), stories.at(6))])
    assert order.state is State.CONFIRMED
    assert order.payment_id is None


def test_a_declined_payment_shows_pending_with_declined() -> None:
    order = fold([(stories.failed(), stories.at(3)), (stories.placed(), stories.at(1))])
    status = domain.show_status(order)
    assert (status.status, status.last_payment, status.pay_by) == (
        "pending",
        "declined",
        stories.at(121),
    )


def test_a_declined_payment_is_forgotten_once_another_card_paid() -> None:
    deliveries = [(stories.failed(), stories.at(3)), (stories.paid(attempt=2), stories.at(5))]
    status = domain.show_status(fold(deliveries))
    assert (status.status, status.last_payment, status.pay_by) == ("confirmed", None, None)


def test_an_expired_order_is_expired_even_when_its_placing_comes_later() -> None:
    order = fold([(stories.expired(), stories.at(122)), (stories.placed(), stories.at(1))])
    status = domain.show_status(order)
    assert status.status == "expired"
    assert [step.status for step in status.history] == ["pending", "expired"]


def test_a_reversed_payment_cancels_for_good() -> None:
    order = fold([*LIFE, (stories.paid(), stories.at(90)), (stories.expired(), stories.at(99))])
    status = domain.show_status(order)
    assert status.status == "cancelled"
    assert [step.status for step in status.history] == ["pending", "confirmed", "cancelled"]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("RELEASED", State.EXPIRED),
        ("TOMB", State.EXPIRED),
        ("SOLD", State.CONFIRMED),
        ("RETURNED", State.CANCELLED),
        ("HELD", None),
        ("PAYING", None),
    ],
)
def test_inventory_settles_an_order_nobody_spoke_of(answer: Any, state: State | None) -> None:
    order = fold([(stories.placed(), stories.at(1))])
    reservation = internal.ReservationState(
        order_id=order.order_id, state=answer, attempt=0, expires_at=None
    )
    verdict = domain.settle(order, reservation, stories.at(200))
    if state is None:
        assert verdict is None
    else:
        assert verdict is not None
        assert domain.merge(order, verdict).state is state


def test_only_an_unpaid_order_is_swept_and_only_after_its_pay_by() -> None:
    placed = fold([(stories.placed(), stories.at(1))])
    assert domain.check_at(placed, stories.at(2)) == stories.at(121) + domain.SWEEP_MARGIN
    assert domain.check_at(fold([(stories.paid(), stories.at(5))]), stories.at(6)) is None
    bare = fold([(stories.failed(), stories.at(3))])
    assert domain.check_at(bare, stories.at(3)) == stories.at(3) + domain.SWEEP_UNPLACED


def test_two_orders_never_merge() -> None:
    one, two = fold([(stories.paid(1), stories.at(5))]), fold([(stories.paid(2), stories.at(5))])
    with pytest.raises(ValueError, match="not one"):
        domain.merge(one, two)


def test_merge_all_keeps_orders_apart_and_sorts_them_by_id() -> None:
    joined = domain.merge_all(domain.placed(stories.placed(number)) for number in (3, 1, 2, 3, 1))
    wanted = sorted(stories.order_id(number) for number in (1, 2, 3))
    assert [order.order_id for order in joined] == wanted
