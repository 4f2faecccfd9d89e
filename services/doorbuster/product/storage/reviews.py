"""Reviews in MongoDB: one for each buyer and product; the stars of the product move in the same transaction."""

from collections.abc import Sequence
from typing import Any

from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import DuplicateKeyError

from doorbuster.kit import mongo
from doorbuster.product.domain.products import UnknownProductError
from doorbuster.product.domain.reviews import (
    AlreadyReviewedError,
    Receipt,
    Review,
    UnknownReviewError,
)

from .schema import PRODUCTS, RECEIPTS, REVIEWS, from_document, to_document

READ_SECONDS = 2.0
WRITE_SECONDS = 5.0  # many who review one product at once wait for each other


class MongoReviewStore:
    """The reviews of one database, and who received what."""

    def __init__(self, database: mongo.Database) -> None:
        self._database = database
        self._reviews = database[REVIEWS]
        self._receipts = database[RECEIPTS]

    async def add(self, review: Review) -> None:
        """Store a review; raises UnknownProductError or AlreadyReviewedError."""

        async def work(session: mongo.Session) -> None:
            await self._move(review.product_id, review.rating, 1, session)
            await self._reviews.insert_one(to_document(review), session=session)

        try:
            await mongo.transact(self._database, work, within_seconds=WRITE_SECONDS)
        except DuplicateKeyError as error:
            raise AlreadyReviewedError("you have reviewed this product") from error

    async def replace(self, review: Review) -> Review:
        """Replace what its buyer wrote, keep who he is and since when; raises Unknown…Error."""
        change = {
            "rating": review.rating,
            "title": review.title,
            "text": review.text,
            "changedAt": review.changed_at,
        }

        async def work(session: mongo.Session) -> Review:
            mine = {"productId": review.product_id, "userId": review.user_id}
            # The product first: whoever comes second waits there, before he has read anything.
            await self._move(review.product_id, 0, 0, session)
            before = await self._reviews.find_one_and_update(
                mine, {"$set": change}, return_document=ReturnDocument.BEFORE, session=session
            )
            if before is None:
                raise UnknownReviewError("you have not reviewed this product")
            await self._move(review.product_id, review.rating - before["rating"], 0, session)
            return from_document({**before, **change}, Review)

        return await mongo.transact(self._database, work, within_seconds=WRITE_SECONDS)

    async def remove(self, product_id: str, user_id: str) -> None:
        """Delete a buyer's review; raises UnknownProductError or UnknownReviewError."""

        async def work(session: mongo.Session) -> None:
            await self._move(product_id, 0, 0, session)
            before = await self._reviews.find_one_and_delete(
                {"productId": product_id, "userId": user_id}, session=session
            )
            if before is None:
                raise UnknownReviewError("you have not reviewed this product")
            await self._move(product_id, -before["rating"], -1, session)

        await mongo.transact(self._database, work, within_seconds=WRITE_SECONDS)

    async def _move(
        self, product_id: str, stars: int, reviews: int, session: mongo.Session
    ) -> None:
        change = {"rating.sum": stars, "rating.count": reviews, "version": 1}
        done = await self._database[PRODUCTS].update_one(
            {"_id": product_id}, {"$inc": change}, session=session
        )
        if done.matched_count == 0:
            raise UnknownProductError("there is no such product")

    async def page(self, product_id: str, *, offset: int, limit: int) -> list[Review]:
        """Return reviews of a product, newest first."""
        with mongo.within(READ_SECONDS):
            cursor = (
                self._reviews.find({"productId": product_id})
                .sort([("writtenAt", -1), ("_id", -1)])
                .skip(offset)
                .limit(limit)
            )
            return [from_document(document, Review) async for document in cursor]

    async def has_received(self, product_id: str, user_id: str) -> bool:
        """Tell whether an order brought the product to the buyer and he has not returned it."""
        with mongo.within(READ_SECONDS):
            found = await self._receipts.find_one(
                {"userId": user_id, "productIds": product_id, "returned": False}, {"_id": 1}
            )
        return found is not None

    async def take_receipts(self, receipts: Sequence[Receipt]) -> None:
        """Join what orders say: a delivery adds products, a return stays a return."""
        if not receipts:
            return
        with mongo.within(WRITE_SECONDS):
            await self._receipts.bulk_write([_join(receipt) for receipt in receipts])


def _join(receipt: Receipt) -> UpdateOne:
    change: dict[str, Any] = {"$setOnInsert": {"userId": receipt.user_id}}
    change["$addToSet"] = {"productIds": {"$each": list(receipt.product_ids)}}
    if receipt.returned:
        change["$set"] = {"returned": True}
    else:
        change["$setOnInsert"]["returned"] = False
    return UpdateOne({"_id": receipt.order_id}, change, upsert=True)
