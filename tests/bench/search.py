"""``make bench-search``: 50 concurrent users search among 100,000 products of the generator.

One search service as a process on a real Elasticsearch and Redis; inventory is in this process and answers at once. A
user types, looks at what he got for ``--think`` seconds on average (0: he never pauses) and goes on. Prints median and
p99 of several rounds, which shows how much the machine's other work moves them.
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
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
from aiohttp import web as aiohttp_web
from aiohttp.test_utils import TestServer

from devstack.seeds import generator, store
from devstack.stack import Stack
from doorbuster.contracts import internal
from doorbuster.kit import clock, web
from doorbuster.product.domain.products import Shelf
from doorbuster.search import storage
from doorbuster.search.domain import documents
from doorbuster.search.ports import Write
from doorbuster.testing import processes

USERS = 50
ROUNDS = 4
ROUND_SECONDS = 15.0
WARM_SECONDS = 10.0
BATCH = 1_000
SORTS = ("relevance",) * 7 + ("price_asc", "rating", "newest")


def neighbours() -> aiohttp_web.Application:
    """Return inventory, which knows no sale and five units of everything; nobody needs product."""

    async def sales(_request: aiohttp_web.Request) -> aiohttp_web.Response:
        return web.json_response(internal.Sales(sales=[], server_time=clock.utc_now()))

    async def stock(request: aiohttp_web.Request) -> aiohttp_web.Response:
        asked = await web.read_json(request, internal.ProductIds)
        items = [internal.Availability(product_id=name, qty=5, version=1) for name in asked.ids]
        return web.json_response(internal.Availabilities(items=items))

    app = aiohttp_web.Application()
    app.router.add_get("/internal/v1/sales", sales)
    app.router.add_post("/internal/v1/availability", stock)
    return app


async def fill(index: storage.ElasticsearchIndex, products: int) -> list[tuple[str, str]]:
    """Index the generator's products; returns some titles with their categories, to be looked for."""
    await index.ensure()
    shelf, now = Shelf("http://cdn.example"), clock.utc_now()
    known: list[tuple[str, str]] = []
    for first in range(0, products, BATCH):
        writes = []
        for seed in generator.seeds(min(BATCH, products - first), first=first):
            entry = shelf.entry(store.product_of(seed, now))
            writes.append(
                Write(product_id=entry.product_id, version=1, document=documents.document(entry))
            )
            if len(writes) <= 5:
                known.append((entry.title, entry.category))
        await index.write(documents.ALIAS, writes)
    await index.mark_filled(documents.ALIAS)
    return known


def query(known: list[tuple[str, str]]) -> dict[str, str]:
    """Draw what a user asks: whole words, beginnings, mistakes, categories, filters, later pages."""
    title, category = random.choice(known)
    words = title.split()
    kind = random.random()
    asked = {"sort": random.choice(SORTS)}
    if kind < 0.35:
        asked["term"] = " ".join(random.sample(words, min(2, len(words))))
    elif kind < 0.6:
        word = random.choice(words)
        asked["term"] = word[: max(2, len(word) - random.randint(0, 3))]
    elif kind < 0.7:
        asked["term"] = title
    elif kind < 0.8:
        word = max(words, key=len)
        asked["term"] = word[:2] + word[3:]  # a letter is missing
    else:
        asked["category"] = category
    if random.random() < 0.2:
        asked |= {"minPrice": "20", "maxPrice": "200"}
    if random.random() < 0.15:
        asked["available"] = "true"
    if random.random() < 0.15:
        asked["page"] = str(random.randint(2, 5))
    return asked


class Crowd:
    """Users of one service; ``took`` has the seconds of each answer."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, known: list[tuple[str, str]], think: float
    ) -> None:
        self._session, self._url, self._known, self._think = session, url, known, think
        self.took: list[float] = []
        self.failed = 0

    async def play(self, seconds: float) -> None:
        """Search for a while; answers that are degraded count as failed."""
        self.took, self.failed = [], 0
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._use(until) for _ in range(USERS)))
        self.took.sort()

    async def _use(self, until: float) -> None:
        await asyncio.sleep(random.random() * self._think)
        while (started := time.monotonic()) < until:
            async with self._session.get(
                f"{self._url}/v1/products/search", params=query(self._known)
            ) as answer:
                body = await answer.read()
            self.took.append(time.monotonic() - started)
            self.failed += answer.status != 200 or b'"degraded":true' in body
            await asyncio.sleep(random.uniform(0.5, 1.5) * self._think)


async def run(env: dict[str, str], products: int, think: float) -> None:
    async with AsyncExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        index = await opened.enter_async_context(
            storage.open_index(env["DOORBUSTER_ELASTICSEARCH_URL"])
        )
        started = time.monotonic()
        known = await fill(index, products)
        say(f"{products} products in {time.monotonic() - started:.0f} s")
        keys = processes.Keys(folder / "keys", ("search", "inventory"))
        others = TestServer(neighbours())
        await others.start_server()
        opened.push_async_callback(others.close)
        settings = {
            **env,
            **keys.env("search"),
            "DOORBUSTER_KAFKA_BOOTSTRAP": "127.0.0.1:9",
            "DOORBUSTER_CDN_URL": "http://cdn.example",
            "DOORBUSTER_PRODUCT_URLS": "http://127.0.0.1:9",
            "DOORBUSTER_INVENTORY_URLS": str(others.make_url("/")),
        }
        service = await opened.enter_async_context(
            processes.running("search", settings, folder / "log")
        )
        connector = aiohttp.TCPConnector(limit=0)
        session = await opened.enter_async_context(aiohttp.ClientSession(connector=connector))
        crowd = Crowd(session, service.url, known, think)
        await crowd.play(WARM_SECONDS)
        medians, tails = [], []
        for _ in range(ROUNDS):
            await crowd.play(ROUND_SECONDS)
            medians.append(1000 * statistics.median(crowd.took))
            tails.append(1000 * crowd.took[math.ceil(0.99 * len(crowd.took)) - 1])
            say(
                f"  {len(crowd.took) / ROUND_SECONDS:6.0f}/s  median {medians[-1]:6.1f} ms"
                f"  p99 {tails[-1]:6.1f} ms  failed {crowd.failed}"
            )
        say(
            f"{USERS} users, {think:g} s between searches: median {min(medians):.1f} to"
            f" {max(medians):.1f} ms, p99 {min(tails):.1f} to {max(tails):.1f} ms"
            f" (load {os.getloadavg()[0]:.1f})"
        )


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--think", type=float, default=1.0)
    arguments = parser.parse_args()
    # The stack's JVM compiles quickly, for short lives; a server that stays compiles well.
    os.environ.setdefault("ES_JAVA_OPTS", "-XX:TieredStopAtLevel=4")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        stack = Stack(Path(folder) / "stack", public_port=0)
        try:
            stack.up(only=("elasticsearch", "redis"))
            asyncio.run(run(stack.env(), arguments.products, arguments.think))
        finally:
            stack.down(forget=True)


if __name__ == "__main__":
    main()
