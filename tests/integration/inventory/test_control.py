"""What the operator may set, and what is refused: nothing changes then."""

from datetime import timedelta

import pytest

from doorbuster.contracts import control, internal
from doorbuster.inventory import domain


async def take_fence(shop) -> int:
    request = control.FenceRequest(lease_namespace="test", lease_name="operator", holder="next")
    return (await shop.room.take_fence(request)).fence


async def test_a_fence_makes_the_one_before_stale_at_once(shop, sku):
    await shop.pool(sku, 5)
    old, shop.fence = shop.fence, await take_fence(shop)
    assert shop.fence > old
    newest, shop.fence = shop.fence, old
    with pytest.raises(domain.StaleEpochError):
        await shop.pool(sku, 6)
    with pytest.raises(domain.StaleEpochError):
        await shop.sale(sku)
    shop.fence = newest
    assert (await shop.pool(sku, 6)).capacity == 6


async def test_a_fence_of_another_lease_does_not_make_ours_stale(shop, sku):
    request = control.FenceRequest(lease_namespace="test", lease_name="other", holder="o")
    await shop.room.take_fence(request)
    assert (await shop.pool(sku, 6)).capacity == 6


async def test_an_older_generation_is_refused(shop, sku):
    await shop.pool(sku, 5, generation=3)
    await shop.sale(sku, generation=3)
    with pytest.raises(domain.StaleEpochError):
        await shop.pool(sku, 9, generation=2)
    with pytest.raises(domain.StaleEpochError):
        await shop.sale(sku, generation=2, state="Cancelled")
    assert await shop.counters_of_pool(sku) == (5, 0, 0)


async def test_saying_the_same_again_changes_nothing(shop, sku):
    pool = await shop.pool(sku, 5)
    first = await shop.sale(sku)
    again = await shop.sale(sku, open_time=first.open_time, close_time=first.close_time)
    assert again.items == first.items
    assert (await shop.pool(sku, 5)).epoch == again.items[0].epoch
    assert pool.epoch + 1 == again.items[0].epoch


async def test_stock_belongs_to_one_pool_until_it_lets_go(shop, sku):
    await shop.pool(sku, 5, generation=7)
    with pytest.raises(domain.ResourceConflictError):
        await shop.pool(sku, 6, owner_uid="pool-2")
    with pytest.raises(domain.ResourceConflictError):
        await shop.room.release_pool(sku, owner_uid="pool-2", fence=shop.fence)
    await shop.room.release_pool(sku, owner_uid="pool-1", fence=shop.fence)
    assert (await shop.pool(sku, 6, owner_uid="pool-2")).owner_uid == "pool-2"


async def test_stock_cannot_be_lowered_below_what_is_committed(shop, sku):
    await shop.pool(sku, 5)
    await shop.sale(sku)
    for name in "abc":
        assert (await shop.buy(sku, f"{sku}-{name}")).outcome == "HELD"
    await shop.pin(f"{sku}-a")
    await shop.payments.succeed([internal.Attempt(order_id=f"{sku}-a", attempt=1)])
    await shop.settle()
    with pytest.raises(domain.BelowCommittedError):
        await shop.pool(sku, 2, generation=2)
    assert await shop.counters(sku) == (2, 2, 1)
    assert await shop.permits_left(sku) == (2, 0)
    pool = await shop.pool(sku, 3, generation=3)
    assert (pool.capacity, pool.available) == (3, 0)
    assert await shop.permits_left(sku) == (0, 0)


async def test_raised_stock_can_be_bought_at_once(shop, sku):
    await shop.pool(sku, 1)
    await shop.sale(sku)
    await shop.buy(sku, f"{sku}-a")
    assert (await shop.buy(sku, f"{sku}-b")).outcome == "WAITING"
    await shop.pool(sku, 2, generation=2)
    assert (await shop.buy(sku, f"{sku}-b")).outcome == "HELD"


async def test_safety_stock_is_not_sold(shop, sku):
    await shop.pool(sku, 5, safety_stock=4)
    state = await shop.sale(sku)
    assert state.items[0].available == 1
    assert await shop.permits_left(sku) == (1, 0)
    assert (await shop.buy(sku, f"{sku}-a")).outcome == "HELD"
    await shop.pin(f"{sku}-a")
    await shop.payments.succeed([internal.Attempt(order_id=f"{sku}-a", attempt=1)])
    assert (await shop.buy(sku, f"{sku}-b")).outcome == "SOLD_OUT"


async def test_windows_of_one_product_do_not_overlap(shop, sku):
    await shop.pool(sku, 5)
    first = await shop.sale(sku)
    with pytest.raises(domain.OverlapError):
        await shop.sale(sku, uid="uid-second", name="second")
    later = await shop.sale(
        sku,
        uid="uid-second",
        name="second",
        open_time=first.close_time,
        close_time=first.close_time + timedelta(hours=1),
    )
    assert (later.armed, later.armed_reason) == (False, "EarlierSaleHoldsGate")
    await shop.sale(sku, generation=2, state="Cancelled")
    states = {state.uid: state for state in (await shop.room.sales(0)).sales}
    assert states[first.uid].armed_reason == "Over"
    await shop.reconciler.step()
    states = {state.uid: state for state in (await shop.room.sales(0)).sales}
    assert states["uid-second"].armed


async def test_a_cancelled_sale_stays_cancelled(shop, sku):
    await shop.pool(sku, 5)
    await shop.sale(sku, state="Cancelled")
    with pytest.raises(domain.ResourceConflictError):
        await shop.sale(sku, generation=2)


async def test_what_was_sold_in_a_sale_stays_in_it(shop, sku):
    await shop.pool(sku, 5)
    await shop.pool(f"{sku}-b", 5)
    items = [
        control.SaleItem(sku=name, price_minor=99900, currency="EUR") for name in (sku, f"{sku}-b")
    ]
    first = await shop.sale(sku, items=items)
    assert (await shop.buy(sku, f"{sku}-a")).outcome == "HELD"
    window = {"open_time": first.open_time, "close_time": first.close_time}
    with pytest.raises(domain.ResourceConflictError):
        await shop.sale(sku, generation=2, items=items[1:], **window)
    state = await shop.sale(sku, generation=2, items=items[:1], **window)
    assert [item.sku for item in state.items] == [sku]


async def test_a_sale_is_drained_when_nothing_of_it_is_under_way(shop, sku):
    await shop.pool(sku, 5)
    topic_name = {"name": f"drain-{sku}"}
    assert (await shop.sale(sku, **topic_name)).drained
    await shop.buy(sku, f"{sku}-a")
    state = await shop.sale(sku, **topic_name)
    assert not state.drained
    assert state.first_reservation_time is not None
    await shop.pin(f"{sku}-a")
    assert not (await shop.sale(sku, **topic_name)).drained
    await shop.payments.succeed([internal.Attempt(order_id=f"{sku}-a", attempt=1)])
    assert (await shop.sale(sku, **topic_name)).drained
    await shop.row(
        "INSERT INTO outbox (event_id, topic, event_key, type, version, payload, occurred_at)"
        " VALUES ('x', $1, 'x', 'x', 1, '{}', now())",
        f"sale.shop.drain-{sku}.orders",
    )
    assert not (await shop.sale(sku, **topic_name)).drained


async def test_without_redis_a_sale_says_so_and_sells_direct(shop_without_redis, sku):
    shop = shop_without_redis
    await shop.pool(sku, 2)
    state = await shop.sale(sku)
    assert (state.armed, state.armed_reason) == (False, "RedisAway")
    assert (await shop.direct(sku, f"{sku}-a")).outcome == "HELD"
    await shop.expire(f"{sku}-a")
    assert await shop.counters(sku) == (2, 0, 0)
    await shop.reconciler.step()
    await shop.permits.step()


async def test_readers_of_changes_get_what_changed(shop, sku):
    await shop.pool(sku, 5)
    before = await shop.room.pools(0)
    assert sku in {pool.sku for pool in before.pools}
    await shop.pool(f"{sku}-new", 5)
    after = await shop.room.pools(before.revision)
    assert f"{sku}-new" in {pool.sku for pool in after.pools}
    assert after.revision >= before.revision
    last = await shop.room.pools(after.revision)
    assert sku not in {pool.sku for pool in last.pools}


async def test_the_rate_of_the_waiting_room_may_change_while_the_sale_is_open(shop, sku):
    await shop.pool(sku, 5)
    first = await shop.sale(sku, admit_per_second=20)
    window = {"open_time": first.open_time, "close_time": first.close_time}
    assert first.admit_per_second == 20
    assert await announced_rate(shop, sku) == 20
    faster = await shop.sale(sku, generation=2, admit_per_second=300, **window)
    assert (faster.admit_per_second, await announced_rate(shop, sku)) == (300, 300)
    assert faster.revision > first.revision
    assert faster.items == first.items, "the units and their epoch are not touched"
    without = await shop.sale(sku, generation=3, **window)
    assert (without.admit_per_second, await announced_rate(shop, sku)) == (None, None)


async def announced_rate(shop, sku):
    """What checkout is told."""
    [rate] = [
        sale.admit_per_second
        for sale in (await shop.store.announced()).sales
        if sku in {item.sku for item in sale.items}
    ]
    return rate
