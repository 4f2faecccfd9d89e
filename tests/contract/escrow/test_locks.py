"""The locks of products on a real Redis: what is stored, who may free it, and what becomes of those who die."""

import asyncio
import time

import pytest

from doorbuster import escrow
from doorbuster.kit import redis

PRODUCT = "prod_of_the_test"
KEY = f"product:{{{PRODUCT}}}:lock"


@pytest.fixture
async def client(store, server_of):
    """The server that holds the lock."""
    return await server_of(store, KEY)


async def test_the_lock_is_the_one_of_the_textbook(store, client):
    locks = escrow.ProductLocks(store)
    async with locks.hold(PRODUCT, within_seconds=5):
        assert len(await client.get(KEY)) == 32
        assert 55 <= await client.ttl(KEY) <= 60
    assert await client.exists(KEY) == 0


async def test_processes_take_turns(store):
    first, second = escrow.ProductLocks(store), escrow.ProductLocks(store)
    async with first.hold(PRODUCT, within_seconds=5):
        started = time.monotonic()
        async with second.hold(PRODUCT, within_seconds=0.3) as is_held:
            assert not is_held
        assert time.monotonic() - started >= 0.3
        waiting = asyncio.create_task(_take(second))
        await asyncio.sleep(0.05)
        assert not waiting.done()
    assert await waiting


async def _take(locks):
    async with locks.hold(PRODUCT, within_seconds=10) as is_held:
        return is_held


async def test_whoever_waits_in_the_line_of_a_process_waits_no_longer_than_he_said(store):
    locks = escrow.ProductLocks(store)
    async with locks.hold(PRODUCT, within_seconds=5):
        async with locks.hold(PRODUCT, within_seconds=0.1) as is_held:
            assert not is_held
    assert await _take(locks)


async def test_only_the_holder_frees_the_lock(store, client):
    locks = escrow.ProductLocks(store)
    async with locks.hold(PRODUCT, within_seconds=5):
        await client.set(KEY, "somebody else, after it ran out", ex=60)
    assert await client.get(KEY) == b"somebody else, after it ran out"


async def test_a_lock_whose_holder_must_have_died_is_taken_over(store, client):
    locks = escrow.ProductLocks(store, overdue_seconds=10)
    await client.set(KEY, "fresh", ex=55)
    async with locks.hold(PRODUCT, within_seconds=0.1) as is_held:
        assert not is_held, "held for 5 s: its holder may be alive"
    await client.set(KEY, "old", ex=45)
    async with locks.hold(PRODUCT, within_seconds=5) as is_held:
        assert is_held
        assert await client.get(KEY) != b"old"
        assert await client.ttl(KEY) > 50
    assert await client.exists(KEY) == 0


async def test_a_redis_that_forgets_the_lock_while_it_is_held_is_no_error(store, client):
    locks = escrow.ProductLocks(store)
    async with locks.hold(PRODUCT, within_seconds=5):
        await client.flushdb()
        assert await _take(escrow.ProductLocks(store)), "two at a time: PostgreSQL decides"


async def test_without_redis_the_lock_is_away_for_all_in_the_line_at_once():
    async with redis.open_redis("redis://127.0.0.1:1/0") as nobody:
        locks = escrow.ProductLocks(nobody)
        answers = await asyncio.gather(*(_take(locks) for _ in range(50)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {escrow.EscrowAwayError}
