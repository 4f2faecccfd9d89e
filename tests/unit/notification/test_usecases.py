"""Letters are sent once as far as anybody can know, later when something is away, never to nobody."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from doorbuster.kit.consumer import Delivery
from doorbuster.notification.domain import Kind, Outcome, Recipient, UndeliverableError
from doorbuster.notification.usecases import BATCH, LEASE, Notifications
from doorbuster.testing import stories
from doorbuster.testing.letters import FakeContacts, FakeLetterStore, FakePostOffice

ORDER = stories.order_id()
CONFIRMATION = (ORDER, Kind.CONFIRMED)


class World:
    """The use cases over fakes, with a clock that is set by hand."""

    def __init__(self) -> None:
        self.store, self.contacts, self.office = (
            FakeLetterStore(),
            FakeContacts(),
            FakePostOffice(),
        )
        for number in range(1, 40):
            self.contacts.people[stories.user_id(number)] = Recipient(
                name=f"Buyer {number}", email=f"b{number}@buyers.example"
            )
        self.time: datetime = stories.at(10)
        self.woken = 0
        self.notifications = Notifications(
            store=self.store,
            contacts=self.contacts,
            office=self.office,
            sender="shop@doorbuster.example",
            wake=self._wake,
            now=lambda: self.time,
            jitter=lambda: 1.0,
        )

    def _wake(self) -> None:
        self.woken += 1

    async def hear(self, *events: Any) -> None:
        await self.notifications.take_in(
            [Delivery(event=event, topic=stories.TOPIC, carrier={}) for event in events]
        )

    async def send_all(self) -> None:
        for _ in range(20):
            if not await self.notifications.send_due():
                return

    def outcome(self, kind: Kind = Kind.CONFIRMED) -> Outcome:
        return self.store.rows[ORDER, kind].outcome


@pytest.fixture
def world() -> World:
    return World()


async def test_a_payment_is_confirmed_by_one_mail_however_often_it_is_heard_of(
    world: World,
) -> None:
    for _ in range(3):
        await world.hear(stories.paid(), stories.paid())
        await world.send_all()
    assert [recipient for recipient, _ in world.office.sent] == ["b1@buyers.example"]
    assert world.outcome() is Outcome.SENT
    assert world.woken == 3


async def test_events_that_call_for_no_letter_wake_nobody(world: World) -> None:
    await world.hear(stories.placed(), stories.captured())
    assert world.woken == 0
    assert await world.notifications.send_due() is False


async def test_many_letters_go_out_in_batches(world: World) -> None:
    await world.hear(*(stories.paid(number) for number in range(1, 26)))
    assert await world.notifications.send_due() is True
    assert len(world.office.sent) == BATCH
    await world.send_all()
    assert len(world.office.sent) == 25


async def test_while_the_mail_server_is_away_letters_wait_longer_and_longer(world: World) -> None:
    await world.hear(stories.paid())
    world.office.closed = True
    for pause in (5, 10, 20):
        await world.send_all()
        assert world.store.rows[CONFIRMATION].due_at == world.time + timedelta(seconds=pause)
        world.time += timedelta(seconds=pause)
    world.office.closed = False
    await world.send_all()
    assert world.outcome() is Outcome.SENT
    assert len(world.office.sent) == 1


async def test_while_the_user_service_is_away_letters_wait(world: World) -> None:
    await world.hear(stories.paid())
    world.contacts.away = True
    await world.send_all()
    assert (world.outcome(), world.office.sent) == (Outcome.LATER, [])
    world.contacts.away = False
    world.time += timedelta(seconds=5)
    await world.send_all()
    assert len(world.office.sent) == 1


async def test_a_lost_reply_sends_the_same_message_again(world: World) -> None:
    await world.hear(stories.paid())
    world.office.fail_next, world.office.lose_reply = ConnectionError("reset"), True
    await world.send_all()
    world.time += timedelta(seconds=5)
    await world.send_all()
    first, second = (message["Message-ID"] for _, message in world.office.sent)
    assert first == second


async def test_a_lost_connection_puts_the_rest_of_the_batch_off(world: World) -> None:
    await world.hear(stories.paid(1), stories.paid(2), stories.paid(3))
    world.office.fail_next = TimeoutError()
    await world.send_all()
    assert world.office.sent == []
    world.time += timedelta(seconds=5)
    await world.send_all()
    assert len(world.office.sent) == 3


async def test_a_crash_while_sending_only_delays_the_letter(world: World) -> None:
    await world.hear(stories.paid())
    await world.store.claim(world.time, limit=5, leased_until=world.time + LEASE)
    await world.send_all()
    assert world.office.sent == []
    world.time += LEASE
    await world.send_all()
    assert len(world.office.sent) == 1


async def test_a_letter_to_a_gone_account_is_given_up(world: World) -> None:
    await world.hear(stories.paid(99), stories.paid(1))
    await world.send_all()
    gone = world.store.rows[stories.order_id(99), Kind.CONFIRMED]
    assert (gone.outcome, gone.why) == (Outcome.FAILED, "the account is gone")
    assert len(world.office.sent) == 1


async def test_a_refused_address_is_given_up_and_the_others_go_on(world: World) -> None:
    await world.hear(stories.paid(1), stories.paid(2))
    world.office.fail_next = UndeliverableError("the server refuses the address")
    await world.send_all()
    assert world.outcome() is Outcome.FAILED
    assert len(world.office.sent) == 1


async def test_a_letter_is_given_up_after_a_day_of_failures(world: World) -> None:
    await world.hear(stories.paid())
    world.office.closed = True
    world.time += timedelta(hours=25)
    await world.send_all()
    assert world.outcome() is Outcome.FAILED


async def test_a_decline_is_not_told_once_the_order_is_paid(world: World) -> None:
    await world.hear(stories.failed(), stories.paid(attempt=2))
    await world.send_all()
    assert world.outcome(Kind.DECLINED) is Outcome.SKIPPED
    assert [message["Subject"] for _, message in world.office.sent] == [
        f"Your order {ORDER} is confirmed"
    ]


async def test_nothing_that_is_stored_names_anybody(world: World) -> None:
    await world.hear(stories.paid(1), stories.paid(99), stories.failed(2))
    await world.send_all()
    stored = repr(world.store.rows)
    assert "example" not in stored
    assert "Buyer" not in stored
