"""How an attempt is decided: each decision is one compare-and-set together with the event that tells of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import Counter

from doorbuster.kit import failpoints, telemetry
from doorbuster.kit.clock import Clock
from doorbuster.payment import domain
from doorbuster.payment.domain import Attempt, Charge, State
from doorbuster.payment.ports import Facts, Inventory, PaymentStore, Provider, ProviderRefusedError

DECIDED = Counter(
    "doorbuster_payment_decided", "Payment attempts decided, by state and by whom", ["state", "by"]
)
UNPIN_MISSED = Counter(
    "doorbuster_payment_unpin_missed", "Declines that inventory will learn from the event only"
)


def _nothing() -> None:
    return None


@dataclass(kw_only=True)
class Settlement:
    """Decides attempts. Every method returns None when somebody else was faster: read the row again then.

    ``announce`` is called after a commit that left events, ``capture`` is set when there is money to take.
    """

    store: PaymentStore
    provider: Provider
    inventory: Inventory
    clock: Clock
    announce: Callable[[], None] = _nothing
    capture: asyncio.Event = field(default_factory=asyncio.Event)

    async def observe(self, attempt: Attempt, charge: Charge, *, by: str) -> Attempt | None:
        """Decide a CONFIRMING attempt by what the provider said; an open charge decides nothing."""
        match charge.status:
            case "authorised" | "captured":
                failpoints.reach("payment.charge.authorised")
                return await self._authorise(attempt, charge, by=by)
            case "declined" | "cancelled":
                failpoints.reach("payment.charge.declined")
                return await self.fail(
                    attempt, State.DECLINED, charge.decline_code or charge.status, by=by
                )
            case "open":
                return attempt

    async def _authorise(self, attempt: Attempt, charge: Charge, *, by: str) -> Attempt | None:
        now = self.clock()
        facts = Facts(paid_at=now, brand=charge.brand, last4=charge.last4)
        paid = domain.paid(attempt, now)
        moved = await self.store.move(
            attempt, State.AUTHORISED, now=now, facts=facts, event=domain.succeeded(paid)
        )
        if moved is not None:
            failpoints.reach("payment.authorised.stored")
            self._tell(moved, by)
            self.capture.set()
        return moved

    async def fail(self, attempt: Attempt, to: State, code: str, *, by: str) -> Attempt | None:
        """End an attempt without a charge: to DECLINED or ABANDONED; inventory is told at once if it can be."""
        code = code[: domain.MAX_CODE_LENGTH]
        moved = await self.store.move(
            attempt,
            to,
            now=self.clock(),
            facts=Facts(decline_code=code),
            event=domain.failed(attempt, code),
        )
        if moved is None:
            return None
        failpoints.reach("payment.failure.stored")
        self._tell(moved, by)
        try:
            await self.inventory.unpin(moved.order_id, moved.attempt)
        except (ConnectionError, TimeoutError):
            UNPIN_MISSED.inc()
        return moved

    async def give_up(self, attempt: Attempt, code: str, *, by: str) -> Attempt | None:
        """End a CONFIRMING attempt whose card was not charged: the row first, then the provider."""
        moved = await self.store.move(
            attempt, State.CANCELLING, now=self.clock(), facts=Facts(decline_code=code)
        )
        failpoints.reach("payment.cancelling.stored")
        return None if moved is None else await self.finish_cancel(moved, by=by)

    async def finish_cancel(self, attempt: Attempt, *, by: str) -> Attempt | None:
        """Cancel at the provider until it says so, then DECLINED, whatever had happened there meanwhile."""
        try:
            await self.provider.cancel(attempt)
        except ProviderRefusedError as refusal:
            charge = await self.provider.retrieve(attempt.intent_id or "")
            if charge.status != "cancelled":
                # A captured charge under CANCELLING would be a mistake of ours: say so, charge nobody twice.
                telemetry.log().error(
                    "cancel_refused", order_id=attempt.order_id, code=refusal.code
                )
                raise
        failpoints.reach("payment.cancel.acknowledged")
        code = attempt.decline_code or domain.NOT_FINISHED
        return await self.fail(attempt, State.DECLINED, code, by=by)

    def _tell(self, attempt: Attempt, by: str) -> None:
        DECIDED.labels(attempt.state, by).inc()
        telemetry.log().info(
            "payment_decided",
            order_id=attempt.order_id,
            attempt=attempt.attempt,
            payment_id=attempt.payment_id,
            state=attempt.state,
            decline_code=attempt.decline_code,
            by=by,
        )
        self.announce()
