"""The order service's neighbours over HTTP: checkout and inventory."""

from dataclasses import dataclass

from doorbuster.contracts import internal
from doorbuster.kit import client

READ_SECONDS = 2.0


@dataclass(frozen=True)
class CheckoutClient:
    """Asks checkout for placed orders."""

    service: client.ServiceClient

    async def find_placed(self, order_id: str) -> internal.PlacedOrder | None:
        """Return the order as it was placed; raises UnavailableError."""
        return await _find(self.service, f"/internal/v1/orders/{order_id}", internal.PlacedOrder)


@dataclass(frozen=True)
class InventoryClient:
    """Asks inventory for reservations."""

    service: client.ServiceClient

    async def find_reservation(self, order_id: str) -> internal.ReservationState | None:
        """Return the reservation; raises UnavailableError."""
        return await _find(
            self.service, f"/internal/v1/reservations/{order_id}", internal.ReservationState
        )


async def _find(
    service: client.ServiceClient, path: str, answer: type[client.Answer]
) -> client.Answer | None:
    try:
        return await service.call("GET", path, answer, timeout_seconds=READ_SECONDS)
    except client.RefusedError as refused:
        if refused.status == 404:
            return None
        # Anything else is a mistake between services (a key, a route), not an answer about the order.
        raise client.UnavailableError(f"{service.callee} refused: {refused.code}") from refused
