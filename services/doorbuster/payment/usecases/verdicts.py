"""Answers inventory's question which of its pinned units are sold."""

from collections.abc import Sequence
from dataclasses import dataclass

from doorbuster.contracts import internal
from doorbuster.payment import domain
from doorbuster.payment.ports import PaymentStore


@dataclass(kw_only=True)
class Verdicts:
    """A final verdict never changes; it speaks of one attempt only."""

    store: PaymentStore

    async def of(self, items: Sequence[internal.Attempt]) -> list[internal.Verdict]:
        """Return a verdict an item, in order."""
        states = await self.store.states([(item.order_id, item.attempt) for item in items])
        return [
            internal.Verdict(
                order_id=item.order_id,
                attempt=item.attempt,
                verdict=domain.verdict(states.get((item.order_id, item.attempt))),
            )
            for item in items
        ]
