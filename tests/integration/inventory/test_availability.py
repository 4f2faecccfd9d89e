"""What is available: by the ledger, in the cache after every way that units move, and when a sale opens or closes."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from doorbuster.contracts import control, internal
from doorbuster.inventory import domain
from doorbuster.inventory.storage import StoreAwayError
from doorbuster.kit import ids


def hours(count: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=count)  # noqa: TID251 - the tests' own clock


def item_of(sku: str, quantity: int | None) -> control.SaleItem:
    return control.SaleItem(sku=sku, price_minor=99900, currency="EUR", quantity=quantity)


async def available(shop, sku: str) -> internal.Availability:
    """By PostgreSQL."""
    (found,) = await shop.stock.availability([ids.product_id(sku)])
    return found


async def shown(shop, sku: str) -> internal.Availability | None:
    """By Redis alone, after the writer has written what waits."""
    while await shop.writer.step():
        pass
    product_id = ids.product_id(sku)
    text = await shop.redis_client.get(f"avail:{{{product_id}}}")
    if text is None:
        return None
    version, qty = map(int, text.split())
    return internal.Availability(product_id=product_id, qty=qty, version=version)


def attempt(order: str) -> internal.Attempt:
    return internal.Attempt(order_id=order, attempt=1)


# --- how much is available ------------------------------------------------------------------------


async def test_ordinary_buyers_may_have_what_safety_and_announced_shares_leave(shop, sku):
    await shop.pool(sku, 10, safety_stock=2)
    assert (await available(shop, sku)).qty == 8
    later = {"open_time": hours(1), "close_time": hours(2)}
    await shop.sale(sku, items=[item_of(sku, 5)], **later)
    assert (await available(shop, sku)).qty == 3
    await shop.sale(sku, items=[item_of(sku, None)], generation=2, **later)
    assert (await available(shop, sku)).qty == 0
    await shop.sale(sku, items=[item_of(sku, None)], generation=3, state="Cancelled", **later)
    assert (await available(shop, sku)).qty == 8


async def test_while_a_sale_is_open_its_share_is_what_is_available(shop, sku):
    await shop.pool(sku, 10)
    await shop.sale(sku, items=[item_of(sku, 4)])
    assert (await available(shop, sku)).qty == 4
    await shop.direct(sku, f"{sku}-a", quantity=1)
    assert (await available(shop, sku)).qty == 3
    await shop.sale(sku, items=[item_of(sku, 4)], generation=2, state="Suspended")
    assert (await available(shop, sku)).qty == 0
    await shop.sale(sku, items=[item_of(sku, 4)], generation=3, close_time=hours(-0.0001))
    assert (await available(shop, sku)).qty == 9


async def test_a_product_without_a_row_is_missing(shop, sku):
    assert await shop.stock.availability([ids.product_id(sku)]) == []


# --- the cache follows ----------------------------------------------------------------------------


async def test_the_cache_follows_every_way_that_units_move_each_with_a_higher_version(shop, sku):
    a, b, c = (f"{sku}-{letter}" for letter in "abc")

    async def pay_too_late(order):
        await shop.direct(sku, order)
        await shop.pin(order)
        await shop.age(order)
        await shop.payments.fail([attempt(order)])

    async def sell(order):
        await shop.pin(order)
        await shop.payments.succeed([attempt(order)])

    steps = [
        ("a pool", shop.pool(sku, 10), 10),
        ("a sale", shop.sale(sku, items=[item_of(sku, 6)]), 6),
        ("a hold", shop.direct(sku, a), 5),
        ("a hold that ran out", shop.expire(a), 6),
        ("a payment declined too late", pay_too_late(b), 6),
        ("another hold", shop.direct(sku, c), 5),
        ("a payment", sell(c), 5),
        ("the money given back", shop.payments.reverse([attempt(c)]), 6),
        ("a smaller pool", shop.pool(sku, 4, generation=2), 4),
    ]
    last = -1
    for what, step, qty in steps:
        await step
        seen, truth = await shown(shop, sku), await available(shop, sku)
        assert seen is not None, what
        assert (seen.qty, truth.qty) == (qty, qty), what
        assert truth.version > last, what
        last = truth.version


async def test_a_merchants_level_reaches_the_cache(shop, sku):
    await shop.desk.put(ids.product_id(sku), 7)
    seen = await shown(shop, sku)
    assert seen is not None
    assert seen.qty == 7


async def test_an_opening_gives_a_new_version_once_though_no_transaction_did(shop, sku):
    await shop.pool(sku, 10)
    await shop.sale(sku, items=[item_of(sku, 4)])
    product_id = ids.product_id(sku)
    before = await shown(shop, sku)
    await shop.row(
        "UPDATE inventory SET updated_at = updated_at - interval '1 day' WHERE product_id = $1",
        product_id,
    )
    assert 0 < (await shop.stock.turned())[product_id] < 600
    assert await shop.turns.oldest_seconds() > 0
    await shop.turns.step()
    after = await shown(shop, sku)
    assert after.version == before.version + 1
    assert product_id not in await shop.stock.turned()
    await shop.turns.step()
    assert (await available(shop, sku)).version == after.version


async def test_a_closing_gives_a_new_version_too(shop, sku):
    await shop.pool(sku, 10)
    await shop.sale(sku, items=[item_of(sku, 4)], open_time=hours(-1), close_time=hours(-0.001))
    await shop.row(
        "UPDATE inventory SET updated_at = clock_timestamp() - interval '10 minutes'"
        " WHERE product_id = $1",
        ids.product_id(sku),
    )
    before = await available(shop, sku)
    await shop.turns.step()
    after = await available(shop, sku)
    assert (after.qty, after.version) == (10, before.version + 1)


async def test_without_redis_nothing_waits_the_loss_is_counted_and_postgresql_answers(
    shop_without_redis, sku
):
    shop = shop_without_redis

    def lost():
        return REGISTRY.get_sample_value(
            "doorbuster_availability_writes_total", {"outcome": "lost"}
        )

    await shop.pool(sku, 3)
    before = lost()
    while await shop.writer.step():
        pass
    assert lost() > before
    product_id = ids.product_id(sku)
    assert (await shop.cache.read([product_id]))[product_id].qty == 3


async def test_a_rush_is_shown_by_few_writes_soon_and_almost_always_from_the_cache(shop, sku):
    """Prints the figures (pytest -s): hit ratio, writes, and how old what readers saw was at most."""
    await shop.pool(sku, 200)
    await shop.sale(sku, items=[item_of(sku, None)])
    await shown(shop, sku)
    product_id = ids.product_id(sku)
    loop = asyncio.get_running_loop()
    changed: dict[int, float] = {200: loop.time()}  # when each quantity was left behind
    done = asyncio.Event()

    def metric(name, **labels):
        return REGISTRY.get_sample_value(name, labels) or 0.0

    def hits():
        return metric("doorbuster_availability_lookups_total", outcome="hit")

    def writes():
        return metric("doorbuster_availability_writes_total", outcome="written")

    async def write():
        while not done.is_set():
            if not await shop.writer.step():
                await asyncio.sleep(0.001)

    async def buy():
        for number in range(200):
            await shop.direct(sku, f"{sku}-{number}")
            changed[199 - number] = loop.time()
        while (await shown(shop, sku)).qty:
            pass
        done.set()

    ages = []

    async def read():
        while not done.is_set():
            asked = loop.time()
            qty = (await shop.cache.read([product_id]))[product_id].qty
            left_at = changed.get(qty - 1, asked)
            ages.append(max(0.0, asked - left_at))
            await asyncio.sleep(0)

    began, hits_before, writes_before = loop.time(), hits(), writes()
    await asyncio.gather(buy(), write(), read())
    seconds = loop.time() - began
    ratio, written = (hits() - hits_before) / len(ages), writes() - writes_before
    ages.sort()
    print(  # noqa: T201 - the figures
        f"200 orders in {seconds:.1f} s, {len(ages)} reads, hit ratio {ratio:.4f}, {written:.0f} writes;"
        f" staleness median {ages[len(ages) // 2] * 1000:.0f} ms, 99 % {ages[len(ages) * 99 // 100] * 1000:.0f} ms"
    )
    assert ratio > 0.95
    assert written <= 2 + seconds / 0.05
    assert ages[len(ages) * 99 // 100] < 2.0


# --- stock by a merchant --------------------------------------------------------------------------


async def test_a_level_makes_stock_of_a_product_that_had_none_and_may_be_repeated(shop, sku):
    product_id = ids.product_id(sku)
    with pytest.raises(domain.UnknownProductError):
        await shop.desk.read(product_id)
    first = await shop.desk.put(product_id, 5)
    assert (first.total, first.available, first.managed_by_pool) == (5, 5, False)
    version = (await available(shop, sku)).version
    assert await shop.desk.put(product_id, 5) == first
    assert (await available(shop, sku)).version == version
    line = shop.line(sku, price_minor=None, currency=None, sale_uid=None)
    assert await shop.reserve(shop.item(f"{sku}-a", line)) == ["HELD"]
    assert (await shop.desk.read(product_id)).reserved == 1


async def test_a_level_below_what_is_committed_is_refused_and_changes_nothing(shop, sku):
    product_id = ids.product_id(sku)
    await shop.desk.put(product_id, 5)
    line = shop.line(sku, quantity=3, price_minor=None, currency=None, sale_uid=None)
    await shop.reserve(shop.item(f"{sku}-a", line))
    before = await shop.desk.read(product_id)
    with pytest.raises(domain.BelowCommittedError):
        await shop.desk.put(product_id, 2)
    assert await shop.desk.read(product_id) == before
    assert (await shop.desk.put(product_id, 3)).available == 0


async def test_a_pool_takes_the_sku_over_and_keeps_merchants_out_until_it_lets_go(shop, sku):
    product_id = ids.product_id(sku)
    await shop.desk.put(product_id, 5)
    state = await shop.pool(sku, 8)
    assert (state.sku, state.product_id, state.capacity) == (sku, product_id, 8)
    with pytest.raises(domain.ManagedByPoolError):
        await shop.desk.put(product_id, 9)
    stock = await shop.desk.read(product_id)
    assert (stock.total, stock.managed_by_pool) == (8, True)
    await shop.room.release_pool(sku, owner_uid="pool-1", fence=shop.fence)
    assert (await shop.desk.put(product_id, 9)).total == 9


async def test_a_product_that_only_a_merchant_knows_is_no_pool(shop, sku):
    await shop.desk.put(ids.product_id(sku), 5)
    pools = await shop.room.pools(0)
    assert ids.product_id(sku) not in {pool.product_id for pool in pools.pools}


async def test_a_level_during_a_sale_is_loaded_as_permits(shop, sku):
    await shop.desk.put(ids.product_id(sku), 2)
    await shop.sale(sku)
    assert await shop.permits_left(sku) == (2, 0)
    await shop.desk.put(ids.product_id(sku), 6)
    assert await shop.permits_left(sku) == (6, 0)
    assert [(await shop.buy(sku, f"{sku}-{n}")).outcome for n in range(7)][5:] == [
        "HELD",
        "WAITING",
    ]


async def test_levels_and_reservations_at_once_lose_and_invent_no_unit(shop, sku):
    product_id = ids.product_id(sku)
    await shop.desk.put(product_id, 20)
    await shop.sale(sku, strategy="Direct")

    async def buy(number):
        return (await shop.direct(sku, f"{sku}-{number}")).outcome

    async def set_level(total):
        try:
            await shop.desk.put(product_id, total)
        except (domain.BelowCommittedError, StoreAwayError):
            return

    outcomes = await asyncio.gather(
        *(buy(n) for n in range(40)), *(set_level(total) for total in range(5, 25))
    )
    held = outcomes.count("HELD")
    stock = await shop.desk.read(product_id)
    assert stock.reserved == held > 0
    assert stock.total == stock.available + held
