"""``make bench-product``: the details of products under 50 readers, and whole words among 100,000 products.

One product service as a process on a real MongoDB and Redis; inventory and user are in this process and answer at
once. At the end a search service whose Elasticsearch is dead: what buyers wait for then. Prints median and p99 of
several rounds, which shows how much the machine's other work moves them.
"""

import argparse
import asyncio
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path

import aiohttp
from aiohttp import web as aiohttp_web
from aiohttp.test_utils import TestServer

from devstack.stack import Stack
from doorbuster.contracts import internal
from doorbuster.kit import clock, ids, mongo, web
from doorbuster.product.domain.products import Product, new_product
from doorbuster.product.storage import MongoProductStore, prepare
from doorbuster.testing import catalogue, processes

READERS = 50
NOBODY = "http://127.0.0.1:9"
ROUNDS = 5
ROUND_SECONDS = 6.0
BATCH = 2_000
COLOURS = "red blue green black white silver golden brown".split()
THINGS = "lamp chair phone kettle camera desk jacket drill speaker tent".split()


def product(number: int) -> Product:
    """Return the numbered product: common words and a rare one."""
    dice = random.Random(number)
    draft = catalogue.draft(
        f"bench-{number}",
        title=f"{dice.choice(COLOURS)} {dice.choice(THINGS)} m{number}",
        description="It does what it should. " * dice.randint(2, 30),
        category=dice.choice(THINGS),
        price=Decimal(dice.randint(100, 99_999)) / 100,
    )
    return new_product(draft, clock.utc_now())


def neighbours(keys: processes.Keys) -> aiohttp_web.Application:
    """Return inventory and user in one."""

    async def sales(_request: aiohttp_web.Request) -> aiohttp_web.Response:
        return web.json_response(internal.Sales(sales=[], server_time=clock.utc_now()))

    async def stock(request: aiohttp_web.Request) -> aiohttp_web.Response:
        asked = await web.read_json(request, internal.ProductIds)
        items = [internal.Availability(product_id=name, qty=5, version=1) for name in asked.ids]
        return web.json_response(internal.Availabilities(items=items))

    async def jwks(_request: aiohttp_web.Request) -> aiohttp_web.Response:
        return aiohttp_web.Response(body=keys.jwks(), content_type="application/json")

    app = aiohttp_web.Application()
    app.router.add_get("/internal/v1/sales", sales)
    app.router.add_post("/internal/v1/availability", stock)
    app.router.add_get("/.well-known/jwks.json", jwks)
    return app


async def measure(call: Callable[[], Awaitable[int]], readers: int) -> tuple[list[float], int]:
    """Let readers call for a round; return the seconds of each call, sorted, and how many failed."""
    took: list[float] = []
    failed = 0
    until = time.monotonic() + ROUND_SECONDS

    async def read() -> None:
        nonlocal failed
        while (started := time.monotonic()) < until:
            failed += await call() != 200
            took.append(time.monotonic() - started)

    await asyncio.gather(*(read() for _ in range(readers)))
    return sorted(took), failed


async def report(name: str, call: Callable[[], Awaitable[int]], readers: int) -> None:
    """Measure some rounds and print them."""
    medians, tails = [], []
    for _ in range(ROUNDS):
        took, failed = await measure(call, readers)
        medians.append(1000 * statistics.median(took))
        tails.append(1000 * took[math.ceil(0.99 * len(took)) - 1])
        rate = len(took) / ROUND_SECONDS
        say(
            f"  {rate:7.0f}/s  median {medians[-1]:6.1f} ms  p99 {tails[-1]:6.1f} ms  failed {failed}"
        )
    say(
        f"{name}, {readers} readers: median {min(medians):.1f} to {max(medians):.1f} ms,"
        f" p99 {min(tails):.1f} to {max(tails):.1f} ms (load {os.getloadavg()[0]:.1f})"
    )


async def run(env: dict[str, str], products: int) -> None:
    async with AsyncExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        database = await opened.enter_async_context(
            mongo.open_database(env["DOORBUSTER_MONGO_URL"], default="product")
        )
        await prepare(database)
        store = MongoProductStore(database)
        started = time.monotonic()
        for start in range(0, products, BATCH):
            numbers = range(start, min(start + BATCH, products))
            await store.add_many([product(number) for number in numbers])
        say(f"{products} products in {time.monotonic() - started:.0f} s")
        keys = processes.Keys(folder / "keys", ("product", "inventory", "user", "search"))
        others = TestServer(neighbours(keys))
        await others.start_server()
        opened.push_async_callback(others.close)
        settings = {
            **env,
            **keys.env("product"),
            "DOORBUSTER_INVENTORY_URLS": str(others.make_url("/")),
            "DOORBUSTER_USER_URLS": str(others.make_url("/")),
        }
        service = await opened.enter_async_context(
            processes.running("product", settings, folder / "log")
        )
        connector = aiohttp.TCPConnector(limit=0)
        session = await opened.enter_async_context(aiohttp.ClientSession(connector=connector))
        headers = keys.as_service("search", "product")

        async def details() -> int:
            name = ids.product_id(f"bench-{random.randrange(products)}")
            async with session.get(f"{service.url}/v1/products/{name}") as answer:
                await answer.read()
                return answer.status

        async def find() -> int:
            words = [random.choice(COLOURS), random.choice(THINGS)]
            if random.random() < 0.3:
                words.append(f"m{random.randrange(products)}")
            term = "+".join(words)
            url = f"{service.url}/internal/v1/products:find?term={term}&sort=price_asc"
            async with session.get(url, headers=headers) as answer:
                await answer.read()
                return answer.status

        await report("details", details, READERS)
        await report("whole words", find, 1)
        await report("whole words", find, 10)
        without_index = settings | keys.env("search")
        without_index["DOORBUSTER_PRODUCT_URLS"] = service.url
        without_index["DOORBUSTER_ELASTICSEARCH_URL"] = NOBODY
        searching = await opened.enter_async_context(
            processes.running("search", without_index, folder / "search.log")
        )

        async def search() -> int:
            words = [random.choice(COLOURS), random.choice(THINGS)]
            url = f"{searching.url}/v1/products/search?term={'+'.join(words)}"
            async with session.get(url) as answer:
                body = await answer.read()
                return answer.status if b'"degraded":true' in body else 0

        await report("degraded search", search, 1)
        await report("degraded search", search, 10)


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=100_000)
    products: int = parser.parse_args().products
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        stack = Stack(Path(folder) / "stack", public_port=0)
        try:
            stack.up(only=("mongo", "redis", "kafka", "s3", "cdn"))
            asyncio.run(run(stack.env(), products))
        finally:
            stack.down(forget=True)


if __name__ == "__main__":
    main()
