"""Slots that move between the servers of a cluster, and clients that know little of them."""

import contextlib
import time

import pytest
from redis.crc import key_slot

from doorbuster import escrow
from doorbuster.kit import redis

PRODUCT = "prod_that_moves"
SLOT = key_slot(f"{{{PRODUCT}}}".encode())


def gate():
    now = int(time.time() * 1000)
    return escrow.Gate(
        sale_uid="sale",
        open_at_millis=now - 1000,
        close_at_millis=now + 3_600_000,
        state="Active",
        per_user_limit=100,
    )


def request(order):
    return escrow.PermitRequest(
        order_id=order, user_id=f"user_{order}", product_id=PRODUCT, quantity=1
    )


class Servers:
    """The three servers as an administrator speaks to them: first the one that owns the slot."""

    def __init__(self, clients, names) -> None:
        self.clients, self.names = clients, names

    async def set_slot(self, at, *words) -> None:
        await self.clients[at].execute_command("CLUSTER SETSLOT", SLOT, *words)

    async def give_slot_to(self, at) -> None:
        await self.clients[at].execute_command("FLUSHALL")
        for other in (at, *(n for n in range(len(self.clients)) if n != at)):
            await self.clients[other].execute_command("FLUSHALL")
            await self.set_slot(other, "NODE", self.names[at])


@pytest.fixture
async def cluster(fresh_redis_cluster):
    """The servers; the slot goes home at the end."""
    places, credentials = redis.parse_cluster_url(fresh_redis_cluster)
    home = SLOT * len(places) // 16384
    places.insert(0, places.pop(home))
    async with contextlib.AsyncExitStack() as opened:
        clients = [
            await opened.enter_async_context(
                redis.open_redis(f"redis://:{credentials['password']}@{host}:{port}/0")
            )
            for host, port in places
        ]
        names = [(await each.execute_command("CLUSTER MYID")).decode() for each in clients]
        servers = Servers(clients, names)
        yield servers
        for number in range(len(clients)):
            await servers.set_slot(number, "STABLE")
        await servers.give_slot_to(0)


@pytest.fixture
async def desk(fresh_redis_cluster):
    async with redis.open_servers(fresh_redis_cluster) as store:
        yield escrow.Escrow(store)


async def test_a_slot_that_moved_is_found_and_seen_as_another_life(desk, cluster):
    assert await desk.load(PRODUCT, epoch=1, permits=1, gate=gate())
    before = await desk.survey([PRODUCT])
    await cluster.give_slot_to(1)
    assert (await desk.permit(request("a"))).outcome == "COLD"
    after = await desk.survey([PRODUCT])
    assert after.held == {}
    assert after.runs[PRODUCT] != before.runs[PRODUCT]
    assert await desk.load(PRODUCT, epoch=2, permits=1, gate=gate())
    assert (await desk.permit(request("a"))).outcome == "GRANTED"


async def test_who_only_looks_finds_a_slot_that_moved_at_the_second_look(desk, cluster):
    await desk.load(PRODUCT, epoch=1, permits=1, gate=gate())
    await cluster.give_slot_to(2)
    with pytest.raises(escrow.EscrowAwayError):
        await desk.survey([PRODUCT])
    assert (await desk.survey([PRODUCT])).held == {}


async def test_a_slot_on_its_way_is_away(desk, cluster):
    await cluster.set_slot(1, "IMPORTING", cluster.names[0])
    await cluster.set_slot(0, "MIGRATING", cluster.names[1])
    with pytest.raises(escrow.EscrowAwayError):
        await desk.permit(request("a"))
    with pytest.raises(escrow.EscrowAwayError):
        await desk.survey([PRODUCT])


async def test_one_server_that_answers_is_enough_to_know_them_all(fresh_redis_cluster):
    places, credentials = redis.parse_cluster_url(fresh_redis_cluster)
    host, port = places[-1]
    url = f"redis+cluster://:{credentials['password']}@127.0.0.1:1,{host}:{port}"
    products = [f"prod_{number}" for number in range(30)]
    async with redis.open_servers(url) as store:
        assert len(set((await escrow.Escrow(store).survey(products)).runs.values())) == 3
