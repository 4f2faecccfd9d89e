"""argon2id: two threads, a bounded queue, no answer without work."""

import asyncio

import pytest

from doorbuster.user import passwords
from doorbuster.user.domain import BusyError


async def test_a_password_matches_its_own_hash_only() -> None:
    async with passwords.open_passwords() as hasher:
        stored = await hasher.hash("pass word")
        assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert await hasher.matches(stored, "pass word")
        assert not await hasher.matches(stored, "pass w0rd")
        assert not await hasher.matches(None, "pass word")


async def test_two_ways_to_type_a_letter_are_one_password() -> None:
    async with passwords.open_passwords() as hasher:
        assert await hasher.matches(await hasher.hash("caf\u00e9 1234"), "cafe\u0301 1234")


async def test_who_comes_when_the_queue_is_full_is_told_at_once() -> None:
    async with passwords.open_passwords() as hasher:
        waiting = [asyncio.create_task(hasher.hash("x")) for _ in range(passwords.MAX_PENDING)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await hasher.hash("x")
        for task in waiting[4:]:
            task.cancel()
        await asyncio.gather(*waiting[:4])
