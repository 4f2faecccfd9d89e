"""Takes the money of what is sold: AUTHORISED to CAPTURING before the call, to CAPTURED after it.

No event starts it: the row itself says that there is money to take. The process that authorised wakes the loop,
and whatever a dead process left is due by its time.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from doorbuster.kit import failpoints, telemetry, workers
from doorbuster.kit.clock import Clock
from doorbuster.payment import domain
from doorbuster.payment.domain import Attempt, Limits, State
from doorbuster.payment.ports import Facts, PaymentStore, Provider, ProviderRefusedError

BATCH = 100
AT_ONCE = 8
_STATES = frozenset({State.AUTHORISED, State.CAPTURING})
WORKER = workers.Worker(
    "capture", outcomes=("captured", "lost"), reasons=("provider_away", "provider_refused")
)


@dataclass(kw_only=True)
class Capture:
    """Any number of copies may run: the compare-and-set lets one of them call the provider."""

    store: PaymentStore
    provider: Provider
    clock: Clock
    limits: Limits
    announce: Callable[[], None]

    async def step(self) -> bool:
        """Capture one batch; true when there may be more."""
        now = self.clock()
        claimed = await self.store.claim_due(
            _STATES, now=now, again_at=now + self.limits.capture_again_after, limit=BATCH
        )
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(attempt: Attempt) -> None:
            async with gate:
                await self._capture(attempt)

        await asyncio.gather(*(one(attempt) for attempt in claimed))
        return len(claimed) == BATCH

    async def oldest_seconds(self) -> float:
        """Return for how long the oldest authorised money has waited to be taken."""
        since = await self.store.waiting_since(_STATES)
        return 0.0 if since is None else (self.clock() - since).total_seconds()

    async def _capture(self, attempt: Attempt) -> None:
        parent = {"traceparent": attempt.purchase.traceparent or ""}
        try:
            with telemetry.span("capture payment", carrier=parent):
                if attempt.state is State.CAPTURING:
                    await self._resume(attempt)
                    return
                moved = await self.store.move(attempt, State.CAPTURING, now=self.clock())
                if moved is not None:
                    failpoints.reach("payment.capturing.stored")
                    await self._take(moved)
        except (ConnectionError, TimeoutError, ProviderRefusedError) as error:
            refused = isinstance(error, ProviderRefusedError)
            WORKER.postponed("provider_refused" if refused else "provider_away")
            telemetry.log().warning(
                "capture_postponed", order_id=attempt.order_id, error=type(error).__name__
            )

    async def _resume(self, attempt: Attempt) -> None:
        """Somebody began and did not finish: look first, then go on."""
        charge = await self.provider.retrieve(attempt.intent_id or "")
        match charge.status:
            case "captured":
                await self._done(attempt)
            case "authorised":
                await self._take(attempt)
            case "open" | "declined" | "cancelled":
                await self._lost(attempt)

    async def _take(self, attempt: Attempt) -> None:
        try:
            await self.provider.capture(attempt)
        except ProviderRefusedError:
            charge = await self.provider.retrieve(attempt.intent_id or "")
            if charge.status == "authorised":
                raise
            if charge.status != "captured":
                await self._lost(attempt)
                return
        await self._done(attempt)

    async def _done(self, attempt: Attempt) -> None:
        failpoints.reach("payment.capture.acknowledged")
        moved = await self.store.move(
            attempt, State.CAPTURED, now=self.clock(), event=domain.captured(attempt)
        )
        if moved is not None:
            failpoints.reach("payment.captured.stored")
            WORKER.repaired("captured")
            telemetry.log().info("payment_captured", order_id=attempt.order_id)
            self.announce()

    async def _lost(self, attempt: Attempt) -> None:
        """The authorisation is gone: the sale is taken back by an event, never by time alone."""
        reason = domain.AUTHORISATION_LOST
        moved = await self.store.move(
            attempt,
            State.CAPTURE_FAILED,
            now=self.clock(),
            facts=Facts(reversal=reason),
            event=domain.reversed_(attempt, reason),
        )
        if moved is not None:
            WORKER.repaired("lost")
            telemetry.log().error("payment_capture_failed", order_id=attempt.order_id)
            self.announce()
