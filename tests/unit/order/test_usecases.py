"""Buyers' questions, payment's question and the sweep, on fakes."""

from datetime import datetime
from typing import Any

import pytest

from doorbuster.contracts import api, fulfilment, internal
from doorbuster.kit.consumer import Delivery
from doorbuster.order.domain import (
    SWEEP_AGAIN,
    TELL_AGAIN,
    NotCancellableError,
    NotShippableError,
    State,
    UnknownOrderError,
)
from doorbuster.order.usecases import WITHOUT_ADDRESS, Orders
from doorbuster.testing import stories
from doorbuster.testing.orders import FakeCheckout, FakeInventory, FakeOrderStore

ORDER, BUYER = stories.order_id(), stories.user_id()


class World:
    """The use cases over fakes, with a clock that is set by hand."""

    def __init__(self) -> None:
        self.store, self.checkout, self.inventory = (
            FakeOrderStore(),
            FakeCheckout(),
            FakeInventory(),
        )
        self.time: datetime = stories.at(10)
        self.announced: list[str] = []
        self.woken = 0
        self.orders = Orders(
            store=self.store,
            checkout=self.checkout,
            inventory=self.inventory,
            now=lambda: self.time,
            announce=self.announced.extend,
            wake=self.wake,
        )

    def wake(self) -> None:
        self.woken += 1

    async def hear(self, *events: Any) -> None:
        await self.orders.take_in(
            [Delivery(event=event, topic=stories.TOPIC, carrier={}) for event in events]
        )

    def placed_at_checkout(self, **more: Any) -> None:
        event = stories.placed()
        fields = {name: getattr(event, name) for name in event.__struct_fields__}
        self.checkout.placed[ORDER] = internal.PlacedOrder(**fields, **more)

    def told(self) -> list[str]:
        return [event.type for event in self.store.told]

    def reserved(self, state: Any) -> None:
        self.inventory.reservations[ORDER] = internal.ReservationState(
            order_id=ORDER, state=state, attempt=0, expires_at=None
        )


@pytest.fixture
def world() -> World:
    return World()


async def test_an_order_that_has_not_arrived_is_pending_by_checkouts_word(world: World) -> None:
    world.placed_at_checkout()
    status = await world.orders.show_status(ORDER, BUYER)
    assert (status.status, status.pay_by) == ("pending", stories.at(121))
    assert str((await world.orders.show(ORDER, BUYER)).amount) == "999.00"


async def test_checkout_is_not_asked_about_what_is_known(world: World) -> None:
    await world.hear(stories.paid())
    world.checkout.away = True
    assert (await world.orders.show_status(ORDER, BUYER)).status == "confirmed"
    assert world.checkout.asked == 0


async def test_details_are_asked_for_while_only_the_decline_has_arrived(world: World) -> None:
    await world.hear(stories.failed())
    world.placed_at_checkout()
    order = await world.orders.show(ORDER, BUYER)
    assert (order.status, str(order.amount)) == ("pending", "999.00")
    assert (await world.orders.show_status(ORDER, BUYER)).last_payment == "declined"


async def test_an_unknown_order_is_unknown(world: World) -> None:
    with pytest.raises(UnknownOrderError):
        await world.orders.show_status(ORDER, BUYER)


@pytest.mark.parametrize("arrived", [True, False])
async def test_other_peoples_orders_are_unknown(world: World, arrived: bool) -> None:
    world.placed_at_checkout()
    if arrived:
        await world.hear(stories.paid())
    with pytest.raises(UnknownOrderError):
        await world.orders.show(ORDER, stories.user_id(2))


async def test_while_only_checkout_could_tell_nobody_says_unknown(world: World) -> None:
    world.checkout.away = True
    with pytest.raises(ConnectionError):
        await world.orders.show_status(ORDER, BUYER)


async def test_payment_learns_what_is_missing(world: World) -> None:
    await world.hear(stories.placed(1), stories.paid(2), stories.captured(3))
    asked = [stories.order_id(number) for number in (1, 2, 3, 4)]
    assert await world.orders.missing(asked) == [asked[0], asked[2], asked[3]]


async def test_payment_learns_whose_reversal_is_not_known(world: World) -> None:
    await world.hear(stories.paid(1), stories.paid(2), stories.reversed_payment(2))
    asked = [stories.order_id(number) for number in (1, 2, 3)]
    assert await world.orders.unreversed(asked) == [asked[0], asked[2]]


@pytest.mark.parametrize(
    ("answer", "shown"),
    [("RELEASED", "expired"), ("SOLD", "confirmed"), ("RETURNED", "cancelled")],
)
async def test_the_sweep_takes_inventorys_answer(world: World, answer: str, shown: str) -> None:
    await world.hear(stories.placed())
    world.reserved(answer)
    world.time = stories.at(120)
    await world.orders.sweep()
    assert (await world.orders.show_status(ORDER, BUYER)).status == "pending"
    world.time = stories.at(140)
    await world.orders.sweep()
    assert (await world.orders.show_status(ORDER, BUYER)).status == shown
    assert world.store.checks[ORDER] is None


async def test_an_order_still_being_paid_is_asked_about_again(world: World) -> None:
    await world.hear(stories.placed())
    world.reserved("PAYING")
    world.time = stories.at(140)
    await world.orders.sweep()
    assert world.store.orders[ORDER].state is State.PENDING
    assert world.store.checks[ORDER] == stories.at(140) + SWEEP_AGAIN


async def test_the_sweep_keeps_what_it_learnt_before_inventory_went_away(world: World) -> None:
    await world.hear(stories.placed(1), stories.placed(2, pay_by=stories.at(122)))
    world.reserved("RELEASED")
    world.time = stories.at(140)
    world.inventory.answers_left = 1
    with pytest.raises(ConnectionError):
        await world.orders.sweep()
    assert world.store.orders[ORDER].state is State.EXPIRED
    assert world.store.orders[stories.order_id(2)].state is State.PENDING


async def test_what_changed_is_announced(world: World) -> None:
    await world.hear(stories.placed(1), stories.paid(1))
    assert world.announced == [ORDER]


async def test_an_empty_batch_touches_no_store(world: World) -> None:
    world.store.away = True
    await world.hear()


async def test_an_order_whose_event_is_lost_is_kept_once_its_time_to_pay_is_over(
    world: World,
) -> None:
    world.placed_at_checkout()
    assert (await world.orders.show_status(ORDER, BUYER)).status == "pending"
    assert world.store.orders == {}
    world.time = stories.at(140)
    assert (await world.orders.show_status(ORDER, BUYER)).status == "pending"
    world.reserved("RELEASED")
    await world.orders.sweep()
    assert (await world.orders.show_status(ORDER, BUYER)).status == "expired"


async def test_the_age_of_the_oldest_order_counts_from_when_it_should_have_been_asked_about(
    world: World,
) -> None:
    assert await world.orders.oldest_seconds() == 0
    await world.hear(stories.placed(1), stories.placed(2, pay_by=stories.at(150)))
    world.time = stories.at(121 + 10 + 7)
    assert await world.orders.oldest_seconds() == 7
    await world.hear(stories.failed(3))  # nothing else is known of it
    world.time = stories.at(1000)
    assert await world.orders.oldest_seconds() == 1000 - 121 - 10


PARCEL = fulfilment.Shipment(carrier="Swift Parcels", tracking_number="SP-9")
ADDRESS = api.DeliveryAddress(
    recipient="Ada", line1="1 Lane", city="Wien", postal_code="1010", country="AT"
)
TOTALS = internal.TotalsMinor(
    subtotal_minor=100_000, discount_minor=10_000, shipping_minor=500, tax_minor=9_400
)


async def test_an_order_is_shown_with_checkouts_totals_and_address(world: World) -> None:
    await world.hear(stories.paid())
    world.placed_at_checkout(totals=TOTALS, address=ADDRESS)
    order = await world.orders.show(ORDER, BUYER)
    assert order.address == ADDRESS
    assert order.totals is not None
    assert [str(amount) for amount in (order.totals.subtotal, order.totals.shipping)] == [
        *("1000.00", "5.00")
    ]
    assert (await world.orders.show_to_admin(ORDER)).order == order


async def test_without_checkout_an_order_is_shown_without_them_and_counted(world: World) -> None:
    await world.hear(stories.paid())
    world.checkout.away = True
    before = WITHOUT_ADDRESS._value.get()
    order = await world.orders.show(ORDER, BUYER)
    assert (str(order.amount), order.totals, order.address) == ("999.00", None, None)
    assert WITHOUT_ADDRESS._value.get() == before + 1


async def test_a_paid_order_goes_all_the_way_and_back(world: World) -> None:
    await world.hear(stories.placed(), stories.paid())
    assert (await world.orders.ship(ORDER, PARCEL)).tracking_number == "SP-9"
    status = await world.orders.deliver(ORDER, fulfilment.Delivered())
    assert status.status == "delivered"
    await world.orders.ask_return(ORDER, BUYER, "too small")
    status = await world.orders.accept_return(ORDER, "")
    assert status.status == "returned"
    assert world.told() == ["OrderShipped", "OrderDelivered", "OrderReturned"]
    assert world.woken >= 3
    assert world.announced[-4:] == [ORDER] * 4


async def test_repeating_what_was_done_answers_the_same_and_tells_nothing(world: World) -> None:
    await world.hear(stories.placed(), stories.paid())
    calls: list[Any] = [
        lambda: world.orders.ship(ORDER, PARCEL),
        lambda: world.orders.deliver(ORDER, fulfilment.Delivered()),
        lambda: world.orders.ask_return(ORDER, BUYER, "too small"),
        lambda: world.orders.accept_return(ORDER, "fine"),
    ]
    for call in calls:
        first = await call()
        told = world.told()
        assert (await call(), world.told()) == (first, told)


async def test_an_order_that_only_checkout_knows_may_be_cancelled(world: World) -> None:
    world.placed_at_checkout()
    assert (await world.orders.cancel(ORDER, BUYER, "")).status == "cancelled"
    assert world.told() == ["OrderCancelled"]
    await world.hear(stories.expired())
    assert (await world.orders.show_status(ORDER, BUYER)).status == "cancelled"


@pytest.mark.parametrize("call", ["cancel", "ask_return"])
async def test_other_peoples_orders_are_left_alone(world: World, call: str) -> None:
    await world.hear(stories.placed(), stories.paid())
    with pytest.raises(UnknownOrderError):
        await getattr(world.orders, call)(ORDER, stories.user_id(2), "")
    assert world.store.orders[ORDER].state is State.CONFIRMED


async def test_what_is_refused_changes_nothing(world: World) -> None:
    await world.hear(stories.placed(), stories.paid())
    await world.orders.cancel(ORDER, BUYER, "")
    with pytest.raises(NotShippableError):
        await world.orders.ship(ORDER, PARCEL)
    assert world.store.orders[ORDER].shipment is None
    await world.hear(stories.placed(2), stories.paid(2), stories.shipped(2))
    with pytest.raises(NotCancellableError):
        await world.orders.cancel(stories.order_id(2), None, "")
    assert world.told() == ["OrderCancelled"]


async def test_a_payment_that_beats_the_cancellation_is_asked_back(world: World) -> None:
    await world.hear(stories.placed())
    await world.orders.cancel(ORDER, BUYER, "")
    world.time = stories.at(100)
    await world.orders.tell_again()
    assert world.told() == ["OrderCancelled"], "nothing was paid"
    await world.hear(stories.paid())
    assert (await world.orders.show_status(ORDER, BUYER)).status == "cancelled"
    world.time = stories.at(100) + TELL_AGAIN
    await world.orders.tell_again()
    assert world.told() == ["OrderCancelled"] * 2
    await world.hear(stories.reversed_payment())
    world.time = stories.at(1000)
    await world.orders.tell_again()
    assert world.told() == ["OrderCancelled"] * 2


async def test_the_age_of_money_counts_from_when_it_should_have_been_back(world: World) -> None:
    await world.hear(stories.placed(), stories.paid())
    assert await world.orders.oldest_untold_seconds() == 0
    await world.orders.cancel(ORDER, BUYER, "")
    world.time = stories.at(10 + 10 + 7)
    assert await world.orders.oldest_untold_seconds() == 7
    await world.orders.tell_again()
    assert await world.orders.oldest_untold_seconds() == 7, "asked again is not back"
    await world.hear(stories.reversed_payment())
    assert await world.orders.oldest_untold_seconds() == 0
