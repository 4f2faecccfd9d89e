"""What a waiting room leaves behind in Redis, and what it says while Redis does not serve."""

from datetime import timedelta

import pytest

from doorbuster import escrow
from doorbuster.kit import clock, redis


def arrive(user, **changes):
    now = clock.utc_now()
    return escrow.Arrival(
        **{
            "sale_uid": "sale-1",
            "user_id": user,
            "admit_per_second": 1,
            "open_time": now - timedelta(minutes=1),
            "close_time": now + timedelta(minutes=9),
            **changes,
        }
    )


async def test_all_of_a_room_is_gone_some_time_after_its_sale(store, server_of):
    rooms = escrow.WaitingRooms(store)
    for user in ("a", "b"):
        await rooms.ask(arrive(user))
    client = await server_of(store, "sale:{sale-1}:room")
    for name in ("room", "places"):
        seconds = await client.ttl(f"sale:{{sale-1}}:{name}")
        assert 3600 < seconds <= 9 * 60 + 3600
    longer = clock.utc_now() + timedelta(hours=2)
    await rooms.ask(arrive("a", close_time=longer))
    assert await client.ttl("sale:{sale-1}:places") > 2 * 3600, "the sale was prolonged"
    await rooms.close()


async def test_a_redis_that_is_away_is_named():
    async with redis.open_servers("redis://127.0.0.1:1/0") as client:
        with pytest.raises(escrow.EscrowAwayError):
            await escrow.WaitingRooms(client).ask(arrive("a"))
