"""A merchant's catalogue: add, change and delete products by the version that he has read."""

from dataclasses import dataclass

from doorbuster.contracts import catalogue
from doorbuster.kit import clock
from doorbuster.product.domain import products
from doorbuster.product.domain.products import Product, VersionChangedError
from doorbuster.product.ports import ProductStore


@dataclass(frozen=True, kw_only=True)
class Manage:
    """The use cases of a merchant."""

    store: ProductStore
    now: clock.Clock = clock.utc_now

    async def add(self, draft: catalogue.NewProduct) -> Product:
        """Store a new product; raises SkuTakenError or InvalidProductError."""
        return await self.store.add(products.new_product(draft, self.now()))

    async def replace(
        self, product_id: str, draft: catalogue.ProductDraft, *, expected: int
    ) -> Product:
        """Replace what is said of a product; the same words again are answered as the first time.

        Raises UnknownProductError, VersionChangedError or InvalidProductError.
        """
        content = products.content_of(draft)
        now = products.to_millis(self.now())
        try:
            return await self.store.replace(product_id, content, expected=expected, now=now)
        except VersionChangedError:
            stored = await self.store.find(product_id)
            if stored is None or stored.content_version != expected + 1:
                raise
            if products.content_within(stored) != content:
                raise
            return stored

    async def remove(self, product_id: str, *, expected: int) -> None:
        """Delete a product; raises UnknownProductError or VersionChangedError."""
        await self.store.remove(product_id, expected=expected, now=self.now())
