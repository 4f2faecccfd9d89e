"""Token buckets, fake and in Redis, keep the same rules."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from doorbuster.gateway.domain import Charge, Rate
from doorbuster.gateway.ports import Buckets
from doorbuster.gateway.storage import RedisBuckets
from doorbuster.kit import redis
from doorbuster.testing.buckets import FakeBuckets

SLOW = Rate(per_second=0.01, burst=3)
FAST = Rate(per_second=20, burst=3)
WIDE = Rate(per_second=1, burst=100)


@pytest.fixture(params=["fake", "redis"])
def url(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("fresh_redis") if request.param == "redis" else None


@pytest.fixture
async def buckets(url: str | None) -> AsyncIterator[Buckets]:
    if url is None:
        yield FakeBuckets()
        return
    async with redis.open_redis(url) as client:
        made = RedisBuckets(client)
        yield made
        await made.close()


def charge(key: str, rate: Rate, kind: str = "address") -> Charge:
    return Charge(kind=kind, key=key, rate=rate)


async def test_a_whole_bucket_is_let_through_and_no_more(buckets: Buckets) -> None:
    answers = [await buckets.take([charge("a", SLOW)]) for _ in range(4)]
    assert [one is not None and one.allowed for one in answers] == [True, True, True, False]
    refused = answers[-1]
    assert refused is not None
    assert (refused.kind, refused.limit, refused.remaining) == ("address", 3, 0)
    assert 99 < refused.retry_after_seconds <= 100
    assert 299 < refused.reset_seconds <= 300


async def test_what_is_left_is_told(buckets: Buckets) -> None:
    answers = [await buckets.take([charge("a", SLOW)]) for _ in range(3)]
    assert [one is not None and one.remaining for one in answers] == [2, 1, 0]


async def test_a_crowd_at_once_gets_a_whole_bucket_too(buckets: Buckets) -> None:
    answers = await asyncio.gather(*(buckets.take([charge("a", SLOW)]) for _ in range(50)))
    assert sum(one is not None and one.allowed for one in answers) == 3


async def test_clients_do_not_share_a_bucket(buckets: Buckets) -> None:
    for _ in range(4):
        await buckets.take([charge("a", SLOW)])
    other = await buckets.take([charge("b", SLOW)])
    assert other is not None
    assert other.allowed


async def test_tokens_come_back(buckets: Buckets) -> None:
    for _ in range(4):
        refused = await buckets.take([charge("a", FAST)])
    assert refused is not None
    assert not refused.allowed
    assert 0 < refused.retry_after_seconds <= 0.05
    async with asyncio.timeout(5):
        for _ in range(100):
            again = await buckets.take([charge("a", FAST)])
            if again is not None and again.allowed:
                break
            await asyncio.sleep(0.01)
    assert again is not None
    assert again.allowed


async def test_a_refusal_takes_no_token_from_the_other_bucket(buckets: Buckets) -> None:
    both = [charge("office", WIDE), charge("u1", SLOW, kind="user")]
    for _ in range(30):
        refused = await buckets.take(both)
    assert refused is not None
    assert (refused.allowed, refused.kind) == (False, "user")
    colleague = await buckets.take([charge("office", WIDE)])
    assert colleague is not None
    assert colleague.remaining >= 100 - 4


async def test_the_tightest_bucket_is_told(buckets: Buckets) -> None:
    answer = await buckets.take([charge("office", WIDE), charge("u1", SLOW, kind="user")])
    assert answer is not None
    assert (answer.kind, answer.limit, answer.remaining) == ("user", 3, 2)
