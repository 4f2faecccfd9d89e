"""Answering a search: from the index, or by whole words through product while the index is away."""

from dataclasses import dataclass

import msgspec

from doorbuster.contracts import catalogue
from doorbuster.kit import telemetry
from doorbuster.search.domain import cursors, queries, results
from doorbuster.search.domain.cursors import Stage
from doorbuster.search.ports import Catalogue, IndexAwayError, ProductIndex

from . import meters
from .live import LiveView


@dataclass
class Search:
    """Answers searches; after a failure the index is left alone until ``probe`` finds it well again."""

    index: ProductIndex
    products: Catalogue
    live: LiveView
    is_away: bool = False

    async def find(self, query: catalogue.SearchQuery) -> catalogue.SearchResults:
        """Return a page of results.

        Raises PageTooDeepError, CursorError, QueryRefusedError; ConnectionError when product is away too.
        """
        after = None if query.cursor is None else cursors.decode(query.cursor, query)
        if after is None:
            queries.offset_of(query)
        if not self.is_away:
            try:
                return await self._find_in_index(query, after)
            except IndexAwayError as error:
                self._leave_alone(error)
        return await self._find_degraded(query, after)

    async def probe(self) -> None:
        """Look whether an index that was left alone is back; raises IndexAwayError while it is not."""
        if self.is_away:
            await self.index.ping()
            self.is_away = False
            meters.AWAY.set(0)
            telemetry.log().info("index_back")

    async def _find_in_index(
        self, query: catalogue.SearchQuery, after: cursors.Cursor | None
    ) -> catalogue.SearchResults:
        stage, page = await self._stages(query, after)
        live = await self.live.of([product.product_id for product in page.products])
        answer = results.show(page, query, stage, after, live)
        meters.INDEX.inc()
        if page.total == 0 and query.term.strip():
            titles = await self._suggest(query.term)
            return catalogue.SearchResults(
                products=[],
                pagination=answer.pagination,
                facets=answer.facets,
                suggestions=titles,
            )
        return answer

    async def _stages(
        self, query: catalogue.SearchQuery, after: cursors.Cursor | None
    ) -> tuple[Stage, results.Page]:
        """Look for what was typed, and forgive mistakes only where that finds nothing."""
        stage = Stage.EXACT if after is None else after.stage
        page = await self._page(query, stage, after)
        if page.total == 0 and after is None and query.term.strip():
            stage = Stage.FORGIVING
            page = await self._page(query, stage, after)
        return stage, page

    async def _page(
        self, query: catalogue.SearchQuery, stage: Stage, after: cursors.Cursor | None
    ) -> results.Page:
        page, counts = await self.index.search(
            queries.page_body(query, stage, after), queries.count_body(query, stage)
        )
        return results.read_page(page, counts)

    async def _suggest(self, term: str) -> list[str]:
        [answer] = await self.index.search(queries.suggestion_body(term))
        titles = [hit["_source"]["title"] for hit in answer["hits"]["hits"]]
        return list(dict.fromkeys(titles))

    def _leave_alone(self, error: IndexAwayError) -> None:
        if not self.is_away:
            telemetry.log().warning("index_away", error=str(error))
        self.is_away = True
        meters.AWAY.set(1)

    async def _find_degraded(
        self, query: catalogue.SearchQuery, after: cursors.Cursor | None
    ) -> catalogue.SearchResults:
        """A cursor's page is found by counting, as far as pages reach."""
        if after is not None:
            page = after.seen // query.size + 1
            query = msgspec.structs.replace(query, page=page, cursor=None)
            queries.offset_of(query)
        try:
            matches = await self.products.find(query)
        except ConnectionError:
            meters.NOWHERE.inc()
            raise
        live = await self.live.of([entry.product_id for entry in matches.entries])
        meters.DEGRADED.inc()
        return results.show_degraded(matches, query, live)
