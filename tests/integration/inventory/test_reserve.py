"""Reserve, judge and pin on the real PostgreSQL and Redis."""

import asyncio
from collections import Counter

import pytest

from doorbuster.contracts import control, internal
from doorbuster.kit import ids


async def test_exactly_the_stock_is_reserved_by_40_buyers_each_of_many_times(shop, sku):
    for round_number in range(10):
        name = f"{sku}-{round_number}"
        await shop.pool(name, 5)
        await shop.sale(name)
        results = await asyncio.gather(*(shop.buy(name, f"{name}-o{n}") for n in range(40)))
        counts = Counter(result.outcome for result in results)
        assert counts == {"HELD": 5, "WAITING": 35}
        await shop.settle()
        assert await shop.counters(name) == (0, 5, 0)
        assert await shop.permits_left(name) == (0, 0)


async def test_never_more_than_the_stock_without_permits(shop, sku):
    await shop.pool(sku, 5)
    await shop.sale(sku, strategy="Direct")
    results = await asyncio.gather(*(shop.direct(sku, f"{sku}-o{n}") for n in range(40)))
    assert Counter(result.outcome for result in results) == {"HELD": 5, "WAITING": 35}
    assert await shop.counters(sku) == (0, 5, 0)


async def test_a_refusal_is_final_only_when_all_is_sold(shop, sku):
    await shop.pool(sku, 1)
    await shop.sale(sku)
    assert (await shop.buy(sku, f"{sku}-a")).outcome == "HELD"
    assert (await shop.buy(sku, f"{sku}-b")).outcome == "WAITING"
    assert (await shop.buy(sku, f"{sku}-c", quantity=2)).outcome == "USER_LIMIT"
    assert await shop.pin(f"{sku}-a") == "PINNED"
    assert (await shop.buy(sku, f"{sku}-b")).outcome == "WAITING"
    await shop.payments.succeed([internal.Attempt(order_id=f"{sku}-a", attempt=1)])
    assert (await shop.buy(sku, f"{sku}-b")).outcome == "SOLD_OUT"
    assert (await shop.direct(sku, f"{sku}-b")).outcome == "SOLD_OUT"
    assert (await shop.buy(sku, f"{sku}-a")).outcome == "PAID"
    assert await shop.counters(sku) == (0, 0, 1)


async def test_a_final_refusal_names_those_who_own_units(shop, sku):
    await shop.pool(sku, 2)
    await shop.sale(sku)
    for name in "ab":
        await shop.buy(sku, f"{sku}-{name}")
    waiting = await shop.buy(sku, f"{sku}-c")
    assert await shop.reserver.owners([waiting]) == {}
    for name in "ab":
        await shop.pin(f"{sku}-{name}")
        await shop.payments.succeed([internal.Attempt(order_id=f"{sku}-{name}", attempt=1)])
    gone = await shop.buy(sku, f"{sku}-c")
    assert gone.outcome == "SOLD_OUT"
    owners = await shop.reserver.owners([gone])
    assert {name: set(orders) for name, orders in owners.items()} == {
        ids.product_id(sku): {f"{sku}-a", f"{sku}-b"}
    }


async def test_the_same_order_is_reserved_once_however_often_it_asks(shop, sku):
    await shop.pool(sku, 5)
    await shop.sale(sku)
    order = f"{sku}-a"
    results = await asyncio.gather(*(shop.buy(sku, order) for _ in range(20)))
    assert {result.outcome for result in results} == {"HELD"}
    assert len({result.pay_by for result in results}) == 1
    item = shop.item(order, shop.line(sku))
    assert await shop.reserve(item, item, item) == ["HELD"] * 3
    await shop.settle()
    assert await shop.counters(sku) == (4, 1, 0)
    assert await shop.permits_left(sku) == (4, 0)


async def test_another_request_under_the_same_order_id_is_refused(shop, sku):
    await shop.pool(sku, 5)
    await shop.sale(sku)
    first = shop.item(f"{sku}-a", shop.line(sku))
    other = shop.item(f"{sku}-a", shop.line(sku), hashed="other")
    assert await shop.reserve(first, other) == ["HELD", "KEY_REUSED"]
    assert await shop.reserve(other) == ["KEY_REUSED"]
    assert await shop.counters(sku) == (4, 1, 0)


async def test_an_order_of_several_lines_gets_all_or_nothing(shop, sku):
    red, blue = f"{sku}-red", f"{sku}-blue"
    await shop.pool(red, 2)
    await shop.pool(blue, 1)
    await shop.sale(red)
    await shop.sale(blue)

    def both(order):
        return shop.item(order, shop.line(blue), shop.line(red))

    assert await shop.reserve(both(f"{sku}-a"), both(f"{sku}-b")) == ["HELD", "WAITING"]
    assert await shop.counters(red) == (1, 1, 0)
    assert await shop.counters(blue) == (0, 1, 0)
    (result,) = await shop.reserver.reserve([both(f"{sku}-c")])
    assert (result.outcome, result.product_id) == ("WAITING", ids.product_id(blue))


async def test_orders_with_crossing_lines_do_not_block_each_other(shop, sku):
    red, blue = f"{sku}-red", f"{sku}-blue"
    for name in (red, blue):
        await shop.pool(name, 100)
        await shop.sale(name)
    orders = [
        shop.item(f"{sku}-{n}", *(shop.line(name) for name in ((red, blue), (blue, red))[n % 2]))
        for n in range(60)
    ]
    results = await asyncio.gather(*(shop.reserve(order) for order in orders))
    assert results == [["HELD"]] * 60
    assert await shop.counters(red) == (40, 60, 0)


async def test_no_buyer_gets_more_than_the_limit_even_in_one_batch(shop, sku):
    await shop.pool(sku, 10)
    await shop.sale(sku)
    items = [shop.item(f"{sku}-{n}", shop.line(sku), user="user_greedy") for n in range(5)]
    outcomes = await shop.reserve(*items)
    assert Counter(outcomes) == {"HELD": 1, "USER_LIMIT": 4}
    assert await shop.reserve(items[0], items[4]) == ["HELD", "USER_LIMIT"]
    assert await shop.counters(sku) == (9, 1, 0)


async def test_a_limit_is_free_again_after_a_release(shop, sku):
    await shop.pool(sku, 10)
    await shop.sale(sku, reservation_timeout_seconds=1)
    assert (await shop.buy(sku, f"{sku}-a", user="user_a")).outcome == "HELD"
    assert (await shop.direct(sku, f"{sku}-b", user="user_a")).outcome == "USER_LIMIT"
    await shop.expire(f"{sku}-a")
    assert (await shop.buy(sku, f"{sku}-b", user="user_a")).outcome == "HELD"


async def test_a_hold_that_is_over_does_not_stand_in_its_buyers_way_until_the_reaper_comes(
    shop, sku
):
    await shop.pool(sku, 3)
    await shop.sale(sku)
    assert (await shop.buy(sku, f"{sku}-a", user="user_a")).outcome == "HELD"
    judge = internal.JudgeItem(
        order_id=f"{sku}-b",
        user_id="user_a",
        request_hash="hash",
        product_id=ids.product_id(sku),
        quantity=1,
        sale_uid=f"uid-{sku}",
        epoch=None,
    )
    assert (await shop.reserver.judge([judge]))[0].outcome == "USER_LIMIT"
    await shop.age(f"{sku}-a")
    assert (await shop.reserver.judge([judge]))[0].outcome == "WAITING"
    assert (await shop.direct(sku, f"{sku}-b", user="user_a")).outcome == "HELD"
    assert await shop.counters(sku) == (2, 1, 0)
    assert await shop.state(f"{sku}-a") == "RELEASED"
    assert (await shop.direct(sku, f"{sku}-c", user="user_a")).outcome == "USER_LIMIT"


async def test_a_hold_of_other_products_too_is_left_to_the_reaper(shop, sku):
    """Its rows are not locked here, and locks are taken in the order of the products."""
    red, blue = f"{sku}-red", f"{sku}-blue"
    for name in (red, blue):
        await shop.pool(name, 3)
        await shop.sale(name)
    both = shop.item(f"{sku}-both", shop.line(red), shop.line(blue), user="user_a")
    assert await shop.reserve(both) == ["HELD"]
    await shop.age(f"{sku}-both")
    assert (await shop.direct(red, f"{sku}-b", user="user_a")).outcome == "USER_LIMIT"
    assert await shop.counters(blue) == (2, 1, 0)


async def test_a_permit_of_an_older_epoch_is_refused(shop, sku):
    await shop.pool(sku, 5)
    await shop.sale(sku)
    stale = shop.line(sku, epoch=1)
    assert await shop.reserve(shop.item(f"{sku}-a", stale)) == ["STALE_EPOCH"]
    assert await shop.counters(sku) == (5, 0, 0)
    judge = internal.JudgeItem(
        order_id=f"{sku}-b",
        user_id=f"user_{sku}-b",
        request_hash="hash",
        product_id=ids.product_id(sku),
        quantity=1,
        sale_uid=f"uid-{sku}",
        epoch=1,
    )
    assert (await shop.reserver.judge([judge]))[0].outcome == "STALE_EPOCH"


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"price_minor": 1}, "PRICE_CHANGED"),
        ({"currency": "USD"}, "PRICE_CHANGED"),
        ({"sale_uid": "no-such-sale"}, "UNKNOWN_PRODUCT"),
        ({"product_id": "prod_none"}, "UNKNOWN_PRODUCT"),
        ({"sale_uid": None}, "PRICE_CHANGED"),
    ],
)
async def test_a_line_that_is_not_the_sales_is_refused(shop, sku, changes, outcome):
    await shop.pool(sku, 5)
    await shop.sale(sku)
    line = shop.line(sku, **changes)
    assert await shop.reserve(shop.item(f"{sku}-a", line)) == [outcome]
    assert await shop.counters(sku) == (5, 0, 0)


async def test_the_gate_is_decided_by_postgresql_whatever_redis_says(shop, sku):
    await shop.pool(sku, 5)
    state = await shop.sale(sku)
    assert await shop.reserve(shop.item(f"{sku}-a", shop.line(sku))) == ["HELD"]
    later = state.open_time.replace(year=state.open_time.year + 1)
    shifted = {"open_time": later, "close_time": later + (state.close_time - state.open_time)}
    await shop.sale(sku, generation=2, **shifted)
    assert await shop.reserve(shop.item(f"{sku}-b", shop.line(sku))) == ["NOT_OPEN"]
    assert (await shop.buy(sku, f"{sku}-c")).outcome == "NOT_OPEN"
    await shop.sale(sku, generation=3, state="Suspended")
    assert await shop.reserve(shop.item(f"{sku}-b", shop.line(sku))) == ["SUSPENDED"]
    assert (await shop.buy(sku, f"{sku}-c")).outcome == "SUSPENDED"
    await shop.sale(sku, generation=4, state="Cancelled")
    assert await shop.reserve(shop.item(f"{sku}-b", shop.line(sku))) == ["CLOSED"]
    assert (await shop.buy(sku, f"{sku}-c")).outcome == "CLOSED"
    assert await shop.pin(f"{sku}-a") == "PINNED"


async def test_a_share_is_not_sold_to_others_and_no_more_of_it_than_there_is(shop, sku):
    await shop.pool(sku, 10, safety_stock=2)
    share = control.SaleItem(sku=sku, price_minor=99900, currency="EUR", quantity=3)
    state = await shop.sale(sku, items=[share])
    assert (state.items[0].allocated, state.items[0].available) == (3, 3)
    outcomes = await shop.reserve(*(shop.item(f"{sku}-{n}", shop.line(sku)) for n in range(5)))
    assert Counter(outcomes) == {"HELD": 3, "WAITING": 2}
    await shop.sale(sku, generation=2, state="Cancelled", items=[share])
    ordinary = shop.line(sku, sale_uid=None, price_minor=None, currency=None)
    outcomes = await shop.reserve(*(shop.item(f"{sku}-x{n}", ordinary) for n in range(8)))
    assert Counter(outcomes) == {"HELD": 5, "WAITING": 3}
    assert await shop.counters_of_pool(sku) == (2, 8, 0)


async def test_pins_follow_attempts(shop, sku):
    await shop.pool(sku, 5)
    await shop.sale(sku)
    order = f"{sku}-a"
    assert await shop.pin(order) == "UNKNOWN_ORDER"
    await shop.buy(sku, order)
    assert await shop.pin(order, 1) == "PINNED"
    assert await shop.pin(order, 1) == "PINNED"
    assert await shop.pin(order, 2) == "CONFLICT"
    await shop.payments.fail([internal.Attempt(order_id=order, attempt=2)])
    assert await shop.pin(order, 2) == "CONFLICT"
    await shop.payments.fail([internal.Attempt(order_id=order, attempt=1)])
    assert await shop.pin(order, 1) == "CONFLICT"
    assert await shop.pin(order, 2) == "PINNED"
    await shop.payments.succeed([internal.Attempt(order_id=order, attempt=2)])
    assert await shop.pin(order, 2) == "PAID"
    await shop.payments.fail([internal.Attempt(order_id=order, attempt=2)])
    assert await shop.counters(sku) == (4, 0, 1)


async def test_a_pin_that_comes_after_its_own_failure_is_refused(shop, sku):
    await shop.pool(sku, 5)
    await shop.sale(sku)
    order = f"{sku}-a"
    await shop.buy(sku, order)
    await shop.payments.fail([internal.Attempt(order_id=order, attempt=1)])
    assert await shop.pin(order, 1) == "CONFLICT"
    assert await shop.pin(order, 2) == "PINNED"
