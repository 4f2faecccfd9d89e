"""The payment store, fake and real: one live attempt an order, each step once, nothing told without its step."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from doorbuster.kit import database, ids, migrations
from doorbuster.payment import domain, storage
from doorbuster.payment.domain import (
    Attempt,
    Limits,
    OrderReversedError,
    State,
    TooManyAttemptsError,
)
from doorbuster.payment.ports import Facts, NewAttempt
from doorbuster.testing import payments

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=60)
AGAIN = LATER + timedelta(seconds=30)
LIMITS = Limits()


@pytest.fixture(params=["fake", "postgres", "mysql"])
def dsn(request: pytest.FixtureRequest) -> str | None:
    if request.param == "fake":
        return None
    found: str = request.getfixturevalue(f"fresh_{request.param}")
    return found


@pytest.fixture
async def store(dsn: str | None) -> AsyncIterator[Any]:
    if dsn is None:
        yield payments.FakePaymentStore(limits=LIMITS)
        return
    await migrations.upgrade("doorbuster.payment", dsn)
    async with database.open_engine(dsn) as engine:
        async with engine.begin() as connection:
            await connection.execute(sa.delete(storage.PAYMENT))
            await connection.execute(sa.delete(storage.OUTBOX))
        yield storage.SqlPaymentStore(engine, LIMITS)


async def told(store: Any) -> list[tuple[str, str]]:
    """Return (topic, type) of all events so far."""
    if isinstance(store, payments.FakePaymentStore):
        return [(topic, event.type) for topic, event in store.told]
    outbox = storage.OUTBOX.c
    async with store._engine.connect() as connection:
        rows = await connection.execute(sa.select(outbox.topic, outbox.type).order_by(outbox.id))
        return [(row.topic, row.type) for row in rows]


def new(key: str = "k1", order: str = "o1", **more: Any) -> NewAttempt:
    return NewAttempt(
        purchase=payments.purchase(key=order, topic="sale.a.b.orders", **more),
        payment_id=ids.new_id("txn"),
        idempotency_key=key,
        fingerprint="f" * 32,
    )


async def opened(store: Any, **more: Any) -> Attempt:
    attempt = await store.open(new(**more), now=NOW)
    assert attempt is not None
    return attempt


async def walk(store: Any, attempt: Attempt, *states: State) -> Attempt:
    """Take an attempt through states, with what each of them needs to be known."""
    for state in states:
        facts = Facts(
            intent_id="pi_1" if state is State.CONFIRMING else None,
            paid_at=NOW if state is State.AUTHORISED else None,
        )
        moved = await store.move(attempt, state, now=NOW, facts=facts)
        assert moved is not None
        attempt = moved
    return attempt


SOLD = (State.CONFIRMING, State.AUTHORISED)
ENDS = [
    (State.VOIDING, State.VOIDED),
    (State.CAPTURING, State.CAPTURE_FAILED),
    (State.CAPTURING, State.CAPTURED, State.REFUNDING, State.REFUNDED),
]


async def test_what_is_stored_comes_back_whole(store: Any) -> None:
    attempt = await opened(store)
    assert attempt.attempt == 1
    assert await store.get(attempt.order_id, 1) == attempt
    assert await store.find(attempt.order_id, "k1") == attempt
    assert await store.live(attempt.order_id) == attempt
    assert await store.get(attempt.order_id, 2) is None
    assert await store.find(attempt.order_id, "K1") is None


async def test_a_live_attempt_keeps_others_out_until_it_has_failed(store: Any) -> None:
    attempt = await opened(store)
    for state in (State.NEW, State.CONFIRMING, State.CANCELLING):
        if state is not State.NEW:
            attempt = await walk(store, attempt, state)
        assert await store.open(new("other"), now=NOW) is None
    await store.move(attempt, State.DECLINED, now=NOW)
    second = await opened(store, key="other")
    assert second.attempt == 2


@pytest.mark.parametrize("end", [(), (State.CAPTURING,), (State.CAPTURING, State.CAPTURED)])
async def test_a_sold_order_takes_no_more_attempts(store: Any, end: tuple[State, ...]) -> None:
    await walk(store, await opened(store), *SOLD, *end)
    assert await store.open(new("other"), now=NOW) is None


@pytest.mark.parametrize("end", ENDS)
async def test_an_order_that_was_given_back_is_never_paid_again(
    store: Any, end: tuple[State, ...]
) -> None:
    await walk(store, await opened(store), *SOLD, *end)
    with pytest.raises(OrderReversedError):
        await store.open(new("other"), now=NOW)
    assert await store.get(new().purchase.order_id, 2) is None


async def test_a_key_is_used_once_an_order(store: Any) -> None:
    attempt = await opened(store)
    await store.move(attempt, State.ABANDONED, now=NOW)
    assert await store.open(new("k1"), now=NOW) is None
    assert await store.open(new("k1", order="o2"), now=NOW) is not None
    assert await store.open(new("K1"), now=NOW) is not None


async def test_of_many_at_once_one_is_let_in(store: Any) -> None:
    made = await asyncio.gather(*(store.open(new(f"k{n}"), now=NOW) for n in range(20)))
    assert len([attempt for attempt in made if attempt is not None]) == 1


async def test_of_many_with_one_key_one_is_let_in(store: Any) -> None:
    made = await asyncio.gather(*(store.open(new(), now=NOW) for _ in range(20)))
    assert len([attempt for attempt in made if attempt is not None]) == 1


async def test_attempts_of_one_order_are_bounded(store: Any) -> None:
    for number in range(domain.MAX_ATTEMPTS):
        await store.move(await opened(store, key=f"k{number}"), State.ABANDONED, now=NOW)
    with pytest.raises(TooManyAttemptsError):
        await store.open(new("more"), now=NOW)


async def test_a_step_is_made_once_and_told_once(store: Any) -> None:
    attempt = await walk(store, await opened(store), State.CONFIRMING)
    event = domain.succeeded(domain.paid(attempt, NOW))
    facts = Facts(paid_at=NOW, brand="visa", last4="4242")

    async def step() -> Attempt | None:
        found: Attempt | None = await store.move(
            attempt, State.AUTHORISED, now=NOW, facts=facts, event=event
        )
        return found

    results = await asyncio.gather(*(step() for _ in range(5)))
    [moved] = [result for result in results if result is not None]
    assert moved == await store.get(attempt.order_id, 1)
    assert (moved.state, moved.paid_at, moved.brand) == (State.AUTHORISED, NOW, "visa")
    assert await told(store) == [("sale.a.b.orders", "PaymentSucceeded")]


async def test_a_step_from_an_older_state_changes_nothing(store: Any) -> None:
    attempt = await walk(store, await opened(store), State.CONFIRMING)
    await store.move(attempt, State.CANCELLING, now=NOW)
    late = await store.move(attempt, State.AUTHORISED, now=NOW, facts=Facts(paid_at=NOW))
    assert late is None
    assert (await store.get(attempt.order_id, 1)).state is State.CANCELLING


async def test_a_step_that_the_machine_does_not_have_is_our_mistake(store: Any) -> None:
    attempt = await opened(store)
    with pytest.raises(ValueError, match="never followed"):
        await store.move(attempt, State.CAPTURED, now=NOW)


async def test_later_events_go_to_the_common_topic(store: Any) -> None:
    attempt = await walk(store, await opened(store), *SOLD, State.CAPTURING)
    await store.move(attempt, State.CAPTURED, now=NOW, event=domain.captured(attempt))
    assert await told(store) == [("orders", "PaymentCaptured")]


async def claim(store: Any, *states: State, now: datetime = LATER) -> list[Attempt]:
    found: list[Attempt] = await store.claim_due(
        frozenset(states), now=now, again_at=now + timedelta(seconds=30), limit=10
    )
    return found


async def test_what_is_due_is_claimed_by_one_copy_until_it_is_due_again(store: Any) -> None:
    attempt = await opened(store)
    assert await claim(store, State.NEW, now=NOW) == []
    assert await claim(store, State.CONFIRMING) == []
    claims = await asyncio.gather(*(claim(store, State.NEW) for _ in range(5)))
    assert [one.order_id for found in claims for one in found] == [attempt.order_id]
    assert await claim(store, State.NEW) == []
    assert len(await claim(store, State.NEW, now=LATER + timedelta(seconds=31))) == 1


async def test_authorised_money_is_due_at_once_captured_money_never(store: Any) -> None:
    attempt = await walk(store, await opened(store), *SOLD)
    assert len(await claim(store, State.AUTHORISED, now=NOW)) == 1
    await walk(store, attempt, State.CAPTURING, State.CAPTURED)
    assert await claim(store, *State) == []


async def test_a_reversal_asked_for_during_the_capture_is_due_after_it(store: Any) -> None:
    attempt = await walk(store, await opened(store), *SOLD)
    assert not await store.ask_reversal(attempt, "cancelled", now=NOW)
    attempt = await walk(store, attempt, State.CAPTURING)
    assert await store.ask_reversal(attempt, "cancelled", now=NOW)
    await walk(store, attempt, State.CAPTURED)
    [due] = await claim(store, State.CAPTURED)
    assert due.reversal == "cancelled"


async def unknown(store: Any, states: frozenset[State], now: datetime = LATER) -> list[Attempt]:
    found: list[Attempt] = await store.claim_unknown(
        states, now=now, again_at=now + timedelta(seconds=30), limit=10
    )
    return found


async def test_order_is_asked_about_sold_attempts_until_it_knows_them(store: Any) -> None:
    attempt = await walk(store, await opened(store), *SOLD)
    assert await unknown(store, domain.SOLD, NOW) == []
    assert await unknown(store, domain.REVERSED) == []
    [claimed] = await unknown(store, domain.SOLD)
    assert await unknown(store, domain.SOLD) == []
    assert await told(store) == []
    for _ in range(3):  # while the broker is away, nothing piles up
        await store.publish([claimed], now=LATER)
    assert await told(store) == [("orders", "PaymentSucceeded")]
    assert len(await unknown(store, domain.SOLD, AGAIN)) == 1
    await store.note_known(domain.SOLD, [attempt])
    assert await unknown(store, domain.SOLD, AGAIN + timedelta(seconds=31)) == []


@pytest.mark.parametrize("end", ENDS)
async def test_others_are_asked_about_reversed_attempts_until_they_know_them(
    store: Any, end: tuple[State, ...]
) -> None:
    attempt = await walk(store, await opened(store), *SOLD, *end)
    sold = await walk(store, await opened(store, order="o2"), *SOLD)
    assert await unknown(store, domain.REVERSED, NOW) == []
    claims = await asyncio.gather(*(unknown(store, domain.REVERSED) for _ in range(5)))
    [claimed] = [one for found in claims for one in found]
    assert claimed == await store.get(attempt.order_id, 1)
    assert await unknown(store, domain.REVERSED) == []
    for _ in range(3):
        await store.publish([claimed], now=LATER)
    assert await told(store) == [("orders", "PaymentReversed")]
    await store.publish([sold, claimed], now=LATER)
    assert (await told(store))[1:] == [("orders", "PaymentSucceeded")]
    await store.note_known(domain.REVERSED, await unknown(store, domain.REVERSED, AGAIN))
    assert await unknown(store, domain.REVERSED, AGAIN + timedelta(seconds=31)) == []
    assert len(await unknown(store, domain.SOLD, AGAIN)) == 1


@pytest.mark.parametrize("end", ENDS)
async def test_an_attempt_reversed_while_its_sale_was_asked_about_keeps_its_appointment(
    store: Any, end: tuple[State, ...]
) -> None:
    attempt = await walk(store, await opened(store), *SOLD)
    asked = await unknown(store, domain.SOLD)
    await walk(store, attempt, *end)
    await store.note_known(domain.SOLD, asked)
    assert len(await unknown(store, domain.REVERSED)) == 1


async def test_money_on_its_way_back_is_nothing_to_ask_about(store: Any) -> None:
    await walk(store, await opened(store), *SOLD, State.VOIDING)
    assert await unknown(store, frozenset(State)) == []


async def test_states_are_told_by_attempt(store: Any) -> None:
    first = await opened(store)
    await store.move(first, State.ABANDONED, now=NOW)
    second = await opened(store, key="k2")
    asked = [(first.order_id, 1), (second.order_id, 2), (first.order_id, 3), ("order_x", 1)]
    assert await store.states(asked) == {
        (first.order_id, 1): State.ABANDONED,
        (second.order_id, 2): State.NEW,
    }
    assert await store.states([]) == {}


async def test_how_long_attempts_wait_for_a_worker_is_known_though_they_are_claimed(
    store: Any,
) -> None:
    undecided = frozenset({State.NEW, State.CONFIRMING})
    assert await store.waiting_since(undecided) is None
    assert await store.unknown_since(domain.SOLD) is None
    await opened(store)
    sold = await walk(store, await opened(store, order="o2"), *SOLD)
    await store.claim_due(undecided, now=LATER, again_at=LATER, limit=10)
    assert await store.waiting_since(undecided) == NOW
    assert await store.waiting_since(frozenset({State.AUTHORISED})) == NOW
    assert await store.waiting_since(frozenset({State.CANCELLING})) is None
    assert await store.unknown_since(domain.SOLD) == NOW
    await store.note_known(domain.SOLD, [sold])
    assert await store.unknown_since(domain.SOLD) is None


async def test_how_long_others_should_have_known_a_reversal_is_counted_from_its_end(
    store: Any,
) -> None:
    voiding = await walk(store, await opened(store), *SOLD, State.VOIDING)
    assert await store.unknown_since(domain.REVERSED) is None
    voided = await store.move(voiding, State.VOIDED, now=LATER)
    assert await store.unknown_since(domain.SOLD) is None
    await unknown(store, domain.REVERSED, AGAIN)
    assert await store.unknown_since(domain.REVERSED) == LATER
    await store.note_known(domain.REVERSED, [voided])
    assert await store.unknown_since(domain.REVERSED) is None
