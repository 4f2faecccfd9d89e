"""What checkout relies on in permits, kept by the fake and by the escrow on Redis."""

import asyncio
from collections import Counter

from doorbuster import escrow
from doorbuster.kit import ids

PHONE, CASE = ids.product_id("phone"), ids.product_id("case")


def ask(number, *, product=PHONE, quantity=1):
    return escrow.PermitRequest(
        order_id=ids.order_id(f"user_{number}", "key"),
        user_id=f"user_{number}",
        product_id=product,
        quantity=quantity,
    )


async def test_as_many_permits_as_units_are_granted(load_permits):
    permits = await load_permits(5)
    answers = await asyncio.gather(*(permits.permit(ask(number)) for number in range(40)))
    assert Counter(answer.outcome for answer in answers) == {"GRANTED": 5, "OUT": 35}
    assert {answer.epoch for answer in answers} == {1}


async def test_the_same_order_has_one_permit(load_permits):
    permits = await load_permits(2)
    again = await asyncio.gather(*(permits.permit(ask(1)) for _ in range(10)))
    assert {answer.outcome for answer in again} == {"GRANTED"}
    assert (await permits.permit(ask(2))).outcome == "GRANTED"
    assert (await permits.permit(ask(3))).outcome == "OUT"


async def test_a_quantity_is_taken_whole_or_not(load_permits):
    permits = await load_permits(3)
    assert (await permits.permit(ask(1, quantity=2))).outcome == "GRANTED"
    assert (await permits.permit(ask(2, quantity=2))).outcome == "OUT"
    assert (await permits.permit(ask(3, quantity=1))).outcome == "GRANTED"


async def test_an_untaken_permit_goes_to_the_next_and_may_be_asked_for_again(load_permits):
    permits = await load_permits(1)
    first = await permits.permit(ask(1))
    for _ in range(3):
        await permits.untake(ask(1).order_id, PHONE, first.epoch)
    assert (await permits.permit(ask(2))).outcome == "GRANTED"
    assert (await permits.permit(ask(3))).outcome == "OUT"
    await permits.untake(ask(2).order_id, PHONE, 1)
    assert (await permits.permit(ask(1))).outcome == "GRANTED"


async def test_a_permit_of_another_epoch_is_not_untaken(load_permits):
    permits = await load_permits(1)
    await permits.permit(ask(1))
    await permits.untake(ask(1).order_id, PHONE, 7)
    assert (await permits.permit(ask(2))).outcome == "OUT"


async def test_a_product_that_was_never_loaded_is_cold(load_permits):
    permits = await load_permits(1)
    assert (await permits.permit(ask(1, product=CASE))).outcome == "COLD"
