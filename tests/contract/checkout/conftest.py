"""The shelf's fakes and the real adapters, side by side."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from doorbuster import escrow
from doorbuster.checkout import storage
from doorbuster.kit import database, ids, migrations, redis
from doorbuster.testing.shelf import FakePermits, FakePlacedOrders

PHONE = ids.product_id("phone")


@pytest.fixture(scope="module")
def checkout_dsn(fresh_postgres):
    asyncio.run(migrations.upgrade("doorbuster.checkout", fresh_postgres))
    return fresh_postgres


@pytest.fixture(params=["fake", "postgres"])
async def orders(request, checkout_dsn):
    """An order store."""
    if request.param == "fake":
        yield FakePlacedOrders()
        return
    async with (
        database.open_engine(checkout_dsn) as engine,
        storage.open_orders(engine, asyncio.Event()) as store,
    ):
        yield store


@pytest.fixture(params=["fake", "postgres"])
async def till(request, checkout_dsn):
    """An empty order store, and the discounts in it."""
    if request.param == "fake":
        store = FakePlacedOrders()
        yield store, store.discounts
        return
    async with (
        database.open_engine(checkout_dsn) as engine,
        storage.open_orders(engine, asyncio.Event()) as store,
    ):
        async with engine.begin() as connection:
            await connection.execute(sa.text("TRUNCATE placed_order, discount, discount_use"))
        yield store, storage.PostgresDiscounts(engine)


@pytest.fixture(params=["fake", "redis"])
async def load_permits(request):
    """``await load_permits(units)`` -> permits of one product at epoch 1, its gate open."""
    if request.param == "fake":

        async def load_fake(units):
            permits = FakePermits()
            permits.load(PHONE, epoch=1, permits=units)
            return permits

        yield load_fake
        return
    async with redis.open_redis(request.getfixturevalue("fresh_redis")) as client:
        permits = escrow.Escrow(client)
        now = datetime.now(UTC)  # noqa: TID251 - Redis keeps this gate by the machine's clock

        async def load_real(units):
            gate = escrow.Gate(
                sale_uid="sale",
                open_at_millis=int((now - timedelta(minutes=1)).timestamp() * 1000),
                close_at_millis=int((now + timedelta(minutes=9)).timestamp() * 1000),
                state="Active",
                per_user_limit=10,
            )
            assert await permits.load(PHONE, epoch=1, permits=units, gate=gate)
            return permits

        yield load_real
        await permits.close()
