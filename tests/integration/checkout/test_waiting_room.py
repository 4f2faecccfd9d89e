"""The waiting room of a sale on two real checkouts with the real inventory, Redis and Kafka."""

import asyncio
from contextlib import asynccontextmanager

import redis.asyncio
from prometheus_client import REGISTRY

WITHIN_SECONDS = 30.0


def degraded():
    labels = {"missing": "waiting_room"}
    return REGISTRY.get_sample_value("doorbuster_checkout_degraded_total", labels) or 0.0


@asynccontextmanager
async def dead(stack, name):
    """Kill -9 a server and bring it back."""
    await asyncio.to_thread(stack.kill, name)
    try:
        yield
    finally:
        await asyncio.to_thread(stack.restart, name)


async def shop(drop, user):
    """Press, and come again as told, until there is an order; returns how often it was not yet the turn."""
    waited = 0
    async with asyncio.timeout(WITHIN_SECONDS):
        while True:
            status, answer = await drop.press(user)
            if status == 201:
                return waited
            assert (status, answer["code"]) == (429, "WAITING_ROOM"), answer
            assert answer["retryAfter"] >= 1
            assert answer["position"] >= 1
            waited += 1
            await asyncio.sleep(answer["retryAfter"])


async def test_a_crowd_goes_in_at_the_rate_over_both_checkouts_and_all_is_sold(drop):
    rate, units = 10, 30
    clock = asyncio.get_running_loop().time
    await drop.arm(units, admit_per_second=rate)
    began, ordered_at = clock(), []

    async def noted(user):
        waited = await shop(drop, user)
        ordered_at.append(clock() - began)
        return waited

    waited = await asyncio.gather(*(noted(f"user_{n}") for n in range(units)))
    for inside, seconds in enumerate(sorted(ordered_at), start=1):
        assert inside <= 1 + rate * seconds, (inside, seconds)
    assert sum(waited) > 0
    assert await drop.counters() == (0, units, 0)


async def test_a_place_is_kept_whichever_checkout_is_asked_and_who_is_in_stays_in(drop):
    await drop.arm(5, limit=2, admit_per_second=1)
    assert (await drop.buy("first")).startswith("order_")
    await asyncio.gather(*(drop.buy(f"user_{n}") for n in range(40)))
    _, mine = await drop.press("mine", at=0)
    await asyncio.gather(*(drop.buy(f"later_{n}") for n in range(40)))
    _, theirs = await drop.press("theirs", at=0)
    for at in (0, 1):
        _, again = await drop.press("mine", at=at)
        assert again["position"] <= mine["position"] < theirs["position"]
        assert (await drop.buy("first", f"another key {at}", at=at)) != "WAITING_ROOM"


async def test_the_rate_follows_the_gate_while_people_wait(drop):
    await drop.arm(5, admit_per_second=1)
    await asyncio.gather(*(drop.buy(f"user_{n}") for n in range(60)))
    assert await drop.buy("late") == "WAITING_ROOM"
    await drop.change(admit_per_second=100_000)

    async def is_in():
        return await drop.buy("late") != "WAITING_ROOM"

    await drop.eventually(is_in, "the new rate counts")
    await drop.change(admit_per_second=None)

    async def nobody_waits():
        answers = await drop.rush(10, prefix=f"new_{asyncio.get_running_loop().time()}")
        return "WAITING_ROOM" not in answers.values()

    await drop.eventually(nobody_waits, "both checkouts know that there is no waiting room")


async def test_owners_and_the_end_of_the_stock_are_told_in_spite_of_the_queue(drop):
    await drop.arm(1, admit_per_second=1)
    order = await drop.buy("owner")
    assert order.startswith("order_")
    async with redis.asyncio.from_url(drop.env["DOORBUSTER_REDIS_URL"]) as store:
        await store.delete(f"sale:{{{drop.sku}}}:room", f"sale:{{{drop.sku}}}:places")
    await drop.rush(40, prefix="queue")
    assert [await drop.buy("owner", at=at) for at in (0, 1)] == [order, order]
    assert await drop.buy("stranger") == "WAITING_ROOM"
    await drop.pay(order, user="owner")
    await drop.eventually(lambda: drop.are_sold(1), "the unit is sold")
    assert await drop.buy("stranger") == "SOLD_OUT"
    assert await drop.buy("owner") == order


async def test_while_redis_is_dead_everybody_goes_on_and_then_there_is_a_queue_again(drop, stack):
    await drop.arm(20, admit_per_second=1)
    await drop.rush(20, prefix="queue")
    before = degraded()
    async with dead(stack, "redis"):
        answers = await drop.rush(10, prefix="without")
        assert len(drop.winners(answers)) == 10
        assert degraded() >= before + 10

    async def is_back():
        answers = await drop.rush(10, prefix=f"after_{asyncio.get_running_loop().time()}")
        return "WAITING_ROOM" in answers.values()

    await drop.eventually(is_back, "there is a queue again")
    available, reserved, sold = await drop.counters()
    assert (available + reserved, sold) == (20, 0)
