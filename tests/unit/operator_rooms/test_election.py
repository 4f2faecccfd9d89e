"""The election with a clock that a test moves: one leader, quick hand-over, no wall clock compared."""

from dataclasses import replace
from datetime import UTC, datetime
from unittest.mock import AsyncMock

import pytest

from doorbuster_operator.election import LEASE_SECONDS, RENEW_DEADLINE_SECONDS, Election
from doorbuster_operator.testing.fakes import FakeLeases


class Time:
    """A monotonic clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def leases():
    return FakeLeases()


def candidate(leases, time, name, year=2026):
    """A candidate whose wall clock may be years off."""
    moment = datetime(year, 1, 1, tzinfo=UTC)
    return Election(leases, name, monotonic=time, utc_now=lambda: moment)


async def test_the_first_candidate_leads(leases, time):
    one = candidate(leases, time, "one")
    assert await one.try_once()
    assert one.is_leader
    assert leases.record.holder == "one"


async def test_a_second_candidate_waits_while_the_first_renews(leases, time):
    one, two = candidate(leases, time, "one"), candidate(leases, time, "two", year=2050)
    assert await one.try_once()
    for _ in range(30):
        time.now += 1
        assert await one.try_once()
        assert not await two.try_once()
    assert not two.is_leader


async def test_a_silent_leader_is_succeeded_after_its_lease_and_not_before(leases, time):
    one, two = candidate(leases, time, "one", year=2050), candidate(leases, time, "two")
    assert await one.try_once()
    assert not await two.try_once()
    time.now += LEASE_SECONDS - 0.1
    assert not await two.try_once()
    assert not one.is_leader, "a leader that cannot renew stops before anybody else starts"
    time.now += 0.2
    assert await two.try_once()
    assert leases.record.transitions == 1
    assert not await one.try_once()


async def test_a_released_lease_is_taken_at_once(leases, time):
    one, two = candidate(leases, time, "one"), candidate(leases, time, "two")
    assert await one.try_once()
    await one.release()
    assert not one.is_leader
    assert await two.try_once()


async def test_the_same_identity_takes_its_own_lease_back_at_once(leases, time):
    assert await candidate(leases, time, "one").try_once()
    reborn = candidate(leases, time, "one")
    assert await reborn.try_once()
    assert leases.record.transitions == 0


async def test_without_an_api_server_a_leader_leads_until_its_deadline(leases, time):
    one = candidate(leases, time, "one")
    assert await one.try_once()
    leases.is_down = True
    time.now += RENEW_DEADLINE_SECONDS - 0.5
    assert await one.try_once()
    time.now += 0.6
    assert not await one.try_once()
    assert not one.is_leader


async def test_of_two_that_write_at_once_one_wins(leases, time):
    one, two = candidate(leases, time, "one"), candidate(leases, time, "two")
    read = leases.read

    async def read_then_lose():
        found = await read()
        leases.read = read
        assert await one.try_once()
        return found

    leases.read = read_then_lose
    assert not await two.try_once()
    assert one.is_leader
    assert not two.is_leader


async def test_a_leader_that_sees_another_holder_leads_no_more(leases, time):
    one = candidate(leases, time, "one")
    assert await one.try_once()
    leases.record = replace(leases.record, holder="two", version="99")
    assert not await one.try_once()
    assert not one.is_leader


async def test_a_lease_that_was_deleted_is_made_anew(leases, time):
    one = candidate(leases, time, "one")
    assert await one.try_once()
    leases.record = None
    assert await one.try_once()
    assert leases.record.holder == "one"


@pytest.mark.parametrize(("winner", "leads_on"), [("one", True), ("two", False)])
async def test_a_conflict_costs_the_lease_only_when_somebody_else_has_it(
    leases, time, monkeypatch, winner, leads_on
):
    one = candidate(leases, time, "one")
    assert await one.try_once()
    before = leases.record
    await leases.write(replace(before, holder=winner))
    with monkeypatch.context() as patch:
        patch.setattr(leases, "read", AsyncMock(return_value=before))
        assert await one.try_once()
        assert leases.record.holder == winner
    assert await one.try_once() is leads_on
    assert one.is_leader is leads_on


async def test_a_candidate_that_is_overtaken_does_not_lead(leases, time, monkeypatch):
    two = candidate(leases, time, "two")
    with monkeypatch.context() as patch:
        patch.setattr(leases, "read", AsyncMock(return_value=None))
        assert await candidate(leases, time, "one").try_once()
        assert not await two.try_once()
    assert not two.is_leader
