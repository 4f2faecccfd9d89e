"""The cache of what is available, on a real Redis, a real cluster, and as the fake that other rooms test with."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from doorbuster import availability
from doorbuster.contracts import internal
from doorbuster.kit import ids, redis
from doorbuster.testing.availability import FakeAvailability

PHONE, WATCH, CASE = (ids.product_id(sku) for sku in ("phone", "watch", "case"))
NOWHERE = "redis://127.0.0.1:1/0"


def item(product_id, qty, version):
    return internal.Availability(product_id=product_id, qty=qty, version=version)


class Inventory:
    """Answers what it knows, and remembers the questions."""

    def __init__(self, *items):
        self.items = {each.product_id: each for each in items}
        self.questions = []
        self.is_away = False

    async def ask(self, product_ids):
        self.questions.append(sorted(product_ids))
        await asyncio.sleep(0)
        if self.is_away:
            raise ConnectionError
        return [self.items[name] for name in product_ids if name in self.items]


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A busy machine may need longer than a quarter of a second for the first connection to each server."""
    monkeypatch.setattr(availability.cache, "REDIS_SECONDS", 5.0)


@pytest.fixture(params=["redis", "cluster", "fake"])
async def cache(request):
    if request.param == "fake":
        yield FakeAvailability()
        return
    fixture = {"redis": "fresh_redis", "cluster": "fresh_redis_cluster"}[request.param]
    async with availability.open_cache(request.getfixturevalue(fixture), Inventory().ask) as made:
        yield made


async def test_what_was_written_is_read_and_strangers_are_missing(cache):
    assert await cache.write([item(PHONE, 5, 7), item(WATCH, 0, 1)]) == 2
    assert await cache.read([PHONE, WATCH, CASE]) == {
        PHONE: item(PHONE, 5, 7),
        WATCH: item(WATCH, 0, 1),
    }


async def test_the_higher_version_wins_whatever_comes_last(cache):
    await cache.write([item(PHONE, 5, 10)])
    await cache.write([item(PHONE, 9, 9)])
    assert (await cache.read([PHONE]))[PHONE].qty == 5
    await cache.write([item(PHONE, 4, 11)])
    assert (await cache.read([PHONE]))[PHONE].qty == 4


async def test_of_one_version_the_later_word_stays(cache):
    await cache.write([item(PHONE, 5, 10)])
    await cache.write([item(PHONE, 3, 10)])
    assert (await cache.read([PHONE]))[PHONE].qty == 3


@asynccontextmanager
async def opened(url, *items):
    inventory = Inventory(*items)
    async with availability.open_cache(url, inventory.ask) as made:
        yield made, inventory


async def test_a_miss_is_asked_once_and_then_cached_even_that_nobody_knows_it(fresh_redis):
    async with opened(fresh_redis, item(PHONE, 5, 7)) as (cache, inventory):
        for _ in range(3):
            assert await cache.read([PHONE, CASE]) == {PHONE: item(PHONE, 5, 7)}
        assert inventory.questions == [sorted([PHONE, CASE])]
        await cache.write([item(CASE, 2, 0)])
        assert (await cache.read([CASE]))[CASE].qty == 2


async def test_what_is_cached_goes_away_by_itself_within_a_minute(fresh_redis):
    async with (
        opened(fresh_redis) as (cache, _),
        redis.open_redis(fresh_redis) as client,
    ):
        await cache.write([item(PHONE, 5, 7)])
        assert 55 <= await client.ttl(f"avail:{{{PHONE}}}") <= 60


async def test_readers_who_miss_at_once_share_one_question(fresh_redis):
    async with opened(fresh_redis, item(PHONE, 5, 7)) as (cache, inventory):
        answers = await asyncio.gather(*(cache.read([PHONE]) for _ in range(100)))
        assert all(answer[PHONE].qty == 5 for answer in answers)
        assert len(inventory.questions) < 40


async def test_without_redis_inventory_is_asked_every_time():
    async with opened(NOWHERE, item(PHONE, 5, 7)) as (cache, inventory):
        for _ in range(2):
            assert await cache.read([PHONE, CASE]) == {PHONE: item(PHONE, 5, 7)}
        assert len(inventory.questions) == 2
        assert await cache.write([item(PHONE, 4, 8)]) == 0


async def test_without_both_the_reader_hears_of_it_and_gets_what_is_known(fresh_redis):
    async with opened(fresh_redis) as (cache, inventory):
        inventory.is_away = True
        await cache.write([item(PHONE, 5, 7)])
        assert (await cache.read([PHONE]))[PHONE].qty == 5
        with pytest.raises(ConnectionError) as caught:
            await cache.read([PHONE, WATCH])
        assert caught.value.known == {PHONE: item(PHONE, 5, 7)}


async def test_one_product_that_is_no_id_spoils_no_question(fresh_redis):
    async with opened(fresh_redis, item(PHONE, 5, 7)) as (cache, inventory):
        assert set(await cache.read(["../../x\n", PHONE, ""])) == {PHONE}
        assert inventory.questions == [[PHONE]]


async def test_more_products_than_one_question_takes_are_asked_in_parts(fresh_redis):
    many = [ids.product_id(f"case-{number}") for number in range(450)]
    async with opened(fresh_redis, *(item(name, 1, 1) for name in many)) as (cache, inventory):
        assert len(await cache.read(many)) == 450
        assert max(map(len, inventory.questions)) <= 200


async def test_a_redis_that_hangs_costs_a_moment_once(monkeypatch):
    """A port that takes connections and never answers."""
    monkeypatch.setattr(availability.cache, "REDIS_SECONDS", 0.25)
    waiting = asyncio.Event()

    async def hang(_reader, writer):
        await waiting.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with opened(f"redis://127.0.0.1:{port}/0", item(PHONE, 5, 7)) as (cache, _):
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert (await cache.read([PHONE]))[PHONE].qty == 5
        first = loop.time() - began
        assert first < 5
        answers = await asyncio.gather(*(cache.read([PHONE]) for _ in range(50)))
        assert len(answers) == 50
        assert loop.time() - began < 5
    waiting.set()
    server.close()
    await server.wait_closed()
