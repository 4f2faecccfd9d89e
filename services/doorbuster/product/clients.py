"""The product service's neighbours over HTTP: inventory's sales, the first names of who writes."""

from dataclasses import dataclass

from prometheus_client import Counter

from doorbuster.contracts import internal
from doorbuster.kit import client

SALES_SECONDS = 1.0
AUTHOR_SECONDS = 1.0
NAMELESS = Counter(
    "doorbuster_product_nameless_reviews", "Reviews whose author's name could not be asked for"
)


@dataclass(frozen=True)
class InventoryClient:
    """Asks inventory what is on sale."""

    peer: client.ServiceClient

    async def sales(self) -> internal.Sales:
        """Return the announced, open and lately closed sales; raises ConnectionError."""
        try:
            return await self.peer.call(
                "GET", "/internal/v1/sales", internal.Sales, timeout_seconds=SALES_SECONDS
            )
        except client.RefusedError as refused:
            raise client.UnavailableError(f"inventory refused: {refused.code}") from refused


@dataclass(frozen=True)
class UsersClient:
    """Asks the user service for first names."""

    peer: client.ServiceClient

    async def author(self, user_id: str) -> str | None:
        """Return a first name, None when nobody knows it or nobody answers."""
        path = f"/internal/v1/users/{user_id}/author"
        try:
            answer = await self.peer.call(
                "GET", path, internal.Author, timeout_seconds=AUTHOR_SECONDS
            )
        except (client.RefusedError, client.UnavailableError):
            NAMELESS.inc()
            return None
        return answer.name
