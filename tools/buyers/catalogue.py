"""The demo's catalogue: some goods with pictures, and what the sale sells as a product among them."""

import dataclasses
from collections.abc import Mapping
from decimal import Decimal

from devstack.seeds import merchant, store
from devstack.seeds.generator import seeds
from doorbuster.contracts.catalogue import Manufacturer, NewProduct
from doorbuster.kit import ids

SKU = "iphone-17-pro"
PRODUCTS = 30
PICTURES = 6
SEED = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exhibit:
    """What the sale sells, as the catalogue shows it: its id, and its picture's public address."""

    product_id: str
    picture: str


async def fill(environment: Mapping[str, str], sku: str) -> Exhibit:
    """Make the goods unless they are there, and the product that the sale sells; raises ConnectionError."""
    await store.fill(environment, PRODUCTS, SEED, lambda done: None)
    async with merchant.open_merchant(environment) as shop:
        product_id = await shop.enter(_phone(sku))
        picture = await shop.illustrate(product_id)
        for each in seeds(PICTURES, seed=SEED):
            await shop.illustrate(ids.product_id(each.draft.sku))
    return Exhibit(product_id=product_id, picture=picture)


def _phone(sku: str) -> NewProduct:
    return NewProduct(
        sku=sku,
        title="iPhone 17 Pro",
        description="The phone that everybody wants, at a price that only a few will pay.",
        category="smartphones",
        price=Decimal("1299.00"),
        currency="USD",
        specifications={"storageGb": 256, "has5g": True, "colour": "Orange"},
        keywords=["iphone", "phone", "5g", "flash sale"],
        manufacturer=Manufacturer(name="Apple", country="US"),
    )
