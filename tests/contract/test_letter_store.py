"""The stores of letters and preferences, fake and real: one row a letter and channel, one worker a row."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from doorbuster.contracts import events
from doorbuster.kit import database, migrations
from doorbuster.notification import domain, storage
from doorbuster.notification.domain import Channel, Kind, Letter, LetterId, Outcome, Preferences
from doorbuster.notification.ports import Claim, Draft, LetterStore, PreferenceStore
from doorbuster.testing import stories
from doorbuster.testing.letters import FakeLetterStore, FakePreferenceStore

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


@pytest.fixture
async def preferences(dsn: str | None) -> AsyncIterator[PreferenceStore]:
    if dsn is None:
        yield FakePreferenceStore()
        return
    await migrations.upgrade("doorbuster.notification", dsn)
    async with database.open_engine(dsn) as engine:
        async with engine.begin() as connection:
            await connection.execute(sa.delete(storage.PREFERENCE))
        yield storage.PostgresPreferenceStore(engine)


def letter(event: events.Event) -> Letter:
    found = domain.letter_for(event)
    assert found is not None
    return found


MAIL = frozenset({Channel.EMAIL})
BOTH = frozenset(Channel)


def draft(event: events.Event, channels: frozenset[Channel] = MAIL) -> Draft:
    return Draft(letter=letter(event), channels=channels, carrier=CARRIER)


async def write(
    store: LetterStore, *heard: events.Event, channels: frozenset[Channel] = MAIL
) -> None:
    await store.write([draft(event, channels) for event in heard], NOW)


async def claim_all(
    store: LetterStore, at: datetime = NOW, *, channel: Channel = Channel.EMAIL
) -> list[Claim]:
    return await store.claim(channel, at, limit=5, leased_until=at + LEASE)


async def settle(store: LetterStore, claim: Claim, outcome: Outcome, why: str = "") -> None:
    await store.settle(claim.letter_id, outcome, at=NOW, again_at=NOW, why=why)


async def test_what_is_claimed_is_what_was_written(store: LetterStore) -> None:
    await write(store, stories.paid())
    [claim] = await claim_all(store)
    assert claim.letter == letter(stories.paid())
    assert (claim.attempts, claim.waiting_since, dict(claim.carrier)) == (1, NOW, CARRIER)


async def test_a_letter_is_written_once_however_often_the_event_comes(store: LetterStore) -> None:
    await write(store, stories.paid(), stories.paid())
    [claim] = await claim_all(store)
    await settle(store, claim, Outcome.SENT)
    await write(store, stories.paid(), stories.failed())
    claims = await claim_all(store)
    assert [claim.letter.kind for claim in claims] == [Kind.DECLINED]
    assert claims[0].told == {Kind.CONFIRMED, Kind.DECLINED}


async def test_a_claim_tells_of_its_own_orders_letters_only(store: LetterStore) -> None:
    await write(store, stories.failed(1), stories.paid(2), stories.shipped(2))
    claims = await claim_all(store)
    assert {claim.letter.order_id: claim.told for claim in claims} == {
        stories.order_id(1): {Kind.DECLINED},
        stories.order_id(2): {Kind.CONFIRMED, Kind.SHIPPED},
    }


async def test_a_parcel_is_kept_as_it_was_told(store: LetterStore) -> None:
    await write(store, stories.shipped())
    [claim] = await claim_all(store)
    assert claim.letter == letter(stories.shipped())


async def test_each_channel_has_its_own_letter(store: LetterStore) -> None:
    await write(store, stories.paid(), channels=BOTH)
    [mail] = await claim_all(store)
    await settle(store, mail, Outcome.SENT)
    assert await store.waiting_since(Channel.EMAIL) is None
    [text] = await claim_all(store, channel=Channel.SMS)
    assert (mail.letter, mail.channel, text.channel) == (text.letter, Channel.EMAIL, Channel.SMS)
    assert await claim_all(store, NOW + LEASE) == []


async def test_a_letter_that_nobody_wants_is_remembered_and_not_sent(store: LetterStore) -> None:
    await write(store, stories.paid(), channels=frozenset())
    assert await claim_all(store) == []
    assert await store.waiting_since(Channel.EMAIL) is None
    [record] = (await store.page(Outcome.SKIPPED, offset=0, limit=5)).records
    assert (record.letter_id.kind, record.attempts, record.why) == (
        Kind.CONFIRMED,
        0,
        "not wanted",
    )


@pytest.mark.parametrize("first", [frozenset(), MAIL, frozenset({Channel.SMS})])
async def test_a_repetition_adds_no_channel(store: LetterStore, first: frozenset[Channel]) -> None:
    await store.write([draft(stories.paid(), first), draft(stories.paid(), BOTH)], NOW)
    await write(store, stories.paid(), channels=BOTH)
    claimed = {
        claim.channel for channel in Channel for claim in await claim_all(store, channel=channel)
    }
    assert claimed == first


async def fail(store: LetterStore, *numbers: int) -> list[LetterId]:
    """Write letters a second apart, the lowest number first, and let them fail."""
    for number in numbers:
        await store.write([draft(stories.paid(number))], NOW - timedelta(seconds=90 - number))
    claims = await store.claim(Channel.EMAIL, NOW, limit=99, leased_until=NOW + LEASE)
    for claim in claims:
        await settle(store, claim, Outcome.FAILED, "the account is gone")
    by_order = {claim.letter.order_id: claim.letter_id for claim in claims}
    return [by_order[stories.order_id(number)] for number in numbers]


async def test_letters_are_listed_by_state_the_newest_first_page_by_page(
    store: LetterStore,
) -> None:
    await write(store, stories.shipped(9))
    failed = await fail(store, 1, 2, 3)
    await write(store, stories.paid(4))
    first = await store.page(Outcome.FAILED, offset=0, limit=2)
    rest = await store.page(Outcome.FAILED, offset=2, limit=2)
    shown = [record.letter_id for record in (*first.records, *rest.records)]
    assert (first.total, rest.total) == (4, 4)
    assert shown[1:] == failed[::-1]
    assert {record.why for record in first.records} == {"the account is gone"}
    assert (await store.page(Outcome.LATER, offset=0, limit=9)).total == 1
    assert (await store.page(Outcome.SENT, offset=0, limit=9)).records == []


async def test_a_failed_letter_that_is_driven_again_waits_anew(store: LetterStore) -> None:
    one, _other = await fail(store, 1, 2)
    later = NOW + timedelta(days=3)
    assert await store.redrive([one], later, limit=9) == 1
    assert await store.waiting_since(Channel.EMAIL) == later
    [claim] = await claim_all(store, later)
    assert (claim.letter_id, claim.attempts, claim.waiting_since) == (one, 2, later)
    assert (await store.page(Outcome.FAILED, offset=0, limit=9)).total == 1
    await settle(store, claim, Outcome.SENT)
    assert await store.redrive([one], later, limit=9) == 0


async def test_all_that_failed_is_driven_again_the_oldest_first_to_a_bound(
    store: LetterStore,
) -> None:
    failed = await fail(store, 1, 2, 3)
    assert await store.redrive([], NOW, limit=9) == 0
    assert await store.redrive(None, NOW, limit=2) == 2
    assert {claim.letter_id for claim in await claim_all(store)} == set(failed[:2])
    assert await store.redrive(None, NOW, limit=2) == 1
    assert await store.redrive(None, NOW, limit=2) == 0


async def test_a_claimed_letter_is_nobody_elses_until_the_lease_ends(store: LetterStore) -> None:
    await write(store, stories.paid())
    assert len(await claim_all(store)) == 1
    just_before = NOW + LEASE - timedelta(microseconds=1)
    assert await claim_all(store, just_before) == []
    [again] = await claim_all(store, NOW + LEASE)
    assert again.attempts == 2


async def test_copies_never_claim_the_same_letter(store: LetterStore) -> None:
    await write(store, *(stories.paid(number) for number in range(1, 41)))
    batches = await asyncio.gather(
        *(store.claim(Channel.EMAIL, NOW, limit=8, leased_until=NOW + LEASE) for _ in range(6))
    )
    claimed = [claim.letter.order_id for batch in batches for claim in batch]
    assert len(claimed) == len(set(claimed))
    rest = await store.claim(Channel.EMAIL, NOW, limit=40, leased_until=NOW + LEASE)
    assert len(claimed) + len(rest) == 40


async def test_a_letter_put_off_is_due_again_then(store: LetterStore) -> None:
    await write(store, stories.paid())
    [claim] = await claim_all(store)
    again_at = NOW + timedelta(seconds=5)
    await store.settle(claim.letter_id, Outcome.LATER, at=NOW, again_at=again_at, why="x" * 500)
    assert await claim_all(store) == []
    assert len(await claim_all(store, again_at)) == 1


@pytest.mark.parametrize("outcome", [Outcome.SENT, Outcome.FAILED, Outcome.SKIPPED])
async def test_a_settled_letter_stays_settled(store: LetterStore, outcome: Outcome) -> None:
    await write(store, stories.paid())
    [claim] = await claim_all(store)
    await settle(store, claim, outcome)
    await settle(store, claim, Outcome.LATER, "a late worker")
    assert await claim_all(store, NOW + 9 * LEASE) == []


async def test_the_oldest_letters_go_first(store: LetterStore) -> None:
    for number in (3, 1, 2):
        paid = draft(stories.paid(number))
        await store.write([paid], NOW - timedelta(seconds=number))
    claims = await store.claim(Channel.EMAIL, NOW, limit=2, leased_until=NOW + LEASE)
    assert {claim.letter.order_id for claim in claims} == {
        stories.order_id(3),
        stories.order_id(2),
    }


async def test_the_oldest_letter_that_waits_is_known_though_it_is_claimed(
    store: LetterStore,
) -> None:
    assert await store.waiting_since(Channel.EMAIL) is None
    await write(store, stories.paid(1))
    await store.write([draft(stories.paid(2))], NOW + LEASE)
    [claim] = await store.claim(Channel.EMAIL, NOW, limit=1, leased_until=NOW + LEASE)
    assert await store.waiting_since(Channel.EMAIL) == NOW
    await settle(store, claim, Outcome.SENT)
    assert await store.waiting_since(Channel.EMAIL) == NOW + LEASE


async def test_the_last_choice_counts_and_who_chose_nothing_is_not_there(
    preferences: PreferenceStore,
) -> None:
    one, two, three = (stories.user_id(number) for number in (1, 2, 3))
    await preferences.put(one, Preferences(email=False, sms=True), NOW)
    await preferences.put(two, Preferences(email=True, sms=True), NOW)
    await preferences.put(one, Preferences(email=False, sms=False), NOW)
    assert await preferences.find([one, two, three]) == {
        one: Preferences(email=False, sms=False),
        two: Preferences(email=True, sms=True),
    }
    assert await preferences.find([]) == {}


async def test_two_tabs_that_choose_at_once_leave_one_choice(
    preferences: PreferenceStore,
) -> None:
    user_id = stories.user_id()
    choices = [Preferences(email=flag, sms=flag) for flag in (True, False)] * 5
    await asyncio.gather(*(preferences.put(user_id, choice, NOW) for choice in choices))
    assert (await preferences.find([user_id]))[user_id] in choices
