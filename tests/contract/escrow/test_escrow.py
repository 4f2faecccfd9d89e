"""The permits on a real Redis: every script exact, every repeat harmless, every epoch apart."""

import asyncio
import random
import time
from collections import Counter

import pytest
from redis.asyncio import Redis

from doorbuster import escrow
from doorbuster.escrow import Fate
from doorbuster.kit import redis

PRODUCT = "prod_of_the_test"


def gate(**changes: object) -> escrow.Gate:
    now = int(time.time() * 1000)
    values = {
        "sale_uid": "sale",
        "open_at_millis": now - 1000,
        "close_at_millis": now + 3_600_000,
        "state": "Active",
        "per_user_limit": 100,
    }
    return escrow.Gate(**{**values, **changes})


def request(order: str, *, user: str = "", quantity: int = 1) -> escrow.PermitRequest:
    return escrow.PermitRequest(
        order_id=order, user_id=user or f"user_{order}", product_id=PRODUCT, quantity=quantity
    )


def settlement(order: str, fate: Fate, *, epoch: int = 1) -> escrow.Settlement:
    return escrow.Settlement(order_id=order, product_id=PRODUCT, epoch=epoch, fate=fate)


def units_back(order: str, *, epoch: int = 1, quantity: int = 1) -> escrow.Return:
    return escrow.Return(order_id=order, product_id=PRODUCT, epoch=epoch, quantity=quantity)


class Desk:
    """An escrow with one product, and the words of these tests."""

    def __init__(self, store: Redis | redis.Cluster, permit_seconds: float = 60.0) -> None:
        self.escrow = escrow.Escrow(store, permit_seconds=permit_seconds)

    async def load(self, permits: int, *, epoch: int = 1, **changes: object) -> bool:
        return await self.escrow.load(PRODUCT, epoch=epoch, permits=permits, gate=gate(**changes))

    async def ask(self, order: str, *, user: str = "", quantity: int = 1) -> str:
        return (await self.escrow.permit(request(order, user=user, quantity=quantity))).outcome

    async def settle(self, order: str, fate: Fate, *, epoch: int = 1) -> int:
        return await self.escrow.settle([settlement(order, fate, epoch=epoch)])

    async def give_back(self, order: str, *, epoch: int = 1, quantity: int = 1) -> bool:
        return (await self.escrow.give_back([units_back(order, epoch=epoch, quantity=quantity)]))[
            0
        ]

    async def left(self) -> tuple[int, int]:
        held = (await self.escrow.snapshot([PRODUCT]))[PRODUCT]
        return held.permits, held.unsettled


@pytest.fixture
def desk(store) -> Desk:
    return Desk(store)


@pytest.fixture
async def server(store, server_of) -> Redis:
    """The server that holds the product."""
    return await server_of(store, f"{{{PRODUCT}}}:st")


async def test_nothing_loaded_is_cold(desk):
    permit = await desk.escrow.permit(request("a"))
    assert (permit.outcome, permit.epoch, permit.open_at_millis) == ("COLD", 0, None)
    assert await desk.escrow.snapshot([PRODUCT]) == {}
    assert await desk.give_back("a") is False
    assert await desk.settle("a", Fate.KEEP) == 0
    assert await desk.escrow.overdue(PRODUCT) == []
    assert await desk.escrow.watched([PRODUCT]) == {}


async def test_permits_run_out_exactly(desk):
    await desk.load(3)
    assert [await desk.ask(f"o{n}") for n in range(5)] == ["GRANTED"] * 3 + ["OUT"] * 2
    assert await desk.ask("big", quantity=2) == "OUT"
    assert await desk.left() == (0, 3)


async def test_an_order_that_asks_again_takes_nothing_more(desk):
    await desk.load(3)
    for _ in range(3):
        assert await desk.ask("a", quantity=2) == "GRANTED"
    assert await desk.left() == (1, 2)
    outcomes = await asyncio.gather(*(desk.ask("b") for _ in range(30)))
    assert set(outcomes) == {"GRANTED"}
    assert await desk.left() == (0, 3)
    await desk.settle("a", Fate.KEEP)
    assert await desk.ask("a", quantity=2) == "GRANTED"
    assert await desk.left() == (0, 1)


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"state": "Suspended"}, "SUSPENDED"),
        ({"state": "Cancelled"}, "CLOSED"),
        ({"open_at_millis": int(time.time() * 1000) + 600_000}, "NOT_OPEN"),
        ({"open_at_millis": 1, "close_at_millis": int(time.time() * 1000) - 1}, "CLOSED"),
    ],
)
async def test_a_shut_gate_lets_nobody_in(desk, changes, outcome):
    await desk.load(3, **changes)
    permit = await desk.escrow.permit(request("a"))
    assert permit.outcome == outcome
    assert permit.open_at_millis == changes.get("open_at_millis", permit.open_at_millis)
    assert await desk.left() == (3, 0)


async def test_the_gate_opens_by_the_clock_of_redis(desk, server):
    seconds, micros = await server.time()
    opening = seconds * 1000 + micros // 1000 + 150
    await desk.load(1, open_at_millis=opening)
    assert await desk.ask("early") == "NOT_OPEN"
    async with asyncio.timeout(5):
        while await desk.ask("early") == "NOT_OPEN":  # noqa: ASYNC110 - Redis rings no bell
            await asyncio.sleep(0.01)
    seconds, micros = await server.time()
    assert seconds * 1000 + micros // 1000 >= opening
    assert await desk.left() == (0, 1)


async def test_the_limit_of_a_buyer_is_hinted_within_and_across_batches(desk):
    await desk.load(10, per_user_limit=2)
    outcomes = await asyncio.gather(*(desk.ask(f"o{n}", user="u") for n in range(5)))
    assert Counter(outcomes) == {"GRANTED": 2, "USER_LIMIT": 3}
    assert await desk.ask("more", user="u") == "USER_LIMIT"
    assert await desk.ask("two", user="v", quantity=3) == "USER_LIMIT"
    assert await desk.left() == (8, 2)


@pytest.mark.parametrize("fate", [Fate.RETURN, Fate.PHANTOM])
async def test_a_buyer_whose_permit_came_to_nothing_may_ask_again(desk, fate):
    await desk.load(10, per_user_limit=1)
    assert await desk.ask("a", user="u") == "GRANTED"
    await desk.settle("a", fate)
    assert await desk.ask("b", user="u") == "GRANTED"


@pytest.mark.parametrize(
    ("fate", "left"),
    [
        (Fate.KEEP, (4, 0)),
        (Fate.RETURN, (5, 0)),
        (Fate.PHANTOM, (4, 0)),
        (Fate.RELEASED, (4, 0)),
    ],
)
async def test_a_permit_ends_once(desk, fate, left):
    await desk.load(5)
    await desk.ask("a")
    assert await desk.settle("a", fate, epoch=2) == 0
    assert await desk.left() == (4, 1)
    assert await desk.settle("a", fate) == 1
    assert await desk.left() == left
    for other in Fate:
        assert await desk.settle("a", other) == 0
    assert await desk.left() == left


async def test_a_permit_not_used_is_free_for_the_same_order(desk):
    await desk.load(1)
    await desk.ask("a")
    await desk.escrow.untake("a", PRODUCT, 1)
    await desk.escrow.untake("a", PRODUCT, 1)
    assert await desk.left() == (1, 0)
    assert await desk.ask("a") == "GRANTED"
    assert await desk.left() == (0, 1)


async def test_units_come_back_once(desk):
    await desk.load(5)
    await desk.ask("a", quantity=2)
    await desk.settle("a", Fate.KEEP)
    for _ in range(3):
        assert await desk.give_back("a", quantity=2) is True
        assert await desk.left() == (5, 0)


async def test_units_come_back_once_for_an_order_redis_never_saw(desk):
    await desk.load(5)
    for _ in range(3):
        assert await desk.give_back("stranger") is True
        assert await desk.left() == (6, 0)


async def test_a_return_leaves_a_permit_in_flight_alone_and_in_any_order_the_sum_is_right(desk):
    await desk.load(5)
    for order, returned_first in (("a", True), ("b", False)):
        await desk.ask(order)
        if returned_first:
            await desk.give_back(order)
            assert await desk.left() == (5, 1)
            await desk.settle(order, Fate.RELEASED)
        else:
            await desk.settle(order, Fate.RELEASED)
            await desk.give_back(order)
        assert await desk.left() == (5, 0)


async def test_an_order_whose_units_came_back_does_not_take_them_again(desk):
    await desk.load(1)
    await desk.ask("a")
    await desk.settle("a", Fate.KEEP)
    await desk.give_back("a")
    assert await desk.ask("a") == "GRANTED"
    assert await desk.left() == (1, 0)


async def test_a_return_of_another_epoch(desk):
    await desk.load(5, epoch=3)
    assert await desk.give_back("a", epoch=2) is True
    assert await desk.give_back("a", epoch=4) is False
    assert await desk.left() == (5, 0)


async def test_a_load_is_refused_unless_it_is_newer(desk):
    assert await desk.load(5, epoch=2) is True
    await desk.ask("a")
    assert await desk.load(9, epoch=2) is False
    assert await desk.load(9, epoch=1) is False
    assert await desk.left() == (4, 1)
    assert await desk.load(9, epoch=3) is True
    assert await desk.left() == (9, 0)
    assert await desk.settle("a", Fate.RETURN, epoch=2) == 0
    assert await desk.left() == (9, 0)
    assert await desk.ask("a") == "GRANTED"
    assert await desk.left() == (8, 1)


async def test_a_load_says_what_it_loaded(desk):
    wanted = gate(per_user_limit=7, state="Suspended")
    await desk.escrow.load(PRODUCT, epoch=4, permits=5, gate=wanted)
    held = (await desk.escrow.snapshot([PRODUCT, "prod_cold"]))[PRODUCT]
    assert held == escrow.Snapshot(epoch=4, permits=5, unsettled=0, gate=wanted)


async def test_overdue_permits_are_given_to_one_reaper_and_settled_ones_to_none(redis_url):
    async with redis.open_servers(redis_url) as store:
        desk = Desk(store, permit_seconds=0.05)
        await desk.load(5)
        for order in "abc":
            await desk.ask(order)
        await desk.settle("a", Fate.KEEP)
        async with asyncio.timeout(5):
            while not await desk.escrow.watched([PRODUCT]):  # noqa: ASYNC110 - nor here
                await asyncio.sleep(0.01)
        found = [
            permit
            for answer in await asyncio.gather(*(desk.escrow.overdue(PRODUCT) for _ in range(5)))
            for permit in answer
        ]
        assert sorted(permit.order_id for permit in found) == ["b", "c"]
        assert {(permit.epoch, permit.quantity) for permit in found} == {(1, 1)}
        assert await desk.ask("a") == "GRANTED"
        assert await desk.left() == (2, 2)


async def test_an_overdue_permit_that_is_asked_for_again_lives_on(store):
    await Desk(store, permit_seconds=0.01).load(5)
    await Desk(store, permit_seconds=0.01).ask("a")
    await Desk(store, permit_seconds=60).ask("a")
    await asyncio.sleep(0.02)
    assert await Desk(store).escrow.overdue(PRODUCT) == []


async def test_scripts_survive_that_redis_forgets_them(desk, server):
    await desk.load(5)
    await server.script_flush()
    assert await desk.ask("a") == "GRANTED"


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:1/0", "redis+cluster://127.0.0.1:1,127.0.0.1:2"]
)
async def test_a_redis_that_is_away_has_one_name(url):
    async with redis.open_servers(url) as store:
        desk = Desk(store)
        calls = (
            lambda: desk.ask("a"),
            lambda: desk.settle("a", Fate.KEEP),
            lambda: desk.give_back("a"),
            lambda: desk.load(1),
            lambda: desk.escrow.overdue(PRODUCT),
            lambda: desk.escrow.watched([PRODUCT]),
            lambda: desk.escrow.snapshot([PRODUCT]),
            lambda: desk.escrow.survey([PRODUCT]),
            lambda: desk.ask("a"),
        )
        for call in calls:
            with pytest.raises(escrow.EscrowAwayError):
                await call()


@pytest.mark.parametrize(("setting", "useless"), [("min-replicas-to-write", 1), ("maxmemory", 1)])
async def test_a_redis_that_cannot_write_is_away(desk, server, setting, useless):
    await desk.load(5)
    usual = (await server.config_get(setting))[setting]
    await server.config_set(setting, useless)
    try:
        with pytest.raises(escrow.EscrowAwayError):
            await desk.ask("a")
    finally:
        await server.config_set(setting, usual)


async def test_a_replica_is_away_for_everybody(fresh_redis, servers):
    """As after a fail-over that a client has not heard of: it answers, but must not be believed."""
    host = (
        fresh_redis.removeprefix("redis://")
        .rpartition("/")[0]
        .rpartition(":")[0]
        .rpartition("@")[2]
    )
    async with redis.open_redis(fresh_redis) as client:
        desk = Desk(client)
        await desk.load(5)
        await client.execute_command("REPLICAOF", host, "1")
        try:
            for call in (
                lambda: desk.ask("a"),
                lambda: desk.load(5, epoch=2),
                lambda: desk.escrow.survey([PRODUCT]),
            ):
                with pytest.raises(escrow.EscrowAwayError):
                    await call()
        finally:
            await client.execute_command("REPLICAOF", "NO", "ONE")


async def test_in_a_storm_permits_are_neither_lost_nor_made(desk):
    """Buyers in disorder: take, settle in every way, return, replay; what is counted outside adds up."""
    units = 40
    await desk.load(units)
    rng = random.Random(7)
    sold: set[str] = set()
    phantoms = 0

    async def shopper(number: int) -> None:
        nonlocal phantoms
        order = f"o{number}"
        async with asyncio.timeout(30):
            while await desk.ask(order) != "GRANTED":
                await asyncio.sleep(rng.random() / 50)
                if len(sold) + phantoms >= units:
                    return
        await asyncio.gather(*(desk.ask(order) for _ in range(rng.randrange(3))))
        fate = rng.choice([Fate.KEEP, Fate.KEEP, Fate.RETURN, Fate.RELEASED, Fate.PHANTOM])
        if fate is Fate.RELEASED and rng.random() < 0.5:
            await desk.give_back(order)
        flips = await asyncio.gather(*(desk.settle(order, fate) for _ in range(2)))
        assert sum(flips) == 1
        if fate is Fate.PHANTOM:
            phantoms += 1
        elif fate is Fate.RELEASED:
            await asyncio.gather(*(desk.give_back(order) for _ in range(2)))
        elif fate is Fate.KEEP:
            sold.add(order)
            if rng.random() < 0.3:
                sold.discard(order)
                await asyncio.gather(*(desk.give_back(order) for _ in range(2)))

    await asyncio.gather(*(shopper(number) for number in range(300)))
    permits, unsettled = await desk.left()
    assert unsettled == 0
    assert permits + len(sold) + phantoms == units
