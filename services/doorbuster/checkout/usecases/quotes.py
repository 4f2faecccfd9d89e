"""List prices as last heard from the catalogue, each for a second at most."""

import asyncio
from collections.abc import Callable, Sequence

from doorbuster.checkout.ports import Catalogue
from doorbuster.contracts import internal

CACHED_SECONDS = 1.0
_MOST_CACHED = 10_000
_NEVER: tuple[float, internal.Quote | None] = (float("-inf"), None)


class QuoteBoard:
    """Quotes by product; ``monotonic`` returns seconds."""

    def __init__(self, catalogue: Catalogue, monotonic: Callable[[], float]) -> None:
        self._catalogue = catalogue
        self._monotonic = monotonic
        self._heard: dict[str, tuple[float, internal.Quote | None]] = {}

    async def quotes(
        self, product_ids: Sequence[str], *, at_most_seconds: float
    ) -> dict[str, internal.Quote]:
        """Return the quotes of those that are sold, none older than asked; raises ConnectionError."""
        if not product_ids:
            return {}
        now = self._monotonic()
        quotes = {
            name: quote
            for name in product_ids
            for heard_at, quote in [self._heard.get(name, _NEVER)]
            if now - heard_at <= at_most_seconds
        }
        missing = [name for name in product_ids if name not in quotes]
        found = await asyncio.gather(*(self._catalogue.quote(name) for name in missing))
        fresh = dict(zip(missing, found, strict=True))
        if len(self._heard) + len(fresh) > _MOST_CACHED:
            self._heard.clear()
        self._heard |= {name: (now, quote) for name, quote in fresh.items()}
        return {name: quote for name, quote in (quotes | fresh).items() if quote is not None}
