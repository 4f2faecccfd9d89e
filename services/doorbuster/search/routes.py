"""The search over HTTP."""

from dataclasses import dataclass

from aiohttp import web as aiohttp_web

from doorbuster.contracts import catalogue
from doorbuster.kit import web

from .usecases.look import Search


@dataclass(frozen=True)
class SearchRoutes:
    """Handlers over the use cases."""

    search: Search

    def table(self) -> list[web.Route]:
        """Return the routes with their callers."""
        return [
            web.Route(
                method="GET",
                path="/v1/products/search",
                handler=self.find_products,
                access=web.Public(),
            )
        ]

    async def find_products(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /v1/products/search``."""
        query = web.read_query(request, catalogue.SearchQuery)
        return web.json_response(await self.search.find(query))
