"""Looking at products: details with the live price and what is there now, quotes, search's listing and its stand-in."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from prometheus_client import Counter

from doorbuster.contracts import catalogue, internal
from doorbuster.kit import money
from doorbuster.product.domain import pricing, products, reviews
from doorbuster.product.domain.products import Product, Shelf, UnknownProductError
from doorbuster.product.ports import Availabilities, Inventory, ProductStore, ReviewStore, Wanted

FRESH_SECONDS = 1.0
TRUSTED_SECONDS = 5.0  # a sale price that is older may be wrong: the list price is shown
LATEST_REVIEWS = 3
LIVE_SECONDS = 0.3  # what is live is not worth more than that: the details must not wait
SALES_UNKNOWN = Counter(
    "doorbuster_product_sales_unknown",
    "Details shown at list price because inventory has not told of its sales lately",
)
STOCK_UNKNOWN = Counter(
    "doorbuster_product_availability_stored",
    "Details shown with the number of the document because nobody could tell the live one",
)


class SalesBoard:
    """What inventory last said of its sales, asked again after a second, once for all who look meanwhile."""

    def __init__(
        self, inventory: Inventory, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._inventory = inventory
        self._monotonic = monotonic
        self._board: pricing.Board | None = None
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def offer(self, product_id: str) -> pricing.Offer | None:
        """Return the open sale's offer; None also while nobody can tell, which is counted.

        Only who finds nothing to be trusted waits for inventory: an answer that is a little old is looked up anew
        behind his back.
        """
        if self._monotonic() - self._asked_at >= FRESH_SECONDS:
            self._asked_at = self._monotonic()
            self._asking = asyncio.create_task(self._ask(), name="ask_for_sales")
        if not self._is_trusted(FRESH_SECONDS * 2) and self._asking is not None:
            await asyncio.wait({self._asking}, timeout=LIVE_SECONDS)
        if self._board is None or not self._is_trusted(TRUSTED_SECONDS):
            SALES_UNKNOWN.inc()
            return None
        return self._board.open_offer(product_id, self._monotonic())

    def _is_trusted(self, seconds: float) -> bool:
        return self._board is not None and self._monotonic() - self._board.answered_at < seconds

    async def _ask(self) -> None:
        try:
            answer = await self._inventory.sales()
        except (OSError, TimeoutError):
            return
        self._board = pricing.arrange(answer, answered_at=self._monotonic())


@dataclass(frozen=True, kw_only=True)
class Look:
    """The use cases of everybody who only looks."""

    store: ProductStore
    review_store: ReviewStore
    board: SalesBoard
    availability: Availabilities
    shelf: Shelf

    async def details(self, product_id: str) -> tuple[catalogue.Product, int]:
        """Return what a buyer sees, and the version of the merchant's words; raises UnknownProductError."""
        product = await self.store.find(product_id)
        if product is None:
            raise UnknownProductError("there is no such product")
        return await self.show(product), product.content_version

    async def show(self, product: Product) -> catalogue.Product:
        """Return a stored product with the price and the units of this moment."""
        offer, available, latest = await asyncio.gather(
            self.board.offer(product.product_id),
            self._available(product),
            self._latest(product),
        )
        price, currency, sale = pricing.price_now(product, offer)
        return self.shelf.product(
            product,
            reviews=latest,
            available_qty=available,
            sale=sale,
            price=price,
            currency=currency,
        )

    async def _available(self, product: Product) -> int | None:
        try:
            async with asyncio.timeout(LIVE_SECONDS):
                live = await self.availability.read([product.product_id])
        except (OSError, TimeoutError):
            STOCK_UNKNOWN.inc()
            return product.available_qty
        found = live.get(product.product_id)
        return found.qty if found is not None else product.available_qty

    async def _latest(self, product: Product) -> list[catalogue.Review]:
        if product.rating.count == 0:
            return []
        latest = await self.review_store.page(product.product_id, offset=0, limit=LATEST_REVIEWS)
        return [reviews.show(review) for review in latest]

    async def quote(self, product_ids: list[str]) -> internal.Quotes:
        """Return the list prices of those that are sold."""
        found = await self.store.find_many(product_ids)
        return internal.Quotes(quotes=[self.shelf.quote(product) for product in found])

    async def list_all(self, *, after: str, limit: int) -> internal.CataloguePage:
        """Return a page of the whole catalogue by product id."""
        found, total = await self.store.page(after=after, limit=limit)
        return internal.CataloguePage(
            entries=[self.shelf.entry(product) for product in found],
            next=found[-1].product_id if len(found) == limit else None,
            total=total,
        )

    async def search(self, query: catalogue.SearchQuery) -> internal.CatalogueMatches:
        """Return a page of those products that have every word of the term, while search itself cannot."""
        asked = wanted(query)
        if query.term.strip() and not asked.words:  # signs alone are in no product
            return internal.CatalogueMatches(entries=[], total=0)
        found, total = await self.store.search(
            asked, offset=(query.page - 1) * query.size, limit=query.size
        )
        return internal.CatalogueMatches(
            entries=[self.shelf.entry(product) for product in found], total=total
        )


def wanted(query: catalogue.SearchQuery) -> Wanted:
    """Return what a search asks of the store; without a currency, prices count as if it had two decimals."""
    return Wanted(
        words=tuple(products.words_of(query.term)),
        category=query.category,
        manufacturer=query.manufacturer,
        currency=query.currency,
        min_price_minor=_minor(query.min_price, query.currency, ROUND_CEILING),
        max_price_minor=_minor(query.max_price, query.currency, ROUND_FLOOR),
        min_rating=query.min_rating,
        available=query.available,
        sort=query.sort,
    )


def _minor(amount: Decimal | None, currency: str | None, rounding: str) -> int | None:
    if amount is None:
        return None
    return int(amount.scaleb(money.exponent(currency or "EUR")).to_integral_value(rounding))
