"""Filling an index with the whole catalogue: the first one, and each that replaces another without a gap."""

from collections.abc import Callable
from dataclasses import dataclass

from doorbuster.kit import failpoints
from doorbuster.search.domain import documents
from doorbuster.search.ports import Catalogue, ProductIndex, Write

PAGE_SIZE = 1_000
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Filler:
    """Reads the catalogue page by page; changes that come meanwhile are later versions and win."""

    index: ProductIndex
    catalogue: Catalogue

    async def fill_first(self) -> None:
        """Make and fill the index where there is none, or none that was ever filled; raises ConnectionError."""
        if await self.index.ensure():
            await self._fill(documents.ALIAS, lambda done, total: None)
            await self.index.mark_filled(documents.ALIAS)

    async def rebuild(self, progress: Progress) -> str:
        """Build the next index while the old one serves, then swap; returns its name. Raises ConnectionError.

        Killed in the middle, it leaves the old index serving; the next run drops what it left.
        """
        name = await self.index.begin_next()
        await self._fill(documents.NEXT_ALIAS, progress)
        await self.index.mark_filled(documents.NEXT_ALIAS)
        failpoints.reach("search.reindex.filled")
        await self.index.swap(name)
        return name

    async def _fill(self, alias: str, progress: Progress) -> None:
        after: str | None = None
        done = 0
        while True:
            page = await self.catalogue.page(after, PAGE_SIZE)
            writes = [
                Write(
                    product_id=entry.product_id,
                    version=entry.version,
                    document=documents.document(entry),
                )
                for entry in page.entries
            ]
            await self.index.write(alias, writes)
            done += len(writes)
            progress(done, page.total)
            failpoints.reach("search.reindex.page")
            if page.next is None:
                return
            after = page.next
