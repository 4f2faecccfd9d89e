"""The product service's stores, in memory and on a real MongoDB."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from doorbuster.kit import mongo
from doorbuster.product.ports import ProductStore, ReviewStore, TicketStore
from doorbuster.product.storage import (
    MongoProductStore,
    MongoReviewStore,
    MongoTicketStore,
    prepare,
)
from doorbuster.testing.catalogue import (
    FakeProductStore,
    FakeReviewStore,
    Shelves,
)
from doorbuster.testing.pictures import FakeTicketStore


@dataclass(frozen=True)
class Stores:
    products: ProductStore
    reviews: ReviewStore
    tickets: TicketStore


@pytest.fixture(params=["fake", "mongo"])
def mongo_url(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("fresh_mongo") if request.param == "mongo" else None


@pytest.fixture
async def stores(mongo_url: str | None) -> AsyncIterator[Stores]:
    if mongo_url is None:
        shelves = Shelves()
        yield Stores(FakeProductStore(shelves), FakeReviewStore(shelves), FakeTicketStore(shelves))
        return
    async with mongo.open_database(mongo_url, default="product") as database:
        await prepare(database)
        for name in await database.list_collection_names():
            await database[name].delete_many({})
        yield Stores(
            MongoProductStore(database), MongoReviewStore(database), MongoTicketStore(database)
        )
