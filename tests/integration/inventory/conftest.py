"""A migrated inventory database, a Redis, and the parts of the service wired as in app.py, without its loops."""

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from redis.asyncio import Redis

from doorbuster import availability
from doorbuster.contracts import control, internal
from doorbuster.escrow import Escrow, Permit, PermitRequest
from doorbuster.inventory.storage import ControlStore, Ledger, StockStore, open_database
from doorbuster.inventory.usecases.availability import AvailabilityWriter, SaleTurns
from doorbuster.inventory.usecases.control import ControlRoom, StockDesk
from doorbuster.inventory.usecases.pay import Payments
from doorbuster.inventory.usecases.reap import HoldReaper, PermitReaper, ReturnWorker
from doorbuster.inventory.usecases.reserve import Reserver
from doorbuster.inventory.usecases.warm import Reconciler, Warmer
from doorbuster.kit import ids, migrations, redis

_names = itertools.count(1)


@pytest.fixture(scope="module")
def inventory_dsn(fresh_postgres: str) -> str:
    """The DSN of a database with the schema of inventory."""
    asyncio.run(migrations.upgrade("doorbuster.inventory", fresh_postgres))
    return fresh_postgres


@dataclasses.dataclass(kw_only=True)
class Shop:
    """The parts of the service, and the few words the tests speak."""

    dsn: str
    ledger: Ledger
    stock: StockStore
    store: ControlStore
    escrow: Escrow
    warmer: Warmer
    reserver: Reserver
    payments: Payments
    holds: HoldReaper
    permits: PermitReaper
    returns: ReturnWorker
    reconciler: Reconciler
    room: ControlRoom
    desk: StockDesk
    cache: availability.AvailabilityCache
    writer: AvailabilityWriter
    turns: SaleTurns
    redis_client: Redis
    fence: int = 0

    async def pool(self, sku: str, capacity: int, **changes: Any) -> control.PoolState:
        """Set the stock of a sku."""
        spec = control.PoolSpec(
            capacity=capacity, owner_uid="pool-1", generation=1, fence=self.fence
        )
        return await self.room.put_pool(sku, msgspec.structs.replace(spec, **changes))

    async def sale(self, sku: str, uid: str = "", **changes: Any) -> control.SaleState:
        """Open a sale of a sku right now, for an hour."""
        now = datetime.now(UTC)  # noqa: TID251 - the tests' own clock
        gate = control.SaleGate(
            namespace="shop",
            name=f"drop-{sku}",
            generation=1,
            fence=self.fence,
            state="Active",
            open_time=now - timedelta(seconds=1),
            close_time=now + timedelta(hours=1),
            items=[control.SaleItem(sku=sku, price_minor=99900, currency="EUR")],
        )
        return await self.room.put_sale(
            uid or f"uid-{sku}", msgspec.structs.replace(gate, **changes)
        )

    async def buy(
        self, sku: str, order: str, *, user: str = "", quantity: int = 1
    ) -> internal.ReserveResult:
        """Take a permit and reserve, as checkout does; without a permit, ask for a judgement."""
        product_id = ids.product_id(sku)
        user_id = user or f"user_{order}"
        permit = await self.escrow.permit(
            PermitRequest(
                order_id=order, user_id=user_id, product_id=product_id, quantity=quantity
            )
        )
        if permit.outcome == "GRANTED":
            line = self.line(sku, quantity=quantity, epoch=permit.epoch)
            return (await self.reserver.reserve([self.item(order, line, user=user_id)]))[0]
        if permit.outcome == "OUT":
            judge = internal.JudgeItem(
                order_id=order,
                user_id=user_id,
                request_hash="hash",
                product_id=product_id,
                quantity=quantity,
                sale_uid=f"uid-{sku}",
                epoch=permit.epoch,
            )
            return (await self.reserver.judge([judge]))[0]
        return internal.ReserveResult(order_id=order, outcome=permit.outcome)  # type: ignore[arg-type]

    async def permit(self, sku: str, order: str) -> Permit:
        """Take a permit for one unit."""
        return await self.escrow.permit(
            PermitRequest(
                order_id=order,
                user_id=f"user_{order}",
                product_id=ids.product_id(sku),
                quantity=1,
            )
        )

    async def buy_all(self, skus: list[str], order: str) -> internal.ReserveResult:
        """Take permits in product order and reserve, or give them back and ask for a judgement."""
        lines = []
        for sku in sorted(skus, key=ids.product_id):
            permit = await self.permit(sku, order)
            if permit.outcome != "GRANTED":
                for line in lines:
                    await self.escrow.untake(order, line.product_id, line.epoch)
                return await self._judge(sku, order, permit.epoch)
            lines.append(self.line(sku, epoch=permit.epoch))
        return (await self.reserver.reserve([self.item(order, *lines)]))[0]

    async def _judge(self, sku: str, order: str, epoch: int) -> internal.ReserveResult:
        item = internal.JudgeItem(
            order_id=order,
            user_id=f"user_{order}",
            request_hash="hash",
            product_id=ids.product_id(sku),
            quantity=1,
            sale_uid=f"uid-{sku}",
            epoch=epoch,
        )
        return (await self.reserver.judge([item]))[0]

    async def direct(
        self, sku: str, order: str, *, user: str = "", quantity: int = 1
    ) -> internal.ReserveResult:
        """Reserve without a permit."""
        item = self.item(order, self.line(sku, quantity=quantity), user=user)
        return (await self.reserver.reserve([item]))[0]

    @staticmethod
    def line(
        sku: str, *, quantity: int = 1, epoch: int | None = None, **changes: Any
    ) -> internal.ReserveLine:
        """Build a line of the sale that :meth:`sale` opens."""
        line = internal.ReserveLine(
            product_id=ids.product_id(sku),
            quantity=quantity,
            price_minor=99900,
            currency="EUR",
            sale_uid=f"uid-{sku}",
            epoch=epoch,
        )
        return msgspec.structs.replace(line, **changes)

    @staticmethod
    def item(
        order: str, *lines: internal.ReserveLine, user: str = "", hashed: str = "hash"
    ) -> internal.ReserveItem:
        """Build an order."""
        return internal.ReserveItem(
            order_id=order,
            user_id=user or f"user_{order}",
            request_hash=hashed,
            topic="sale.shop.drop.orders",
            lines=list(lines),
        )

    async def reserve(self, *items: internal.ReserveItem) -> list[str]:
        """Reserve a batch; returns the outcomes."""
        return [result.outcome for result in await self.reserver.reserve(list(items))]

    async def pin(self, order: str, attempt: int = 1) -> str:
        """Pin one order."""
        results = await self.reserver.pin([internal.PinItem(order_id=order, attempt=attempt)])
        return results[0].outcome

    async def age(self, order: str) -> None:
        """Let a hold run out; nobody has come for it yet."""
        await self.row(
            "UPDATE reservation SET expires_at = clock_timestamp() WHERE order_id = $1", order
        )

    async def expire(self, order: str) -> None:
        """Let a hold run out and be reaped, and its permits go home."""
        await self.age(order)
        await self.holds.step()
        await self.settle()

    async def state(self, order: str) -> str:
        """Return what is stored of an order."""
        found = await self.ledger.find(order)
        return found.state if found else "NONE"

    async def counters(self, sku: str) -> tuple[int, int, int]:
        """Return (available, reserved, sold) after checking them against ledger, sale and buyers.

        For products that are sold in sales only.
        """
        found = await self.counters_of_pool(sku)
        product_id = ids.product_id(sku)
        ledger = await self.row(
            """
            SELECT coalesce(sum(l.qty) FILTER (WHERE r.state IN ('HELD', 'PAYING')), 0)::int AS reserved,
                   coalesce(sum(l.qty) FILTER (WHERE r.state = 'SOLD'), 0)::int AS sold
            FROM reservation_line l JOIN reservation r USING (order_id) WHERE l.product_id = $1
            """,
            product_id,
        )
        assert found[1:] == (ledger["reserved"], ledger["sold"])
        item = await self.row(
            "SELECT coalesce(sum(reserved_qty), 0)::int AS reserved,"
            " coalesce(sum(sold_qty), 0)::int AS sold FROM sale_item WHERE product_id = $1",
            product_id,
        )
        persons = await self.row(
            "SELECT coalesce(sum(qty), 0)::int AS units FROM user_sale_qty WHERE product_id = $1",
            product_id,
        )
        assert persons["units"] == item["reserved"] + item["sold"]
        assert found[1:] == (item["reserved"], item["sold"])
        return found

    async def counters_of_pool(self, sku: str) -> tuple[int, int, int]:
        """Return (available, reserved, sold) of the pool."""
        row = await self.row(
            "SELECT available_qty, reserved_qty, sold_qty, total_qty FROM inventory"
            " WHERE product_id = $1",
            ids.product_id(sku),
        )
        counters = row["available_qty"], row["reserved_qty"], row["sold_qty"]
        assert sum(counters) == row["total_qty"]
        return counters

    async def row(self, statement: str, *arguments: object) -> asyncpg.Record:
        """Return one row, read past the service."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetchrow(statement, *arguments)
        finally:
            await connection.close()

    async def settle(self) -> None:
        """Let the settlements under way end, and bring all returns home."""
        await self.reserver.close()
        await self.returns.step()

    async def permits_left(self, sku: str) -> tuple[int, int]:
        """Return (permits, unsettled) of Redis; (-1, -1) when it is cold."""
        product_id = ids.product_id(sku)
        held = (await self.escrow.snapshot([product_id])).get(product_id)
        return (-1, -1) if held is None else (held.permits, held.unsettled)


@pytest.fixture
async def shop(inventory_dsn: str, fresh_redis: str) -> AsyncIterator[Shop]:
    """The parts, wired; the test says which loop runs when."""
    async with open_shop(inventory_dsn, fresh_redis) as made:
        yield made


@pytest.fixture
async def copies(inventory_dsn: str, fresh_redis: str) -> AsyncIterator[list[Shop]]:
    """Three copies of the service on one store and one Redis, each with connections of its own."""
    async with AsyncExitStack() as opened:
        made = [
            await opened.enter_async_context(open_shop(inventory_dsn, fresh_redis))
            for _ in range(3)
        ]
        # Each copy took a fence of the same lease: only the newest is good.
        for copy in made:
            copy.fence = made[-1].fence
        yield made


@pytest.fixture
async def shop_without_redis(inventory_dsn: str) -> AsyncIterator[Shop]:
    """The parts, wired to a port where no Redis listens."""
    async with open_shop(inventory_dsn, "redis://127.0.0.1:1/0") as made:
        yield made


@pytest.fixture
async def shop_on_cluster(inventory_dsn: str, fresh_redis_cluster: str) -> AsyncIterator[Shop]:
    """The parts, wired to a Redis Cluster."""
    async with open_shop(inventory_dsn, fresh_redis_cluster) as made:
        yield made


@asynccontextmanager
async def open_shop(inventory_dsn: str, redis_url: str) -> AsyncIterator[Shop]:
    """Wire the parts as app.py does, without the loops."""
    async with AsyncExitStack() as opened:
        database = await opened.enter_async_context(open_database(inventory_dsn))
        client = await opened.enter_async_context(redis.open_servers(redis_url))
        escrow = Escrow(client, permit_seconds=0.2)
        ledger = Ledger(database, hold_seconds=120)
        stock = StockStore(database)
        store = ControlStore(database)
        warmer = Warmer(stock, escrow)
        returns = ReturnWorker(stock, escrow, warmer)
        cache = availability.AvailabilityCache(client, stock.availability)
        made = Shop(
            dsn=inventory_dsn,
            ledger=ledger,
            stock=stock,
            store=store,
            escrow=escrow,
            warmer=warmer,
            reserver=Reserver(ledger, escrow, warmer),
            payments=Payments(ledger, warmer, returns.wake),
            holds=HoldReaper(ledger, returns.wake),
            permits=PermitReaper(ledger, stock, escrow),
            returns=returns,
            reconciler=Reconciler(stock, escrow, warmer),
            room=ControlRoom(store, stock, escrow, warmer),
            desk=StockDesk(store, warmer),
            cache=cache,
            writer=AvailabilityWriter(stock, database.changes, cache),
            turns=SaleTurns(stock),
            redis_client=client,
        )
        made.fence = (
            await made.room.take_fence(
                control.FenceRequest(lease_namespace="test", lease_name="operator", holder="t")
            )
        ).fence
        yield made
        await made.reserver.close()
        await cache.close()


@pytest.fixture
def sku() -> str:
    """A sku of this test alone."""
    return f"phone-{next(_names)}"
