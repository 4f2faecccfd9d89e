"""What checkout relies on in locks of products, kept by the fake and by those on Redis."""

import asyncio

import pytest

from doorbuster import escrow
from doorbuster.kit import ids, redis
from doorbuster.testing.shelf import FakeLocks

PHONE, CASE = ids.product_id("phone"), ids.product_id("case")


@pytest.fixture(params=["fake", "redis"])
async def locks(request):
    """Locks of products."""
    if request.param == "fake":
        yield FakeLocks()
        return
    async with redis.open_redis(request.getfixturevalue("fresh_redis")) as client:
        yield escrow.ProductLocks(client)


async def test_one_at_a_time_holds_the_lock_and_all_get_their_turn(locks):
    inside, turns = 0, 0

    async def shopper():
        nonlocal inside, turns
        async with locks.hold(PHONE, within_seconds=30) as is_held:
            assert is_held
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1
            turns += 1

    await asyncio.gather(*(shopper() for _ in range(50)))
    assert turns == 50


async def test_products_do_not_wait_for_each_other(locks):
    async with (
        locks.hold(PHONE, within_seconds=5) as first,
        locks.hold(CASE, within_seconds=5) as second,
    ):
        assert (first, second) == (True, True)


async def test_a_lock_is_free_again_when_its_holder_fails(locks):
    with pytest.raises(ZeroDivisionError):
        async with locks.hold(PHONE, within_seconds=5):
            raise ZeroDivisionError
    async with locks.hold(PHONE, within_seconds=5) as is_held:
        assert is_held
