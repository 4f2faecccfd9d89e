"""Search's neighbours over HTTP: product and inventory."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import msgspec

from doorbuster.contracts import catalogue, internal
from doorbuster.kit import client

PAGE_SECONDS = 15.0
FIND_SECONDS = 0.7
QUOTE_SECONDS = 2.0
SALES_SECONDS = 1.0
MOST_QUOTED = 200


@dataclass(frozen=True)
class ProductClient:
    """The catalogue as product tells it."""

    service: client.ServiceClient

    async def page(self, after: str | None, size: int) -> internal.CataloguePage:
        """Return the next products by id; raises UnavailableError."""
        query = {"size": str(size), **({} if after is None else {"after": after})}
        return await self.service.call(
            "GET",
            f"/internal/v1/products?{urlencode(query)}",
            internal.CataloguePage,
            timeout_seconds=PAGE_SECONDS,
        )

    async def find(self, query: catalogue.SearchQuery) -> internal.CatalogueMatches:
        """Look for whole words; raises UnavailableError or RefusedError."""
        fields = msgspec.to_builtins(query, str_keys=True)
        wanted = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in fields.items()
            if value is not None and name != "cursor"
        }
        return await self.service.call(
            "GET",
            f"/internal/v1/products:find?{urlencode(wanted)}",
            internal.CatalogueMatches,
            timeout_seconds=FIND_SECONDS,
        )

    async def sold(self, product_ids: Sequence[str]) -> set[str]:
        """Return those that are sold; raises UnavailableError."""
        found: set[str] = set()
        for start in range(0, len(product_ids), MOST_QUOTED):
            answer = await self.service.call(
                "POST",
                "/internal/v1/products:quote",
                internal.Quotes,
                body=internal.ProductIds(ids=list(product_ids[start : start + MOST_QUOTED])),
                timeout_seconds=QUOTE_SECONDS,
            )
            found |= {quote.product_id for quote in answer.quotes}
        return found


@dataclass(frozen=True)
class InventoryClient:
    """The sales as inventory tells them."""

    service: client.ServiceClient

    async def sales(self) -> internal.Sales:
        """Return all sales; raises UnavailableError."""
        return await self.service.call(
            "GET", "/internal/v1/sales", internal.Sales, timeout_seconds=SALES_SECONDS
        )
