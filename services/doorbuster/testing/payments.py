"""Fakes of what payment needs: a store and a provider in memory, neighbours with set answers, a clock to move."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta

from doorbuster.contracts import events
from doorbuster.kit import ids
from doorbuster.payment import domain
from doorbuster.payment.domain import (
    Attempt,
    Card,
    Charge,
    HoldExpiredError,
    Limits,
    Method,
    OrderReversedError,
    Purchase,
    State,
    TooManyAttemptsError,
    UnknownOrderError,
)
from doorbuster.payment.ports import (
    Facts,
    NewAttempt,
    PinRefusedError,
    ProviderAwayError,
    ProviderRefusedError,
)

GOOD_CARD = Card(number="4242424242424242", exp_month=12, exp_year=2040, cvc="123")
DECLINED_CARD = Card(number="4000000000000002", exp_month=12, exp_year=2040, cvc="123")


def purchase(
    *, user_id: str = "user_1", key: str = "k", amount_minor: int = 99_900, topic: str = "orders"
) -> Purchase:
    """Build something to be paid."""
    line = events.Line(product_id=ids.product_id("phone"), quantity=1, price_minor=amount_minor)
    return Purchase(
        order_id=ids.order_id(user_id, key),
        user_id=user_id,
        lines=(line,),
        amount_minor=amount_minor,
        currency="EUR",
        topic=topic,
        traceparent=None,
    )


@dataclass
class FakeClock:
    """A clock that moves when it is told to."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


@dataclass
class FakePaymentStore:
    """Attempts in memory; ``told`` is the outbox as (topic, event)."""

    limits: Limits = field(default_factory=Limits)
    attempts: dict[tuple[str, int], Attempt] = field(default_factory=dict)
    told: list[tuple[str, events.Event]] = field(default_factory=list)
    due: dict[tuple[str, int], datetime | None] = field(default_factory=dict)
    ask_at: dict[tuple[str, int], datetime | None] = field(default_factory=dict)

    def _of(self, order_id: str) -> list[Attempt]:
        return [attempt for attempt in self.attempts.values() if attempt.order_id == order_id]

    async def find(self, order_id: str, idempotency_key: str) -> Attempt | None:
        """Return the attempt that was made under this key."""
        keyed = (a for a in self._of(order_id) if a.idempotency_key == idempotency_key)
        return next(keyed, None)

    async def get(self, order_id: str, attempt: int) -> Attempt | None:
        """Return one attempt."""
        return self.attempts.get((order_id, attempt))

    async def live(self, order_id: str) -> Attempt | None:
        """Return the one attempt of an order that keeps others out."""
        return next((a for a in self._of(order_id) if a.state in domain.LIVE), None)

    async def open(self, new: NewAttempt, *, now: datetime) -> Attempt | None:
        """Number and insert a NEW attempt."""
        order_id = new.purchase.order_id
        number = 1 + len(self._of(order_id))
        if number > domain.MAX_ATTEMPTS:
            raise TooManyAttemptsError("too many cards were tried for this order")
        if await self.live(order_id) or await self.find(order_id, new.idempotency_key):
            return None
        if any(attempt.state in domain.REVERSED for attempt in self._of(order_id)):
            raise OrderReversedError("this order was paid and given back")
        attempt = Attempt(
            purchase=new.purchase,
            attempt=number,
            payment_id=new.payment_id,
            idempotency_key=new.idempotency_key,
            fingerprint=new.fingerprint,
            state=State.NEW,
            created_at=now,
            updated_at=now,
        )
        self._put(attempt, now)
        return attempt

    def _put(self, attempt: Attempt, now: datetime) -> None:
        place = (attempt.order_id, attempt.attempt)
        self.attempts[place] = attempt
        self.due[place] = domain.due_at(attempt.state, now, self.limits)
        if attempt.state is State.CAPTURED and attempt.reversal is not None:
            self.due[place] = now
        if attempt.state is State.AUTHORISED or attempt.state in domain.REVERSED:
            self.ask_at[place] = now + self.limits.order_known_after
        elif attempt.state not in domain.SOLD:
            self.ask_at[place] = None

    async def move(
        self,
        attempt: Attempt,
        to: State,
        *,
        now: datetime,
        facts: Facts | None = None,
        event: events.Event | None = None,
    ) -> Attempt | None:
        """Step, unless somebody else has."""
        if not domain.may_follow(attempt.state, to):
            raise ValueError(f"{attempt.state} is never followed by {to}")
        stored = self.attempts.get((attempt.order_id, attempt.attempt))
        if stored is None or stored.state is not attempt.state:
            return None
        given = {one.name: getattr(facts, one.name) for one in fields(Facts)} if facts else {}
        known = {name: value for name, value in given.items() if value is not None}
        self._put(replace(stored, state=to, updated_at=now, **known), now)
        if event is not None:
            first = isinstance(event, events.PaymentSucceeded | events.PaymentFailed)
            topic = attempt.purchase.topic if first else events.ORDERS_TOPIC
            self.told.append((topic, event))
        return replace(attempt, state=to, updated_at=now, **known)

    async def ask_reversal(self, attempt: Attempt, reason: str, *, now: datetime) -> bool:
        """Note on an attempt that is CAPTURING that it is to be refunded."""
        place = (attempt.order_id, attempt.attempt)
        stored = self.attempts.get(place)
        if stored is None or stored.state is not State.CAPTURING:
            return False
        self.attempts[place] = replace(stored, reversal=reason, updated_at=now)
        return True

    async def claim_due(
        self, states: frozenset[State], *, now: datetime, again_at: datetime, limit: int
    ) -> list[Attempt]:
        """Return attempts in these states that are due, and put them off."""
        return self._claim(self.due, states, now, again_at, limit)

    async def claim_unknown(
        self, states: frozenset[State], *, now: datetime, again_at: datetime, limit: int
    ) -> list[Attempt]:
        """Return attempts of which it is time to ask whether others know."""
        return self._claim(self.ask_at, states, now, again_at, limit)

    def _claim(
        self,
        appointments: dict[tuple[str, int], datetime | None],
        states: frozenset[State],
        now: datetime,
        again_at: datetime,
        limit: int,
    ) -> list[Attempt]:
        due = [(at, place) for place, at in appointments.items() if at is not None and at <= now]
        places = [place for _, place in sorted(due) if self.attempts[place].state in states]
        for place in places[:limit]:
            appointments[place] = again_at
        return [self.attempts[place] for place in places[:limit]]

    async def waiting_since(self, states: frozenset[State]) -> datetime | None:
        """Return the earliest last step of those that have an appointment with a worker."""
        waiting = (self.attempts[place] for place, at in self.due.items() if at is not None)
        return min((one.updated_at for one in waiting if one.state in states), default=None)

    async def unknown_since(self, states: frozenset[State]) -> datetime | None:
        """Return the earliest payment or reversal of those that others are to be asked about."""
        asked = (self.attempts[place] for place, at in self.ask_at.items() if at is not None)
        since = (
            one.updated_at if one.state in domain.REVERSED else one.paid_at
            for one in asked
            if one.state in states
        )
        return min((at for at in since if at is not None), default=None)

    async def note_known(self, states: frozenset[State], attempts: Sequence[Attempt]) -> None:
        """Ask no more of those that are in these states still."""
        for attempt in attempts:
            place = (attempt.order_id, attempt.attempt)
            if self.attempts[place].state in states:
                self.ask_at[place] = None

    async def publish(self, attempts: Sequence[Attempt], *, now: datetime) -> None:
        """Put the last word on each into the outbox once more, unless it still waits there."""
        pairs = [(events.ORDERS_TOPIC, domain.last_word(attempt)) for attempt in attempts]
        self.told += [pair for pair in pairs if pair not in self.told]

    async def states(self, items: Sequence[tuple[str, int]]) -> dict[tuple[str, int], State]:
        """Return the states of those (order, attempt) that exist."""
        return {item: self.attempts[item].state for item in items if item in self.attempts}


@dataclass
class _Intent:
    charge: Charge


@dataclass
class FakeProvider:
    """Intents in memory, by the provider's rules.

    ``fail_before[operation]`` calls get no answer and do nothing, ``fail_after[operation]`` calls act first.
    """

    intents: dict[str, _Intent] = field(default_factory=dict)
    methods: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Charge] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    fail_before: Counter[str] = field(default_factory=Counter)
    fail_after: Counter[str] = field(default_factory=Counter)
    refunded: set[str] = field(default_factory=set)

    def _begin(self, operation: str) -> None:
        self.calls[operation] += 1
        if self.fail_before[operation] > 0:
            self.fail_before[operation] -= 1
            raise ProviderAwayError(operation)

    def _end(self, operation: str) -> None:
        if self.fail_after[operation] > 0:
            self.fail_after[operation] -= 1
            raise ProviderAwayError(operation)

    def charges(self) -> list[str]:
        """Return the ids of intents whose money is held or taken."""
        held = ("authorised", "captured")
        return [name for name, intent in self.intents.items() if intent.charge.status in held]

    async def tokenise(self, method: Method, key: str) -> str:
        """Return the id of the payment method."""
        self._begin("tokenise")
        if isinstance(method, Card):
            if method.number == "0" * 16:
                raise ProviderRefusedError("incorrect_number")
            token = f"pm_{len(self.methods) + 1}"
            self.methods.setdefault(key, token)
            token = self.methods[key]
            self.methods[token] = "bad" if method.number == DECLINED_CARD.number else "good"
        else:
            token = method.value
            self.methods.setdefault(
                token, {"pm_card_visa": "good", "pm_card_chargeDeclined": "bad"}.get(token, "")
            )
        self._end("tokenise")
        return token

    async def create(self, attempt: Attempt) -> str:
        """Make the intent of an attempt."""
        self._begin("create")
        intent_id = f"pi_{attempt.provider_key()}"
        self.intents.setdefault(intent_id, _Intent(charge=Charge(status="open")))
        self._end("create")
        return intent_id

    async def confirm(self, attempt: Attempt) -> Charge:
        """Ask the card, once an attempt."""
        self._begin("confirm")
        key = attempt.provider_key("confirm")
        if key not in self.answers:
            intent = self._intent(attempt.intent_id)
            conduct = self.methods.get(attempt.token or "", "")
            if not conduct:
                raise ProviderRefusedError("resource_missing")
            if intent.charge.status not in ("open", "declined"):
                raise ProviderRefusedError("payment_intent_unexpected_state")
            if conduct == "good":
                intent.charge = Charge(status="authorised", brand="visa", last4="4242")
            else:
                intent.charge = Charge(status="declined", decline_code="generic_decline")
            self.answers[key] = intent.charge
        self._end("confirm")
        return self.answers[key]

    async def retrieve(self, intent_id: str) -> Charge:
        """Look, change nothing."""
        self._begin("retrieve")
        charge = self._intent(intent_id).charge
        self._end("retrieve")
        return charge

    def _intent(self, intent_id: str | None) -> _Intent:
        intent = self.intents.get(intent_id or "")
        if intent is None:
            raise ProviderRefusedError("resource_missing")
        return intent

    async def capture(self, attempt: Attempt) -> None:
        """Take the authorised money."""
        self._begin("capture")
        intent = self._intent(attempt.intent_id)
        if intent.charge.status != "authorised":
            raise ProviderRefusedError("payment_intent_unexpected_state")
        intent.charge = replace(intent.charge, status="captured")
        self._end("capture")

    async def cancel(self, attempt: Attempt) -> None:
        """End an intent for good."""
        self._begin("cancel")
        intent = self._intent(attempt.intent_id)
        if intent.charge.status in ("captured", "cancelled"):
            raise ProviderRefusedError("payment_intent_unexpected_state")
        intent.charge = replace(intent.charge, status="cancelled")
        self._end("cancel")

    async def refund(self, attempt: Attempt) -> None:
        """Give the captured money back, once."""
        self._begin("refund")
        if self._intent(attempt.intent_id).charge.status != "captured":
            raise ProviderRefusedError("payment_intent_unexpected_state")
        self.refunded.add(attempt.intent_id or "")
        self._end("refund")


@dataclass
class FakeNeighbours:
    """Checkout, inventory and order in one: orders that were placed, who pins them, what order knows.

    A reversal is known everywhere but for the orders in ``confirmed`` (order) and ``holding`` (inventory).
    """

    orders: dict[str, Purchase] = field(default_factory=dict)
    pins: dict[str, int] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    confirmed: set[str] = field(default_factory=set)
    holding: set[str] = field(default_factory=set)
    unpinned: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    away: set[str] = field(default_factory=set)

    def place(self, what: Purchase) -> str:
        """Place an order."""
        self.orders[what.order_id] = what
        return what.order_id

    def _answer(self, call: str) -> None:
        if call in self.away:
            raise ConnectionError(call)

    async def order(self, order_id: str) -> Purchase:
        """Return what is to be paid."""
        self._answer("order")
        if order_id not in self.orders:
            raise UnknownOrderError("there is no such order")
        return self.orders[order_id]

    async def begin_payment(self, order_id: str, attempt: int) -> None:
        """Pin the units for an attempt."""
        self._answer("begin_payment")
        if order_id in self.expired:
            raise HoldExpiredError("the units are no longer held for this order")
        if self.pins.setdefault(order_id, attempt) != attempt:
            raise PinRefusedError("the units are pinned by another attempt")

    async def unpin(self, order_id: str, attempt: int) -> None:
        """Say that an attempt failed."""
        self._answer("unpin")
        self.unpinned[order_id].append(attempt)
        if self.pins.get(order_id) == attempt:
            del self.pins[order_id]

    async def missing(self, order_ids: Sequence[str]) -> set[str]:
        """Return which of these order does not know as paid."""
        self._answer("missing")
        return set(order_ids) - self.known

    async def unreversed(self, order_ids: Sequence[str]) -> set[str]:
        """Return which of these order does not know as cancelled."""
        self._answer("unreversed")
        return self.confirmed & set(order_ids)

    async def unreturned(self, attempts: Sequence[Attempt]) -> set[str]:
        """Return the orders whose units these attempts still hold."""
        self._answer("unreturned")
        return self.holding & {attempt.order_id for attempt in attempts}
