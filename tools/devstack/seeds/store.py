"""Fills the catalogue of a running stack with made-up goods, in bulk: search learns of them as of any other change."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from doorbuster.kit import mongo
from doorbuster.kit.clock import utc_now
from doorbuster.product.domain.products import Product, Rating, new_product
from doorbuster.product.storage import MongoProductStore, prepare

from .generator import Seed, seeds

BATCH = 500
SQL_SECONDS = 60.0
DATABASE = "product"
# A product that inventory knows keeps its stock.
STOCK = """
INSERT INTO inventory (product_id, sku, available_qty, total_qty, version)
SELECT product_id, sku, units, units, 1
  FROM unnest($1::text[], $2::text[], $3::integer[]) AS row (product_id, sku, units)
ON CONFLICT DO NOTHING
"""


async def fill(
    environment: Mapping[str, str], count: int, seed: int, report: Callable[[int], None]
) -> int:
    """Make ``count`` products of a seed and their stock; safe to repeat, also after a break in the middle.

    ``environment`` is what ``devstack env`` prints; ``report`` is told how many are done. Returns how many were new.

    Raises:
        ConnectionError: MongoDB or PostgreSQL is away.
    """
    new = 0
    connection = await asyncpg.connect(
        environment["DOORBUSTER_INVENTORY_DSN"], command_timeout=SQL_SECONDS
    )
    try:
        url = environment["DOORBUSTER_MONGO_URL"]
        async with mongo.open_database(url, default=DATABASE) as database:
            await prepare(database)
            store = MongoProductStore(database)
            for first in range(0, count, BATCH):
                batch = list(seeds(min(BATCH, count - first), seed=seed, first=first))
                products = [product_of(each, utc_now()) for each in batch]
                new += await store.add_many(products)
                await _stock(connection, batch, products)
                report(first + len(batch))
    finally:
        await connection.close()
    return new


def product_of(seed: Seed, now: datetime) -> Product:
    """The document of a seed as the product service stores it, stars included."""
    stars = Rating(sum=seed.rating_sum, count=seed.rating_count)
    return msgspec.structs.replace(new_product(seed.draft, now), rating=stars)


async def _stock(connection: Any, batch: Sequence[Seed], products: Sequence[Product]) -> None:
    known = [
        (product.product_id, product.sku, seed.units)
        for seed, product in zip(batch, products, strict=True)
        if seed.units is not None
    ]
    if known:
        await connection.execute(STOCK, *(list(column) for column in zip(*known, strict=True)))
