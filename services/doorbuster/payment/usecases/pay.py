"""Takes a payment: the same key is one attempt, another key is refused while one is live, no step is done twice."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from doorbuster.kit import failpoints, telemetry
from doorbuster.kit.clock import Clock
from doorbuster.payment import domain
from doorbuster.payment.domain import (
    Attempt,
    HoldExpiredError,
    IdempotencyKeyReusedError,
    Limits,
    Method,
    PaymentInProgressError,
    State,
    UnknownOrderError,
)
from doorbuster.payment.ports import (
    Checkout,
    Facts,
    NewAttempt,
    PaymentStore,
    Provider,
    ProviderRefusedError,
)

from .settle import Settlement

LONGEST_PAUSE_SECONDS = 0.5
OPEN_TRIES = 5
_BY = "call"


@dataclass(frozen=True, kw_only=True)
class PayCommand:
    """Pay ``order_id`` with ``method``; without a key the order and the method make one."""

    user_id: str
    order_id: str
    method: Method
    amount: Decimal | None = None
    idempotency_key: str | None = None


@dataclass(kw_only=True)
class Pay:
    """The use case behind ``POST /v1/payment``; ``secret`` keys the fingerprints of cards."""

    store: PaymentStore
    provider: Provider
    checkout: Checkout
    settlement: Settlement
    clock: Clock
    new_id: Callable[[], str]
    secret: str
    limits: Limits

    async def pay(self, command: PayCommand) -> Attempt:
        """Return the attempt when it is settled, paid or declined.

        Raises what ``domain`` names, ConnectionError when nothing could be begun, and PaymentInProgressError
        when the end is not known in time: recovery finishes what was begun.
        """
        print_ = domain.fingerprint(command.order_id, command.method, self.secret)
        key = command.idempotency_key or f"derived:{print_}"
        try:
            async with asyncio.timeout(self.limits.answer_within.total_seconds()):
                attempt, is_mine = await self._attempt(command, key, print_)
                if domain.is_settled(attempt):
                    return attempt
                parent = {"traceparent": attempt.purchase.traceparent or ""}
                with telemetry.span("pay attempt", carrier=parent):
                    if is_mine:
                        return await self._drive(attempt, command.method)
                    return await self._follow(attempt, command.method)
        except TimeoutError as error:
            raise PaymentInProgressError("the payment is under way, ask again") from error

    async def _attempt(self, command: PayCommand, key: str, print_: str) -> tuple[Attempt, bool]:
        """Return the attempt that answers this call, and whether this call made it."""
        known = await self.store.find(command.order_id, key)
        if known is not None:
            return _same(known, command, print_), False
        purchase = await self.checkout.order(command.order_id)
        if purchase.user_id != command.user_id:
            raise UnknownOrderError("there is no such order")
        domain.require_amount(purchase, command.amount)
        new = NewAttempt(
            purchase=purchase,
            payment_id=self.new_id(),
            idempotency_key=key,
            fingerprint=print_,
        )
        for _ in range(OPEN_TRIES):
            live = await self.store.live(command.order_id)
            if live is None:
                opened = await self.store.open(new, now=self.clock())
                if opened is not None:
                    failpoints.reach("payment.attempt.opened")
                    return opened, True
            known = await self.store.find(command.order_id, key)
            if known is not None:
                return _same(known, command, print_), False
            if live is not None:
                return _paid_before(live), False
        raise PaymentInProgressError("other payments of this order are under way")

    async def _drive(self, attempt: Attempt, method: Method) -> Attempt:
        """Take an attempt from its state to its end; whatever gives no definite answer is asked again."""
        pause = self.limits.ask_again_after.total_seconds()
        while not domain.is_settled(attempt):
            try:
                moved = await self._step(attempt, method)
            except (ConnectionError, TimeoutError, ProviderRefusedError) as error:
                telemetry.log().warning(
                    "payment_step_unanswered",
                    order_id=attempt.order_id,
                    attempt=attempt.attempt,
                    state=attempt.state,
                    error=type(error).__name__,
                )
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            if moved is None:
                # Somebody else moved it on: from here on only the stored outcome counts.
                return await self._follow(attempt, None)
            attempt = moved
        return attempt

    async def _step(self, attempt: Attempt, method: Method) -> Attempt | None:
        match attempt.state:
            case State.NEW:
                return await self._begin(attempt, method)
            case State.CONFIRMING:
                return await self._confirm(attempt)
            case State.CANCELLING:
                return await self.settlement.finish_cancel(attempt, by=_BY)
            case _:
                raise ValueError(f"{attempt.state} is not driven")

    async def _begin(self, attempt: Attempt, method: Method) -> Attempt | None:
        """NEW: pin the units, know the card's token, make the intent; no card is asked yet.

        The pin comes first: from then on a slow provider costs the buyer time, not his hold.
        """
        try:
            await self.checkout.begin_payment(attempt.order_id, attempt.attempt)
            failpoints.reach("payment.pin.done")
            token = await self.provider.tokenise(method, attempt.provider_key("method"))
            failpoints.reach("payment.card.tokenised")
            intent_id = await self.provider.create(attempt)
            failpoints.reach("payment.intent.created")
        except HoldExpiredError:
            return await self.settlement.fail(
                attempt, State.ABANDONED, domain.HOLD_EXPIRED, by=_BY
            )
        except ProviderRefusedError as refusal:
            return await self.settlement.fail(attempt, State.DECLINED, refusal.code, by=_BY)
        facts = Facts(intent_id=intent_id, token=token)
        moved = await self.store.move(attempt, State.CONFIRMING, now=self.clock(), facts=facts)
        failpoints.reach("payment.confirming.stored")
        return moved

    async def _confirm(self, attempt: Attempt) -> Attempt | None:
        """CONFIRMING: ask the card. An open charge after that means that nothing will come of it."""
        try:
            charge = await self.provider.confirm(attempt)
        except ProviderRefusedError as refusal:
            charge = await self.provider.retrieve(attempt.intent_id or "")
            if charge.status == "open":
                return await self.settlement.give_up(attempt, refusal.code, by=_BY)
        except ConnectionError:
            # Lost on the way there or back? Looking changes nothing; if it is open still, ask again.
            charge = await self.provider.retrieve(attempt.intent_id or "")
            if charge.status == "open":
                raise
        else:
            if charge.status == "open":
                return await self.settlement.give_up(attempt, "authentication_required", by=_BY)
        return await self.settlement.observe(attempt, charge, by=_BY)

    async def _follow(self, attempt: Attempt, method: Method | None) -> Attempt:
        """Wait for the stored outcome; with a method, take over when nothing has moved for long."""
        pause = self.limits.ask_again_after.total_seconds()
        while not domain.is_settled(attempt):
            idle = self.clock() - attempt.updated_at
            if method is not None and idle > self.limits.take_over_after:
                return await self._drive(attempt, method)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            attempt = await self.store.get(attempt.order_id, attempt.attempt) or attempt
        return attempt


def _same(known: Attempt, command: PayCommand, print_: str) -> Attempt:
    if known.purchase.user_id != command.user_id:
        raise UnknownOrderError("there is no such order")
    domain.require_amount(known.purchase, command.amount)
    if known.fingerprint != print_:
        raise IdempotencyKeyReusedError("this Idempotency-Key was used with another card")
    return known


def _paid_before(live: Attempt) -> Attempt:
    if live.state not in domain.SOLD:
        raise PaymentInProgressError("another payment of this order is under way")
    return live
