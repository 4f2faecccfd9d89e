"""The gate as a pre-filter, the offer that counts, and what the public sees."""

from datetime import timedelta

import pytest

from doorbuster.checkout.domain import refusals, sales
from doorbuster.contracts import internal
from doorbuster.kit import ids

PHONE = ids.product_id("phone")


def seen(*listed, server_time, round_trip=0.0):
    answer = internal.Sales(sales=list(listed), server_time=server_time)
    return sales.sight(answer, asked_at=100.0, answered_at=100.0 + round_trip)


def shut_at(sale, moment, *, quantity=1, round_trip=0.0):
    sighting = seen(sale, server_time=moment, round_trip=round_trip)
    now = sighting.authority_time(100.0 + round_trip)
    offer = sales.find_offer(sighting, PHONE, now)
    assert offer is not None
    return sales.shut(offer, quantity, now)


def test_authority_time_lies_between_question_and_answer(sale):
    one = sale()
    sighting = seen(one, server_time=one.open_time, round_trip=0.4)
    now = sighting.authority_time(101.4)
    assert now.earliest == one.open_time + timedelta(seconds=1.0)
    assert now.latest == one.open_time + timedelta(seconds=1.4)


def test_a_sale_that_opens_later_is_refused_with_the_seconds_to_wait(sale):
    one = sale()
    refusal = shut_at(one, one.open_time - timedelta(seconds=12.2))
    assert isinstance(refusal, refusals.SaleNotOpenError)
    assert refusal.retry_after == 13
    soon = shut_at(one, one.open_time - timedelta(seconds=0.3))
    assert soon is not None
    assert soon.retry_after == 1


@pytest.mark.parametrize(("before", "round_trip"), [(0.1, 0.0), (0.9, 1.0)])
def test_what_might_just_be_open_is_never_refused(sale, before, round_trip):
    one = sale()
    moment = one.open_time - timedelta(seconds=before)
    assert shut_at(one, moment, round_trip=round_trip) is None


def test_what_might_just_be_open_still_is_never_refused(sale):
    one = sale()
    assert shut_at(one, one.close_time + timedelta(seconds=0.1)) is None
    late = shut_at(one, one.close_time + timedelta(seconds=0.2))
    assert isinstance(late, refusals.SaleClosedError)


def test_suspended_cancelled_and_too_many_are_refused(sale):
    one = sale()
    during = one.open_time + timedelta(seconds=5)
    assert shut_at(one, during) is None
    kinds = {
        refusals.SaleSuspendedError: shut_at(sale(state="Suspended"), during),
        refusals.SaleClosedError: shut_at(sale(state="Cancelled"), during),
        refusals.PerUserLimitError: shut_at(one, during, quantity=2),
    }
    assert all(isinstance(found, kind) for kind, found in kinds.items())


def test_of_several_sales_the_open_one_counts_then_the_next_then_the_last(sale):
    morning = sale(uid="a", name="morning")
    length = timedelta(minutes=10)
    evening = sale(uid="b", name="evening", opens=morning.open_time + 3 * length)
    night = sale(uid="c", name="night", opens=morning.open_time + 6 * length)
    dropped = sale(uid="d", name="dropped", state="Cancelled")

    def chosen(moment):
        sighting = seen(night, dropped, evening, morning, server_time=moment)
        offer = sales.find_offer(sighting, PHONE, sighting.authority_time(100.0))
        return offer.sale.name

    assert chosen(morning.open_time - length) == "morning"
    assert chosen(morning.open_time) == "morning"
    assert chosen(morning.close_time) == "evening"
    assert chosen(evening.close_time) == "night"
    assert chosen(night.close_time) == "night"


@pytest.mark.parametrize(
    ("moment", "state", "left", "phase"),
    [
        (-1, "Active", (5, 0), "Scheduled"),
        (1, "Active", (5, 0), "Open"),
        (1, "Active", (0, 5), "Open"),
        (1, "Active", (0, 0), "SoldOut"),
        (1, "Suspended", (5, 0), "Suspended"),
        (601, "Active", (5, 0), "Closed"),
        (1, "Cancelled", (5, 0), "Cancelled"),
    ],
)
def test_public_phase(sale, item, moment, state, left, phase):
    one = sale(item(available=left[0], reserved=left[1]), state=state)
    sighting = seen(one, server_time=one.open_time + timedelta(seconds=moment))
    shown = sales.describe(one, sighting.authority_time(100.0))
    assert shown.phase == phase
    assert shown.id == "shop.drop"
    assert shown.products[0].available is (left[0] > 0)
    assert str(shown.products[0].price) == "99.90"
