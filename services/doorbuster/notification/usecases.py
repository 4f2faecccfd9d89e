"""What the notification service does beside sending: write down which letters are due, keep choices, drive again."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from doorbuster.kit import clock, consumer, failpoints

from . import domain
from .domain import LetterId, Outcome, Preferences
from .ports import Draft, LetterStore, PreferenceStore, RecordPage

MOST_REDRIVEN = 1000


@dataclass(frozen=True, kw_only=True)
class Notifications:
    """The use cases; ``wake`` is called when letters became due."""

    store: LetterStore
    preferences: PreferenceStore
    sms_is_on: bool
    wake: Callable[[], None]
    now: clock.Clock = clock.utc_now

    async def take_in(self, deliveries: list[consumer.Delivery]) -> None:
        """Write down the letters that a batch of events calls for, in the ways their readers want now."""
        letters = [
            (letter, delivery.carrier)
            for delivery in deliveries
            if (letter := domain.letter_for(delivery.event)) is not None
        ]
        if not letters:
            return
        chosen = await self.preferences.find({letter.user_id for letter, _ in letters})
        drafts = [
            Draft(
                letter=letter,
                channels=domain.channels_for(
                    letter.kind,
                    chosen.get(letter.user_id, Preferences()),
                    sms_is_on=self.sms_is_on,
                ),
                carrier=carrier,
            )
            for letter, carrier in letters
        ]
        await self.store.write(drafts, self.now())
        failpoints.reach("notification.letters.written")
        self.wake()

    async def preferences_of(self, user_id: str) -> Preferences:
        """Return how a user wants to be told."""
        return (await self.preferences.find([user_id])).get(user_id, Preferences())

    async def prefer(self, user_id: str, preferences: Preferences) -> None:
        """Store how a user wants to be told from now on; letters that are written already stay."""
        await self.preferences.put(user_id, preferences, self.now())

    async def page(self, outcome: Outcome, *, offset: int, limit: int) -> RecordPage:
        """Return letters in this state, newest first."""
        return await self.store.page(outcome, offset=offset, limit=limit)

    async def redrive(self, chosen: Collection[LetterId] | None) -> int:
        """Try failed letters again for another day, these or all (at most 1,000); returns how many."""
        count = await self.store.redrive(chosen, self.now(), limit=MOST_REDRIVEN)
        if count:
            self.wake()
        return count
