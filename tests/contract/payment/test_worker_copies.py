"""Three copies of each worker of payment at once on one backlog: each attempt ends once, and is told once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from doorbuster.kit import database, ids, migrations
from doorbuster.payment import storage
from doorbuster.payment.domain import Attempt, Charge, Limits, State
from doorbuster.payment.ports import Facts, NewAttempt
from doorbuster.payment.usecases import (
    Capture,
    OrderSweep,
    Recovery,
    Reversal,
    Settlement,
    reversals,
    sales,
)
from doorbuster.testing import payments
from doorbuster.testing.meters import repaired

LIMITS = Limits()
COPIES = 3
EACH = 24


@dataclass
class Copies:
    """Three copies of the workers, each on connections of its own, around one provider and one clock."""

    engines: list[AsyncEngine]
    clock: payments.FakeClock = field(default_factory=payments.FakeClock)
    provider: payments.FakeProvider = field(default_factory=payments.FakeProvider)
    others: payments.FakeNeighbours = field(default_factory=payments.FakeNeighbours)

    def __post_init__(self) -> None:
        self.stores = [storage.SqlPaymentStore(engine, LIMITS) for engine in self.engines]

    def recoveries(self) -> list[Recovery]:
        return [
            Recovery(
                store=store,
                provider=self.provider,
                clock=self.clock,
                limits=LIMITS,
                settlement=Settlement(
                    store=store,
                    provider=self.provider,
                    inventory=self.others,
                    clock=self.clock,
                ),
            )
            for store in self.stores
        ]

    def each(self, kind: Any) -> list[Any]:
        """Make a Capture or Reversal a copy."""
        return [
            kind(
                store=store,
                provider=self.provider,
                clock=self.clock,
                limits=LIMITS,
                announce=lambda: None,
            )
            for store in self.stores
        ]

    def sweeps(self, news: Any) -> list[OrderSweep]:
        return [
            OrderSweep(
                news=news, store=store, clock=self.clock, limits=LIMITS, announce=lambda: None
            )
            for store in self.stores
        ]

    async def walk(self, number: int, *states: State) -> Attempt:
        """Make an attempt and take it through states, with its intent at the provider."""
        store = self.stores[number % COPIES]
        new = NewAttempt(
            purchase=payments.purchase(key=f"o{number}", topic="sale.a.b.orders"),
            payment_id=ids.new_id("txn"),
            idempotency_key="k",
            fingerprint="f" * 32,
        )
        attempt = await store.open(new, now=self.clock())
        assert attempt is not None
        for state in states:
            facts = Facts()
            if state is State.CONFIRMING:
                facts = Facts(intent_id=await self.provider.create(attempt))
            elif state is State.AUTHORISED:
                facts = Facts(paid_at=self.clock())
                self.charge(attempt, "authorised")
            moved = await store.move(attempt, state, now=self.clock(), facts=facts)
            assert moved is not None
            attempt = moved
        return attempt

    def charge(self, attempt: Attempt, status: Any) -> None:
        """Let the provider have decided."""
        self.provider.intents[attempt.intent_id or ""].charge = Charge(status=status)

    async def states(self) -> Counter[str]:
        async with self.engines[0].connect() as connection:
            rows = await connection.execute(sa.select(storage.PAYMENT.c.state))
            return Counter(rows.scalars())

    async def told(self) -> Counter[str]:
        async with self.engines[0].connect() as connection:
            rows = await connection.execute(sa.select(storage.OUTBOX.c.type))
            return Counter(rows.scalars())


@pytest.fixture(params=["postgres", "mysql"])
def dsn(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"fresh_{request.param}"))


@pytest.fixture
async def copies(dsn: str) -> AsyncIterator[Copies]:
    await migrations.upgrade("doorbuster.payment", dsn)
    async with AsyncExitStack() as opened:
        engines = [
            await opened.enter_async_context(database.open_engine(dsn, pool_size=4))
            for _ in range(COPIES)
        ]
        async with engines[0].begin() as connection:
            await connection.execute(sa.delete(storage.PAYMENT))
            await connection.execute(sa.delete(storage.OUTBOX))
        yield Copies(engines)


async def all_step(
    steps: list[Callable[[], Awaitable[bool]]], is_done: Callable[[], Awaitable[bool]]
) -> None:
    """Step all copies at once until it is done; any error of a step fails the test."""
    async with asyncio.timeout(90):
        while not await is_done():
            await asyncio.gather(*(step() for step in steps))


async def test_recovery_decides_each_attempt_once(copies: Copies) -> None:
    for number in range(EACH):
        await copies.walk(4 * number)
        paid = await copies.walk(4 * number + 1, State.CONFIRMING)
        copies.charge(paid, "authorised")
        await copies.walk(4 * number + 2, State.CONFIRMING)
        await copies.walk(4 * number + 3, State.CONFIRMING, State.CANCELLING)
    recoveries = copies.recoveries()
    assert await recoveries[0].oldest_seconds() <= 0
    copies.clock.pass_by(20)
    assert await recoveries[0].oldest_seconds() == 5
    before = repaired("payment_recovery")

    async def none_open() -> bool:
        return (await copies.states()).keys().isdisjoint({"NEW", "CONFIRMING", "CANCELLING"})

    await all_step([recovery.step for recovery in recoveries], none_open)
    ended = {"abandoned": EACH, "authorised": EACH, "declined": 2 * EACH}
    assert repaired("payment_recovery") - before == ended
    assert await copies.states() == {
        "ABANDONED": EACH,
        "AUTHORISED": EACH,
        "DECLINED": 2 * EACH,
    }
    assert await copies.told() == {"PaymentSucceeded": EACH, "PaymentFailed": 3 * EACH}
    assert copies.provider.calls["cancel"] == 2 * EACH
    assert await recoveries[0].oldest_seconds() == 0


async def test_recovery_without_its_provider_leaves_all_as_it_is_and_comes_back(
    copies: Copies,
) -> None:
    for number in range(10):
        copies.charge(await copies.walk(number, State.CONFIRMING), "authorised")
    copies.clock.pass_by(20)
    recoveries = copies.recoveries()
    copies.provider.fail_before["retrieve"] = 1_000
    await asyncio.gather(*(recovery.step() for recovery in recoveries))
    assert await copies.states() == {"CONFIRMING": 10}
    copies.clock.pass_by(20)
    assert await recoveries[0].oldest_seconds() == 25
    copies.provider.fail_before["retrieve"] = 0
    await asyncio.gather(*(recovery.step() for recovery in recoveries))
    assert await copies.states() == {"AUTHORISED": 10}


async def test_money_is_taken_once(copies: Copies) -> None:
    for number in range(2 * EACH):
        await copies.walk(number, State.CONFIRMING, State.AUTHORISED)
    captures = copies.each(Capture)
    copies.clock.pass_by(3)
    assert await captures[0].oldest_seconds() == 3
    before = repaired("capture")

    async def all_taken() -> bool:
        return await copies.states() == {"CAPTURED": 2 * EACH}

    await all_step([capture.step for capture in captures], all_taken)
    assert repaired("capture") - before == {"captured": 2 * EACH}
    assert copies.provider.calls["capture"] == 2 * EACH
    assert await copies.told() == {"PaymentCaptured": 2 * EACH}
    assert await captures[0].oldest_seconds() == 0


async def test_money_goes_back_once(copies: Copies) -> None:
    for number in range(2 * EACH):
        attempt = await copies.walk(number, State.CONFIRMING, State.AUTHORISED)
        if number % 2:
            copies.charge(attempt, "captured")
            for state in (State.CAPTURING, State.CAPTURED):
                attempt = await copies.stores[0].move(attempt, state, now=copies.clock())  # type: ignore[assignment]
    reversals = copies.each(Reversal)
    for number in range(2 * EACH):
        await reversals[0].ask(payments.purchase(key=f"o{number}").order_id, "cancelled")
    copies.clock.pass_by(4)
    assert await reversals[0].oldest_seconds() == 4
    before = repaired("reversal")

    async def all_back() -> bool:
        return await copies.states() == {"VOIDED": EACH, "REFUNDED": EACH}

    await all_step([reversal.step for reversal in reversals], all_back)
    assert repaired("reversal") - before == {"voided": EACH, "refunded": EACH}
    assert (copies.provider.calls["cancel"], copies.provider.calls["refund"]) == (EACH, EACH)
    assert await copies.told() == {"PaymentReversed": 2 * EACH}


async def test_each_sale_that_order_lacks_is_told_again_once_a_turn(copies: Copies) -> None:
    lacking = 0
    for number in range(2 * EACH):
        attempt = await copies.walk(number, State.CONFIRMING, State.AUTHORISED)
        if number % 3:
            copies.others.known.add(attempt.order_id)
        else:
            lacking += 1
    sweeps = copies.sweeps(sales(copies.others))
    copies.clock.pass_by(11)
    assert await sweeps[0].oldest_seconds() == 1
    before = repaired("paid_order_sweep")
    await asyncio.gather(*(sweep.step() for sweep in sweeps))
    await asyncio.gather(*(sweep.step() for sweep in sweeps))
    ended = {"known": 2 * EACH - lacking, "published_again": lacking}
    assert repaired("paid_order_sweep") - before == ended
    assert await copies.told() == {"PaymentSucceeded": lacking}


async def test_each_reversal_that_somebody_lacks_is_told_again_once_a_turn(
    copies: Copies,
) -> None:
    ends = (
        (State.VOIDING, State.VOIDED),
        (State.CAPTURING, State.CAPTURE_FAILED),
        (State.CAPTURING, State.CAPTURED, State.REFUNDING, State.REFUNDED),
    )
    for number in range(3 * EACH):
        path = (State.CONFIRMING, State.AUTHORISED, *ends[number % 3])
        attempt = await copies.walk(number, *path)
        if number < EACH:
            copies.others.confirmed.add(attempt.order_id)
        if EACH / 2 < number <= 2 * EACH:
            copies.others.holding.add(attempt.order_id)
    lacking = len(copies.others.confirmed | copies.others.holding)
    assert lacking == 2 * EACH + 1
    sweeps = copies.sweeps(reversals(copies.others, copies.others))
    copies.clock.pass_by(11)
    assert await sweeps[0].oldest_seconds() == 1
    before = repaired("reversal_sweep")
    for _ in range(2):
        await asyncio.gather(*(sweep.step() for sweep in sweeps))
    assert repaired("reversal_sweep") - before == {
        "known": 3 * EACH - lacking,
        "published_again": lacking,
    }
    assert await copies.told() == {"PaymentReversed": lacking}
    copies.others.confirmed.clear()
    copies.others.holding.clear()
    copies.clock.pass_by(11)
    for _ in range(2):
        await asyncio.gather(*(sweep.step() for sweep in sweeps))
    assert (await sweeps[0].oldest_seconds(), await copies.told()) == (
        0,
        {"PaymentReversed": lacking},
    )
