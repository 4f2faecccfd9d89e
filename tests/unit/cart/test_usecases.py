"""Carts over fakes: whose they are, what they take, what they show while a neighbour is away."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from doorbuster.cart.domain import (
    BOUGHT_ORDER_LIFE,
    CART_OF_NOBODY_LIFE,
    CartFullError,
    OfUser,
    UnknownCartError,
    UnknownProductError,
)
from doorbuster.cart.usecases import DEGRADED, Carts, SalesBoard, of_token
from doorbuster.contracts import events
from doorbuster.kit.consumer import Delivery
from doorbuster.testing import stories
from doorbuster.testing.carts import NOON, FakeCartStore, FakeMarket, product, quote, sale

ADA = OfUser(user_id=stories.user_id(1))


class World:
    """The use cases over fakes; product 1 is listed, product 2 is not."""

    def __init__(self) -> None:
        self.store, self.market = FakeCartStore(), FakeMarket()
        self.market.listed[product(1)] = quote(1)
        self.market.units[product(1)] = 10
        self.time: datetime = NOON
        self.board = SalesBoard(self.market, monotonic=lambda: 0.0)
        self.carts = Carts(
            store=self.store,
            catalogue=self.market,
            board=self.board,
            stock=self.market,
            now=lambda: self.time,
        )

    async def units(self, owner: Any = ADA) -> list[int]:
        cart = await self.store.find(owner)
        return [] if cart is None else [line.quantity for line in cart.lines]

    async def hear(self, *heard: events.Event) -> None:
        await self.carts.take_in(
            [Delivery(event=event, topic=stories.TOPIC, carrier={}) for event in heard]
        )


@pytest.fixture
async def world() -> World:
    made = World()
    await made.board.step()
    return made


def counted(without: str) -> float:
    return DEGRADED.labels(without)._value.get()


async def test_a_user_has_one_cart_and_its_version_grows(world: World) -> None:
    first = await world.carts.add(ADA, product(1), 2)
    second = await world.carts.add(ADA, product(1), 3)
    assert (first.cart.cart_id, first.token) == (second.cart.cart_id, None)
    assert (first.cart.version, second.cart.version) == (1, 2)
    assert await world.units() == [5]


async def test_adds_from_many_tabs_lose_nothing(world: World) -> None:
    await asyncio.gather(*(world.carts.add(ADA, product(1), 1) for _ in range(40)))
    assert await world.units() == [40]


async def test_nobody_gets_a_new_cart_and_its_token_once(world: World) -> None:
    made = await world.carts.add(None, product(1), 1)
    other = await world.carts.add(None, product(1), 1)
    assert made.token is not None
    assert made.token != other.token
    assert made.token not in repr(world.store.rows)
    again = await world.carts.add(of_token(made.token), product(1), 1)
    assert (again.token, again.cart.cart_id) == (None, made.cart.cart_id)
    assert (await world.carts.view(of_token(made.token))).products[0].quantity == 2


async def test_a_token_that_opens_nothing_is_refused_everywhere(world: World) -> None:
    stranger = of_token("ct_nobody-has-this")
    for call in (
        world.carts.view(stranger),
        world.carts.add(stranger, product(1), 1),
        world.carts.put(stranger, product(1), 1),
        world.carts.remove(stranger, product(1)),
        world.carts.put(None, product(1), 1),
        world.carts.remove(None, product(1)),
        world.carts.remove(ADA, product(1)),
        world.carts.merge(ADA.user_id, "ct_nobody-has-this"),
        world.carts.contents("cart_1", ADA.user_id),
    ):
        with pytest.raises(UnknownCartError):
            await call
    assert not world.store.rows


async def test_putting_and_removing_may_be_repeated(world: World) -> None:
    versions = [(await world.carts.put(ADA, product(1), 7)).cart.version for _ in range(2)]
    assert versions == [1, 1]
    removed = [(await world.carts.remove(ADA, product(1))).cart.version for _ in range(2)]
    assert removed == [2, 2]
    assert await world.units() == []


async def test_a_full_line_changes_nothing(world: World) -> None:
    await world.carts.add(ADA, product(1), 1000)
    with pytest.raises(CartFullError):
        await world.carts.add(ADA, product(1), 1)
    assert await world.units() == [1000]


async def test_what_neither_product_nor_a_sale_has_is_refused(world: World) -> None:
    for wrong in (product(2), ADA.user_id):
        with pytest.raises(UnknownProductError) as refused:
            await world.carts.add(ADA, wrong, 1)
        assert refused.value.product_id == wrong
    world.market.on_sale.append(sale(2))
    await world.board.step()
    await world.carts.add(ADA, product(2), 1)


async def test_without_product_any_id_is_taken_and_shown_without_a_price(world: World) -> None:
    world.market.away.add("product")
    before = counted("product")
    await world.carts.add(ADA, product(2), 1)
    [line] = (await world.carts.view(ADA)).products
    assert (line.title, line.price, line.availability) == (None, None, "unknown")
    assert counted("product") == before + 2


async def test_without_stock_prices_are_shown_and_availability_is_unknown(world: World) -> None:
    await world.carts.add(ADA, product(1), 1)
    world.market.away.add("stock")
    [line] = (await world.carts.view(ADA)).products
    assert (line.title, line.availability) == ("Thing 1", "unknown")


async def test_a_known_sale_keeps_its_price_while_inventory_is_away(world: World) -> None:
    world.market.on_sale.append(sale(1))
    await world.board.step()
    world.market.away.add("sales")
    with pytest.raises(ConnectionError):
        await world.board.step()
    await world.carts.add(ADA, product(1), 1)
    assert str((await world.carts.view(ADA)).total) == "9.99"


async def test_without_any_word_of_sales_list_prices_are_shown_and_counted() -> None:
    world = World()
    await world.carts.add(ADA, product(1), 1)
    before = counted("sales")
    assert str((await world.carts.view(ADA)).total) == "19.99"
    assert counted("sales") == before + 1
    await world.carts.add(ADA, product(2), 1)  # it may be a sale's: nobody can say


async def test_a_cart_of_nobody_moves_to_the_user_once(world: World) -> None:
    await world.carts.add(ADA, product(1), 2)
    token = (await world.carts.add(None, product(1), 3)).token
    assert token is not None
    merged = await asyncio.gather(
        *(world.carts.merge(ADA.user_id, token) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(one, UnknownCartError) for one in merged) == 4
    assert await world.units() == [5]
    with pytest.raises(UnknownCartError):
        await world.carts.view(of_token(token))


async def test_a_cart_is_handed_over_to_its_user_only(world: World) -> None:
    cart = (await world.carts.add(ADA, product(1), 2)).cart
    assert await world.carts.contents(cart.cart_id, ADA.user_id) == cart
    with pytest.raises(UnknownCartError):
        await world.carts.contents(cart.cart_id, stories.user_id(2))
    nobodys = (await world.carts.add(None, product(1), 2)).cart
    with pytest.raises(UnknownCartError):
        await world.carts.contents(nobodys.cart_id, ADA.user_id)


def paid(number: int = 1, **values: Any) -> events.PaymentSucceeded:
    defaults = {
        "user_id": ADA.user_id,
        "lines": [stories.line(product_id=product(1), quantity=2)],
        "paid_at": NOON,
    }
    return stories.paid(number, **(defaults | values))


async def test_a_purchase_leaves_the_cart_once_however_often_it_is_told(world: World) -> None:
    await world.carts.add(ADA, product(1), 5)
    await world.hear(paid(), paid())
    await world.hear(paid(), stories.expired(9))
    assert await world.units() == [3]
    await world.hear(paid(2), paid(3, user_id=stories.user_id(8)))
    assert await world.units() == [1]


async def test_a_payment_too_old_to_be_remembered_empties_nothing(world: World) -> None:
    await world.carts.add(ADA, product(1), 5)
    await world.hear(paid(paid_at=NOON - BOUGHT_ORDER_LIFE))
    assert await world.units() == [5]
    await world.hear(paid())
    world.time = NOON + BOUGHT_ORDER_LIFE
    await world.carts.sweep()
    await world.hear(paid())
    assert await world.units() == [3]
    world.time += timedelta(days=2)
    await world.carts.sweep()
    assert not world.store.orders


async def test_only_stale_carts_of_nobody_are_swept(world: World) -> None:
    await world.carts.add(ADA, product(1), 1)
    await world.carts.add(None, product(1), 1)
    world.time = NOON + CART_OF_NOBODY_LIFE
    await world.carts.sweep()
    assert len(world.store.rows) == 2
    assert await world.carts.oldest_seconds() == 0.0
    world.time += timedelta(seconds=5)
    assert await world.carts.oldest_seconds() == 5.0
    await world.carts.sweep()
    assert list(world.store.rows) == [ADA]
