"""The collections: their names, the rules MongoDB itself keeps, their indexes, and how a struct is a document."""

from datetime import datetime
from typing import Any, TypeVar

import msgspec
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import CollectionInvalid

from doorbuster.kit import mongo

Struct = TypeVar("Struct", bound=msgspec.Struct)

DATABASE = "product"
# By product id what is known whether or not there is a document: the last version it had, and inventory's number.
FACTS = "facts"
PRODUCTS, REVIEWS, RECEIPTS, TICKETS = "products", "reviews", "receipts", "tickets"
PREPARE_SECONDS = 60.0
_WHOLE = {"bsonType": ["int", "long"]}
_WHOLE_OR_NONE = {"bsonType": ["int", "long", "null"]}
_NOT_NEGATIVE = {**_WHOLE, "minimum": 0}
_TEXT = {"bsonType": "string"}
_VALIDATORS: dict[str, dict[str, Any]] = {
    PRODUCTS: {
        "bsonType": "object",
        "required": [
            *("_id", "sku", "title", "category", "priceMinor", "currency", "specifications"),
            *("keywords", "images", "rating", "stockVersion", "contentVersion", "version"),
            *("words", "createdAt", "updatedAt"),
        ],
        "properties": {
            "_id": {"bsonType": "string", "pattern": "^prod_[0-9a-z]{26}$"},
            "sku": {"bsonType": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"},
            "title": {"bsonType": "string", "minLength": 1, "maxLength": 200},
            "description": _TEXT,
            "category": {"bsonType": "string", "minLength": 1, "maxLength": 60},
            "priceMinor": _NOT_NEGATIVE,
            "currency": {"bsonType": "string", "pattern": "^[A-Z]{3}$"},
            "specifications": {
                "bsonType": "object",
                "additionalProperties": {"bsonType": ["string", "bool", "int", "long", "double"]},
            },
            "keywords": {"bsonType": "array", "maxItems": 50, "items": _TEXT},
            "words": {"bsonType": "array", "items": _TEXT},
            "manufacturer": {"bsonType": ["object", "null"], "required": ["name"]},
            "images": {
                "bsonType": "array",
                "maxItems": 12,
                "items": {"bsonType": "object", "required": ["imageId", "large", "thumbnail"]},
            },
            "rating": {
                "bsonType": "object",
                "required": ["sum", "count"],
                "properties": {"sum": _NOT_NEGATIVE, "count": _NOT_NEGATIVE},
            },
            "availableQty": {**_WHOLE_OR_NONE, "minimum": 0},
            "stockVersion": _WHOLE,
            "contentVersion": {**_WHOLE, "minimum": 1},
            "version": {**_WHOLE, "minimum": 1},
            "createdAt": {"bsonType": "date"},
            "updatedAt": {"bsonType": "date"},
        },
    },
    REVIEWS: {
        "bsonType": "object",
        "required": ["_id", "productId", "userId", "rating", "author", "writtenAt"],
        "properties": {"rating": {**_WHOLE, "minimum": 1, "maximum": 5}},
    },
    RECEIPTS: {"bsonType": "object", "required": ["_id", "userId", "productIds", "returned"]},
    TICKETS: {"bsonType": "object", "required": ["_id", "productId", "state", "objects", "dueAt"]},
    FACTS: {"bsonType": "object"},
}
_INDEXES = {
    PRODUCTS: [
        IndexModel([("sku", ASCENDING)], unique=True),
        IndexModel([("words", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("category", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("manufacturer.name", ASCENDING), ("_id", ASCENDING)]),
    ],
    REVIEWS: [
        IndexModel([("productId", ASCENDING), ("userId", ASCENDING)], unique=True),
        IndexModel([("productId", ASCENDING), ("writtenAt", DESCENDING), ("_id", DESCENDING)]),
    ],
    RECEIPTS: [IndexModel([("userId", ASCENDING), ("productIds", ASCENDING)])],
    TICKETS: [
        IndexModel([("dueAt", ASCENDING)], partialFilterExpression={"dueAt": {"$type": "date"}}),
        IndexModel([("productId", ASCENDING)]),
        IndexModel([("forgetAt", ASCENDING)], expireAfterSeconds=0),
    ],
}


async def prepare(database: mongo.Database) -> None:
    """Make what is missing of collections, their rules and indexes; copies may do so at the same time."""
    with mongo.within(PREPARE_SECONDS):
        existing = set(await database.list_collection_names())
        for name, schema in _VALIDATORS.items():
            if name not in existing:
                try:
                    await database.create_collection(name, check_exists=False)
                except CollectionInvalid:  # pragma: no cover - another copy was faster
                    pass
            await database.command("collMod", name, validator={"$jsonSchema": schema})
        for name, indexes in _INDEXES.items():
            await database[name].create_indexes(indexes)


def to_document(value: msgspec.Struct) -> dict[str, Any]:
    """Return a struct as MongoDB stores it."""
    document: dict[str, Any] = msgspec.to_builtins(value, builtin_types=(datetime,))
    return document


def from_document(document: dict[str, Any], kind: type[Struct]) -> Struct:
    """Return a stored document as a struct."""
    return msgspec.convert(document, kind)
