"""Burying what is no longer sold: a stub takes a product's place in the index, so that nothing brings it back."""

from collections.abc import Sequence
from dataclasses import dataclass

from doorbuster.kit import workers
from doorbuster.search.domain import documents
from doorbuster.search.ports import Catalogue, ProductIndex, Write

PAGE = 200
WORKER = workers.Worker("ghost_sweep", outcomes=("buried",), reasons=("neighbour_away",))


@dataclass(frozen=True)
class Undertaker:
    """Knows from product what is dead, and from the index which version its stub needs."""

    index: ProductIndex
    products: Catalogue

    async def stubs(self, product_ids: Sequence[str], aliases: Sequence[str]) -> list[Write]:
        """Return the stubs of those that are not sold any more; raises ConnectionError.

        A deletion has no version, and one that is told again may be older than a product made anew: product says
        which are sold. A stub's version lies between the last one of the dead and the first one of the new.
        """
        if not product_ids:
            return []
        # The versions first: what is made anew after product was asked must stay above its stub.
        known: dict[str, int] = {}
        for alias in aliases:
            for product_id, version in (await self.index.versions(alias, product_ids)).items():
                known[product_id] = max(version, known.get(product_id, 0))
        sold = await self.products.sold(list(known)) if known else frozenset()
        return [
            Write(
                product_id=product_id,
                version=version + 1,
                document=documents.stub(product_id),
            )
            for product_id, version in known.items()
            if product_id not in sold
        ]


@dataclass
class GhostSweep:
    """Walks through the index for products whose deletion was never told.

    That happens when MongoDB no longer has the position at which Debezium stopped: its new snapshot tells of all
    that there is, and of nothing that is gone.
    """

    index: ProductIndex
    undertaker: Undertaker
    _after: str = ""

    async def step(self) -> bool:
        """Look at one page of the index; false at the end of the walk. Raises ConnectionError."""
        try:
            return await self._page()
        except ConnectionError:
            WORKER.postponed("neighbour_away")
            raise

    async def _page(self) -> bool:
        page = await self.index.living(after=self._after, limit=PAGE)
        stubs = await self.undertaker.stubs(page, [documents.ALIAS])
        WORKER.repaired("buried", await self.index.write(documents.ALIAS, stubs))
        is_last = len(page) < PAGE
        self._after = "" if is_last else page[-1]
        return not is_last
