"""How payment speaks to checkout, inventory and order."""

from collections.abc import Sequence

from doorbuster.contracts import internal
from doorbuster.kit import telemetry
from doorbuster.kit.client import RefusedError, ServiceClient
from doorbuster.payment.domain import (
    Attempt,
    HoldExpiredError,
    Purchase,
    UnknownOrderError,
)
from doorbuster.payment.ports import PinRefusedError

UNPIN_SECONDS = 1.5
BEGIN_SECONDS = 4.0


class HttpCheckout:
    """The orders that were placed."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def order(self, order_id: str) -> Purchase:
        """Return what is to be paid."""
        try:
            placed = await self._client.call(
                "GET", f"/internal/v1/orders/{order_id}", internal.PlacedOrder
            )
        except RefusedError as refusal:
            raise _translate(refusal) from refusal
        return Purchase(
            order_id=placed.order_id,
            user_id=placed.user_id,
            lines=tuple(placed.lines),
            amount_minor=placed.amount_minor,
            currency=placed.currency,
            topic=placed.topic,
            traceparent=placed.traceparent,
        )

    async def begin_payment(self, order_id: str, attempt: int) -> None:
        """Pin the units for an attempt."""
        try:
            await self._client.call(
                "POST",
                f"/internal/v1/orders/{order_id}/begin-payment",
                internal.PlacedOrder,
                body=internal.BeginPayment(attempt=attempt),
                timeout_seconds=BEGIN_SECONDS,
            )
        except RefusedError as refusal:
            raise _translate(refusal) from refusal


def _translate(refusal: RefusedError) -> Exception:
    match refusal.code:
        case "UNKNOWN_ORDER":
            return UnknownOrderError("there is no such order")
        case "HOLD_EXPIRED" | "ALREADY_PAID":
            # Already paid and no live attempt: it was reversed, the units are somebody else's by now.
            return HoldExpiredError("the units are no longer held for this order")
        case "PAYMENT_IN_PROGRESS":
            return PinRefusedError("the units are pinned by another attempt")
        case _:
            telemetry.log().error("checkout_refused", status=refusal.status, code=refusal.code)
            return ConnectionError(f"checkout refused with {refusal.code}")


class HttpInventory:
    """The authority on units."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def unpin(self, order_id: str, attempt: int) -> None:
        """Say that an attempt failed."""
        try:
            await self._client.call(
                "POST",
                "/internal/v1/unpins",
                object,
                body=internal.Unpin(order_id=order_id, attempt=attempt),
                timeout_seconds=UNPIN_SECONDS,
            )
        except RefusedError as refusal:
            raise ConnectionError(f"inventory refused with {refusal.code}") from refusal

    async def unreturned(self, attempts: Sequence[Attempt]) -> set[str]:
        """Return the orders whose units these attempts still hold."""
        items = [
            internal.Attempt(order_id=attempt.order_id, attempt=attempt.attempt)
            for attempt in attempts
        ]
        try:
            answer = await self._client.call(
                "POST",
                "/internal/v1/reservations:unreturned",
                internal.UnreturnedOrders,
                body=internal.Attempts(items=items),
            )
        except RefusedError as refusal:
            raise ConnectionError(f"inventory refused with {refusal.code}") from refusal
        return set(answer.unreturned)


class HttpOrders:
    """The order service."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def missing(self, order_ids: Sequence[str]) -> set[str]:
        """Return which of these it does not know as paid."""
        return await self._lacking("/internal/v1/orders:missing", order_ids)

    async def unreversed(self, order_ids: Sequence[str]) -> set[str]:
        """Return which of these it does not know as cancelled."""
        return await self._lacking("/internal/v1/orders:unreversed", order_ids)

    async def _lacking(self, path: str, order_ids: Sequence[str]) -> set[str]:
        try:
            answer = await self._client.call(
                "POST",
                path,
                internal.MissingOrders,
                body=internal.OrderIds(ids=list(order_ids)),
            )
        except RefusedError as refusal:
            raise ConnectionError(f"order refused with {refusal.code}") from refusal
        return set(answer.missing)
