"""What every strategy promises, on two real checkouts, the real inventory, Redis and Kafka.

The same tests for Escrow, Direct and Lock: they differ in who is asked first and in speed, never in an answer.
"""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from doorbuster.kit import clock, ids


@pytest.fixture(params=["Escrow", "Direct", "Lock"])
def strategy(request):
    return request.param


async def test_a_rush_of_double_clicks_over_two_checkouts(drop):
    await drop.arm(5)
    first, second = await asyncio.gather(drop.rush(60), drop.rush(60))
    won = drop.winners(first)
    assert drop.winners(second) == won
    assert Counter(first.values()) - Counter(won.values()) == {"WAITING": 55}
    assert len(set(won.values())) == 5
    assert await drop.counters() == (0, 5, 0)


async def test_as_many_are_sold_as_there_are_and_strangers_are_told_so_but_no_owner(drop):
    await drop.arm(3)
    won = drop.winners(await drop.rush(10))
    assert len(won) == 3
    for user, order_id in won.items():
        await drop.pay(order_id, user=user)
    await drop.eventually(lambda: drop.are_sold(3), "three units are sold")
    for prefix in ("late", "later"):
        assert set((await drop.rush(20, prefix=prefix)).values()) == {"SOLD_OUT"}
    for at in (0, 1):
        assert {user: await drop.buy(user, at=at) for user in won} == won
    assert await drop.counters() == (0, 0, 3)


async def test_waiting_becomes_held_when_a_hold_runs_out(drop):
    await drop.arm(1, hold_seconds=1)
    [first] = drop.winners({"a": await drop.buy("a")}).values()
    assert await drop.buy("b") == "WAITING"

    async def held():
        answer = await drop.buy("b")
        assert answer == "WAITING" or answer.startswith("order_"), answer
        return answer.startswith("order_")

    await drop.eventually(held, "the waiting buyer gets the unit")
    assert await drop.buy("a") == "HOLD_EXPIRED"
    assert first != ids.order_id("b", f"{drop.sku}-b")


async def test_nobody_gets_in_before_the_authority_opens(drop):
    opens = await drop.arm(1, opens_in=4.0)
    assert await drop.buy("a") == "SALE_NOT_OPEN"

    async def answered():
        pressed = clock.utc_now()
        answer = await drop.buy("a")
        assert answer == "SALE_NOT_OPEN" or clock.utc_now() >= opens, "too early"
        assert answer != "SALE_NOT_OPEN" or pressed < opens + timedelta(seconds=0.2), "too late"
        return answer.startswith("order_")

    await drop.eventually(answered, "the sale opens")


async def test_a_key_stands_for_one_order(drop):
    await drop.arm(5, limit=5)
    order = await drop.buy("a", "key")
    assert [await drop.buy("a", "key", at=at) for at in (0, 1)] == [order, order]
    assert await drop.buy("a", "key", quantity=2) == "IDEMPOTENCY_KEY_REUSED"
    assert await drop.counters() == (4, 1, 0)


async def test_nobody_gets_more_than_the_limit_however_many_orders_he_makes(drop):
    await drop.arm(10, limit=2)
    greedy = await asyncio.gather(*(drop.buy("a", f"key-{n}") for n in range(12)))
    # Until his first two are written, the others may be told to wait: the permits of those two may still come back.
    answers = Counter(answer[:6] for answer in greedy)
    assert answers["order_"] == 2
    assert answers["PER_US"] + answers["WAITIN"] == 10
    again = await asyncio.gather(*(drop.buy("a", f"key-{n}") for n in range(12)))
    assert Counter(answer[:6] for answer in again) == {"order_": 2, "PER_US": 10}
    assert all(new == old for new, old in zip(again, greedy, strict=True) if old[:6] == "order_")
    assert await drop.buy("a", "more", quantity=3) == "PER_USER_LIMIT"
    assert (await drop.buy("b", quantity=2)).startswith("order_")
    assert await drop.counters() == (6, 4, 0)


async def test_a_quantity_is_taken_whole_or_not_and_is_sold_out_for_itself(drop):
    await drop.arm(5, limit=5)
    first = await drop.buy("a", quantity=3)
    assert await drop.buy("b", quantity=3) == "WAITING"
    await drop.pay(first, user="a")
    await drop.eventually(lambda: drop.are_sold(3), "three units are sold")
    assert await drop.buy("b", quantity=3) == "SOLD_OUT"
    assert (await drop.buy("c", quantity=2)).startswith("order_")
    assert await drop.counters() == (0, 2, 3)


async def test_nobody_pays_a_price_that_he_did_not_see(drop):
    await drop.arm(5)
    assert await drop.buy("a", price=1.00) == "PRICE_CHANGED"
    await drop.change_price(19_990)
    for turn in range(4):  # the checkouts may show the old price still; reserve knows the new one
        assert await drop.buy(f"early-{turn}") == "PRICE_CHANGED"

    async def sold_at_the_new_price():
        return (await drop.buy("b", price=199.90)).startswith("order_")

    await drop.eventually(sold_at_the_new_price, "both see the new price")


async def test_a_suspended_sale_sells_nothing_keeps_its_holds_and_goes_on(drop):
    await drop.arm(2)
    order = await drop.buy("a")
    await drop.change(state="Suspended")
    assert set((await drop.rush(10, prefix="eager")).values()) == {"SALE_SUSPENDED"}
    assert await drop.buy("a") == order
    await drop.pay(order, user="a")
    await drop.eventually(lambda: drop.are_sold(1), "the hold was paid")
    await drop.change(state="Active")

    async def goes_on():
        return (await drop.buy("b")).startswith("order_")

    await drop.eventually(goes_on, "the sale goes on")
    assert await drop.counters() == (0, 1, 1)


@pytest.mark.parametrize("end", ["cancelled", "closed"])
async def test_a_sale_that_is_over_sells_nothing_more_and_its_holds_may_be_paid(drop, end):
    await drop.arm(2)
    order = await drop.buy("a")
    if end == "cancelled":
        await drop.change(state="Cancelled")
    else:
        await drop.change(close_time=clock.utc_now())
    assert set((await drop.rush(10, prefix="late")).values()) == {"SALE_CLOSED"}
    assert await drop.buy("a") == order
    await drop.pay(order, user="a")
    await drop.eventually(lambda: drop.are_sold(1), "the hold was paid")
