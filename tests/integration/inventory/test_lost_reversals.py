"""PaymentReversed that the broker lost: payment's sweep, on the real stores of payment, inventory and order."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from doorbuster.contracts import events, internal
from doorbuster.inventory.consumers import PaymentEvents
from doorbuster.kit import database, ids, migrations
from doorbuster.kit.consumer import Delivery
from doorbuster.order import storage as order_storage
from doorbuster.order.domain import State as OrderState
from doorbuster.order.usecases import Orders
from doorbuster.payment import domain, storage
from doorbuster.payment.domain import Attempt, Limits, Purchase, State
from doorbuster.payment.ports import Facts, NewAttempt
from doorbuster.payment.usecases import OrderSweep, reversals
from doorbuster.testing import payments
from doorbuster.testing.orders import FakeCheckout, FakeInventory

ENDS = (
    (State.VOIDING, State.VOIDED),
    (State.CAPTURING, State.CAPTURE_FAILED),
    (State.CAPTURING, State.CAPTURED, State.REFUNDING, State.REFUNDED),
)


@dataclass
class Neighbours:
    """Inventory's ledger and the order service, asked without HTTP between."""

    shop: Any
    orders: Orders

    async def unpin(self, order_id: str, attempt: int) -> None:
        raise AssertionError("nothing is declined here")

    async def unreturned(self, attempts: Any) -> set[str]:
        asked = [internal.Attempt(order_id=one.order_id, attempt=one.attempt) for one in attempts]
        return set(await self.shop.ledger.unreturned(asked))

    async def missing(self, order_ids: Any) -> set[str]:
        return set(await self.orders.missing(list(order_ids)))

    async def unreversed(self, order_ids: Any) -> set[str]:
        return set(await self.orders.unreversed(list(order_ids)))


@dataclass
class World:
    """Three services' stores, and a broker that the test plays."""

    shop: Any
    engine: AsyncEngine
    clock: payments.FakeClock = field(default_factory=payments.FakeClock)

    def __post_init__(self) -> None:
        limits = Limits()
        self.store = storage.SqlPaymentStore(self.engine, limits)
        self.order_store = order_storage.MysqlOrderStore(self.engine)
        self.orders = Orders(
            store=self.order_store, checkout=FakeCheckout(), inventory=FakeInventory()
        )
        others = Neighbours(self.shop, self.orders)
        self.sweep = OrderSweep(
            news=reversals(others, others),
            store=self.store,
            clock=self.clock,
            limits=limits,
            announce=lambda: None,
        )

    async def bring(self, *, lost: bool = False) -> list[str]:
        """Take all out of payment's outbox, to both consumers or, when lost, to nobody; returns the types."""
        async with self.engine.begin() as connection:
            rows = (await connection.execute(sa.select(storage.OUTBOX))).mappings().all()
            await connection.execute(sa.delete(storage.OUTBOX))
        deliveries = [
            Delivery(
                event=msgspec.json.decode(row["payload"], type=events.BY_TYPE[row["type"]]),
                topic=row["topic"],
                carrier={},
            )
            for row in rows
        ]
        if not lost:
            await PaymentEvents(self.shop.payments).handle(deliveries)
            await self.orders.take_in(deliveries)
        return [row["type"] for row in rows]

    async def authorise(self, purchase: Purchase) -> Attempt:
        """Pin and sell an order that is held."""
        new = NewAttempt(
            purchase=purchase,
            payment_id=ids.new_id("txn"),
            idempotency_key="k",
            fingerprint="f" * 32,
        )
        attempt = await self.store.open(new, now=self.clock())
        assert attempt is not None
        assert await self.shop.pin(purchase.order_id) == "PINNED"
        attempt = await self.step(attempt, State.CONFIRMING, facts=Facts(intent_id="pi_1"))
        told = domain.succeeded(domain.paid(attempt, self.clock()))
        facts = Facts(paid_at=self.clock())
        return await self.step(attempt, State.AUTHORISED, facts=facts, event=told)

    async def step(self, attempt: Attempt, to: State, **more: Any) -> Attempt:
        if to in domain.REVERSED:
            more["event"] = domain.reversed_(attempt, "cancelled")
        moved = await self.store.move(attempt, to, now=self.clock(), **more)
        assert moved is not None
        return moved

    async def order_state(self, order_id: str) -> OrderState | None:
        order = await self.order_store.find(order_id)
        return None if order is None else order.state


@pytest.fixture
async def world(shop: Any, fresh_mysql: str) -> AsyncIterator[World]:
    await migrations.upgrade("doorbuster.payment", fresh_mysql)
    async with database.open_engine(fresh_mysql) as engine:
        async with engine.begin() as connection:
            # In payment's database: two services' migrations do not fit into one.
            await connection.run_sync(order_storage.metadata.create_all)
            for table in (storage.PAYMENT, storage.OUTBOX):
                await connection.execute(sa.delete(table))
        yield World(shop, engine)


@pytest.fixture
async def purchase(shop: Any, sku: str) -> Purchase:
    """The only unit of a sale, held."""
    held = payments.purchase(key=ids.new_id("key"))
    await shop.pool(sku, 1)
    await shop.sale(sku)
    assert (await shop.buy(sku, held.order_id)).outcome == "HELD"
    return held


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("lost", ["the reversal", "all"])
async def test_a_unit_whose_reversal_was_lost_comes_back(
    world: World, purchase: Purchase, sku: str, end: tuple[State, ...], lost: str
) -> None:
    order_id, shop = purchase.order_id, world.shop
    attempt = await world.authorise(purchase)
    assert await world.bring(lost=lost == "all") == ["PaymentSucceeded"]
    for state in end:
        attempt = await world.step(attempt, state)
    assert await world.bring(lost=True) == ["PaymentReversed"]
    assert await shop.state(order_id) == ("PAYING" if lost == "all" else "SOLD")

    world.clock.pass_by(11)
    await world.sweep.step()
    assert await world.bring() == ["PaymentReversed"]
    assert await shop.state(order_id) == "RETURNED"
    assert await shop.counters(sku) == (1, 0, 0)
    assert await world.order_state(order_id) is OrderState.CANCELLED
    assert await world.sweep.oldest_seconds() > 0, "nobody has said yet that he knows"

    world.clock.pass_by(11)
    await world.sweep.step()
    assert await world.bring() == []
    assert await world.sweep.oldest_seconds() == 0
    assert (await shop.buy(sku, f"{sku}-next")).outcome == "HELD"


async def test_units_that_the_pin_sweep_took_back_are_known(
    world: World, purchase: Purchase
) -> None:
    attempt = await world.authorise(purchase)
    for state in ENDS[0]:
        attempt = await world.step(attempt, state)
    assert await world.bring(lost=True) == ["PaymentSucceeded", "PaymentReversed"]
    # The pin sweep hears REVERSED, and order alone gets the event.
    await world.shop.payments.reverse([internal.Attempt(order_id=purchase.order_id, attempt=1)])
    told = domain.reversed_(attempt, "cancelled")
    await world.orders.take_in([Delivery(event=told, topic="orders", carrier={})])
    world.clock.pass_by(11)
    await world.sweep.step()
    assert await world.bring() == []
    assert await world.sweep.oldest_seconds() == 0


async def test_inventory_names_only_what_the_attempt_itself_holds(shop: Any, sku: str) -> None:
    await shop.pool(sku, 6)
    await shop.sale(sku)
    names = {name: f"{sku}-{name}" for name in ("held", "paying", "sold", "returned", "released")}
    for order_id in names.values():
        assert (await shop.buy(sku, order_id)).outcome == "HELD"
    for name in ("paying", "sold", "returned"):
        await shop.pin(names[name], attempt=2)
    await shop.payments.succeed(
        [internal.Attempt(order_id=names[name], attempt=2) for name in ("sold", "returned")]
    )
    await shop.payments.reverse([internal.Attempt(order_id=names["returned"], attempt=2)])
    await shop.expire(names["released"])
    await shop.ledger.bury([f"{sku}-tomb"])
    asked = [*names.values(), f"{sku}-tomb", f"{sku}-never"]

    async def holding(attempt: int) -> set[str]:
        items = [internal.Attempt(order_id=order_id, attempt=attempt) for order_id in asked]
        return set(await shop.ledger.unreturned(items * 2))

    assert await holding(2) == {names["paying"], names["sold"]}
    assert await holding(1) == await holding(3) == set()
