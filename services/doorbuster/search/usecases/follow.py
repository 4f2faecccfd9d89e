"""Following the catalogue: every change goes into the serving index, and into the one that is being built."""

from collections.abc import Sequence
from dataclasses import dataclass

from doorbuster.kit.consumer import Delivery
from doorbuster.search.domain import changes, documents
from doorbuster.search.domain.changes import Change
from doorbuster.search.ports import ProductIndex, Write

from . import meters
from .bury import Undertaker


@dataclass(frozen=True)
class Follower:
    """Takes changes in, in any order and as often as they come."""

    index: ProductIndex
    undertaker: Undertaker

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
        deleted = [change.product_id for change in latest if change.entry is None]
        writes += await self.undertaker.stubs(deleted, aliases)
        for alias in aliases:
            written = await self.index.write(alias, writes)
            if alias == documents.ALIAS:
                meters.TAKEN.inc(written)
                meters.KNOWN.inc(len(writes) - written)
