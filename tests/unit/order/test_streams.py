"""News of an order: at once, on every change, with an end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from doorbuster.kit.consumer import Delivery
from doorbuster.order import streams
from doorbuster.order.streams import Bells, TooManyListenersError, TooManyOfUserError
from doorbuster.order.usecases import Orders
from doorbuster.testing import stories
from doorbuster.testing.orders import FakeCheckout, FakeInventory, FakeOrderStore

ORDER, BUYER = stories.order_id(), stories.user_id()


class World:
    """The use cases over fakes, and one listener."""

    def __init__(self) -> None:
        self.bells = Bells()
        self.store = FakeOrderStore()
        self.time = 0.0
        self.orders = Orders(
            store=self.store,
            checkout=FakeCheckout(),
            inventory=FakeInventory(),
            announce=self.bells.ring,
        )

    async def hear(self, *events: Any) -> None:
        await self.orders.take_in(
            [Delivery(event=event, topic="orders", carrier={}) for event in events]
        )

    async def listen(self) -> AsyncIterator[bytes]:
        with self.bells.listening(ORDER, BUYER) as bell:
            first = await self.orders.show_status(ORDER, BUYER)
            async for piece in streams.news(
                self.orders, self.bells, bell, first, BUYER, clock=lambda: self.time
            ):
                yield piece


@pytest.fixture
async def world() -> World:
    world = World()
    await world.hear(stories.placed())
    return world


async def following(listener: AsyncIterator[bytes]) -> bytes:
    return await asyncio.wait_for(anext(listener), 2)


async def test_the_status_comes_at_once_and_again_when_it_changes(world: World) -> None:
    listener = world.listen()
    first = await following(listener)
    assert first.startswith(b"retry: 2000\n\nevent: status\ndata: {")
    assert b'"status":"pending"' in first
    waiting = asyncio.create_task(following(listener))
    await asyncio.sleep(0)
    await world.hear(stories.paid(2), stories.paid())
    assert b'"status":"confirmed"' in await waiting


async def test_a_final_status_ends_the_stream(world: World) -> None:
    await world.hear(stories.expired())
    pieces = [piece async for piece in world.listen()]
    assert len(pieces) == 1
    assert b'"status":"expired"' in pieces[0]


async def test_a_stream_ends_after_its_life(world: World) -> None:
    listener = world.listen()
    await following(listener)
    world.time = streams.LIFE_SECONDS
    world.bells.ring([ORDER])
    with pytest.raises(StopAsyncIteration):
        await following(listener)


async def test_a_stopping_service_ends_its_streams_at_once(world: World) -> None:
    listener = world.listen()
    await following(listener)
    world.bells.close()
    with pytest.raises(StopAsyncIteration):
        await following(listener)
    with pytest.raises(TooManyListenersError), world.bells.listening(ORDER, BUYER):
        pass


async def test_a_store_that_goes_away_ends_the_stream_for_a_new_try(world: World) -> None:
    listener = world.listen()
    await following(listener)
    world.store.away = True
    world.bells.ring([ORDER])
    with pytest.raises(StopAsyncIteration):
        await following(listener)


async def test_only_so_many_may_listen_and_who_leaves_makes_room() -> None:
    bells = Bells()
    contexts = [
        bells.listening(stories.order_id(number % 7), f"user_{number // 10}")
        for number in range(500)
    ]
    for context in contexts:
        context.__enter__()
    with pytest.raises(TooManyListenersError), bells.listening(ORDER, BUYER):
        pass
    for context in contexts:
        context.__exit__(None, None, None)
    assert bells._waiting == {}
    with bells.listening(ORDER, BUYER):
        pass


async def test_one_buyer_takes_only_his_share_of_the_streams() -> None:
    bells = Bells()
    mine = [bells.listening(ORDER, BUYER) for _ in range(streams.MOST_LISTENERS_PER_USER)]
    for context in mine:
        context.__enter__()
    with pytest.raises(TooManyOfUserError), bells.listening(stories.order_id(2), BUYER):
        pass
    with bells.listening(ORDER, "user_2"):
        pass
    mine[0].__exit__(None, None, None)
    with bells.listening(ORDER, BUYER):
        pass
    for context in mine[1:]:
        context.__exit__(None, None, None)
    assert not bells._of_user
