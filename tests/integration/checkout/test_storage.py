"""The store and its outbox move together, also between copies that store the same orders."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import asyncpg
import pytest
import sqlalchemy as sa

from doorbuster.checkout import storage
from doorbuster.checkout.domain.orders import StoredOrder
from doorbuster.contracts import events, internal
from doorbuster.kit import database, ids, migrations, process

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def order(number):
    line = events.Line(product_id=ids.product_id("phone"), quantity=1, price_minor=1)
    return StoredOrder(
        order=internal.PlacedOrder(
            order_id=ids.order_id("user_1", f"{number}"),
            user_id="user_1",
            lines=[line],
            amount_minor=1,
            currency="EUR",
            pay_by=NOW,
            placed_at=NOW,
            topic="orders",
        ),
        request_hash="a" * 64,
    )


async def test_copies_that_store_the_same_orders_agree_and_announce_each_once(checkout_dsn):
    async with AsyncExitStack() as opened:
        wake = asyncio.Event()
        stores = [
            await opened.enter_async_context(
                storage.open_orders(
                    await opened.enter_async_context(database.open_engine(checkout_dsn)), wake
                )
            )
            for _ in range(3)
        ]
        mixed = [order(number % 100) for number in range(300)]
        answers = await asyncio.gather(
            *(store.place(one) for store in stores for one in reversed(mixed))
        )
        assert len({answer.order.order_id for answer in answers}) == 100
        assert wake.is_set()
    connection = await asyncpg.connect(checkout_dsn)
    try:
        assert await connection.fetchval("SELECT count(*) FROM placed_order") == 100
        keys = await connection.fetch("SELECT event_key FROM outbox")
    finally:
        await connection.close()
    assert len(keys) == len({row["event_key"] for row in keys}) == 100


async def test_an_order_whose_event_cannot_be_written_is_not_stored(checkout_dsn):
    async with (
        database.open_engine(checkout_dsn) as engine,
        storage.open_orders(engine, asyncio.Event()) as store,
    ):
        async with engine.begin() as connection:
            await connection.execute(sa.text("ALTER TABLE outbox ADD CHECK (event_key = '')"))
        try:
            with pytest.raises(sa.exc.IntegrityError):
                await store.place(order(1))
            assert await store.find(order(1).order.order_id) is None
        finally:
            async with engine.begin() as connection:
                await connection.execute(
                    sa.text("ALTER TABLE outbox DROP CONSTRAINT outbox_event_key_check")
                )


async def test_migrating_again_changes_nothing(checkout_dsn):
    await migrations.upgrade("doorbuster.checkout", checkout_dsn)
    async with database.open_engine(checkout_dsn) as engine:
        await migrations.require_current(engine, "doorbuster.checkout")
        tables = storage.METADATA.tables
        async with engine.connect() as connection:
            found = await connection.run_sync(
                lambda sync: {
                    name: [column["name"] for column in sa.inspect(sync).get_columns(name)]
                    for name in tables
                }
            )
    assert found == {name: list(table.c.keys()) for name, table in tables.items()}


async def test_a_newer_schema_is_left_alone_and_served(checkout_dsn):
    """As after a rollback, and while an upgrade has migrated but not rolled every copy yet."""
    head = migrations.head("doorbuster.checkout")
    async with database.open_engine(checkout_dsn) as engine:

        async def set_version(version):
            async with engine.begin() as connection:
                await connection.execute(
                    sa.text("UPDATE alembic_version SET version_num = :version"),
                    {"version": version},
                )

        await set_version("9999")
        try:
            await migrations.require_current(engine, "doorbuster.checkout")
            await migrations.upgrade("doorbuster.checkout", checkout_dsn)
            async with engine.connect() as connection:
                found = await connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            assert found == "9999"
        finally:
            await set_version(head)


async def test_an_old_schema_is_refused_at_the_start(checkout_dsn):
    async with database.open_engine(checkout_dsn) as engine:
        async with engine.begin() as connection:
            await connection.execute(sa.text("UPDATE alembic_version SET version_num = '0000'"))
        try:
            with pytest.raises(process.StartError, match="doorbuster migrate checkout"):
                await migrations.require_current(engine, "doorbuster.checkout")
        finally:
            async with engine.begin() as connection:
                await connection.execute(
                    sa.text("UPDATE alembic_version SET version_num = '0002'")
                )
