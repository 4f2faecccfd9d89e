"""What checkout relies on in its discounts, kept by the fake and by PostgreSQL."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from msgspec import structs

from doorbuster.checkout.domain import discounts, refusals
from doorbuster.checkout.domain.orders import StoredOrder
from doorbuster.contracts import events, internal
from doorbuster.kit import ids

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
DUE = NOW + timedelta(seconds=120) + discounts.LOOK_AFTER


def discount(code="SAVE", **changed):
    blank = discounts.Discount(
        code=code,
        kind="percentage",
        percent=10,
        amount_minor=None,
        currency=None,
        minimum_minor=None,
        valid_from=None,
        valid_until=None,
        total_uses=None,
        uses_per_user=None,
        active=True,
        created_at=NOW,
    )
    return replace(blank, **changed)


def order(key, *, user="user_1", code: str | None = "SAVE", request_hash="a" * 64):
    line = events.Line(product_id=ids.product_id("phone"), quantity=1, price_minor=900)
    return StoredOrder(
        order=internal.PlacedOrder(
            order_id=ids.order_id(user, key),
            user_id=user,
            lines=[line],
            amount_minor=900,
            currency="EUR",
            pay_by=NOW + timedelta(seconds=120),
            placed_at=NOW,
            topic="orders",
            discount_code=code,
        ),
        request_hash=request_hash,
    )


async def place_all(orders, *wanted):
    answers = await asyncio.gather(*(orders.place(one) for one in wanted), return_exceptions=True)
    return Counter(type(answer).__name__ for answer in answers)


async def test_a_discount_is_found_as_it_was_made_and_changed(till):
    _, known = till
    full = discount(
        kind="fixed",
        percent=None,
        amount_minor=500,
        currency="EUR",
        minimum_minor=2_000,
        valid_from=NOW,
        valid_until=DUE,
        total_uses=10**9,
        uses_per_user=1,
    )
    assert await known.put(full) == full == await known.find("SAVE")
    later = replace(full, percent=5, active=False, created_at=DUE)
    assert await known.put(later) == replace(later, created_at=NOW) == await known.find("SAVE")
    assert await known.find("OTHER") is None


async def test_pages_go_by_code_and_an_ended_discount_is_gone_until_it_is_made_again(till):
    _, known = till
    for code in ("C", "A", "B"):
        await known.put(discount(code))
    assert await known.end("B")
    assert not await known.end("B")
    assert await known.find("B") is None
    page = await known.page(offset=1, limit=5)
    assert ([one.code for one in page.discounts], page.total) == (["C"], 2)
    assert await known.put(discount("B", created_at=DUE)) == discount("B", created_at=DUE)


async def test_as_many_orders_get_a_discount_as_it_has_uses(till):
    orders, known = till
    await known.put(discount(total_uses=5))
    wanted = [order(f"{number}", user=f"user_{number}") for number in range(40)]
    kinds = await place_all(orders, *wanted)
    assert kinds == {"StoredOrder": 5, "DiscountUsedUpError": 35}
    found = [await orders.find(one.order.order_id) for one in wanted]
    assert sum(one is not None for one in found) == 5, "who is refused is not stored"
    assert (await known.find("SAVE")).used == 5


async def test_a_buyer_gets_no_more_than_his_share(till):
    orders, known = till
    await known.put(discount(uses_per_user=2))
    mine = [order(f"{number}") for number in range(6)]
    kinds = await place_all(orders, *mine, order("k", user="user_2"))
    assert kinds == {"StoredOrder": 3, "DiscountUsedUpError": 4}
    found, used_by_me = await known.find_for("SAVE", "user_1")
    assert (found.used, used_by_me) == (3, 2)


async def test_an_order_takes_one_use_however_often_it_is_placed(till):
    orders, known = till
    await known.put(discount(total_uses=1))
    first = order("k")
    again = [structs.replace(first, request_hash=f"{number:064}") for number in range(5)]
    await orders.place(first)
    assert [await orders.place(one) for one in again] == [first] * 5
    assert await place_all(orders, *[order("new")] * 5) == {"DiscountUsedUpError": 5}
    assert (await known.find("SAVE")).used == 1


async def test_the_same_order_at_once_with_and_without_a_code_is_stored_once(till):
    orders, known = till
    await known.put(discount())
    bare = order("k", code=None, request_hash="b" * 64)
    first, second = await asyncio.gather(orders.place(order("k")), orders.place(bare))
    assert first == second
    assert (await known.find("SAVE")).used == (first.order.discount_code is not None)


async def test_unknown_ended_and_paused_codes_place_nothing(till):
    orders, known = till
    await known.put(discount("PAUSED", active=False))
    await known.put(discount("ENDED"))
    await known.end("ENDED")
    wanted = [order(code, code=code) for code in ("PAUSED", "ENDED", "NEVER")]
    assert await place_all(orders, *wanted) == {refusals.UnknownDiscountCodeError.__name__: 3}
    assert [await orders.find(one.order.order_id) for one in wanted] == [None] * 3


async def test_a_use_comes_back_once_and_may_be_taken_again(till):
    orders, known = till
    await known.put(discount(total_uses=2))
    dead, alive = order("dead"), order("alive", user="user_2")
    await place_all(orders, dead, alive)
    names = [dead.order.order_id, ids.order_id("user_1", "unknown")]
    given = await asyncio.gather(*(known.give_back(names * 2) for _ in range(4)))
    assert sum(given) == 1
    assert (await known.find("SAVE")).used == 1
    assert await place_all(orders, order("next"), order("last")) == {
        "StoredOrder": 1,
        "DiscountUsedUpError": 1,
    }


async def test_the_end_of_an_order_is_asked_for_when_it_should_be_known(till):
    orders, known = till
    await known.put(discount())
    one, other = order("one"), order("other", user="user_2")
    await place_all(orders, one, other)
    names = {one.order.order_id, other.order.order_id}
    assert await known.waiting_since() == DUE
    early = DUE - timedelta(microseconds=1)
    assert await known.claim_due(early, limit=9, again_at=DUE) == []
    again = DUE + timedelta(seconds=10)
    first = await known.claim_due(DUE, limit=1, again_at=again)
    second = await known.claim_due(DUE, limit=9, again_at=again)
    assert {*first, *second} == names
    assert len(first) == len(second) == 1
    assert await known.claim_due(DUE, limit=9, again_at=again) == []
    assert await known.waiting_since() == DUE, "put off, and as old as before"
    await known.keep([one.order.order_id])
    assert set(await known.claim_due(again, limit=9, again_at=again)) == {other.order.order_id}
    await known.give_back([other.order.order_id])
    assert await known.waiting_since() is None
    assert await known.give_back([one.order.order_id]) == 1, "a paid order may still be reversed"
