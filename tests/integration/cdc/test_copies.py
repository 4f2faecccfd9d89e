"""Both legs of the capture with several copies of product and search: one of each is killed, and the slot is lost."""

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from elasticsearch import AsyncElasticsearch

from devstack.servers import postgres
from devstack.stack import Stack
from doorbuster.cdc import app as watch
from doorbuster.cdc.storage import PostgresSlots
from doorbuster.kit import clock, mongo
from doorbuster.product.domain.products import Product, content_of, new_product
from doorbuster.product.storage import MongoProductStore, prepare
from doorbuster.testing import catalogue, processes

WITHIN_SECONDS = 120.0
PRODUCTS = 24
ROUNDS = 15
DIE_AT, RETURN_AT = 4, 9
NOBODY = "http://127.0.0.1:9"
SERVICES = ("product", "search", "inventory", "user", "cart", "checkout")
INDEX = "products"


async def eventually(condition: Callable[[], Awaitable[Any]], what: str) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.2)


@dataclass
class Shop:
    """The stores at both ends of the capture, and the products of one test."""

    env: dict[str, str]
    keys: processes.Keys
    folder: Path
    rows: "asyncpg.Connection[Any]"
    store: MongoProductStore
    index: AsyncElasticsearch
    session: aiohttp.ClientSession
    products: dict[str, Product] = field(default_factory=dict)
    urls: list[str] = field(default_factory=list)

    def process(self, name: str, copy: int) -> Any:
        """Return a context with a copy of a service that is a process of its own."""
        places = {"DOORBUSTER_PRODUCT_URLS": ",".join(self.urls or [NOBODY])}
        log = self.folder / f"{name}-{copy}.log"
        return processes.running(name, {**self.env, **places, **self.keys.env(name)}, log)

    async def open(self, count: int) -> None:
        """Make products with one unit each."""
        mark = secrets.token_hex(4)
        for number in range(count):
            draft = catalogue.draft(f"copies-{mark}-{number}")
            product = await self.store.add(new_product(draft, clock.utc_now()))
            self.products[product.product_id] = product
        await self.stock(1)

    async def stock(self, version: int) -> None:
        """Have as many units of everything as this version says."""
        await self.rows.executemany(
            """INSERT INTO inventory (product_id, sku, available_qty, total_qty, version)
               VALUES ($1, $1, $2::integer, $2::integer, $2::integer)
               ON CONFLICT (product_id) DO UPDATE
                  SET available_qty = $2::integer, total_qty = $2::integer, version = $2::integer""",
            [(name, version) for name in self.products],
        )

    async def rename(self, name: str, title: str, expected: int) -> None:
        """Edit a product as a merchant does."""
        words = content_of(catalogue.draft(title=title, price=Decimal("21.50")))
        await self.store.replace(name, words, expected=expected, now=clock.utc_now())

    async def stored(self) -> list[Product]:
        return await self.store.find_many(list(self.products))

    async def indexed(self) -> dict[str, tuple[int, dict[str, Any]]]:
        """The documents of the index with their versions, as they are now."""
        if not await self.index.indices.exists_alias(name=INDEX):
            return {}
        answer = await self.index.mget(index=INDEX, ids=list(self.products))
        return {
            found["_id"]: (found["_version"], found["_source"])
            for found in answer["docs"]
            if found.get("found")
        }

    async def handled(self, copy: processes.Running, group: str) -> float:
        """How many records of a group this copy has had."""
        async with self.session.get(f"{copy.admin_url}/metrics") as answer:
            said = await answer.text()
        found = re.search(rf'doorbuster_consumer_handled_total{{group="{group}"}} (\S+)', said)
        return float(found[1]) if found else 0.0


@pytest.fixture
async def shop(servers: Callable[..., dict[str, str]], tmp_path: Path) -> AsyncIterator[Shop]:
    env = servers("connectors", "elasticsearch", "redis", "s3", "cdn")
    keys = processes.Keys(tmp_path / "keys", SERVICES)
    away = {f"DOORBUSTER_{name}_URLS": NOBODY for name in ("INVENTORY", "USER")}
    async with AsyncExitStack() as opened:
        rows = await asyncpg.connect(env["DOORBUSTER_INVENTORY_DSN"])
        database = await opened.enter_async_context(
            mongo.open_database(env["DOORBUSTER_MONGO_URL"], default="product")
        )
        await prepare(database)
        index = await opened.enter_async_context(
            AsyncElasticsearch(env["DOORBUSTER_ELASTICSEARCH_URL"], request_timeout=60)
        )
        session = await opened.enter_async_context(aiohttp.ClientSession())
        store = MongoProductStore(database)
        made = Shop({**env, **away}, keys, tmp_path, rows, store, index, session)
        yield made
        await made.rows.close()  # maybe another one than at first


@dataclass
class Watch:
    """Looks again and again, and remembers every number that went back."""

    shop: Shop
    went_back: list[str] = field(default_factory=list)
    looks: int = 0
    _seen: dict[tuple[str, str], int] = field(default_factory=dict)

    async def look(self) -> None:
        for product in await self.shop.stored():
            self._see(product.product_id, "stock", product.stock_version)
            self._see(product.product_id, "document", product.version)
        for name, (version, document) in (await self.shop.indexed()).items():
            self._see(name, "index", version)
            if not document.get("gone"):
                self._see(name, "units in the index", document["available_qty"] or 0)
        self.looks += 1

    def _see(self, name: str, what: str, number: int) -> None:
        if number < self._seen.get((name, what), number):
            self.went_back.append(f"{what} of {name}: {number}")
        self._seen[name, what] = number


async def test_one_copy_of_each_is_killed_amid_changes_and_comes_back(shop: Shop) -> None:
    await shop.open(PRODUCTS)
    watch = Watch(shop)
    async with AsyncExitStack() as opened:
        copies: dict[str, list[processes.Running]] = {}
        for name in ("product", "search"):
            copies[name] = [
                await opened.enter_async_context(shop.process(name, copy)) for copy in (0, 1)
            ]
            shop.urls = [copy.url for copy in copies["product"]]

        async def has_begun() -> bool:
            found = await shop.indexed()
            return [document["available_qty"] for _, document in found.values()] == [1] * PRODUCTS

        await eventually(has_begun, "the first unit of each in the index")
        version = await _until_shared(shop, copies)
        first = version + 1
        for version in range(first, first + ROUNDS):
            await shop.stock(version)
            for number, name in enumerate(shop.products):
                if number % 3 == 0:
                    await shop.rename(name, f"Lamp {version}", version - first + 1)
            await watch.look()
            if version == first + DIE_AT:
                await asyncio.gather(copies["product"][1].kill(), copies["search"][1].kill())
            if version == first + RETURN_AT:
                for name in copies:
                    await opened.enter_async_context(shop.process(name, 2))
        buried = next(iter(shop.products))
        await shop.store.remove(buried, expected=1 + ROUNDS, now=clock.utc_now())

        async def all_there() -> bool:
            await watch.look()
            stored = {product.product_id: product for product in await shop.stored()}
            found = await shop.indexed()
            return all(
                found[name][1].get("gone")
                if name == buried
                else found[name][0] == stored[name].version
                and stored[name].stock_version == version
                for name in shop.products
            )

        await eventually(all_there, "the last change of each in the index")
        assert watch.went_back == []
        assert watch.looks > ROUNDS
        found = await shop.indexed()
        stored = await shop.stored()
        assert len(stored) == PRODUCTS - 1
        for product in stored:
            edits = ROUNDS if list(shop.products).index(product.product_id) % 3 == 0 else 0
            document = found[product.product_id][1]
            assert document["available_qty"] == product.available_qty == version
            assert product.content_version == 1 + edits
            assert document["title"] == (f"Lamp {version}" if edits else "Desk lamp")
            # A change that counted twice would have made one version too many.
            assert product.version <= version + edits + 1


async def _until_shared(shop: Shop, copies: dict[str, list[processes.Running]]) -> int:
    """Change stock until every copy has had some of it; returns the last version."""
    groups = {"product": "product.stock", "search": "search.products"}
    version = 1
    deadline = time.monotonic() + WITHIN_SECONDS
    while True:
        had = [
            await shop.handled(copy, groups[name])
            for name, both in copies.items()
            for copy in both
        ]
        if all(had):
            return version
        assert time.monotonic() < deadline, f"the copies share nothing: {had}"
        version += 1
        await shop.stock(version)
        await asyncio.sleep(0.5)


async def test_a_slot_lost_by_its_size_is_found_and_every_quantity_is_right_again(
    shop: Shop, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.open(PRODUCTS)
    slots = PostgresSlots(shop.env["DOORBUSTER_CDC_POSTGRES_DSN"])
    kept = postgres.SETTINGS["max_slot_wal_keep_size"]

    async def has(version: int) -> bool:
        return {product.available_qty for product in await shop.stored()} == {version}

    async with shop.process("product", 0):
        await eventually(lambda: has(1), "the first unit of each")
        await asyncio.to_thread(stack.kill, "connect")
        await _restart_postgres(shop, stack, monkeypatch, keep="16MB")
        try:
            await shop.stock(2)  # which nobody will ever read from the WAL
            await _write_wal(shop)
            slot = await slots.find()
            assert slot is not None
            assert slot.wal_status == "lost"
            await asyncio.to_thread(stack.start, "connect")
            for name in ("CONNECT_URL", "CDC_POSTGRES_DSN", "CDC_MONGO_URL"):
                monkeypatch.setenv(f"DOORBUSTER_{name}", shop.env[f"DOORBUSTER_{name}"])
            async with watch.build():
                await eventually(lambda: has(2), "what was changed while nobody kept it")
                await shop.stock(3)
                await eventually(lambda: has(3), "what is changed afterwards")
            slot = await slots.find()
            assert slot is not None
            assert (slot.wal_status, slot.is_active) == ("reserved", True)
        finally:
            await _restart_postgres(shop, stack, monkeypatch, keep=kept)


async def _restart_postgres(
    shop: Shop, stack: Stack, monkeypatch: pytest.MonkeyPatch, *, keep: str
) -> None:
    """Start it again with another bound on what a slot may keep."""
    await shop.rows.close()
    monkeypatch.setitem(postgres.SETTINGS, "max_slot_wal_keep_size", keep)
    await asyncio.to_thread(stack.restart, "postgres")
    shop.rows = await asyncpg.connect(shop.env["DOORBUSTER_INVENTORY_DSN"])


async def _write_wal(shop: Shop) -> None:
    """Fill more segments than may be kept; the checkpoint takes them away."""
    admin = await asyncpg.connect(shop.env["DOORBUSTER_POSTGRES_ADMIN_DSN"])
    try:
        for _ in range(6):
            await admin.execute("SELECT pg_logical_emit_message(false, 'filler', 'x')")
            await admin.execute("SELECT pg_switch_wal()")
        await admin.execute("CHECKPOINT")
    finally:
        await admin.close()
