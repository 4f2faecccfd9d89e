"""What payments do to reservations: events, the synchronous unpin, and the pin sweep that guarantees both.

And what an order does that checkout refuses after its units were held.
"""

import asyncio
from collections.abc import Sequence
from typing import get_args

from prometheus_client import Counter

from doorbuster.contracts import internal
from doorbuster.inventory.domain import PinFate, pin_fate
from doorbuster.inventory.ports import Pins, Verdicts
from doorbuster.kit import client, failpoints, telemetry, workers

from .warm import Warmer

PINS_PER_PASS = 100
ASK_AGAIN_SECONDS = 2.0
UNSOLD = Counter(
    "doorbuster_inventory_paid_without_units",
    "Paid attempts whose order holds no units: look at once",
)
WORKER = workers.Worker(
    "pin_sweep", outcomes=("sold", "declined", "returned"), reasons=("undecided", "payment_away")
)


class Payments:
    """Moves reservations by what payment says; every call may be repeated."""

    def __init__(self, pins: Pins, warmer: Warmer, *wakes: asyncio.Event) -> None:
        self._pins = pins
        self._warmer = warmer
        self._wakes = wakes

    async def succeed(self, attempts: Sequence[internal.Attempt]) -> None:
        """PAYING -> SOLD. A paid order without units is counted and logged: it must not happen."""
        if not attempts:
            return
        stored = await self._pins.confirm(attempts)
        failpoints.reach("inventory.sold.committed")
        for attempt in attempts:
            state, of_attempt = stored.get(attempt.order_id, ("UNKNOWN", 0))
            if state not in ("SOLD", "RETURNED"):
                UNSOLD.inc()
                telemetry.log().error(
                    "paid_without_units",
                    order_id=attempt.order_id,
                    attempt=attempt.attempt,
                    state=state,
                    stored_attempt=of_attempt,
                )

    async def fail(self, attempts: Sequence[internal.Attempt]) -> None:
        """PAYING of that attempt -> HELD while there is time, else RELEASED."""
        if attempts and await self._pins.decline(attempts):
            failpoints.reach("inventory.decline.committed")
            for wake in self._wakes:
                wake.set()

    async def let_go(self, order_id: str) -> None:
        """HELD -> RELEASED at once: checkout will not place this order."""
        if await self._pins.let_go(order_id):
            failpoints.reach("inventory.let_go.committed")
            for wake in self._wakes:
                wake.set()

    async def reverse(self, attempts: Sequence[internal.Attempt]) -> None:
        """SOLD -> RETURNED, once; the units are for sale again."""
        if not attempts:
            return
        products = await self._pins.take_back(attempts)
        failpoints.reach("inventory.reversal.committed")
        if products:
            await self._warmer.load_new(products)


class PinSweep:
    """Asks payment about pins that are older than ``older_than_seconds``; only a final word moves a unit."""

    def __init__(
        self, pins: Pins, verdicts: Verdicts, payments: Payments, *, older_than_seconds: float
    ) -> None:
        self._pins = pins
        self._verdicts = verdicts
        self._payments = payments
        self._older_than_seconds = older_than_seconds

    async def step(self) -> bool:
        """Ask about one batch; true when there may be more. What stays undecided is asked about again soon."""
        attempts = await self._pins.stale_pins(
            self._older_than_seconds, again_seconds=ASK_AGAIN_SECONDS, limit=PINS_PER_PASS
        )
        if not attempts:
            return False
        try:
            verdicts = await self._verdicts.verdicts(attempts)
        except client.UnavailableError:
            WORKER.postponed("payment_away", len(attempts))
            return False
        failpoints.reach("inventory.verdict.heard")
        asked = {(attempt.order_id, attempt.attempt) for attempt in attempts}
        by_fate: dict[PinFate, list[internal.Attempt]] = {fate: [] for fate in get_args(PinFate)}
        for verdict in verdicts:
            if (verdict.order_id, verdict.attempt) in asked:
                by_fate[pin_fate(verdict.verdict)].append(
                    internal.Attempt(order_id=verdict.order_id, attempt=verdict.attempt)
                )
        await self._payments.succeed(by_fate["SOLD"])
        await self._payments.fail(by_fate["DECLINED"])
        await self._payments.reverse(by_fate["RETURNED"])
        for fate in ("SOLD", "DECLINED", "RETURNED"):
            WORKER.repaired(fate.lower(), len(by_fate[fate]))
        decided = sum(len(by_fate[fate]) for fate in ("SOLD", "DECLINED", "RETURNED"))
        WORKER.postponed("undecided", len(attempts) - decided)
        return len(attempts) >= PINS_PER_PASS

    async def oldest_seconds(self) -> float:
        """Return for how long the oldest pin has been past the time at which payment is asked."""
        return await self._pins.oldest_pin_seconds() - self._older_than_seconds
