"""The way of an order: who gets units, who is refused and how, what happens when a part is gone."""

import asyncio
from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest

from doorbuster.checkout.domain import refusals
from doorbuster.checkout.usecases.check_out import Limits, SalesUnknownError
from doorbuster.contracts import api, events
from doorbuster.kit import ids

PHONE, CASE = ids.product_id("phone"), ids.product_id("case")
PRICE = Decimal("99.90")


def both(**more):
    return api.Checkout(
        products=[
            api.CheckoutLine(product_id=PHONE, quantity=1),
            api.CheckoutLine(product_id=CASE, quantity=1),
        ],
        **more,
    )


async def test_a_buyer_gets_units_and_the_order_is_stored_with_its_event(world):
    order = await world.buy()
    assert order.amount_minor == 9_990
    assert order.currency == "EUR"
    assert order.pay_by == world.clocks.now + timedelta(seconds=120)
    assert order.topic == "sale.shop.drop.orders"
    assert [line.price_minor for line in order.lines] == [9_990]
    assert world.store.announced == [order.order_id]


async def test_a_double_click_is_one_order_with_one_answer(world):
    answers = await asyncio.gather(*(world.buy() for _ in range(20)))
    assert len({answer.order_id for answer in answers}) == 1
    assert all(answer == answers[0] for answer in answers)
    assert world.inventory.calls["reserve"] == 1
    assert world.inventory.units[PHONE].available == 4


async def test_a_retry_after_a_restart_is_the_same_order(world):
    first = await world.buy()
    world.restart()
    assert await world.buy() == first
    assert world.store.announced == [first.order_id]


async def test_another_body_under_the_same_key_is_refused(world):
    await world.buy()
    with pytest.raises(refusals.KeyReusedError):
        await world.buy(price=None)


async def test_forty_buyers_and_five_units(world):
    answers = await asyncio.gather(
        *(world.buy(f"user_{number}", f"key-{number}") for number in range(40)),
        return_exceptions=True,
    )
    kinds = Counter(type(answer).__name__ for answer in answers)
    assert kinds == {"PlacedOrder": 5, "WaitingError": 35}
    assert world.store.finds == 0, "a buyer who loses costs no query"


async def test_waiting_becomes_held_when_a_unit_comes_back(world):
    orders = [await world.buy(f"user_{number}", f"key-{number}") for number in range(5)]
    with pytest.raises(refusals.WaitingError):
        await world.buy("late", "late")
    world.inventory.release(orders[0].order_id)
    assert (await world.buy("late", "late")).user_id == "late"


async def test_sold_out_is_terminal_and_remembered_for_a_moment(world):
    orders = [await world.buy(f"user_{number}", f"key-{number}") for number in range(5)]
    for order in orders:
        world.inventory.sell(order.order_id)
    for _ in range(2):
        with pytest.raises(refusals.SoldOutError):
            await world.buy("late", "late")
    assert world.inventory.calls["judge"] == 1
    assert await world.buy("user_0", "key-0") == orders[0], "an owner is never told sold out"
    world.clocks.advance(0.3)
    with pytest.raises(refusals.SoldOutError):
        await world.buy("late", "late")
    assert world.inventory.calls["judge"] == 2


async def test_an_order_whose_hold_is_gone_needs_a_new_key(world):
    order = await world.buy()
    world.inventory.release(order.order_id)
    with pytest.raises(refusals.HoldExpiredError):
        await world.buy()
    assert (await world.buy(key="key-2")).order_id != order.order_id


async def test_a_stored_order_is_answered_again_after_the_sale_is_over(world):
    order = await world.buy()
    world.clocks.advance(3600)
    assert await world.buy() == order
    with pytest.raises(refusals.SaleClosedError):
        await world.buy("late", "late")
    world.inventory.release(order.order_id)
    with pytest.raises(refusals.HoldExpiredError):
        await world.buy()


async def test_a_changed_price_is_refused_and_nothing_is_held(world):
    for price in (Decimal("99.89"), Decimal("99.904"), Decimal(0)):
        with pytest.raises(refusals.PriceChangedError):
            await world.buy(price=price)
    assert world.inventory.calls["reserve"] == 0
    assert (await world.buy(price=None)).amount_minor == 9_990


async def test_a_new_price_is_seen_before_anybody_is_refused(world, sale, item):
    await world.board.sighting()
    world.inventory.listed = [sale(item(price_minor=8_000))]
    world.clocks.advance(0.5)
    assert (await world.buy(price=Decimal(80))).amount_minor == 8_000


async def test_before_the_opening_nothing_is_asked_of_redis(world):
    world.clocks.now -= timedelta(seconds=6)
    with pytest.raises(refusals.SaleNotOpenError) as refused:
        await world.buy()
    assert refused.value.retry_after == 5
    assert world.permits.asked == 0


async def test_a_product_that_nobody_sells_is_unknown(world):
    with pytest.raises(refusals.UnknownProductError):
        await world.buy(product_id=CASE)


async def test_currencies_do_not_mix(make_world, sale, item):
    world = make_world(sale(item(), item("case", currency="USD")))
    with pytest.raises(refusals.MixedCurrencyError):
        await world.buy(wish=both())


async def test_the_limit_per_person_counts_other_orders(world):
    await world.buy()
    with pytest.raises(refusals.PerUserLimitError):
        await world.buy(key="key-2")
    assert world.permits.products[PHONE].available == 4


async def test_two_lines_are_taken_together_or_not_at_all(make_world, sale, item):
    world = make_world(sale(item(), item("case", available=1)))
    order = await world.buy(wish=both())
    assert [line.product_id for line in order.lines] == sorted([PHONE, CASE])
    with pytest.raises(refusals.WaitingError) as refused:
        await world.buy("user_2", "key-2", wish=both())
    assert refused.value.product_id == CASE
    assert world.permits.products[PHONE].available == 4
    assert world.inventory.units[PHONE].available == 4


async def test_the_topic_is_that_of_the_first_sale_by_uid(make_world, sale, item):
    later = sale(item("case"), uid="0", name="cases")
    order = await make_world(sale(), later).buy(wish=both())
    assert order.topic == events.sale_topic("shop", "cases")


async def test_a_cold_permit_is_warmed_once_and_asked_again(world):
    world.permits.products.clear()
    await world.buy()
    assert world.inventory.calls["warm"] == 1
    assert world.inventory.calls["reserve"] == 1


async def test_a_stale_permit_is_asked_again(world):
    world.inventory.units[PHONE].epoch = 7
    assert await world.buy()
    assert world.permits.products[PHONE].epoch == 8


async def test_a_judgement_of_an_old_epoch_is_asked_again(world):
    world.permits.products[PHONE].available = 0
    world.inventory.units[PHONE].epoch = 7
    assert await world.buy()


async def test_permits_that_stay_cold_leave_postgresql_to_decide(world, monkeypatch):
    world.permits.products.clear()
    monkeypatch.setattr(world.permits, "load", lambda *_args, **_more: None)
    assert await world.buy()
    assert world.inventory.calls["warm"] == 4


async def test_without_redis_orders_go_direct(world):
    world.permits.is_away = True
    answers = await asyncio.gather(
        *(world.buy(f"user_{number}", f"key-{number}") for number in range(9)),
        return_exceptions=True,
    )
    kinds = Counter(type(answer).__name__ for answer in answers)
    assert kinds == {"PlacedOrder": 5, "WaitingError": 4}


async def test_a_direct_sale_asks_for_no_permit(make_world, sale):
    world = make_world(sale(strategy="Direct"))
    assert await world.buy()
    assert world.permits.asked == 0


@pytest.mark.parametrize(
    ("gate", "error"),
    [
        ("NOT_OPEN", refusals.SaleNotOpenError),
        ("CLOSED", refusals.SaleClosedError),
        ("SUSPENDED", refusals.SaleSuspendedError),
    ],
)
async def test_a_gate_that_redis_keeps_shut_refuses_strangers_but_no_owner(world, gate, error):
    order = await world.buy()
    world.permits.products[PHONE].orders.clear()
    world.permits.gates[PHONE] = gate
    assert await world.buy() == order
    with pytest.raises(error):
        await world.buy("late", "late")


async def test_a_limit_that_redis_remembers_is_judged_by_inventory(world):
    await world.buy("greedy")
    world.permits.gates[PHONE] = "USER_LIMIT"
    with pytest.raises(refusals.PerUserLimitError):
        await world.buy("greedy", "another key")
    with pytest.raises(refusals.WaitingError):
        await world.buy("late", "late")


async def test_a_hold_without_a_stored_order_is_finished_by_a_retry(world):
    world.store.is_away = True
    with pytest.raises(ConnectionError):
        await world.buy()
    assert world.inventory.units[PHONE].available == 4
    world.store.is_away = False
    order = await world.buy()
    assert world.store.announced == [order.order_id]
    assert world.inventory.units[PHONE].available == 4


async def test_a_lost_reply_is_unavailable_and_the_retry_is_exact(world):
    world.inventory.lost_replies = 1
    await_first = world.buy()
    with pytest.raises(ConnectionError):
        await await_first
    order = await world.buy()
    assert world.inventory.units[PHONE].available == 4
    assert world.store.announced == [order.order_id]


async def test_without_inventory_nothing_is_stored_and_nobody_is_refused(world):
    await world.board.sighting()
    world.inventory.is_away = True
    with pytest.raises(ConnectionError):
        await world.buy()
    world.clocks.advance(30)
    with pytest.raises(SalesUnknownError):
        await world.buy(price=Decimal(1))
    assert not world.store.orders


async def test_before_inventory_ever_answered_checkout_is_unavailable(world):
    world.inventory.is_away = True
    with pytest.raises(ConnectionError):
        await world.buy()


async def test_a_paid_order_is_answered_again(world):
    order = await world.buy()
    world.inventory.sell(order.order_id)
    assert await world.buy() == order
    world.permits.products[PHONE].orders.clear()
    world.permits.products[PHONE].available = 0
    assert await world.buy() == order


async def test_too_many_under_way_are_answered_late_and_truthfully(make_world):
    world = make_world(limits=Limits(per_product=3, direct=512))
    answers = await asyncio.gather(
        *(world.buy(f"user_{number}", f"key-{number}") for number in range(5)),
        return_exceptions=True,
    )
    kinds = Counter(type(answer).__name__ for answer in answers)
    assert kinds == {"PlacedOrder": 3, "WaitingError": 2}
    assert world.clocks.slept == [1.0, 1.0]
    assert await world.buy("user_9", "key-9"), "the room is free again"


async def test_too_many_without_permits_are_answered_late(make_world):
    world = make_world(limits=Limits(per_product=100, direct=2))
    world.permits.is_away = True
    answers = await asyncio.gather(
        *(world.buy(f"user_{number}", f"key-{number}") for number in range(4)),
        return_exceptions=True,
    )
    kinds = Counter(type(answer).__name__ for answer in answers)
    assert kinds == {"PlacedOrder": 2, "WaitingError": 2}
