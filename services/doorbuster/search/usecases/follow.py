"""Following the catalogue: every change goes into the serving index, and into the one that is being built."""

from collections.abc import Sequence
from dataclasses import dataclass

from doorbuster.kit.consumer import Delivery
from doorbuster.search.domain import changes, documents
from doorbuster.search.domain.changes import Change
from doorbuster.search.ports import Catalogue, ProductIndex, Write

from . import meters


@dataclass(frozen=True)
class Follower:
    """Takes changes in, in any order and as often as they come."""

    index: ProductIndex
    products: Catalogue

    async def take_in(self, deliveries: Sequence[Delivery]) -> None:
        """Write a batch of changes; raises ConnectionError while the index or, for a deletion, product is away."""
        latest: list[Change] = changes.latest(delivery.event for delivery in deliveries)
        aliases = [documents.ALIAS]
        if await self.index.is_building():
            # First, so that an index which begins to serve in between has the changes by the other name.
            aliases.insert(0, documents.NEXT_ALIAS)
        writes = [
            Write(
                product_id=change.product_id,
                version=change.entry.version,
                document=documents.document(change.entry),
            )
            for change in latest
            if change.entry is not None
        ]
        writes += await self._burials([c.product_id for c in latest if c.entry is None], aliases)
        for alias in aliases:
            written = await self.index.write(alias, writes)
            if alias == documents.ALIAS:
                meters.TAKEN.inc(written)
                meters.KNOWN.inc(len(writes) - written)

    async def _burials(self, product_ids: list[str], aliases: list[str]) -> list[Write]:
        """Return the stubs of what is deleted.

        A deletion has no version, and one that is told again may be older than a product made anew: product says
        which are sold. A stub's version lies between the last one of the dead and the first one of the new.
        """
        if not product_ids:
            return []
        sold = await self.products.sold(product_ids)
        dead = [product_id for product_id in product_ids if product_id not in sold]
        known: dict[str, int] = {}
        for alias in aliases if dead else ():
            for product_id, version in (await self.index.versions(alias, dead)).items():
                known[product_id] = max(version, known.get(product_id, 0))
        return [
            Write(
                product_id=product_id,
                version=version + 1,
                document=documents.stub(product_id),
            )
            for product_id, version in known.items()
        ]
