"""Ordinary products, carts, addresses and discounts: what is asked of whom, and what each of them away means."""

import asyncio
from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest

from doorbuster.checkout.domain import refusals
from doorbuster.checkout.domain.totals import Terms
from doorbuster.contracts import api, events, internal, shopping
from doorbuster.kit import ids
from doorbuster.kit.consumer import Delivery

PHONE, CASE = ids.product_id("phone"), ids.product_id("case")
CART, HOME = "cart_01h455vb4pex5vsknk084sn02q", "addr_01h455vb4pex5vsknk084sn02q"
LIST_PRICE, SALE_PRICE = Decimal("149.00"), Decimal("99.90")


@pytest.fixture
def shop(world):
    """The sale of phones, ten more of them on the list at 149.00, and ten cases at 10.00."""
    world.catalogue.sell("phone", 14_900)
    world.catalogue.sell("case", 1_000)
    world.inventory.stock(CASE, 10)
    return world


async def make(shop, code="SAVE", **fields):
    fields = {"kind": "percentage", "percent": 10} | fields
    await shop.discounting.put(code, shopping.DiscountDraft(**fields))


async def used(shop, code="SAVE"):
    return (await shop.discounts.find(code)).used


async def over(shop, *orders, times=1):
    heard = [
        Delivery(
            event=events.OrderExpired(order_id=one.order_id, user_id="u", reason="x"),
            topic="orders",
            carrier={},
        )
        for one in orders
    ]
    for _ in range(times):
        await shop.discounting.take_in(heard)


async def test_a_cancelled_order_lets_go_of_units_that_are_merely_held(shop):
    held = await shop.buy(product_id=CASE, price=Decimal(10))
    paid = await shop.buy("b", product_id=CASE, price=Decimal(10))
    await shop.inventory.pin(internal.PinItem(order_id=paid.order_id, attempt=1))
    cancelled = [
        Delivery(
            event=events.OrderCancelled(order_id=one.order_id, user_id="u", reason="cancelled"),
            topic="orders",
            carrier={},
        )
        for one in (held, paid)
    ]
    for _ in range(2):
        await shop.discounting.take_in(cancelled)
    states = [shop.inventory.reservations[one.order_id].state for one in (held, paid)]
    assert states == ["RELEASED", "PAYING"]


# --- prices ---------------------------------------------------------------------------------------


async def test_an_ordinary_product_is_sold_at_its_list_price_on_the_common_topic(shop):
    order = await shop.buy(product_id=CASE, price=Decimal(10))
    [line] = order.lines
    assert (line.price_minor, line.sale_uid, order.topic) == (1_000, None, "orders")
    assert shop.inventory.reservations[order.order_id].item.lines[0].epoch is None


async def test_a_sale_and_an_ordinary_line_are_one_order_on_the_sales_topic(shop, wish):
    lines = [
        api.CheckoutLine(product_id=PHONE, quantity=1, price=SALE_PRICE),
        api.CheckoutLine(product_id=CASE, quantity=2),
    ]
    order = await shop.buy(wish=api.Checkout(products=lines))
    assert order.amount_minor == 9_990 + 2 * 1_000
    assert order.topic == "sale.shop.drop.orders"
    assert shop.inventory.units[CASE].available == 8


async def test_a_rush_asks_nothing_of_the_catalogue_and_does_not_need_it(shop):
    shop.catalogue.is_away = True
    await shop.buy()
    assert not shop.catalogue.asked
    with pytest.raises(ConnectionError):
        await shop.buy("user_2", "key-2", product_id=CASE, price=None)


async def test_an_open_sale_has_the_only_price(shop):
    with pytest.raises(refusals.PriceChangedError):
        await shop.buy(price=LIST_PRICE)


@pytest.mark.parametrize(
    ("seconds", "error"),
    [(-60, refusals.SaleNotOpenError), (3600, refusals.SaleClosedError)],
    ids=["before", "after"],
)
async def test_around_a_sale_only_the_list_price_buys(shop, seconds, error):
    shop.clocks.now += timedelta(seconds=seconds)
    for price in (None, SALE_PRICE, Decimal(1)):
        with pytest.raises(error):
            await shop.buy(price=price)
    order = await shop.buy(price=LIST_PRICE)
    assert (order.topic, order.lines[0].sale_uid) == ("orders", None)


async def test_a_stale_list_price_names_the_product_and_a_new_one_is_seen_first(shop):
    await shop.buy(product_id=CASE, price=Decimal(10))
    shop.catalogue.sell("case", 1_200)
    shop.clocks.advance(0.5)
    assert (await shop.buy(key="k2", product_id=CASE, price=Decimal(12))).amount_minor == 1_200
    with pytest.raises(refusals.PriceChangedError) as refused:
        await shop.buy(key="k3", product_id=CASE, price=Decimal(10))
    assert refused.value.product_id == CASE


async def test_a_quote_serves_for_a_second(shop):
    for number in range(5):
        await shop.buy(key=f"k{number}", product_id=CASE, price=None)
    assert shop.catalogue.asked[CASE] == 1
    shop.clocks.advance(1.1)
    await shop.buy(key="later", product_id=CASE, price=None)
    assert shop.catalogue.asked[CASE] == 2


async def test_shipping_and_tax_are_part_of_the_amount(make_world):
    world = make_world(terms=Terms(shipping_minor={"EUR": 499}, tax_millionths=190_000))
    order = await world.buy()
    assert order.totals is not None
    assert (order.totals.shipping_minor, order.totals.tax_minor) == (499, 1_993)
    assert order.amount_minor == 9_990 + 499 + 1_993


# --- carts ----------------------------------------------------------------------------------------


async def test_without_a_key_a_cart_is_one_order_until_it_is_refilled(shop, wish):
    shop.carts.fill("user_1", CART, 3, case=1)
    request = wish(product_id=CASE, price=None, cart_id=CART)
    first, again = await asyncio.gather(*(shop.buy(key=None, wish=request) for _ in range(2)))
    assert first == again
    shop.carts.fill("user_1", CART, 4, case=1)
    assert (await shop.buy(key=None, wish=request)).order_id != first.order_id


async def test_a_cart_of_somebody_else_is_unknown(shop, wish):
    shop.carts.fill("user_2", CART, 1, case=1)
    request = wish(product_id=CASE, price=None, cart_id=CART)
    for key in (None, "k"):
        with pytest.raises(refusals.UnknownCartError):
            await shop.buy(key=key, wish=request)
    assert not shop.inventory.reservations


async def test_what_is_paid_for_is_what_is_in_the_cart(shop, wish):
    for quantities in ({"case": 2}, {"case": 1, "phone": 1}, {}):
        shop.carts.fill("user_1", CART, 1, **quantities)
        with pytest.raises(refusals.CartChangedError):
            await shop.buy(wish=wish(product_id=CASE, price=None, cart_id=CART))
    assert not shop.inventory.reservations


async def test_without_the_cart_service_only_a_client_with_a_key_may_order(shop, wish):
    shop.carts.is_away = True
    request = wish(product_id=CASE, price=None, cart_id=CART)
    with pytest.raises(ConnectionError):
        await shop.buy(key=None, wish=request)
    assert await shop.buy(wish=request)


async def test_a_retry_gets_its_order_also_when_the_cart_is_empty_by_now(shop, wish):
    shop.carts.fill("user_1", CART, 1, case=1)
    request = wish(product_id=CASE, price=None, cart_id=CART)
    order = await shop.buy(wish=request)
    shop.carts.fill("user_1", CART, 2)
    assert await shop.buy(wish=request) == order


# --- addresses ------------------------------------------------------------------------------------


async def test_an_order_keeps_the_address_as_it_was(shop, wish):
    address = shop.addresses.write("user_1", HOME)
    request = wish(address_id=HOME)
    order = await shop.buy(wish=request)
    assert order.address == address
    shop.addresses.books.clear()
    assert await shop.buy(wish=request) == order
    shop.addresses.is_away = True
    assert await shop.buy(wish=request) == order
    with pytest.raises(ConnectionError):
        await shop.buy("user_2", "k", wish=request)


async def test_an_address_of_somebody_else_is_unknown_and_nothing_is_held(shop, wish):
    shop.addresses.write("user_2", HOME)
    with pytest.raises(refusals.UnknownAddressError):
        await shop.buy(wish=wish(address_id=HOME))
    assert not shop.inventory.reservations


# --- discounts ------------------------------------------------------------------------------------


async def test_a_discount_is_taken_off_and_counted_once_however_often_it_is_asked(shop, wish):
    await make(shop, total_uses=1)
    request = wish(discount_code="save")
    order = await shop.buy(wish=request)
    assert (order.amount_minor, order.discount_code) == (8_991, "SAVE")
    shop.restart()
    assert await shop.buy(wish=request) == order
    assert await used(shop) == 1


async def test_an_order_that_no_card_can_pay_is_refused_before_it_holds_anything(make_world, wish):
    world = make_world(terms=Terms(smallest_charge_minor={"EUR": 50}))
    world.catalogue.sell("case", 49)
    world.inventory.stock(CASE, 10)
    with pytest.raises(refusals.AmountTooSmallError):
        await world.buy(product_id=CASE, price=Decimal("0.49"))
    assert world.inventory.calls["reserve"] == 0
    order = await world.buy(product_id=CASE, price=Decimal("0.49"), quantity=2)
    assert order.amount_minor == 98


async def test_an_order_for_nothing_is_refused(shop, wish):
    shop.catalogue.sell("case", 0)
    with pytest.raises(refusals.AmountTooSmallError):
        await shop.buy(product_id=CASE, price=Decimal("0.00"))


async def test_a_code_that_is_used_up_or_unknown_holds_nothing(shop, wish):
    await make(shop, total_uses=1)
    await shop.buy(wish=wish(discount_code="SAVE"))
    with pytest.raises(refusals.DiscountUsedUpError):
        await shop.buy("user_2", "k", wish=wish(discount_code="SAVE"))
    with pytest.raises(refusals.UnknownDiscountCodeError):
        await shop.buy("user_2", "k", wish=wish(discount_code="OTHER"))
    await shop.discounting.end("save")
    with pytest.raises(refusals.UnknownDiscountCodeError):
        await shop.buy("user_2", "k", wish=wish(discount_code="SAVE"))
    assert shop.inventory.units[PHONE].available == 4


async def test_of_many_at_once_as_many_get_the_discount_as_it_has_uses_and_the_others_hold_nothing(
    shop, wish
):
    await make(shop, total_uses=3)
    request = wish(product_id=CASE, price=None, discount_code="SAVE")
    answers = await asyncio.gather(
        *(shop.buy(f"user_{n}", f"key-{n}", wish=request) for n in range(10)),
        return_exceptions=True,
    )
    kinds = Counter(type(answer).__name__ for answer in answers)
    assert kinds == {"PlacedOrder": 3, "DiscountUsedUpError": 7}
    assert shop.inventory.calls["let_go"] == 7, "they passed the first look, and lost at the store"
    assert shop.inventory.units[CASE].available == 7


async def test_a_hold_that_cannot_be_let_go_is_told_as_the_refusal_it_is(shop, wish):
    await make(shop, total_uses=1)
    shop.store.discounts.take = refuse
    shop.inventory.let_go = away
    with pytest.raises(refusals.DiscountUsedUpError):
        await shop.buy(wish=wish(discount_code="SAVE"))


async def test_who_loses_the_discount_never_releases_the_same_order_stored_by_another_copy(
    make_world, wish
):
    world = make_world()
    await make(world)
    other_copy = await world.buy(wish=wish(discount_code="SAVE"))
    placed, world.store.place = world.store.place, lose_the_discount
    with pytest.raises(refusals.DiscountUsedUpError):
        await world.buy(wish=wish(discount_code="SAVE"))
    world.store.place = placed
    assert world.inventory.calls["let_go"] == 0
    assert world.inventory.reservations[other_copy.order_id].state == "HELD"


async def lose_the_discount(_stored):
    raise refusals.DiscountUsedUpError


def refuse(_stored):
    raise refusals.DiscountUsedUpError


async def away(_order_id):
    raise ConnectionError


async def test_the_use_of_a_dead_order_comes_back_once(shop, wish):
    await make(shop)
    first = await shop.buy(wish=wish(discount_code="SAVE"))
    other = await shop.buy("user_2", "k", wish=wish(discount_code="SAVE"))
    assert await used(shop) == 2
    await over(shop, first, first, times=3)
    assert await used(shop) == 1
    await over(shop, other)
    assert await used(shop) == 0


async def test_a_discount_that_is_made_again_remembers_its_uses(shop, wish):
    await make(shop, total_uses=1)
    order = await shop.buy(wish=wish(discount_code="SAVE"))
    await shop.discounting.end("SAVE")
    await make(shop, total_uses=1)
    with pytest.raises(refusals.DiscountUsedUpError):
        await shop.buy("user_2", "k", wish=wish(discount_code="SAVE"))
    await over(shop, order)
    assert await used(shop) == 0


async def test_the_sweep_gives_back_what_no_event_told_and_asks_nothing_of_the_paid(shop, wish):
    await make(shop)
    dead = await shop.buy(wish=wish(discount_code="SAVE"))
    paid = await shop.buy("user_2", "k2", wish=wish(discount_code="SAVE"))
    open_one = await shop.buy("user_3", "k3", wish=wish(discount_code="SAVE"))
    shop.inventory.release(dead.order_id)
    shop.inventory.sell(paid.order_id)
    await shop.discounting.sweep()
    assert await used(shop) == 3, "nothing is due before pay-by"
    shop.clocks.advance(151)
    assert await shop.discounting.oldest_seconds() == 1.0
    shop.inventory.is_away = True
    await shop.discounting.sweep()
    assert await used(shop) == 3
    shop.inventory.is_away = False
    shop.clocks.advance(10)
    await shop.discounting.sweep()
    assert await used(shop) == 2
    shop.clocks.advance(10)
    shop.inventory.calls.clear()
    await shop.discounting.sweep()
    assert shop.inventory.calls["reservation"] == 1, "only the one that is open still"
    shop.inventory.sell(open_one.order_id)
    shop.clocks.advance(10)
    await shop.discounting.sweep()
    assert await shop.discounting.oldest_seconds() == 0.0
    assert await used(shop) == 2
