"""Finishes what a dead or cut-off process left behind: NEW, CONFIRMING and CANCELLING that nobody moves any more."""

import asyncio
from dataclasses import dataclass

from doorbuster.kit import telemetry, workers
from doorbuster.kit.clock import Clock
from doorbuster.payment import domain
from doorbuster.payment.domain import Attempt, Limits, State
from doorbuster.payment.ports import PaymentStore, Provider, ProviderRefusedError

from .settle import Settlement

BATCH = 50
AT_ONCE = 8
_BY = "recovery"
WORKER = workers.Worker(
    "payment_recovery",
    outcomes=("authorised", "declined", "abandoned"),
    reasons=("provider_away", "provider_refused"),
)


@dataclass(kw_only=True)
class Recovery:
    """Any number of copies may run; each decision is a compare-and-set, the clock decides nothing but when."""

    store: PaymentStore
    provider: Provider
    settlement: Settlement
    clock: Clock
    limits: Limits

    async def step(self) -> bool:
        """Take up one batch of what is overdue; true when there may be more."""
        now = self.clock()
        claimed = await self.store.claim_due(
            domain.UNDECIDED, now=now, again_at=now + self.limits.recover_after, limit=BATCH
        )
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(attempt: Attempt) -> None:
            async with gate:
                await self._recover(attempt)

        await asyncio.gather(*(one(attempt) for attempt in claimed))
        return len(claimed) == BATCH

    async def _recover(self, attempt: Attempt) -> None:
        try:
            with telemetry.span("recover payment", carrier=_parent(attempt)):
                ended = await self._finish(attempt)
            if ended is not None and ended.state not in domain.UNDECIDED:
                WORKER.repaired(ended.state.lower())
        except (ConnectionError, TimeoutError, ProviderRefusedError) as error:
            # It stays as it is and comes up again.
            refused = isinstance(error, ProviderRefusedError)
            WORKER.postponed("provider_refused" if refused else "provider_away")
            telemetry.log().warning(
                "recovery_postponed",
                order_id=attempt.order_id,
                attempt=attempt.attempt,
                state=attempt.state,
                error=type(error).__name__,
            )

    async def _finish(self, attempt: Attempt) -> Attempt | None:
        match attempt.state:
            case State.NEW:
                return await self.settlement.fail(
                    attempt, State.ABANDONED, domain.NOT_FINISHED, by=_BY
                )
            case State.CONFIRMING:
                charge = await self.provider.retrieve(attempt.intent_id or "")
                if charge.status == "open":
                    return await self.settlement.give_up(attempt, domain.NOT_FINISHED, by=_BY)
                return await self.settlement.observe(attempt, charge, by=_BY)
            case State.CANCELLING:
                return await self.settlement.finish_cancel(attempt, by=_BY)
            case _:
                raise ValueError(f"{attempt.state} needs no recovery")

    async def oldest_seconds(self) -> float:
        """Return for how long the oldest undecided attempt should have been taken up."""
        since = await self.store.waiting_since(domain.UNDECIDED)
        due_after = self.limits.recover_after
        return 0.0 if since is None else (self.clock() - since - due_after).total_seconds()

    async def hear(self, order_id: str, number: int) -> None:
        """The provider says that something happened to an attempt: look at it now, cancel nothing.

        An attempt that has just moved is left to the call that moved it. Raises ConnectionError when the
        provider is away.
        """
        attempt = await self.store.get(order_id, number)
        if attempt is None or attempt.state is not State.CONFIRMING:
            return
        if self.clock() - attempt.updated_at < self.limits.hint_after:
            return
        try:
            with telemetry.span("hear of payment", carrier=_parent(attempt)):
                charge = await self.provider.retrieve(attempt.intent_id or "")
                await self.settlement.observe(attempt, charge, by="webhook")
        except ProviderRefusedError as error:
            telemetry.log().warning("hint_not_confirmed", order_id=order_id, code=error.code)


def _parent(attempt: Attempt) -> dict[str, str]:
    return {"traceparent": attempt.purchase.traceparent or ""}
