"""A world for histories: the real stores and use cases of inventory, an honest payment, no loops and no clock.

Whatever takes time in life (a deadline, a lease, a pay-by) is a step here, so a history depends on its steps alone.
"""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec

from doorbuster.contracts import control, internal
from doorbuster.escrow import Escrow, PermitRequest, Settlement
from doorbuster.inventory.domain import PermitUsed, settlements
from doorbuster.inventory.storage import ControlStore, Ledger, StockStore, open_database
from doorbuster.inventory.usecases.control import ControlRoom
from doorbuster.inventory.usecases.pay import Payments, PinSweep
from doorbuster.inventory.usecases.reap import HoldReaper, PermitReaper, ReturnWorker
from doorbuster.inventory.usecases.reserve import Reserver
from doorbuster.inventory.usecases.warm import Reconciler, Warmer
from doorbuster.kit import clock, ids, redis

LIMIT = 3
LONG_SECONDS = 3600
ROUNDS_TO_REST = 12
_names = itertools.count(1)
_EMPTY = """
DELETE FROM inventory; DELETE FROM sale; DELETE FROM sale_item; DELETE FROM user_sale_qty;
DELETE FROM reservation; DELETE FROM reservation_line; DELETE FROM permit_return; DELETE FROM outbox
"""
_COUNTERS = """
SELECT i.available_qty, i.reserved_qty, i.sold_qty, i.total_qty, i.epoch,
       s.reserved_qty AS sale_reserved, s.sold_qty AS sale_sold,
       (SELECT coalesce(sum(u.qty), 0) FROM user_sale_qty u WHERE u.product_id = i.product_id) AS of_users,
       (SELECT coalesce(max(u.qty), 0) FROM user_sale_qty u WHERE u.product_id = i.product_id) AS most_of_a_user,
       (SELECT count(*) FROM permit_return b WHERE b.product_id = i.product_id) AS returning
FROM inventory i JOIN sale_item s USING (product_id) WHERE i.product_id = $1
"""
_ROWS = """
SELECT r.order_id, r.state, r.attempt, r.user_id, l.qty
FROM reservation_line l JOIN reservation r USING (order_id) WHERE l.product_id = $1
"""


@dataclass
class Attempt:
    """One attempt of payment's model: NEW, ABANDONED, DECLINED, AUTHORISED or REVERSED."""

    order_id: str
    number: int
    state: str = "NEW"
    is_pinned: bool = False

    @property
    def named(self) -> internal.Attempt:
        """As inventory hears of it."""
        return internal.Attempt(order_id=self.order_id, attempt=self.number)


@dataclass
class HonestPayment:
    """Payment as inventory may rely on it: one live attempt an order, paid only after a pin, verdicts that stay."""

    attempts: dict[str, list[Attempt]] = field(default_factory=dict)

    def open(self, order_id: str) -> Attempt | None:
        """Begin an attempt unless one is live, or the order was given back."""
        made = self.attempts.setdefault(order_id, [])
        if any(attempt.state in ("NEW", "AUTHORISED", "REVERSED") for attempt in made):
            return None
        made.append(Attempt(order_id, 1 + len(made)))
        return made[-1]

    def all(self) -> list[Attempt]:
        """Return every attempt."""
        return [attempt for made in self.attempts.values() for attempt in made]

    async def verdicts(self, attempts: Sequence[internal.Attempt]) -> list[internal.Verdict]:
        """Answer the pin sweep."""
        words = {"NEW": "PENDING", "AUTHORISED": "SUCCEEDED", "REVERSED": "REVERSED"}
        return [
            internal.Verdict(
                order_id=asked.order_id,
                attempt=asked.attempt,
                verdict=words.get(self._state(asked), "FAILED"),  # type: ignore[arg-type]
            )
            for asked in attempts
        ]

    def _state(self, asked: internal.Attempt) -> str:
        return self.attempts[asked.order_id][asked.attempt - 1].state


@dataclass(kw_only=True)
class World:
    """The parts, wired as in app.py without the loops; ``enter`` begins a new product."""

    connection: Any
    client: Any
    escrow: Escrow
    ledger: Ledger
    reserver: Reserver
    payments: Payments
    holds: HoldReaper
    permits: PermitReaper
    returns: ReturnWorker
    warmer: Warmer
    reconciler: Reconciler
    room: ControlRoom
    stock: StockStore
    fence: int
    sku: str = ""
    gate: control.SaleGate | None = None

    @property
    def product_id(self) -> str:
        """The product of this history."""
        return ids.product_id(self.sku)

    async def enter(self, units: int) -> None:
        """Begin a history: a new product with so many units, on sale."""
        await self.client.flushdb()
        # Leftovers of the history before must not be found by the workers.
        await self.connection.execute(_EMPTY)
        self.sku = f"phone-{next(_names)}"
        self.reconciler = Reconciler(self.stock, self.escrow, self.warmer)
        await self.set_stock(units)
        now = clock.utc_now()
        self.gate = control.SaleGate(
            namespace="shop",
            name=self.sku,
            generation=1,
            fence=self.fence,
            state="Active",
            open_time=now - timedelta(seconds=1),
            close_time=now + timedelta(days=1),
            items=[
                control.SaleItem(
                    sku=self.sku, price_minor=100, currency="EUR", per_user_limit=LIMIT
                )
            ],
            reservation_timeout_seconds=LONG_SECONDS,
        )
        await self.room.put_sale(f"uid-{self.sku}", self.gate)

    async def set_stock(self, units: int) -> None:
        """Set the stock; raises BelowCommittedError."""
        spec = control.PoolSpec(capacity=units, owner_uid="pool", generation=1, fence=self.fence)
        await self.room.put_pool(self.sku, spec)

    async def set_gate(self, state: control.DesiredState) -> None:
        """Suspend or resume the sale."""
        assert self.gate is not None
        gate = msgspec.structs.replace(self.gate, state=state)
        await self.room.put_sale(f"uid-{self.sku}", gate)

    def item(self, order_id: str, user_id: str, quantity: int, epoch: int | None) -> Any:
        """Build the reserve call of an order."""
        line = internal.ReserveLine(
            product_id=self.product_id,
            quantity=quantity,
            price_minor=100,
            currency="EUR",
            sale_uid=f"uid-{self.sku}",
            epoch=epoch,
        )
        return internal.ReserveItem(
            order_id=order_id, user_id=user_id, request_hash="hash", topic="t", lines=[line]
        )

    async def reserve_only(self, item: internal.ReserveItem) -> tuple[str, list[Settlement]]:
        """Reserve past the settlement; returns the outcome and how the permit is to be settled."""
        one = (await self.ledger.reserve([item]))[0]
        used = [
            PermitUsed(order_id=item.order_id, product_id=line.product_id, epoch=line.epoch)
            for line in item.lines
            if line.epoch is not None
        ]
        return one.outcome, settlements(
            used,
            outcome=one.outcome,
            failed_product=one.failed_product,
            stored_state=one.stored_state,
            stored_epochs=one.stored_epochs,
        )

    def sweep(self, payment: HonestPayment) -> PinSweep:
        """Build the pin sweep over this payment; every pin is old enough."""
        return PinSweep(self.ledger, payment, self.payments, older_than_seconds=-1.0)

    async def pass_time(self) -> None:
        """Let every lease and every permit's deadline pass; holds keep their time."""
        key = f"{{{self.product_id}}}:h"
        for order in await self.client.zrange(key, 0, -1):
            await self.client.zadd(key, {order: 1}, xx=True)
        await self.connection.execute(
            "UPDATE permit_return SET retry_at = clock_timestamp() - interval '1 minute',"
            " created_at = clock_timestamp() - interval '1 minute'"
        )
        await self.connection.execute(
            "UPDATE reservation SET asked_at = clock_timestamp() - interval '1 hour'"
            " WHERE state = 'PAYING'"
        )

    async def expire(self, order_id: str | None = None) -> None:
        """Let the pay-by of one order, or of all, pass."""
        await self.connection.execute(
            "UPDATE reservation SET expires_at = clock_timestamp()"
            " WHERE expires_at > clock_timestamp() AND ($1::text IS NULL OR order_id = $1)",
            order_id,
        )

    def keys(self) -> list[str]:
        """Return the keys of the product in Redis."""
        return [f"{{{self.product_id}}}:{part}" for part in ("st", "h", "r", "l")]

    async def copy_redis(self) -> dict[str, bytes]:
        """Return what Redis would write to its disk now."""
        found = {key: await self.client.dump(key) for key in self.keys()}
        return {key: dumped for key, dumped in found.items() if dumped is not None}

    async def roll_back(self, copy: dict[str, bytes], *, is_restart: bool) -> None:
        """Put an older copy in place; ``is_restart``: under another run id, as after a restart."""
        await self.client.delete(*self.keys())
        for key, dumped in copy.items():
            await self.client.restore(key, 0, dumped)
        if is_restart:
            await self.connection.execute(
                "UPDATE inventory SET loaded_run_id = 'the one before' WHERE product_id = $1",
                self.product_id,
            )

    async def counters(self) -> Any:
        """Return the counters of the product, its sale and its buyers."""
        return await self.connection.fetchrow(_COUNTERS, self.product_id)

    async def rows(self) -> list[Any]:
        """Return (order_id, state, attempt, user_id, qty) of every reservation with units."""
        found: list[Any] = await self.connection.fetch(_ROWS, self.product_id)
        return found

    async def come_to_rest(self, payment: HonestPayment) -> int:
        """Let all time pass and every worker work until nothing is under way; returns the units that are free.

        AssertionError when that takes too long (I3: nothing held or paying; I7: permits = available).
        """
        found, held = None, None
        for _ in range(ROUNDS_TO_REST):
            await self.pass_time()
            await self.expire()
            await self.sweep(payment).step()
            for worker in (self.holds, self.permits, self.returns, self.reconciler):
                await worker.step()
            found = await self.counters()
            held = (await self.escrow.snapshot([self.product_id])).get(self.product_id)
            if held is None or found["reserved_qty"] or found["returning"]:
                continue
            free: int = found["available_qty"]
            if (held.epoch, held.permits, held.unsettled) == (found["epoch"], free, 0):
                return free
        raise AssertionError(f"no rest (I3, I7): {dict(found or {})} {held}")

    async def sell_rest(self, units: int) -> None:
        """Buy what is free to the last unit, which must be possible, and not one more (I6, I7)."""
        for number in range(units + 1):
            name = f"late-{number}"
            answer = await self.escrow.permit(
                PermitRequest(order_id=name, user_id=name, product_id=self.product_id, quantity=1)
            )
            if answer.outcome != ("GRANTED" if number < units else "OUT"):
                raise AssertionError(f"permit {number} of {units}: {answer.outcome} (I7)")
            if number < units:
                item = self.item(name, name, 1, answer.epoch)
                outcome = (await self.reserver.reserve([item]))[0].outcome
                if outcome != "HELD":
                    raise AssertionError(f"unit {number} of {units}: {outcome} (I6)")
        await self.reserver.close()


@asynccontextmanager
async def open_world(dsn: str, redis_url: str) -> AsyncIterator[World]:
    """Open the parts on a migrated database and a Redis of their own; ``World.enter`` begins a history."""
    async with AsyncExitStack() as opened:
        connection = await asyncpg.connect(dsn)
        opened.push_async_callback(connection.close)
        database = await opened.enter_async_context(open_database(dsn))
        client = await opened.enter_async_context(redis.open_redis(redis_url))
        escrow = Escrow(client, permit_seconds=LONG_SECONDS)
        ledger = Ledger(database, hold_seconds=LONG_SECONDS)
        stock = StockStore(database)
        warmer = Warmer(stock, escrow)
        returns = ReturnWorker(stock, escrow, warmer)
        room = ControlRoom(ControlStore(database), stock, escrow, warmer)
        asked = control.FenceRequest(lease_namespace="n", lease_name="machine", holder="test")
        reserver = Reserver(ledger, escrow, warmer)
        opened.push_async_callback(reserver.close)
        yield World(
            connection=connection,
            client=client,
            escrow=escrow,
            ledger=ledger,
            reserver=reserver,
            payments=Payments(ledger, warmer, returns.wake),
            holds=HoldReaper(ledger, returns.wake),
            permits=PermitReaper(ledger, stock, escrow),
            returns=returns,
            warmer=warmer,
            reconciler=Reconciler(stock, escrow, warmer),
            room=room,
            stock=stock,
            fence=(await room.take_fence(asked)).fence,
        )
