"""The cart's neighbours over HTTP: product for list prices, inventory for sales and for stock on a cache miss."""

from collections.abc import Mapping, Sequence
from typing import Any

from doorbuster.contracts import internal
from doorbuster.kit import client, telemetry

QUOTE_SECONDS = 1.0
SALES_SECONDS = 1.0


class HttpCatalogue:
    """The product service."""

    def __init__(self, peer: client.ServiceClient) -> None:
        self._peer = peer

    async def quotes(self, product_ids: Sequence[str]) -> Mapping[str, internal.Quote]:
        """Return the list prices of those that are sold; raises ConnectionError."""
        answer = await _call(
            self._peer,
            "POST",
            "/internal/v1/products:quote",
            internal.Quotes,
            body=internal.ProductIds(ids=list(product_ids)),
            timeout_seconds=QUOTE_SECONDS,
        )
        return {quote.product_id: quote for quote in answer.quotes}


class HttpSales:
    """The inventory service's sales."""

    def __init__(self, peer: client.ServiceClient) -> None:
        self._peer = peer

    async def sales(self) -> internal.Sales:
        """Return the announced, open and lately closed sales; raises ConnectionError."""
        answer: internal.Sales = await _call(
            self._peer,
            "GET",
            "/internal/v1/sales",
            internal.Sales,
            timeout_seconds=SALES_SECONDS,
        )
        return answer


async def _call(
    peer: client.ServiceClient, method: str, path: str, answer: type[Any], **how: Any
) -> Any:
    try:
        return await peer.call(method, path, answer, **how)
    except client.RefusedError as error:
        # They refuse no question of ours as a whole: a mistake of ours or of the keys.
        telemetry.log().error("neighbour_refused", callee=peer.callee, code=error.code)
        raise client.UnavailableError(f"{peer.callee} refused with {error.code}") from error
