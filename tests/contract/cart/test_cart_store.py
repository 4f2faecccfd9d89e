"""The store of carts, fake and real: no add is lost, a cart moves once, an order empties once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from doorbuster.cart import domain, storage
from doorbuster.cart.domain import Line, Lines, OfNobody, OfUser, UnknownCartError
from doorbuster.cart.ports import CartStore, Purchase
from doorbuster.kit import database, ids, migrations
from doorbuster.testing.carts import NOON, FakeCartStore

ADA, BO = OfUser(user_id="user_ada"), OfUser(user_id="user_bo")
SOMEBODY = OfNobody(token_hash="a" * 64)


@pytest.fixture(params=["fake", "postgres"])
def dsn(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("fresh_postgres") if request.param == "postgres" else None


@pytest.fixture
async def store(dsn: str | None) -> AsyncIterator[CartStore]:
    if dsn is None:
        yield FakeCartStore()
        return
    await migrations.upgrade("doorbuster.cart", dsn)
    async with database.open_engine(dsn) as engine:
        async with engine.begin() as connection:
            for table in (storage.CART, storage.BOUGHT_ORDER):
                await connection.execute(sa.delete(table))
        yield storage.PostgresCartStore(engine)


def adding(product_id: str, quantity: int = 1) -> Any:
    return partial(domain.add, product_id=product_id, quantity=quantity)


async def add(store: CartStore, owner: domain.Owner, product_id: str, quantity: int = 1) -> None:
    await store.change(owner, adding(product_id, quantity), NOON, new_id=ids.new_id("cart"))


async def lines(store: CartStore, owner: domain.Owner) -> Lines:
    cart = await store.find(owner)
    return () if cart is None else cart.lines


def purchase(
    order_id: str, owner: OfUser = ADA, quantity: int = 1, product_id: str = "p"
) -> Purchase:
    line = Line(product_id=product_id, quantity=quantity)
    return Purchase(order_id=order_id, user_id=owner.user_id, bought=(line,), paid_at=NOON)


async def test_a_cart_comes_back_as_it_was_stored(store: CartStore) -> None:
    made = await store.change(ADA, adding("p", 2), NOON, new_id="cart_1")
    changed = await store.change(ADA, adding("a", 1), NOON, new_id="cart_2")
    assert made == domain.StoredCart(cart_id="cart_1", version=1, lines=(line("p", 2),))
    assert changed == domain.StoredCart(
        cart_id="cart_1", version=2, lines=(line("p", 2), line("a", 1))
    )
    assert await store.find(ADA) == changed
    assert await store.of_user("cart_1", ADA.user_id) == changed
    assert await store.of_user("cart_1", BO.user_id) is None
    assert await store.find(SOMEBODY) is None


def line(product_id: str, quantity: int) -> Line:
    return Line(product_id=product_id, quantity=quantity)


async def test_forty_adds_at_once_from_two_tabs_lose_nothing(store: CartStore) -> None:
    await asyncio.gather(*(add(store, ADA, f"p{number % 4}") for number in range(40)))
    cart = await store.find(ADA)
    assert cart is not None
    assert sorted((one.product_id, one.quantity) for one in cart.lines) == [
        (f"p{number}", 10) for number in range(4)
    ]
    assert cart.version == 40


async def test_adds_at_once_stop_at_the_limit(store: CartStore) -> None:
    await add(store, ADA, "p", 990)
    outcomes = await asyncio.gather(
        *(add(store, ADA, "p") for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(one, domain.CartFullError) for one in outcomes) == 10
    assert await lines(store, ADA) == (line("p", domain.MAX_UNITS_OF_A_LINE),)


async def test_a_refused_first_change_makes_no_cart(store: CartStore) -> None:
    with pytest.raises(domain.CartFullError):
        await add(store, ADA, "p", 1001)
    with pytest.raises(UnknownCartError):
        await store.change(BO, adding("p"), NOON)
    assert await store.find(ADA) is None
    assert await store.find(BO) is None


async def test_what_changes_nothing_keeps_the_version(store: CartStore) -> None:
    await add(store, ADA, "p")
    same = await store.change(ADA, lambda held: held, NOON)
    assert same.version == 1


async def test_a_cart_of_nobody_moves_once_while_its_user_adds(store: CartStore) -> None:
    await add(store, SOMEBODY, "p", 3)
    merges = [
        store.merge(SOMEBODY, ADA.user_id, NOON, new_id=ids.new_id("cart")) for _ in range(5)
    ]
    adds = [add(store, ADA, "p") for _ in range(5)]
    outcomes = await asyncio.gather(*merges, *adds, return_exceptions=True)
    assert sum(isinstance(one, UnknownCartError) for one in outcomes) == 4
    assert sum(isinstance(one, Exception) for one in outcomes) == 4
    assert await lines(store, ADA) == (line("p", 8),)
    assert await store.find(SOMEBODY) is None


async def test_an_order_empties_a_cart_once_told_by_many(store: CartStore) -> None:
    await add(store, ADA, "p", 9)
    await add(store, BO, "p", 9)
    told = [purchase("order_1"), purchase("order_2", BO), purchase("order_3", quantity=2)]
    counts = await asyncio.gather(
        *(store.take_out(batch, NOON) for batch in (told, told[::-1], told[1:], told[:1]) * 3)
    )
    assert sum(counts) == 3
    assert await lines(store, ADA) == (line("p", 6),)
    assert await lines(store, BO) == (line("p", 8),)


async def test_a_buyer_without_a_cart_is_no_trouble(store: CartStore) -> None:
    assert await store.take_out([purchase("order_1")], NOON) == 1
    assert await store.take_out([], NOON) == 0
    assert await store.find(ADA) is None


async def test_carts_of_nobody_expire_in_bounded_steps_and_a_users_never(
    store: CartStore,
) -> None:
    await add(store, ADA, "p")
    for number in range(3):
        await add(store, OfNobody(token_hash=f"{number}" * 64), "p")
    later = NOON + timedelta(seconds=1)
    assert await store.oldest_of_nobody() == NOON
    assert await store.expire(NOON, 2) == 0
    assert [await store.expire(later, 2) for _ in range(3)] == [2, 1, 0]
    assert await store.oldest_of_nobody() is None
    assert await lines(store, ADA) == (line("p", 1),)


async def test_old_orders_are_forgotten_in_bounded_steps(store: CartStore) -> None:
    await store.take_out([purchase(f"order_{number}") for number in range(3)], NOON)
    later = NOON + timedelta(seconds=1)
    assert await store.forget_orders(NOON, 2) == 0
    assert [await store.forget_orders(later, 2) for _ in range(3)] == [2, 1, 0]
