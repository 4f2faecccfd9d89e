"""Change data capture on the real Connect: repeated, killed in the middle, robbed of its slot, read from the start."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer

from devstack.stack import Stack
from doorbuster.cdc import domain, usecases
from doorbuster.cdc.clients import ConnectClient, open_connect
from doorbuster.cdc.storage import PostgresSlots

WITHIN_SECONDS = 120.0
Rows = dict[str, Any]


@pytest.fixture(scope="module")
def environment(servers: Callable[..., dict[str, str]]) -> dict[str, str]:
    """The addresses, with the connector of inventory registered."""
    return servers("connect", "postgres-schemas", "kafka")


@pytest.fixture
async def connect(environment: dict[str, str]) -> AsyncIterator[ConnectClient]:
    async with open_connect(environment["DOORBUSTER_CONNECT_URL"]) as client:
        await usecases.register(client, inventory(environment))
        await usecases.until_running(client, domain.INVENTORY)
        yield client


@pytest.fixture
async def rows(environment: dict[str, str]) -> AsyncIterator["asyncpg.Connection[Any]"]:
    connection = await asyncpg.connect(environment["DOORBUSTER_INVENTORY_DSN"])
    yield connection
    await connection.close()


def inventory(environment: dict[str, str]) -> domain.Connector:
    made = domain.connectors(
        postgres_dsn=environment["DOORBUSTER_CDC_POSTGRES_DSN"],
        mongo_url="mongodb://nobody@nowhere/",
        partitions=3,  # as the tests of copies want it, which find the topic made
        replication=1,
    )
    return next(connector for connector in made if connector.name == domain.INVENTORY)


async def put(rows: "asyncpg.Connection[Any]", product_id: str, version: int) -> None:
    await rows.execute(
        """INSERT INTO inventory (product_id, sku, available_qty, total_qty, version)
           VALUES ($1, $1, $2::integer, $2::integer, $2::integer)
           ON CONFLICT (product_id) DO UPDATE
              SET available_qty = $2::integer, total_qty = $2::integer, version = $2::integer""",
        product_id,
        version,
    )


@asynccontextmanager
async def topic(environment: dict[str, str]) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        domain.INVENTORY_TOPIC,
        bootstrap_servers=environment["DOORBUSTER_KAFKA_BOOTSTRAP"],
        auto_offset_reset="earliest",
        metadata_max_age_ms=1000,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def read_until(
    consumer: AIOKafkaConsumer, done: Callable[[list[tuple[str, Any]]], bool]
) -> list[tuple[str, Any]]:
    """The records as (product id, row or None) from the topic's start until ``done`` says so."""
    found: list[tuple[str, Any]] = []
    deadline = time.monotonic() + WITHIN_SECONDS
    while not done(found):
        assert time.monotonic() < deadline, f"{len(found)} records: {found[-3:]}"
        for batch in (await consumer.getmany(timeout_ms=200)).values():
            for record in batch:
                product_id = json.loads(record.key)["product_id"]
                found.append((product_id, record.value and json.loads(record.value)))
    return found


def versions(found: list[tuple[str, Any]], product_id: str) -> list[int | None]:
    return [row and row["version"] for name, row in found if name == product_id]


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.2)


async def test_rows_come_flat_and_a_delete_as_a_tombstone(
    connect: ConnectClient, environment: dict[str, str], rows: "asyncpg.Connection[Any]"
) -> None:
    await usecases.register(connect, inventory(environment))  # again: nothing changes
    await usecases.until_running(connect, domain.INVENTORY)
    await put(rows, "flat", 1)
    await put(rows, "flat", 2)
    await rows.execute("DELETE FROM inventory WHERE product_id = 'flat'")
    async with topic(environment) as consumer:
        found = await read_until(consumer, lambda seen: None in versions(seen, "flat"))
    assert versions(found, "flat") == [1, 2, None]
    row = next(row for name, row in found if name == "flat")
    assert (row["available_qty"], row["safety_stock"]) == (1, 0)


async def test_a_connect_killed_amid_changes_loses_none_and_ends_with_the_last(
    connect: ConnectClient,
    environment: dict[str, str],
    rows: "asyncpg.Connection[Any]",
    stack: Stack,
) -> None:
    for version in range(1, 201):
        await put(rows, "storm", version)
        if version == 100:
            await asyncio.to_thread(stack.kill, "connect")
    await asyncio.to_thread(stack.start, "connect")
    async with topic(environment) as consumer:
        found = await read_until(consumer, lambda seen: 200 in versions(seen, "storm"))
    seen = versions(found, "storm")
    assert set(seen) == set(range(1, 201))
    # What was sent before the death and not yet noted may come twice, never in another order.
    firsts = list(dict.fromkeys(seen))
    assert firsts == sorted(firsts, key=lambda version: version or 0)


async def test_a_slot_that_is_gone_is_found_and_everything_is_told_again(
    connect: ConnectClient, environment: dict[str, str], rows: "asyncpg.Connection[Any]"
) -> None:
    slots = PostgresSlots(environment["DOORBUSTER_CDC_POSTGRES_DSN"])
    await put(rows, "robbed", 1)
    await connect.stop(domain.INVENTORY)

    async def is_stopped() -> bool:
        return await usecases.describe(connect, domain.INVENTORY) == "STOPPED"

    await eventually(is_stopped, "the connector stops")
    await slots.drop()
    await put(rows, "robbed", 2)  # nobody keeps this change
    await usecases.Watcher(connect, slots, [inventory(environment)]).step()
    await usecases.until_running(connect, domain.INVENTORY)
    async with topic(environment) as consumer:
        await read_until(consumer, lambda seen: 2 in versions(seen, "robbed"))
        await put(rows, "robbed", 3)
        await read_until(consumer, lambda seen: 3 in versions(seen, "robbed"))
    slot = await slots.find()
    assert slot is not None
    assert slot.wal_status == "reserved"


async def test_a_connector_that_begins_at_zero_tells_what_is(
    connect: ConnectClient, environment: dict[str, str], rows: "asyncpg.Connection[Any]"
) -> None:
    await put(rows, "replayed", 1)
    async with topic(environment) as consumer:
        await read_until(consumer, lambda seen: 1 in versions(seen, "replayed"))
        await usecases.Watcher(
            connect,
            PostgresSlots(environment["DOORBUSTER_CDC_POSTGRES_DSN"]),
            [inventory(environment)],
        )._snapshot_again()
        again = await read_until(consumer, lambda seen: 1 in versions(seen, "replayed"))
    assert versions(again, "replayed") == [1]


def test_the_command_prints_no_secret(environment: dict[str, str]) -> None:
    said = subprocess.run(
        (sys.executable, "-P", "-m", "doorbuster", "cdc", "status"),
        env={**os.environ, **environment, "DOORBUSTER_CDC_MONGO_URL": "mongodb://a:hidden@b/"},
        capture_output=True,
        text=True,
        timeout=WITHIN_SECONDS,
        check=False,
    )
    password = environment["DOORBUSTER_CDC_POSTGRES_DSN"].split(":")[2].split("@")[0]
    text = said.stdout + said.stderr
    assert domain.SLOT in text
    assert password not in text
    assert "hidden" not in text
