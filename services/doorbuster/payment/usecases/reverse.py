"""Gives the money of an order back: a void before the capture, a refund after it, told once when done."""

from collections.abc import Callable
from dataclasses import dataclass

from doorbuster.kit import failpoints, telemetry, workers
from doorbuster.kit.clock import Clock
from doorbuster.payment import domain
from doorbuster.payment.domain import Attempt, Limits, State
from doorbuster.payment.ports import Facts, PaymentStore, Provider, ProviderRefusedError

BATCH = 50
ASK_TRIES = 5
_STATES = frozenset({State.CAPTURED, State.VOIDING, State.REFUNDING})
WORKER = workers.Worker(
    "reversal", outcomes=("voided", "refunded"), reasons=("provider_away", "provider_refused")
)


@dataclass(kw_only=True)
class Reversal:
    """``ask`` is called for each cancelled or returned order, any number of times; ``step`` does the work."""

    store: PaymentStore
    provider: Provider
    clock: Clock
    limits: Limits
    announce: Callable[[], None]

    async def ask(self, order_id: str, reason: str) -> None:
        """Begin to reverse what was paid for an order; an order without a payment needs nothing."""
        reason = reason[: domain.MAX_CODE_LENGTH]
        for _ in range(ASK_TRIES):
            attempt = await self.store.live(order_id)
            if attempt is None or attempt.state not in domain.SOLD:
                return
            if await self._ask(attempt, reason):
                return
        raise ConnectionError("the payment moves faster than its reversal")

    async def _ask(self, attempt: Attempt, reason: str) -> bool:
        now = self.clock()
        if attempt.state is State.CAPTURING:
            return await self.store.ask_reversal(attempt, reason, now=now)
        to = State.VOIDING if attempt.state is State.AUTHORISED else State.REFUNDING
        moved = await self.store.move(attempt, to, now=now, facts=Facts(reversal=reason))
        failpoints.reach("payment.reversal.stored")
        return moved is not None

    async def step(self) -> bool:
        """Void or refund one batch; true when there may be more."""
        now = self.clock()
        claimed = await self.store.claim_due(
            _STATES, now=now, again_at=now + self.limits.capture_again_after, limit=BATCH
        )
        for attempt in claimed:
            parent = {"traceparent": attempt.purchase.traceparent or ""}
            try:
                with telemetry.span("reverse payment", carrier=parent):
                    await self._reverse(attempt)
            except (ConnectionError, TimeoutError, ProviderRefusedError) as error:
                refused = isinstance(error, ProviderRefusedError)
                WORKER.postponed("provider_refused" if refused else "provider_away")
                telemetry.log().warning(
                    "reversal_postponed", order_id=attempt.order_id, error=type(error).__name__
                )
        return len(claimed) == BATCH

    async def oldest_seconds(self) -> float:
        """Return for how long the oldest money has waited to go back."""
        since = await self.store.waiting_since(_STATES)
        return 0.0 if since is None else (self.clock() - since).total_seconds()

    async def _reverse(self, attempt: Attempt) -> None:
        match attempt.state:
            case State.CAPTURED:
                moved = await self.store.move(attempt, State.REFUNDING, now=self.clock())
                if moved is not None:
                    await self._refund(moved)
            case State.REFUNDING:
                await self._refund(attempt)
            case State.VOIDING:
                await self._void(attempt)
            case _:
                raise ValueError(f"{attempt.state} is not reversed")

    async def _refund(self, attempt: Attempt) -> None:
        await self.provider.refund(attempt)
        await self._done(attempt, State.REFUNDED)

    async def _void(self, attempt: Attempt) -> None:
        try:
            await self.provider.cancel(attempt)
        except ProviderRefusedError:
            charge = await self.provider.retrieve(attempt.intent_id or "")
            if charge.status != "cancelled":
                raise
        await self._done(attempt, State.VOIDED)

    async def _done(self, attempt: Attempt, to: State) -> None:
        failpoints.reach("payment.reversal.acknowledged")
        event = domain.reversed_(attempt, attempt.reversal or domain.CANCELLED)
        if await self.store.move(attempt, to, now=self.clock(), event=event) is not None:
            WORKER.repaired(to.lower())
            telemetry.log().info("payment_reversed", order_id=attempt.order_id, state=to)
            self.announce()
