"""The store of letters, fake and real: one row a letter, one worker a row."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from doorbuster.contracts import events
from doorbuster.kit import database, migrations
from doorbuster.notification import domain, storage
from doorbuster.notification.domain import Kind, Letter, Outcome
from doorbuster.notification.ports import LetterStore
from doorbuster.testing import stories
from doorbuster.testing.letters import FakeLetterStore

NOW = stories.at(10)
LEASE = timedelta(seconds=150)
CARRIER = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


@pytest.fixture(params=["fake", "postgres"])
def dsn(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("fresh_postgres") if request.param == "postgres" else None


@pytest.fixture
async def store(dsn: str | None) -> AsyncIterator[LetterStore]:
    if dsn is None:
        yield FakeLetterStore()
        return
    await migrations.upgrade("doorbuster.notification", dsn)
    async with database.open_engine(dsn) as engine:
        async with engine.begin() as connection:
            await connection.execute(sa.delete(storage.LETTER))
        yield storage.PostgresLetterStore(engine)


def letter(event: events.Event) -> Letter:
    found = domain.letter_for(event)
    assert found is not None
    return found


async def write(store: LetterStore, *heard: events.Event) -> None:
    await store.write([(letter(event), CARRIER) for event in heard], NOW)


async def test_what_is_claimed_is_what_was_written(store: LetterStore) -> None:
    await write(store, stories.paid())
    [claim] = await store.claim(NOW, limit=5, leased_until=NOW + LEASE)
    assert claim.letter == letter(stories.paid())
    assert (claim.attempts, claim.written_at, dict(claim.carrier)) == (1, NOW, CARRIER)


async def test_a_letter_is_written_once_however_often_the_event_comes(store: LetterStore) -> None:
    await write(store, stories.paid(), stories.paid())
    [claim] = await store.claim(NOW, limit=5, leased_until=NOW + LEASE)
    await store.settle(claim.letter, Outcome.SENT, at=NOW, again_at=NOW, why="")
    await write(store, stories.paid(), stories.failed())
    claims = await store.claim(NOW, limit=5, leased_until=NOW + LEASE)
    assert [claim.letter.kind for claim in claims] == [Kind.DECLINED]
    assert claims[0].confirmed


async def test_an_unpaid_order_has_no_confirmation(store: LetterStore) -> None:
    await write(store, stories.failed(1), stories.paid(2))
    claims = await store.claim(NOW, limit=5, leased_until=NOW + LEASE)
    assert {claim.letter.order_id: claim.confirmed for claim in claims} == {
        stories.order_id(1): False,
        stories.order_id(2): True,
    }


async def test_a_claimed_letter_is_nobody_elses_until_the_lease_ends(store: LetterStore) -> None:
    await write(store, stories.paid())
    assert len(await store.claim(NOW, limit=5, leased_until=NOW + LEASE)) == 1
    just_before = NOW + LEASE - timedelta(microseconds=1)
    assert await store.claim(just_before, limit=5, leased_until=NOW + LEASE) == []
    [again] = await store.claim(NOW + LEASE, limit=5, leased_until=NOW + 2 * LEASE)
    assert again.attempts == 2


async def test_copies_never_claim_the_same_letter(store: LetterStore) -> None:
    await write(store, *(stories.paid(number) for number in range(1, 41)))
    batches = await asyncio.gather(
        *(store.claim(NOW, limit=8, leased_until=NOW + LEASE) for _ in range(6))
    )
    claimed = [claim.letter.order_id for batch in batches for claim in batch]
    assert len(claimed) == len(set(claimed))
    rest = await store.claim(NOW, limit=40, leased_until=NOW + LEASE)
    assert len(claimed) + len(rest) == 40


async def test_a_letter_put_off_is_due_again_then(store: LetterStore) -> None:
    await write(store, stories.paid())
    [claim] = await store.claim(NOW, limit=5, leased_until=NOW + LEASE)
    again_at = NOW + timedelta(seconds=5)
    await store.settle(claim.letter, Outcome.LATER, at=NOW, again_at=again_at, why="x" * 500)
    assert await store.claim(NOW, limit=5, leased_until=NOW + LEASE) == []
    assert len(await store.claim(again_at, limit=5, leased_until=NOW + LEASE)) == 1


@pytest.mark.parametrize("outcome", [Outcome.SENT, Outcome.FAILED, Outcome.SKIPPED])
async def test_a_settled_letter_stays_settled(store: LetterStore, outcome: Outcome) -> None:
    await write(store, stories.paid())
    [claim] = await store.claim(NOW, limit=5, leased_until=NOW + LEASE)
    await store.settle(claim.letter, outcome, at=NOW, again_at=NOW, why="")
    await store.settle(claim.letter, Outcome.LATER, at=NOW, again_at=NOW, why="a late worker")
    assert await store.claim(NOW + 9 * LEASE, limit=5, leased_until=NOW + 10 * LEASE) == []


async def test_the_oldest_letters_go_first(store: LetterStore) -> None:
    for number in (3, 1, 2):
        paid = letter(stories.paid(number))
        await store.write([(paid, {})], NOW - timedelta(seconds=number))
    claims = await store.claim(NOW, limit=2, leased_until=NOW + LEASE)
    assert {claim.letter.order_id for claim in claims} == {
        stories.order_id(3),
        stories.order_id(2),
    }


async def test_the_oldest_letter_that_waits_is_known_though_it_is_claimed(
    store: LetterStore,
) -> None:
    assert await store.waiting_since() is None
    await write(store, stories.paid(1))
    await store.write([(letter(stories.paid(2)), CARRIER)], NOW + LEASE)
    [claim] = await store.claim(NOW, limit=1, leased_until=NOW + LEASE)
    assert await store.waiting_since() == NOW
    await store.settle(claim.letter, Outcome.SENT, at=NOW, again_at=NOW, why="")
    assert await store.waiting_since() == NOW + LEASE
