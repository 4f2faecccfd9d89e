"""Products in MongoDB: a merchant's words by compare-and-set, inventory's numbers by their version, search's listing.

A product leaves its last version in ``facts``, so that one made again under the same sku goes on counting: the
deletion itself is counted too. Inventory's numbers are written to ``facts`` first and to the document second, and
making a product writes its fact in the same transaction: whichever is first, the document ends with the newest number.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import InsertOne, ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from doorbuster.kit import mongo
from doorbuster.product.domain.pictures import CLAIM, State
from doorbuster.product.domain.products import (
    Content,
    Picture,
    Product,
    SkuTakenError,
    UnknownProductError,
    VersionChangedError,
)
from doorbuster.product.ports import Level, Wanted

from .schema import FACTS, PRODUCTS, REVIEWS, TICKETS, from_document, to_document

READ_SECONDS = 2.0
WRITE_SECONDS = 4.0
FIND_SECONDS = 0.5
IMPORT_SECONDS = 60.0
# While search is degraded: the first so many products that match are sorted and counted, no more.
MOST_FOUND = 300
DUPLICATE_KEY = 11000
_BRIEF = {"description": 0, "specifications": 0, "words": 0}


class MongoProductStore:
    """The products of one database."""

    def __init__(self, database: mongo.Database) -> None:
        self._database = database
        self._products = database[PRODUCTS]
        self._facts = database[FACTS]

    async def add(self, product: Product) -> Product:
        """Store a new product with what was known of its id before; raises SkuTakenError."""

        async def work(session: mongo.Session) -> Product:
            fact = await self._facts.find_one_and_update(
                {"_id": product.product_id},
                {"$inc": {"madeTimes": 1}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
                session=session,
            )
            document = {
                **to_document(product),
                **_known(fact or {}),
                "rating": await self._stars(product.product_id, session),
            }
            await self._products.insert_one(document, session=session)
            return from_document(document, Product)

        try:
            return await mongo.transact(self._database, work, within_seconds=WRITE_SECONDS)
        except DuplicateKeyError as error:
            raise SkuTakenError(f"there is a product with the sku {product.sku}") from error

    async def _stars(self, product_id: str, session: mongo.Session) -> dict[str, int]:
        """The stars that buyers gave before the product was deleted; their reviews stay."""
        cursor = await self._database[REVIEWS].aggregate(
            [
                {"$match": {"productId": product_id}},
                {"$group": {"_id": None, "sum": {"$sum": "$rating"}, "count": {"$sum": 1}}},
            ],
            session=session,
        )
        found = await cursor.to_list(1)
        return {name: found[0][name] if found else 0 for name in ("sum", "count")}

    async def find(self, product_id: str) -> Product | None:
        """Return a product."""
        with mongo.within(READ_SECONDS):
            document = await self._products.find_one({"_id": product_id})
        return None if document is None else from_document(document, Product)

    async def find_many(self, product_ids: Sequence[str]) -> list[Product]:
        """Return those that are sold, without description, specifications and words."""
        with mongo.within(READ_SECONDS):
            cursor = self._products.find({"_id": {"$in": list(product_ids)}}, _BRIEF)
            return [from_document(document, Product) async for document in cursor]

    async def replace(
        self, product_id: str, content: Content, *, expected: int, now: datetime
    ) -> Product:
        """Replace a merchant's words if they are as he read them; raises Unknown… or VersionChangedError."""
        with mongo.within(WRITE_SECONDS):
            document = await self._products.find_one_and_update(
                {"_id": product_id, "contentVersion": expected},
                {
                    "$set": {**to_document(content), "updatedAt": now},
                    "$inc": {"version": 1, "contentVersion": 1},
                },
                return_document=ReturnDocument.AFTER,
            )
            if document is None:
                await self._refuse(product_id)
        return from_document(document or {}, Product)

    async def remove(self, product_id: str, *, expected: int, now: datetime) -> None:
        """Delete a product and doom its pictures; raises UnknownProductError or VersionChangedError."""

        async def work(session: mongo.Session) -> None:
            document = await self._products.find_one_and_delete(
                {"_id": product_id, "contentVersion": expected}, session=session
            )
            if document is None:
                await self._refuse(product_id, session)
            product = from_document(document or {}, Product)
            await self._facts.update_one(
                {"_id": product_id},
                {"$max": {"lastVersion": product.version + 1, "lastContent": expected}},
                upsert=True,
                session=session,
            )
            tickets = self._database[TICKETS]
            await tickets.update_many(
                {"productId": product_id, "state": State.WAITING},
                {"$set": {"state": State.REMOVED, "dueAt": now + CLAIM}},
                session=session,
            )
            doomed = [removal(product_id, picture, now) for picture in product.images]
            if doomed:
                await tickets.bulk_write(doomed, session=session)

        await mongo.transact(self._database, work, within_seconds=WRITE_SECONDS)

    async def _refuse(self, product_id: str, session: mongo.Session | None = None) -> None:
        if await self._products.find_one({"_id": product_id}, {"_id": 1}, session=session):
            raise VersionChangedError("somebody has changed the product since you read it")
        raise UnknownProductError("there is no such product")

    async def take_levels(self, levels: Mapping[str, Level]) -> int:
        """Take inventory's numbers by product id, each unless a later one is known; return how many changed."""
        if not levels:
            return 0
        facts = [
            UpdateOne({"_id": product_id}, [{"$set": _newer(level)}], upsert=True)
            for product_id, level in sorted(levels.items())
        ]
        products = [
            UpdateOne(
                {"_id": product_id, "stockVersion": {"$lt": level.version}},
                [{"$set": _stocked(level)}],
            )
            for product_id, level in sorted(levels.items())
        ]
        with mongo.within(WRITE_SECONDS):
            await self._facts.bulk_write(facts, ordered=False)
            done = await self._products.bulk_write(products, ordered=False)
        return done.modified_count

    async def page(self, *, after: str, limit: int) -> tuple[list[Product], int]:
        """Return whole products by id from after ``after``, and about how many there are in all."""
        with mongo.within(READ_SECONDS):
            cursor = self._products.find({"_id": {"$gt": after}}).sort("_id", 1).limit(limit)
            found = [from_document(document, Product) async for document in cursor]
            return found, await self._products.estimated_document_count()

    async def search(
        self, wanted: Wanted, *, offset: int, limit: int
    ) -> tuple[list[Product], int]:
        """Return a page of the first ``MOST_FOUND`` products that match, and how many of those there are."""
        stages: list[dict[str, Any]] = [
            {"$match": _match(wanted)},
            {"$project": {"description": 0, "specifications": 0, "words": 0}},
            {"$limit": MOST_FOUND},
            {"$addFields": {"stars": _AVERAGE}},
            {"$sort": _ORDERS[wanted.sort]},
            {
                "$facet": {
                    "page": [{"$skip": offset}, {"$limit": limit}],
                    "all": [{"$count": "total"}],
                }
            },
        ]
        with mongo.within(FIND_SECONDS):
            cursor = await self._products.aggregate(stages)
            [found] = await cursor.to_list(1)
        total = found["all"][0]["total"] if found["all"] else 0
        return [from_document(document, Product) for document in found["page"]], total

    async def add_many(self, products: Sequence[Product]) -> int:
        """Store many new products, for filling a catalogue; those whose sku is taken are left alone.

        Returns how many were stored. Their stars are taken as they are given; as in ``add``, one that was deleted
        before goes on counting, or search would take it for what it knows already.
        """
        written = len(products)
        with mongo.within(IMPORT_SECONDS):
            known = await self._facts_of(products)
            documents = [
                {**to_document(product), **_known(known.get(product.product_id, {}))}
                for product in products
            ]
            try:
                await self._products.bulk_write(
                    [InsertOne(document) for document in documents], ordered=False
                )
            except BulkWriteError as error:
                failures = error.details["writeErrors"]
                if any(failure["code"] != DUPLICATE_KEY for failure in failures):
                    raise
                written -= len(failures)
            # Inventory's numbers that came between the two looked for a document and found none.
            known = await self._facts_of(products)
        levels = {
            product_id: Level(available_qty=fact["availableQty"], version=fact["stockVersion"])
            for product_id, fact in known.items()
            if fact.get("stockVersion") is not None
        }
        await self.take_levels(levels)
        return written

    async def _facts_of(self, products: Sequence[Product]) -> dict[str, dict[str, Any]]:
        ids = [product.product_id for product in products]
        return {fact["_id"]: fact async for fact in self._facts.find({"_id": {"$in": ids}})}


def removal(product_id: str, picture: Picture, now: datetime) -> UpdateOne:
    """Return the write that has a picture's objects deleted, with what an older ticket of it has still to delete."""
    first = {
        "productId": product_id,
        "contentType": "",
        "size": 0,
        "createdAt": now,
        "expiresAt": now,
    }
    return UpdateOne(
        {"_id": picture.image_id},
        {
            "$set": {"state": State.REMOVED, "dueAt": now},
            "$addToSet": {"objects": {"$each": [picture.large, picture.thumbnail]}},
            "$setOnInsert": first,
        },
        upsert=True,
    )


def _known(fact: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {
        "version": fact.get("lastVersion", 0) + 1,
        "contentVersion": fact.get("lastContent", 0) + 1,
    }
    if fact.get("stockVersion") is not None:
        known |= {"availableQty": fact["availableQty"], "stockVersion": fact["stockVersion"]}
    return known


def _newer(level: Level) -> dict[str, Any]:
    is_newer = {"$lt": [{"$ifNull": ["$stockVersion", -1]}, level.version]}
    return {
        "availableQty": {"$cond": [is_newer, level.available_qty, "$availableQty"]},
        "stockVersion": {"$cond": [is_newer, level.version, "$stockVersion"]},
    }


def _stocked(level: Level) -> dict[str, Any]:
    same = {"$eq": ["$availableQty", level.available_qty]}
    return {
        "availableQty": level.available_qty,
        "stockVersion": level.version,
        "version": {"$cond": [same, "$version", {"$add": ["$version", 1]}]},
    }


_AVERAGE = {
    "$cond": [{"$gt": ["$rating.count", 0]}, {"$divide": ["$rating.sum", "$rating.count"]}, None]
}
_ORDERS: dict[str, dict[str, int]] = {
    "relevance": {"_id": 1},
    "price_asc": {"priceMinor": 1, "_id": 1},
    "price_desc": {"priceMinor": -1, "_id": 1},
    "rating": {"stars": -1, "_id": 1},
    "newest": {"createdAt": -1, "_id": 1},
}


def _rarity(word: str) -> tuple[bool, int]:
    """Guess which word has the fewest products, to be looked up first: a model's number, else the longest."""
    return any(letter.isdigit() for letter in word), len(word)


def _match(wanted: Wanted) -> dict[str, Any]:
    match: dict[str, Any] = {}
    if wanted.words:
        match["words"] = {"$all": sorted(wanted.words, key=_rarity, reverse=True)}
    if wanted.category is not None:
        match["category"] = wanted.category
    if wanted.manufacturer is not None:
        match["manufacturer.name"] = wanted.manufacturer
    if wanted.currency is not None:
        match["currency"] = wanted.currency
    price = {"$gte": wanted.min_price_minor, "$lte": wanted.max_price_minor}
    if bounds := {name: value for name, value in price.items() if value is not None}:
        match["priceMinor"] = bounds
    if wanted.available is not None:
        match["availableQty"] = {"$gt": 0} if wanted.available else {"$not": {"$gt": 0}}
    if wanted.min_rating is not None:
        least = {"$multiply": ["$rating.count", wanted.min_rating]}
        match |= {"rating.count": {"$gt": 0}, "$expr": {"$gte": ["$rating.sum", least]}}
    return match
