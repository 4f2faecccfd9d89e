"""Payment's events, in batches; the order in which they come does not matter."""

from collections import defaultdict

from doorbuster.contracts import events, internal
from doorbuster.kit.consumer import Delivery

from .usecases.pay import Payments

TYPES = {
    kind.type: kind
    for kind in (events.PaymentSucceeded, events.PaymentFailed, events.PaymentReversed)
}


class PaymentEvents:
    """Hands each kind of a batch to its use case; all of it may be delivered again."""

    def __init__(self, payments: Payments) -> None:
        self._payments = payments

    async def handle(self, deliveries: list[Delivery]) -> None:
        """Handle one batch; a success and its reversal in one batch end as returned."""
        attempts: dict[type, list[internal.Attempt]] = defaultdict(list)
        for delivery in deliveries:
            event = delivery.event
            attempts[type(event)].append(
                internal.Attempt(order_id=event.order_id, attempt=event.attempt)
            )
        await self._payments.fail(attempts[events.PaymentFailed])
        await self._payments.succeed(attempts[events.PaymentSucceeded])
        await self._payments.reverse(attempts[events.PaymentReversed])
