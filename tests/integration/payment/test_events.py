"""Payment on a real broker: what is decided is told on the topic where it belongs."""

from typing import Any

from doorbuster.contracts import events
from doorbuster.testing.neighbours import SALE_TOPIC

KAFKA = True


async def test_a_sale_is_told_once_it_is_authorised_and_once_it_is_captured(
    world: Any, broker: Any, buyer: str
) -> None:
    order_id = world.neighbours.place(buyer)
    world.neighbours.known.add(order_id)  # or it would be told again
    _, body = await world.pay(buyer, order_id)
    await world.until_states(order_id, "CAPTURED")
    told = await broker.heard(order_id, "PaymentSucceeded", "PaymentCaptured")
    assert [event.type for event in told] in (
        ["PaymentSucceeded", "PaymentCaptured"],
        ["PaymentCaptured", "PaymentSucceeded"],  # two topics: no order between them
    )
    [sold] = [event for event in told if isinstance(event, events.PaymentSucceeded)]
    assert (sold.payment_id, sold.amount_minor, sold.attempt) == (body["transactionId"], 99_900, 1)
    assert sold.topic == SALE_TOPIC


async def test_a_decline_is_told_on_the_topic_of_the_sale(
    world: Any, broker: Any, buyer: str
) -> None:
    order_id = world.neighbours.place(buyer)
    await world.pay(buyer, order_id, card="4000000000000002")
    [failed] = await broker.heard(order_id, "PaymentFailed")
    assert isinstance(failed, events.PaymentFailed)
    assert (failed.attempt, failed.reason, failed.topic) == (1, "generic_decline", SALE_TOPIC)
