"""What checkout relies on in its store, kept by the fake and by PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta

from msgspec import structs

from doorbuster.checkout.domain.orders import StoredOrder
from doorbuster.contracts import api, events, internal
from doorbuster.kit import ids

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def order(key, *, request_hash="a" * 64, amount_minor=9_990, traceparent=None, **more):
    line = events.Line(
        product_id=ids.product_id("phone"), quantity=1, price_minor=amount_minor, sale_uid="s"
    )
    return StoredOrder(
        order=internal.PlacedOrder(
            order_id=ids.order_id("user_1", key),
            user_id="user_1",
            lines=[line],
            amount_minor=amount_minor,
            currency="EUR",
            pay_by=NOW + timedelta(seconds=120),
            placed_at=NOW,
            topic="sale.shop.drop.orders",
            traceparent=traceparent,
            **more,
        ),
        request_hash=request_hash,
    )


async def test_what_was_placed_is_found_as_it_was(orders):
    traceparent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    totals = internal.TotalsMinor(
        subtotal_minor=10_000, discount_minor=1_000, shipping_minor=499, tax_minor=491
    )
    address = api.DeliveryAddress(
        recipient="B\u00fcyer", line1="1", city="\u6771\u4eac", postal_code="1", country="JP"
    )
    for placed in (
        order("as it was", traceparent=traceparent),
        order("in full", totals=totals, address=address),
    ):
        assert await orders.place(placed) == placed
        assert await orders.find(placed.order.order_id) == placed


async def test_nothing_is_found_under_an_unknown_id(orders):
    assert await orders.find(ids.order_id("user_1", "unknown")) is None


async def test_the_first_order_of_an_id_stays(orders):
    first, second = order("race"), order("race", request_hash="b" * 64, amount_minor=1)
    assert await orders.place(first) == first
    assert await orders.place(second) == first
    assert await orders.find(first.order.order_id) == first


async def test_many_at_once_and_the_same_at_once(orders):
    many = [order(f"many {number}") for number in range(600)]
    same = [structs.replace(order("same"), request_hash=f"{number:064}") for number in range(20)]
    answers = await asyncio.gather(*(orders.place(one) for one in many + same))
    assert answers[:600] == many
    assert len({answer.request_hash for answer in answers[600:]}) == 1
    found = await asyncio.gather(*(orders.find(one.order.order_id) for one in many))
    assert found == many


async def test_the_largest_amount_fits(orders):
    largest = order("largest", amount_minor=2**53)
    assert await orders.place(largest) == largest
