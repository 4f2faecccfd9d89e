"""What payment needs of the world: its store, the provider, checkout, inventory, order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from doorbuster.contracts import events

from .domain import Attempt, Charge, Method, Purchase, State


class ProviderAwayError(ConnectionError):
    """The provider gave no definite answer; what was asked may or may not have happened."""


class ProviderRefusedError(Exception):
    """The provider understood and refused; nothing was charged by this call. ``code`` is its own."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class PinRefusedError(ConnectionError):
    """The units are pinned by another attempt whose end has not reached inventory yet: try again."""


class Provider(Protocol):
    """The payment service provider. Every call raises ProviderAwayError or ProviderRefusedError.

    A call with a key may be repeated with the same key: it acts once.
    """

    async def tokenise(self, method: Method, key: str) -> str:
        """Return the id of the payment method."""
        ...

    async def create(self, attempt: Attempt) -> str:
        """Make the intent of an attempt and return its id; no card is charged."""
        ...

    async def confirm(self, attempt: Attempt) -> Charge:
        """Ask the card: authorised or declined, with the decline's code."""
        ...

    async def retrieve(self, intent_id: str) -> Charge:
        """Look, change nothing."""
        ...

    async def capture(self, attempt: Attempt) -> None:
        """Take the authorised money."""
        ...

    async def cancel(self, attempt: Attempt) -> None:
        """End an intent for good; an authorisation is let go."""
        ...

    async def refund(self, attempt: Attempt) -> None:
        """Give the captured money back."""
        ...


class Checkout(Protocol):
    """The orders that were placed. Both calls raise UnknownOrderError, and ConnectionError when away."""

    async def order(self, order_id: str) -> Purchase:
        """Return what is to be paid."""
        ...

    async def begin_payment(self, order_id: str, attempt: int) -> None:
        """Pin the units for an attempt; raises HoldExpiredError or PinRefusedError."""
        ...


class Inventory(Protocol):
    """The authority on units."""

    async def unpin(self, order_id: str, attempt: int) -> None:
        """Say that an attempt failed; only an accelerator. Raises ConnectionError when away."""
        ...

    async def unreturned(self, attempts: Sequence[Attempt]) -> set[str]:
        """Return the orders whose units these attempts still hold. Raises ConnectionError when away."""
        ...


class Orders(Protocol):
    """The order service."""

    async def missing(self, order_ids: Sequence[str]) -> set[str]:
        """Return which of these it does not know as paid. Raises ConnectionError when away."""
        ...

    async def unreversed(self, order_ids: Sequence[str]) -> set[str]:
        """Return which of these it does not know as given back. Raises ConnectionError when away."""
        ...


@dataclass(frozen=True, kw_only=True)
class NewAttempt:
    """An attempt before the store has numbered it."""

    purchase: Purchase
    payment_id: str
    idempotency_key: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an attempt learns on its way; None leaves a fact as it is."""

    intent_id: str | None = None
    token: str | None = None
    brand: str | None = None
    last4: str | None = None
    decline_code: str | None = None
    paid_at: datetime | None = None
    reversal: str | None = None


class PaymentStore(Protocol):
    """The attempts. Every change is one transaction, together with the events that tell of it."""

    async def find(self, order_id: str, idempotency_key: str) -> Attempt | None:
        """Return the attempt that was made under this key."""
        ...

    async def get(self, order_id: str, attempt: int) -> Attempt | None:
        """Return one attempt."""
        ...

    async def live(self, order_id: str) -> Attempt | None:
        """Return the one attempt of an order that keeps others out."""
        ...

    async def open(self, new: NewAttempt, *, now: datetime) -> Attempt | None:
        """Number and insert a NEW attempt.

        None when the order has a live one, the key is taken, or another writer was faster.
        Raises TooManyAttemptsError, and OrderReversedError when what was paid for it was given back.
        """
        ...

    async def move(
        self,
        attempt: Attempt,
        to: State,
        *,
        now: datetime,
        facts: Facts | None = None,
        event: events.Event | None = None,
    ) -> Attempt | None:
        """Step from the attempt's state to ``to``; None when somebody else has moved it before.

        PaymentSucceeded and PaymentFailed go to the order's topic, all other events to ``orders``.
        """
        ...

    async def ask_reversal(self, attempt: Attempt, reason: str, *, now: datetime) -> bool:
        """Note on an attempt that is CAPTURING that it is to be refunded; false when it has moved on."""
        ...

    async def claim_due(
        self, states: frozenset[State], *, now: datetime, again_at: datetime, limit: int
    ) -> list[Attempt]:
        """Return attempts in these states that are due, and put them off: other copies skip them till then."""
        ...

    async def claim_unknown(
        self, states: frozenset[State], *, now: datetime, again_at: datetime, limit: int
    ) -> list[Attempt]:
        """Return attempts in these states of which it is time to ask whether others know; put them off."""
        ...

    async def waiting_since(self, states: frozenset[State]) -> datetime | None:
        """Return when the attempt got there that has waited longest in these states for a worker; None: none."""
        ...

    async def unknown_since(self, states: frozenset[State]) -> datetime | None:
        """Return when the oldest in these states was paid, or reversed, that others may not know; None: none."""
        ...

    async def note_known(self, states: frozenset[State], attempts: Sequence[Attempt]) -> None:
        """Those who must know these attempts do: ask no more of those that are in these states still."""
        ...

    async def publish(self, attempts: Sequence[Attempt], *, now: datetime) -> None:
        """Put the last word on each into the outbox once more, for the topic of all orders.

        One that still waits there is not doubled.
        """
        ...

    async def states(self, items: Sequence[tuple[str, int]]) -> dict[tuple[str, int], State]:
        """Return the states of those (order, attempt) that exist."""
        ...
