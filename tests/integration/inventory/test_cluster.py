"""Permits on a Redis Cluster: one server dies and comes back empty; its products are warmed, others never notice."""

import asyncio
import itertools

import pytest
from redis.crc import key_slot

from doorbuster.escrow import EscrowAwayError, PermitRequest
from doorbuster.kit import ids

SLOTS, SERVERS, VICTIM = 16384, 3, 1
UNITS = 5
_numbers = itertools.count(1)


def server_of(sku):
    """Which of the three servers holds the permits of a sku."""
    return key_slot(f"{{{ids.product_id(sku)}}}:st".encode()) * SERVERS // SLOTS


@pytest.fixture
def skus():
    """Two skus on each server."""
    found = {number: [] for number in range(SERVERS)}
    while any(len(held) < 2 for held in found.values()):
        sku = f"spread-{next(_numbers)}"
        if len(found[server_of(sku)]) < 2:
            found[server_of(sku)].append(sku)
    return found


@pytest.fixture
def shop(shop_on_cluster):
    return shop_on_cluster


async def epochs(shop, skus):
    return {
        sku: (
            await shop.row(
                "SELECT epoch FROM inventory WHERE product_id = $1", ids.product_id(sku)
            )
        )["epoch"]
        for sku in skus
    }


async def ask(shop, sku, order):
    request = PermitRequest(
        order_id=order, user_id=f"user_{order}", product_id=ids.product_id(sku), quantity=1
    )
    return (await shop.escrow.permit(request)).outcome


async def eventually(condition, what):
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - servers ring no bell
            await asyncio.sleep(0.1)


async def test_a_server_that_dies_and_comes_back_empty_is_the_affair_of_its_products_alone(
    shop, skus, stack
):
    everything = [sku for held in skus.values() for sku in held]
    theirs, others = skus[VICTIM], [sku for sku in everything if sku not in skus[VICTIM]]
    for sku in everything:
        await shop.pool(sku, UNITS)
        assert (await shop.sale(sku)).armed
        assert (await shop.buy(sku, f"{sku}-a")).outcome == "HELD"
    await shop.settle()
    before = await epochs(shop, everything)

    await asyncio.to_thread(stack.kill, f"redis-cluster-{VICTIM}")
    try:
        for sku in theirs:
            with pytest.raises(EscrowAwayError):
                await ask(shop, sku, f"{sku}-b")
            assert (await shop.direct(sku, f"{sku}-b")).outcome == "HELD"
        for sku in others:
            assert (await shop.buy(sku, f"{sku}-b")).outcome == "HELD"
        await shop.settle()
        for _ in range(3):
            await shop.reconciler.step()
            await shop.permits.step()
        assert await epochs(shop, everything) == before, "nothing is warmed that is not there"
        for sku in others:
            assert await shop.permits_left(sku) == (UNITS - 2, 0)
        seen = {state.uid: state.armed_reason for state in (await shop.room.sales(0)).sales}
        for sku in everything:
            assert seen[f"uid-{sku}"] == ("RedisAway" if sku in theirs else "Armed")
    finally:
        await asyncio.to_thread(stack.restart, f"redis-cluster-{VICTIM}")

    async def is_cold():
        try:
            return [await ask(shop, sku, f"{sku}-c") for sku in theirs] == ["COLD", "COLD"]
        except EscrowAwayError:
            return False

    await eventually(is_cold, "the server is back, and empty")
    await shop.reconciler.step()
    after = await epochs(shop, everything)
    for sku in theirs:
        assert after[sku] > before[sku]
        assert await shop.permits_left(sku) == (UNITS - 2, 0)
    for sku in others:
        assert after[sku] == before[sku]
        assert await shop.permits_left(sku) == (UNITS - 2, 0)
    for sku in everything:
        answers = [(await shop.buy(sku, f"{sku}-{n}")).outcome for n in range(UNITS)]
        assert answers == ["HELD"] * (UNITS - 2) + ["WAITING"] * 2
        assert await shop.counters(sku) == (0, UNITS, 0)


async def test_returns_of_a_server_that_is_away_wait_and_hold_up_no_other(shop, skus, stack):
    dead, alive = skus[VICTIM][0], skus[(VICTIM + 1) % SERVERS][0]
    for sku in (dead, alive):
        await shop.pool(sku, 1)
        await shop.sale(sku)
        assert (await shop.buy(sku, f"{sku}-a")).outcome == "HELD"
    await shop.settle()
    await asyncio.to_thread(stack.kill, f"redis-cluster-{VICTIM}")
    try:
        for sku in (dead, alive):
            await shop.row(
                "UPDATE reservation SET expires_at = clock_timestamp() WHERE order_id = $1",
                f"{sku}-a",
            )
        await shop.holds.step()
        await shop.settle()
        assert await shop.permits_left(alive) == (1, 0)
        assert await shop.state(f"{dead}-a") == "RELEASED"
    finally:
        await asyncio.to_thread(stack.restart, f"redis-cluster-{VICTIM}")

    async def is_warm_again():
        await shop.reconciler.step()
        await shop.settle()
        return await shop.permits_left(dead) == (1, 0)

    await eventually(is_warm_again, "the unit can be permitted again")
    assert (await shop.buy(dead, f"{dead}-b")).outcome == "HELD"
