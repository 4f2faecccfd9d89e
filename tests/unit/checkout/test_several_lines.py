"""Orders of several lines: which line is named, when the order is over, and what becomes of permits taken in vain."""

import pytest

from doorbuster import escrow
from doorbuster.checkout.domain import refusals
from doorbuster.contracts import api
from doorbuster.kit import coalescer, ids

PHONE, CASE = ids.product_id("phone"), ids.product_id("case")


def both(*products: str) -> api.Checkout:
    lines = [api.CheckoutLine(product_id=name, quantity=1) for name in products or (PHONE, CASE)]
    return api.Checkout(products=lines)


@pytest.fixture
def pair(make_world, sale, item):
    """One phone and five cases in one sale."""
    return make_world(sale(item(available=1), item("case")))


@pytest.mark.parametrize("gone", [PHONE, CASE])
async def test_a_line_that_is_gone_for_good_ends_the_order_whichever_line_got_no_permit(
    make_world, sale, item, gone
):
    """Both products are out in Redis; whichever comes first, the answer is that of the one that is sold."""
    world = make_world(sale(item(available=1), item("case", available=1)))
    for number, product in enumerate((PHONE, CASE)):
        order = await world.buy(f"owner_{number}", f"owner-{number}", wish=both(product))
        if product == gone:
            world.inventory.sell(order.order_id)
    with pytest.raises(refusals.SoldOutError) as refused:
        await world.buy(wish=both())
    assert refused.value.product_id == gone


async def test_the_line_without_a_permit_is_named_while_all_may_come_back(pair):
    await pair.buy("owner", "owner", wish=both(PHONE))
    with pytest.raises(refusals.WaitingError) as refused:
        await pair.buy(wish=both())
    assert refused.value.product_id == PHONE
    assert pair.permits.products[CASE].available == 5


async def test_another_line_is_never_stale_by_an_epoch_that_nobody_asked_for(pair):
    await pair.buy("owner", "owner", wish=both(PHONE))
    pair.inventory.units[CASE].epoch = 9
    with pytest.raises(refusals.WaitingError):
        await pair.buy(wish=both())
    assert pair.inventory.calls["warm"] == 0


async def test_an_order_that_inventory_knows_is_answered_whatever_the_lines_say(pair):
    first = await pair.buy(wish=both())
    pair.permits.products[PHONE].orders.clear()
    pair.permits.products[CASE].orders.clear()
    pair.restart()
    assert (await pair.buy(wish=both())).order_id == first.order_id


async def test_permits_go_back_when_too_many_wait_for_the_next_product(pair, monkeypatch):
    taken = pair.permits.permit

    async def crowded(request: escrow.PermitRequest) -> escrow.Permit:
        if request.product_id == max(PHONE, CASE):
            raise coalescer.QueueFullError
        return await taken(request)

    monkeypatch.setattr(pair.permits, "permit", crowded)
    before = pair.permits.products[min(PHONE, CASE)].available
    with pytest.raises(coalescer.QueueFullError):
        await pair.buy(wish=both())
    assert pair.permits.products[min(PHONE, CASE)].available == before


async def test_the_limit_holds_for_each_line_by_itself(make_world, sale, item):
    world = make_world(sale(item(per_user_limit=2), item("case")))
    await world.buy(wish=both(CASE), key="one")
    with pytest.raises(refusals.PerUserLimitError) as refused:
        await world.buy(wish=both(), key="two")
    assert refused.value.product_id == CASE
    assert (await world.buy(wish=both(PHONE), key="three")).lines[0].product_id == PHONE
    assert world.inventory.units[PHONE].available == 4
