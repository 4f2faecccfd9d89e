"""The search service on the real Elasticsearch: filters and pages, a rebuild that is killed, Elasticsearch killed."""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web as aiohttp_web
from aiohttp.test_utils import TestServer
from elasticsearch import AsyncElasticsearch

from devstack.stack import Stack
from doorbuster.contracts import internal
from doorbuster.kit import auth, ids, web
from doorbuster.search import storage
from doorbuster.search.domain import documents
from doorbuster.search.ports import Write
from doorbuster.testing import processes

WITHIN_SECONDS = 300.0  # at load 40 Elasticsearch takes 200 s to start
PRODUCTS = 240
KILLED = 86  # how a process ends at a failpoint


def entry(number: int, *, version: int = 1, title: str = "") -> internal.CatalogueEntry:
    sku = f"lamp-{number}"
    return internal.CatalogueEntry(
        product_id=ids.product_id(sku),
        sku=sku,
        title=title or f"Lamp {number}",
        description="It shines.",
        category="lamps" if number % 2 else "torches",
        keywords=["light"],
        manufacturer="Lux" if number % 3 else "Nox",
        price_minor=1000 + 50 * number,
        currency="EUR",
        thumbnail=None,
        rating=1.0 + number % 5,
        rating_count=3,
        available_qty=number % 4,
        created_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number),
        version=version,
    )


@dataclass
class Product:
    """The catalogue as product tells search."""

    keys: processes.Keys
    entries: list[internal.CatalogueEntry] = field(
        default_factory=lambda: [entry(number) for number in range(PRODUCTS)]
    )

    async def page(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        after, size = request.query.get("after", ""), 100
        rest = sorted(
            (found for found in self.entries if found.product_id > after),
            key=lambda found: found.product_id,
        )
        return web.json_response(
            internal.CataloguePage(
                entries=rest[:size],
                next=rest[size - 1].product_id if len(rest) > size else None,
                total=len(self.entries),
            )
        )

    async def find(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        size = int(request.query["size"])
        matches = internal.CatalogueMatches(entries=self.entries[:size], total=len(self.entries))
        return web.json_response(matches)

    def app(self) -> aiohttp_web.Application:
        routes = [
            web.Route(method="GET", path=path, handler=handler, access=web.callers("search"))
            for path, handler in (
                ("/internal/v1/products", self.page),
                ("/internal/v1/products:find", self.find),
            )
        ]
        verifier = auth.ServiceVerifier("product", self.keys.public)
        return web.create_app(
            routes=routes, errors={}, authenticator=web.Authenticator(services=verifier)
        )


@dataclass
class World:
    product: Product
    env: dict[str, str]
    service: processes.Running
    session: aiohttp.ClientSession

    async def search(self, **query: Any) -> dict[str, Any]:
        status, body = await self.ask(**query)
        assert status == 200, body
        return body

    async def ask(self, **query: Any) -> tuple[int, dict[str, Any]]:
        params = {name: str(value) for name, value in query.items()}
        url = f"{self.service.url}/v1/products/search"
        async with self.session.get(url, params=params) as answer:
            return answer.status, await answer.json(content_type=None)

    async def until(self, what: str, **query: Any) -> dict[str, Any]:
        """The first answer from the index with all products in it."""
        deadline = time.monotonic() + WITHIN_SECONDS
        while True:
            found = await self.search(**query)
            total = found["pagination"]["totalItems"]
            if not found["degraded"] and total == len(self.product.entries):
                return found
            assert time.monotonic() < deadline, f"{what}: {total}, {found['degraded']}"
            await asyncio.sleep(0.2)

    async def reindex(self, **env: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "doorbuster", "search", "reindex"),
            env={**os.environ, **self.env, **env},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), WITHIN_SECONDS)
        return process.returncode or 0, (out + err).decode()


@pytest.fixture
async def world(elasticsearch_url: str, tmp_path: Path) -> AsyncIterator[World]:
    keys = processes.Keys(tmp_path / "keys", ("search", "product"))
    product = Product(keys)
    server = TestServer(product.app())
    await server.start_server()
    nobody = "http://127.0.0.1:9"
    env = {
        "DOORBUSTER_ELASTICSEARCH_URL": elasticsearch_url,
        "DOORBUSTER_KAFKA_BOOTSTRAP": "127.0.0.1:9",
        "DOORBUSTER_REDIS_URL": "redis://127.0.0.1:9/0",
        "DOORBUSTER_INVENTORY_URLS": nobody,
        "DOORBUSTER_PRODUCT_URLS": str(server.make_url("/")),
        "DOORBUSTER_CDN_URL": nobody,
        "DOORBUSTER_SEARCH_TIMEOUT_SECONDS": "20",
        **keys.env("search"),
    }
    async with (
        processes.running("search", env, tmp_path / "search.log") as service,
        aiohttp.ClientSession() as session,
    ):
        yield World(product, env, service, session)
    await server.close()


async def _check_filters_and_facets(world: World) -> None:
    found = await world.search(category="lamps", manufacturer="Nox", size=100)
    wanted = {
        p.title for p in world.product.entries if (p.category, p.manufacturer) == ("lamps", "Nox")
    }
    assert {card["title"] for card in found["products"]} == wanted
    counts = {value["value"]: value["count"] for value in found["facets"]["categories"]}
    assert counts == {"lamps": 40, "torches": 40}  # without its own filter, with the other's
    found = await world.search(minPrice="20.00", maxPrice="20.50", currency="EUR")
    assert sorted(card["price"] for card in found["products"]) == [20.0, 20.5]
    assert (await world.search(currency="USD"))["pagination"]["totalItems"] == 0
    found = await world.search(available="true", size=1)
    assert found["pagination"]["totalItems"] == found["facets"]["available"] == 180
    assert (await world.search(minRating=5, size=1))["pagination"]["totalItems"] == 48


async def _check_pages(world: World) -> None:
    for sort in ("price_desc", "rating", "newest", "relevance"):
        paged = [
            card["productId"]
            for page in (1, 2, 3)
            for card in (await world.search(term="lamp", sort=sort, page=page, size=80))[
                "products"
            ]
        ]
        assert len(set(paged)) == PRODUCTS
        walked: list[str] = []
        cursor: dict[str, str] = {}
        for _ in range(3):
            found = await world.search(term="lamp", sort=sort, size=80, **cursor)
            walked += [card["productId"] for card in found["products"]]
            cursor = {"cursor": found.get("nextCursor") or ""}
        assert walked == paged
        assert cursor == {"cursor": ""}
    status, problem = await world.ask(page=501, size=20)
    assert (status, problem["code"]) == (422, "PAGE_TOO_DEEP")
    status, problem = await world.ask(cursor="bm9uc2Vuc2U")
    assert (status, problem["code"]) == (422, "INVALID")


async def test_the_first_index_is_filled_filtered_and_paged(world: World) -> None:
    found = await world.until("the first index is filled", size=1)
    assert found["pagination"]["totalPages"] == PRODUCTS
    await _check_filters_and_facets(world)
    await _check_pages(world)
    for odd in ("'\"\\", "((", "*", "\ud83d\ude00", "a" * 200, "AND OR NOT", "-", "%"):
        assert (await world.ask(term=odd))[0] == 200


async def test_a_rebuild_killed_in_the_middle_leaves_the_old_index_and_the_next_cleans_up(
    world: World,
) -> None:
    await world.until("the first index is filled", size=1)
    world.product.entries[0] = entry(0, version=2, title="Chandelier")
    for point in ("search.reindex.page", "search.reindex.filled"):
        status, _ = await world.reindex(DOORBUSTER_FAILPOINTS=point)
        assert status == KILLED
        found = await world.search(term="chandelier")
        assert found["products"] == []
    status, said = await world.reindex()
    assert status == 0, said
    assert f"{PRODUCTS} of {PRODUCTS} products" in said
    assert (await world.search(term="chandelier"))["products"]
    async with AsyncElasticsearch(world.env["DOORBUSTER_ELASTICSEARCH_URL"]) as client:
        names = await client.indices.get(index="products-*", features="aliases")
    assert [list(index["aliases"]) for index in names.body.values()] == [["products"]]


async def test_a_killed_elasticsearch_means_degraded_answers_until_it_is_back(
    world: World, stack: Stack
) -> None:
    await world.until("the first index is filled", size=1)
    await asyncio.to_thread(stack.kill, "elasticsearch")
    took, yardstick = [], []
    for _ in range(21):
        started = time.monotonic()
        found = await world.search(term="lamp", size=5)
        took.append(time.monotonic() - started)
        assert found["degraded"]
        assert len(found["products"]) == 5
        started = time.monotonic()
        status, _ = await world.ask(page=501, size=20)  # the same process, and nobody is asked
        yardstick.append(time.monotonic() - started)
        assert status == 422
    # What a call takes that asks nobody is the machine's; a degraded search is four of them, and its own 200 ms.
    assert statistics.median(took) < 0.2 + 4 * statistics.median(yardstick), (took, yardstick)
    await asyncio.to_thread(stack.start, "elasticsearch")
    await world.until("it is back by itself", size=1)


async def test_old_and_repeated_writes_are_left_out_by_elasticsearch_itself(world: World) -> None:
    await world.until("the first index is filled", size=1)
    url = world.env["DOORBUSTER_ELASTICSEARCH_URL"]
    newer, older = entry(1, version=5, title="Newer"), entry(1, version=4, title="Older")
    async with storage.open_index(url, search_seconds=20.0) as index:
        for one, written in ((newer, 1), (older, 0), (newer, 0)):
            write = Write(
                product_id=one.product_id, version=one.version, document=documents.document(one)
            )
            assert await index.write(documents.ALIAS, [write]) == written
        grave = Write(
            product_id=newer.product_id, version=6, document=documents.stub(newer.product_id)
        )
        assert await index.write(documents.ALIAS, [grave]) == 1
        assert await index.write(documents.ALIAS, [write]) == 0
        assert await index.write(documents.NEXT_ALIAS, [write]) == 0  # nothing is being built
        assert await index.versions(documents.ALIAS, [newer.product_id]) == {newer.product_id: 6}
        await index.mark_filled(documents.ALIAS)  # which makes all of it visible
        living = sorted(found.product_id for found in world.product.entries)
        living.remove(newer.product_id)
        assert await index.living(after="", limit=100) == living[:100]
        assert await index.living(after=living[99], limit=PRODUCTS) == living[100:]
