"""Letters are sent once as far as anybody can know, later when something is away, never to nobody."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from doorbuster.kit.consumer import Delivery
from doorbuster.notification.domain import (
    Channel,
    Kind,
    LetterId,
    Outcome,
    Preferences,
    Recipient,
    UndeliverableError,
)
from doorbuster.notification.sending import BATCH, LEASE, ByEmail, BySms, Sending
from doorbuster.notification.usecases import Notifications
from doorbuster.notification.wording import Wording
from doorbuster.testing import stories
from doorbuster.testing.letters import (
    FakeContacts,
    FakeLetterStore,
    FakePostOffice,
    FakePreferenceStore,
    FakeSmsProvider,
    FakeTitles,
)

ORDER = stories.order_id()
CONFIRMATION = (ORDER, Kind.CONFIRMED, Channel.EMAIL)
BOTH = Preferences(email=True, sms=True)


class World:
    """The use cases over fakes, with a clock that is set by hand."""

    def __init__(self) -> None:
        self.store, self.contacts, self.preferences = (
            FakeLetterStore(),
            FakeContacts(),
            FakePreferenceStore(),
        )
        self.office, self.provider, self.titles = (
            FakePostOffice(),
            FakeSmsProvider(),
            FakeTitles(),
        )
        for number in range(1, 40):
            self.contacts.people[stories.user_id(number)] = Recipient(
                name=f"Buyer {number}",
                email=f"b{number}@buyers.example",
                phone=f"+4915510000{number:02}" if number < 30 else None,
            )
        self.time: datetime = stories.at(10)
        self.woken = 0
        self.notifications = Notifications(
            store=self.store,
            preferences=self.preferences,
            sms_is_on=True,
            wake=self._wake,
            now=self._now,
        )
        wording = Wording()
        ways = (
            ByEmail(
                office=self.office,
                wording=wording,
                sender="shop@doorbuster.example",
                titles=self.titles,
                now=self._now,
            ),
            BySms(provider=self.provider, wording=wording),
        )
        self.mails, self.texts = (
            Sending(
                way=way,
                store=self.store,
                contacts=self.contacts,
                now=self._now,
                jitter=lambda: 1.0,
            )
            for way in ways
        )

    def _now(self) -> datetime:
        return self.time

    def _wake(self) -> None:
        self.woken += 1

    def prefers(self, preferences: Preferences, *numbers: int) -> None:
        for number in numbers or (1,):
            self.preferences.rows[stories.user_id(number)] = preferences

    async def hear(self, *events: Any) -> None:
        await self.notifications.take_in(
            [Delivery(event=event, topic=stories.TOPIC, carrier={}) for event in events]
        )

    async def send_all(self) -> None:
        for worker in (self.mails, self.texts):
            for _ in range(20):
                if not await worker.send_due():
                    break

    def outcome(self, kind: Kind = Kind.CONFIRMED, channel: Channel = Channel.EMAIL) -> Outcome:
        return self.store.rows[ORDER, kind, channel].outcome


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
    assert await world.mails.send_due() is False


async def test_many_letters_go_out_in_batches(world: World) -> None:
    await world.hear(*(stories.paid(number) for number in range(1, 26)))
    assert await world.mails.send_due() is True
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
    await world.store.claim(Channel.EMAIL, world.time, limit=5, leased_until=world.time + LEASE)
    await world.send_all()
    assert world.office.sent == []
    world.time += LEASE
    await world.send_all()
    assert len(world.office.sent) == 1


async def test_a_letter_to_a_gone_account_is_given_up(world: World) -> None:
    await world.hear(stories.paid(99), stories.paid(1))
    await world.send_all()
    gone = world.store.rows[stories.order_id(99), Kind.CONFIRMED, Channel.EMAIL]
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


async def test_a_buyer_is_told_once_each_way_he_wants(world: World) -> None:
    world.prefers(BOTH)
    for _ in range(2):
        await world.hear(stories.shipped())
        await world.send_all()
    assert [recipient for recipient, _ in world.office.sent] == ["b1@buyers.example"]
    [(phone, text)] = world.provider.sent
    assert phone == "+491551000001"
    assert "SP-1" in text


async def test_who_wants_no_mail_gets_none_but_about_his_money(world: World) -> None:
    world.prefers(Preferences(email=False, sms=False))
    await world.hear(stories.paid(), stories.cancelled(), stories.reversed_payment())
    await world.send_all()
    assert world.outcome(Kind.CONFIRMED) is Outcome.SKIPPED
    assert sorted(message["Subject"].split()[-1] for _, message in world.office.sent) == [
        "cancelled",
        "you",
    ]
    assert world.provider.sent == []


async def test_a_repeated_event_does_not_follow_a_new_preference(world: World) -> None:
    world.prefers(Preferences(email=False, sms=False))
    await world.hear(stories.paid())
    await world.notifications.prefer(stories.user_id(), BOTH)
    assert await world.notifications.preferences_of(stories.user_id()) == BOTH
    await world.hear(stories.paid())
    await world.send_all()
    assert (world.office.sent, world.provider.sent) == ([], [])


async def test_an_account_without_a_number_is_skipped_and_mailed(world: World) -> None:
    world.prefers(BOTH, 35)
    await world.hear(stories.paid(35))
    await world.send_all()
    skipped = world.store.rows[stories.order_id(35), Kind.CONFIRMED, Channel.SMS]
    assert skipped.outcome is Outcome.SKIPPED
    assert len(world.office.sent) == 1


async def test_a_lost_reply_of_the_provider_sends_no_second_sms(world: World) -> None:
    world.prefers(BOTH)
    await world.hear(stories.paid())
    world.provider.fail_next, world.provider.lose_reply = ConnectionError("reset"), True
    await world.send_all()
    assert world.outcome(channel=Channel.SMS) is Outcome.LATER
    world.time += timedelta(seconds=5)
    await world.send_all()
    assert world.outcome(channel=Channel.SMS) is Outcome.SENT
    assert len(world.provider.sent) == 1


async def test_a_dead_mail_server_holds_up_no_sms_nor_the_other_way_round(world: World) -> None:
    world.prefers(BOTH, 1, 2)
    world.office.closed = True
    await world.hear(stories.paid(1))
    await world.send_all()
    assert len(world.provider.sent) == 1
    world.office.closed = False
    world.provider.fail_next = ConnectionError("down")
    await world.hear(stories.paid(2))
    await world.send_all()
    assert [recipient for recipient, _ in world.office.sent] == ["b2@buyers.example"]


@pytest.mark.parametrize("away", [False, True])
async def test_without_product_letters_call_products_by_their_ids(
    world: World, away: bool
) -> None:
    product_id = stories.line().product_id
    world.titles.titles[product_id] = "Phone 17"
    world.titles.away = away
    await world.hear(stories.paid())
    await world.send_all()
    text = world.office.sent[0][1].get_body(("plain",)).get_content()  # type: ignore[union-attr]  # a mail has a text
    assert ("Phone 17" in text, product_id in text) == (not away, away)


async def test_a_failed_letter_can_be_driven_again_for_another_day(world: World) -> None:
    await world.hear(stories.paid())
    world.office.fail_next = UndeliverableError("the server refuses the address")
    await world.send_all()
    [record] = (await world.notifications.page(Outcome.FAILED, offset=0, limit=5)).records
    world.time += timedelta(days=3)
    assert await world.notifications.redrive([record.letter_id]) == 1
    assert await world.notifications.redrive([record.letter_id]) == 0
    world.office.closed = True
    await world.send_all()
    assert world.outcome() is Outcome.LATER
    world.office.closed = False
    world.time += timedelta(minutes=5)
    await world.send_all()
    assert world.outcome() is Outcome.SENT


async def test_what_did_not_fail_is_not_driven_again(world: World) -> None:
    await world.hear(stories.paid())
    await world.send_all()
    named = LetterId(order_id=ORDER, kind=Kind.CONFIRMED, channel=Channel.EMAIL)
    woken = world.woken
    assert await world.notifications.redrive([named]) == 0
    assert await world.notifications.redrive(None) == 0
    assert world.woken == woken


async def test_nothing_that_is_stored_names_anybody(world: World) -> None:
    world.prefers(BOTH, 1, 2)
    await world.hear(stories.paid(1), stories.paid(99), stories.failed(2))
    await world.send_all()
    assert len(world.provider.sent) == 2
    stored = repr(world.store.rows)
    assert "example" not in stored
    assert "Buyer" not in stored
    assert "+49" not in stored
