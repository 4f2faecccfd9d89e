"""What checkout relies on in waiting rooms, kept by the fake and by those on a Redis server and a Redis Cluster."""

import asyncio
import secrets
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from doorbuster import escrow
from doorbuster.kit import clock, redis
from doorbuster.testing.waiting_room import FakeWaitingRooms

SLOW = 1
FAST = 100_000
WITHIN_SECONDS = 30.0
REAL = {"server": "fresh_redis", "cluster": "fresh_redis_cluster"}


@pytest.fixture(params=["fake", *REAL])
async def open_rooms(request):
    """``open_rooms(most_waiting=…)`` -> waiting rooms; those of one test share one store."""
    if request.param == "fake":
        shared = FakeWaitingRooms(clock.utc_now)

        def open_fake(most_waiting=1_000_000):
            shared._most_waiting = most_waiting
            return shared

        yield open_fake
        return
    url = request.getfixturevalue(REAL[request.param])
    opened = []
    async with redis.open_servers(url) as client:

        def open_real(**limits):
            opened.append(escrow.WaitingRooms(client, **limits))
            return opened[-1]

        yield open_real
        for rooms in opened:
            await rooms.close()


@pytest.fixture
def rooms(open_rooms):
    return open_rooms()


@pytest.fixture
def arrive():
    """``arrive(user, **changes)`` -> a buyer at a sale that opened a minute ago."""
    now, sale = clock.utc_now(), f"sale-{secrets.token_hex(4)}"
    first = escrow.Arrival(
        sale_uid=sale,
        user_id="",
        admit_per_second=SLOW,
        open_time=now - timedelta(minutes=1),
        close_time=now + timedelta(minutes=9),
    )
    return lambda user, **changes: replace(first, user_id=user, **changes)


async def test_places_are_given_in_the_order_of_coming_and_kept(rooms, arrive):
    places = []
    for name in "abcd":
        places.append(await rooms.ask(arrive(name)))
        await come(rooms, arrive, f"after_{name}")
    assert places[0].is_inside
    waits = [place.wait_seconds for place in places]
    assert waits == sorted(waits)
    assert [place.position for place in places] == sorted({place.position for place in places})
    again = await rooms.ask(arrive("d"))
    assert again.position <= places[-1].position
    assert again.wait_seconds <= places[-1].wait_seconds


async def test_buyers_who_come_at_once_get_places_of_their_own(rooms, arrive):
    places = await asyncio.gather(*(rooms.ask(arrive(f"user_{n}")) for n in range(700)))
    inside = [place for place in places if place.is_inside]
    assert 1 <= len(inside) < 100
    assert len({round(place.wait_seconds, 6) for place in places if not place.is_inside}) == len(
        places
    ) - len(inside)


async def test_double_clicks_are_one_place(rooms, arrive):
    await come(rooms, arrive, "before")
    clicks = await asyncio.gather(*(rooms.ask(arrive("user")) for _ in range(50)))
    assert (await rooms.ask(arrive("next"))).position <= clicks[-1].position + 1


async def test_who_was_let_in_stays_in_though_others_wait(rooms, arrive):
    assert (await rooms.ask(arrive("first"))).is_inside
    await come(rooms, arrive, "others")
    for _ in range(3):
        assert (await rooms.ask(arrive("first"))).is_inside


async def test_never_more_go_in_than_the_rate_allows_and_all_go_in(rooms, arrive):
    rate, crowd = 40, 60
    began, inside = time.monotonic(), set()
    while len(inside) < crowd:
        for n in range(crowd):
            if (await rooms.ask(arrive(f"user_{n}", admit_per_second=rate))).is_inside:
                inside.add(n)
        assert len(inside) <= 1 + rate * (time.monotonic() - began) + 1e-3
        assert time.monotonic() < began + WITHIN_SECONDS


async def test_an_idle_room_saves_up_nothing(rooms, arrive):
    crowd = [arrive(f"user_{n}", admit_per_second=4) for n in range(40)]
    assert (await rooms.ask(crowd[0])).is_inside
    await wait_for(rooms, arrive("second", admit_per_second=4))
    await asyncio.sleep(0.6)  # nobody comes for a while
    began = time.monotonic()
    inside = [(await rooms.ask(arrival)).is_inside for arrival in crowd[1:]]
    assert sum(inside) <= 1 + 4 * (time.monotonic() - began)


async def test_those_who_were_called_and_all_come_late_are_no_rush(rooms, arrive):
    """As after a pause of the sale: everybody's turn has come meanwhile."""
    rate = 50
    crowd = [arrive(f"user_{n}", admit_per_second=rate) for n in range(3 * rate)]
    last = (await asyncio.gather(*map(rooms.ask, crowd)))[-1]
    await asyncio.sleep(last.wait_seconds)
    began = time.monotonic()
    inside = [place.is_inside for place in await asyncio.gather(*map(rooms.ask, crowd))]
    took = time.monotonic() - began
    assert sum(inside) <= 1 + rate * (1 + took)


async def test_a_higher_rate_calls_those_who_wait_already(rooms, arrive):
    began = time.monotonic()
    far = (await asyncio.gather(*(rooms.ask(arrive(f"user_{n}")) for n in range(200))))[-1]
    assert far.wait_seconds > 150
    first = await rooms.ask(arrive("user_199", admit_per_second=FAST))
    assert first.position > 100, "the new rate counts from now on"
    await wait_for(rooms, arrive("user_199", admit_per_second=FAST))
    assert time.monotonic() < began + 150


async def test_a_lower_rate_slows_those_who_wait_already(rooms, arrive):
    places = await asyncio.gather(
        *(rooms.ask(arrive(f"user_{n}", admit_per_second=20)) for n in range(400))
    )
    after = await rooms.ask(arrive("user_399"))
    assert places[-1].wait_seconds < 20
    assert after.wait_seconds > 2 * places[-1].wait_seconds
    assert after.position <= places[-1].position


async def test_nobody_goes_in_before_the_opening_and_the_order_stays(rooms, arrive):
    opens = clock.utc_now() + timedelta(minutes=1)
    first = await rooms.ask(arrive("a", open_time=opens))
    await come(rooms, lambda name: arrive(name, open_time=opens), "others")
    second = await rooms.ask(arrive("b", open_time=opens))
    assert not first.is_inside
    assert first.wait_seconds < second.wait_seconds
    later = await rooms.ask(arrive("a", open_time=opens + timedelta(hours=1)))
    assert later.wait_seconds > 3600
    soon = clock.utc_now() + timedelta(seconds=0.5)
    await wait_for(rooms, arrive("a", open_time=soon))
    assert clock.utc_now() >= soon
    assert not (await rooms.ask(arrive("b", open_time=soon))).is_inside


async def test_a_full_room_gives_no_place_and_takes_newcomers_when_it_empties(open_rooms, arrive):
    rooms = open_rooms(most_waiting=3)
    places = await asyncio.gather(*(rooms.ask(arrive(f"user_{n}")) for n in range(100)))
    assert max(place.position for place in places) == 4, "those behind the third wait unnumbered"
    assert not places[-1].is_inside
    await wait_for(rooms, arrive("user_99", admit_per_second=FAST))


async def test_sales_have_rooms_of_their_own(rooms, arrive):
    await come(rooms, arrive, "others")
    assert not (await rooms.ask(arrive("a"))).is_inside
    assert (await rooms.ask(arrive("a", sale_uid="another"))).is_inside


async def test_two_copies_share_one_queue(open_rooms, arrive):
    ours, theirs = open_rooms(), open_rooms()
    assert (await ours.ask(arrive("first"))).is_inside
    assert (await theirs.ask(arrive("first"))).is_inside
    await come(ours, arrive, "others")
    before = (await ours.ask(arrive("b"))).position
    await come(theirs, arrive, "more")
    assert (await ours.ask(arrive("c"))).position > before
    assert (await theirs.ask(arrive("b"))).position <= before


async def come(rooms, arrive, names):
    """Have a crowd take places, so many that their turns at the slow rate are half a minute apart."""
    await asyncio.gather(*(rooms.ask(arrive(f"{names}_{n}")) for n in range(30)))


async def wait_for(rooms, arrival):
    """Ask again until the buyer is let in."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while not (place := await rooms.ask(arrival)).is_inside:
        assert time.monotonic() < deadline, f"not let in: {place}"
        await asyncio.sleep(min(0.05, place.wait_seconds))
