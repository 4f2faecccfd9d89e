"""The order store, fake and real: the same events in any order, as often as they come, leave the same orders."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from doorbuster.contracts import events
from doorbuster.kit import database, migrations
from doorbuster.order import domain, storage
from doorbuster.order.domain import Order, State
from doorbuster.order.ports import OrderStore
from doorbuster.testing import stories
from doorbuster.testing.orders import FakeOrderStore

NOW = stories.at(10)
LIFE: tuple[tuple[events.Event, datetime], ...] = (
    (stories.placed(), stories.at(1)),
    (stories.failed(), stories.at(3)),
    (stories.paid(attempt=2), stories.at(5)),
    (stories.captured(attempt=2), stories.at(6)),
    (stories.expired(), stories.at(122)),
)


@pytest.fixture(params=["fake", "mysql"])
def dsn(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("fresh_mysql") if request.param == "mysql" else None


@pytest.fixture
async def store(dsn: str | None) -> AsyncIterator[OrderStore]:
    if dsn is None:
        yield FakeOrderStore()
        return
    await migrations.upgrade("doorbuster.order", dsn)
    async with database.open_engine(dsn) as engine:
        async with engine.begin() as connection:
            await connection.execute(sa.delete(storage.ORDERS))
            await connection.execute(sa.delete(storage.HISTORY))
            await connection.execute(sa.delete(storage.OUTBOX))
        yield storage.MysqlOrderStore(engine)


def renumbered(event: events.Event, number: int) -> Any:
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    return type(event)(**{**fields, "order_id": stories.order_id(number)})


async def hear(store: OrderStore, deliveries: Sequence[tuple[events.Event, datetime]]) -> None:
    views = [domain.observe(event, at) for event, at in deliveries]
    await store.merge(domain.merge_all(view for view in views if view is not None), NOW)


async def found(store: OrderStore, number: int = 1) -> Order:
    order = await store.find(stories.order_id(number))
    assert order is not None
    return order


@pytest.mark.parametrize("length", [2, 3, 4, 5])
async def test_every_permutation_with_duplicates_leaves_the_same_order(
    store: OrderStore, length: int
) -> None:
    part = LIFE[:length]
    permutations = list(itertools.permutations(part))
    for step in [
        *range(length),
        0,
    ]:  # a transaction a step, one order a permutation, each event twice
        await hear(
            store,
            [
                (renumbered(permutation[step][0], number), permutation[step][1])
                for number, permutation in enumerate(permutations)
                for _ in range(2)
            ],
        )
    first = await found(store, 0)
    assert first.state is (State.CONFIRMED if length > 2 else State.PENDING)
    for number in range(1, len(permutations)):
        order = await found(store, number)
        assert replace(order, order_id=first.order_id) == first


async def test_one_batch_may_speak_of_many_orders_in_any_order(store: OrderStore) -> None:
    numbers = range(60)
    deliveries = [(renumbered(event, number), at) for number in numbers for event, at in LIFE[:3]]
    random.Random(7).shuffle(deliveries)
    for start in range(0, len(deliveries), 25):
        await hear(store, deliveries[start : start + 25])
    states = {(await found(store, number)).state for number in numbers}
    assert states == {State.CONFIRMED}


async def test_copies_may_speak_of_the_same_orders_at_the_same_time(store: OrderStore) -> None:
    numbers = list(range(80))

    async def tell(seed: int) -> None:
        mine = random.Random(seed)
        event, at = LIFE[seed % len(LIFE[:3])]
        for _ in range(10):
            batch = [(renumbered(event, number), at) for number in mine.sample(numbers, 30)]
            await hear(store, batch)
        await hear(store, [(renumbered(event, number), at) for number in numbers])

    await asyncio.gather(*(tell(seed) for seed in range(6)))
    orders = [await found(store, number) for number in numbers]
    assert {order.state for order in orders} == {State.CONFIRMED}
    assert {(order.pay_by, order.declined_attempt) for order in orders} == {(stories.at(121), 1)}


async def test_what_is_found_is_what_was_heard(store: OrderStore) -> None:
    await hear(store, LIFE[:1])
    order = await found(store)
    assert order == domain.placed(stories.placed())


async def test_an_order_that_was_never_heard_of_is_not_found(store: OrderStore) -> None:
    assert await store.find(stories.order_id(404)) is None


async def test_history_keeps_the_earliest_time_of_each_step(store: OrderStore) -> None:
    for seconds in (200, 150, 300):
        await hear(store, [(stories.expired(), stories.at(seconds))])
    assert (await found(store)).steps == {State.EXPIRED: stories.at(150)}


async def test_pages_hold_a_buyers_own_orders_newest_first(store: OrderStore) -> None:
    mine, other = stories.user_id(1), stories.user_id(2)
    for number in range(1, 6):
        placed = stories.placed(number, user_id=mine, placed_at=stories.at(number))
        await hear(store, [(placed, NOW)])
    await hear(store, [(stories.placed(8, user_id=other), NOW), (stories.failed(9), NOW)])
    page = await store.page(mine, offset=1, limit=2)
    assert [order.order_id for order in page.orders] == [
        stories.order_id(4),
        stories.order_id(3),
    ]
    assert page.total == 5
    assert (await store.page(mine, offset=10, limit=2)).orders == []
    assert (await store.page("user_nobody", offset=0, limit=2)).total == 0


async def test_an_order_without_details_is_on_no_page(store: OrderStore) -> None:
    await hear(store, [(stories.failed(1), NOW)])
    assert (await store.page(stories.user_id(1), offset=0, limit=5)).total == 0


async def test_only_payment_succeeded_makes_an_order_confirmed_to_payment(
    store: OrderStore,
) -> None:
    await hear(store, [(stories.placed(1), NOW), (stories.paid(2), NOW)])
    await hear(store, [(stories.captured(3), NOW)])
    asked = [stories.order_id(number) for number in (1, 2, 3, 4)]
    assert await store.unconfirmed(asked) == [asked[0], asked[2], asked[3]]


async def test_only_payment_reversed_makes_money_known_to_be_back(store: OrderStore) -> None:
    for number, event in enumerate((stories.placed, stories.paid, stories.expired), 1):
        await hear(store, [(event(number), NOW)])
    await hear(store, [(stories.paid(4), NOW), (stories.reversed_payment(4), NOW)])
    await hear(store, [(stories.reversed_payment(5), NOW), (stories.cancelled(6), NOW)])
    await hear(store, [(stories.paid(5), NOW)])
    asked = [stories.order_id(number) for number in (6, 1, 2, 3, 4, 5, 7)]
    assert await store.unreversed(asked) == [*asked[:4], asked[6]]


async def test_an_unpaid_order_is_claimed_once_until_its_claim_runs_out(
    store: OrderStore,
) -> None:
    await hear(store, [(stories.placed(1), NOW), (stories.placed(2), NOW), (stories.paid(3), NOW)])
    due_at = stories.at(121) + domain.SWEEP_MARGIN
    again_at = due_at + timedelta(seconds=30)
    just_before = due_at - timedelta(microseconds=1)
    assert await store.claim_due(just_before, limit=10, again_at=again_at) == []
    claimed = await store.claim_due(due_at, limit=10, again_at=again_at)
    assert {order.order_id for order in claimed} == {stories.order_id(1), stories.order_id(2)}
    assert await store.claim_due(due_at, limit=10, again_at=again_at) == []
    assert len(await store.claim_due(again_at, limit=1, again_at=stories.at(999))) == 1


async def test_a_settled_order_is_no_longer_claimed(store: OrderStore) -> None:
    await hear(store, [(stories.placed(1), NOW)])
    await hear(store, [(stories.paid(1), NOW)])
    assert await store.claim_due(stories.at(9999), limit=10, again_at=stories.at(10_000)) == []


async def test_an_empty_merge_is_nothing(store: OrderStore) -> None:
    await store.merge([], NOW)


async def test_the_oldest_unpaid_orders_are_known_though_they_are_claimed(
    store: OrderStore,
) -> None:
    assert await store.waiting_since() == (None, None)
    await hear(store, [(stories.placed(1), NOW), (stories.paid(2), NOW)])
    await hear(store, [(stories.failed(3), stories.at(7))])
    far = stories.at(9999)
    await store.claim_due(far, limit=10, again_at=far + timedelta(seconds=30))
    assert await store.waiting_since() == (stories.at(121), stories.at(7))
    await hear(store, [(stories.paid(1), NOW), (stories.paid(3), NOW)])
    assert await store.waiting_since() == (None, None)
