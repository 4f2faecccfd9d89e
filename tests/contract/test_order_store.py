"""The order store, fake and real: the same events in any order, as often as they come, leave the same orders."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
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


async def told(dsn: str | None, store: OrderStore) -> list[tuple[str, str]]:
    """Return (type, order id) of what is to be sent, oldest first."""
    if isinstance(store, FakeOrderStore):
        return [(event.type, event.order_id) for event in store.told]
    async with database.open_engine(dsn or "") as engine, engine.connect() as connection:
        query = sa.select(storage.OUTBOX).order_by(storage.OUTBOX.c.id)
        rows = (await connection.execute(query)).mappings().all()
    assert {row["topic"] for row in rows} <= {"orders"}
    return [(row["type"], row["event_key"]) for row in rows]


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


PARCEL = domain.Shipment(
    shipped_at=NOW,
    carrier="Flinke Füße",
    tracking_number="SP-9",
    estimated_delivery=stories.at(90_000),
)
PAID = ((stories.placed(), stories.at(1)), (stories.paid(), stories.at(5)))


async def test_a_change_is_stored_and_told_together_and_a_repetition_is_neither(
    store: OrderStore, dsn: str | None
) -> None:
    await hear(store, PAID)
    known = await found(store)
    ship = partial(domain.ship, entered=PARCEL, now=NOW)
    after = await store.change(known, ship, NOW)
    assert after == await found(store)
    assert (after.state, after.shipment) == (State.SHIPPED, PARCEL)
    assert await store.change(known, ship, NOW) == after
    assert await told(dsn, store) == [("OrderShipped", known.order_id)]


async def test_all_that_is_done_with_an_order_is_found_again(store: OrderStore) -> None:
    await hear(store, [*PAID, (stories.shipped(), NOW), (stories.delivered(), NOW)])
    at = stories.at(100_000)
    wish = partial(domain.ask_return, words="zu klein 🙁", now=at)
    order = await store.change(await found(store), wish, at)
    assert (order.return_requested_at, order.words) == (at, "zu klein 🙁")
    order = await store.change(order, partial(domain.accept_return, words="", now=at), at)
    await hear(store, [(stories.reversed_payment(), at)])
    assert await found(store) == replace(
        order, reversed_at=at, steps={**order.steps, State.CANCELLED: at}
    )


async def test_what_is_refused_leaves_no_row_and_no_event(
    store: OrderStore, dsn: str | None
) -> None:
    placed = domain.placed(stories.placed())
    with pytest.raises(domain.NotShippableError):
        await store.change(placed, partial(domain.ship, entered=PARCEL, now=NOW), NOW)
    assert await store.find(placed.order_id) is None
    assert await told(dsn, store) == []


async def test_of_a_cancellation_and_a_parcel_at_the_same_instant_one_wins(
    store: OrderStore, dsn: str | None
) -> None:
    orders = []
    for number in range(12):
        await hear(store, [(renumbered(event, number), at) for event, at in PAID])
        orders.append(await found(store, number))
    decisions = [
        partial(domain.ship, entered=PARCEL, now=NOW),
        partial(domain.cancel, words="", now=NOW),
    ]

    async def attempt(order: Order, decide: Any) -> State | None:
        try:
            return (await store.change(order, decide, NOW)).state
        except (domain.NotShippableError, domain.NotCancellableError):
            return None

    ends = await asyncio.gather(*(attempt(order, do) for order in orders for do in decisions))
    for order, pair in zip(orders, zip(ends[::2], ends[1::2], strict=True), strict=True):
        assert pair in [(State.SHIPPED, None), (None, State.CANCELLED)]
        stored = await store.find(order.order_id)
        assert stored is not None
        assert stored.state in pair
    events_told = await told(dsn, store)
    assert len(events_told) == len({order_id for _, order_id in events_told}) == len(orders)


async def test_money_that_is_out_is_asked_for_again_by_one_copy_until_it_is_back(
    store: OrderStore, dsn: str | None
) -> None:
    delivered = (stories.paid(2), stories.delivered(2))
    await hear(store, [(stories.paid(1), NOW), *((event, NOW) for event in delivered)])
    await hear(store, [(stories.cancelled(1), NOW), (stories.returned(2), NOW)])
    await hear(store, [(stories.cancelled(3), NOW)])  # never paid
    assert await store.untold_since() == NOW
    due, again_at = NOW + domain.TELL_AGAIN, stories.at(500)
    early = due - timedelta(microseconds=1)
    assert await store.tell_again(early, limit=10, again_at=again_at) == 0
    counts = await asyncio.gather(
        *(store.tell_again(due, limit=10, again_at=again_at) for _ in range(3))
    )
    assert sum(counts) == 2
    assert sorted(await told(dsn, store)) == [
        ("OrderCancelled", stories.order_id(1)),
        ("OrderReturned", stories.order_id(2)),
    ]
    await hear(store, [(stories.reversed_payment(1), NOW)])
    assert await store.untold_since() == stories.returned().returned_at
    assert await store.tell_again(again_at, limit=10, again_at=stories.at(999)) == 1
    await hear(store, [(stories.reversed_payment(2), NOW)])
    assert await store.untold_since() is None


async def test_everybodys_orders_come_with_their_steps_newest_first(store: OrderStore) -> None:
    for number in range(1, 5):
        await hear(store, [(stories.placed(number, placed_at=stories.at(number)), NOW)])
    await hear(store, [(stories.paid(2), NOW), (stories.failed(9), NOW)])
    page = await store.page_all(None, offset=1, limit=2)
    assert [order.order_id for order in page.orders] == [
        stories.order_id(3),
        stories.order_id(2),
    ]
    assert page.total == 4
    assert page.orders[1] == await found(store, 2)
    page = await store.page_all(State.CONFIRMED, offset=0, limit=5)
    assert ([order.order_id for order in page.orders], page.total) == ([stories.order_id(2)], 1)
    assert (await store.page_all(State.RETURNED, offset=0, limit=5)).orders == []
