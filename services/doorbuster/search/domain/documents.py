"""The index: its settings and mapping, and how a product becomes a document in it.

A product that is deleted leaves a stub (``gone``) with a higher version, so that nothing that is told late or again
brings it back.
"""

from typing import Any

from doorbuster.contracts import internal
from doorbuster.kit import money

ALIAS = "products"
NEXT_ALIAS = "products-next"  # behind it is the index that is being built
REFRESH = "500ms"
SETTINGS: dict[str, Any] = {
    "number_of_shards": 1,
    "refresh_interval": REFRESH,
    "analysis": {
        "filter": {
            # "iPhone 15" is found as "iphone15" too.
            "pairs": {
                "type": "shingle",
                "min_shingle_size": 2,
                "max_shingle_size": 3,
                "token_separator": "",
            },
            "bare": {"type": "pattern_replace", "pattern": "[^\\p{L}\\p{N}]", "replacement": ""},
        },
        "analyzer": {
            "words": {
                "tokenizer": "standard",
                "filter": ["lowercase", "asciifolding", "kstem"],
            },
            "joined": {
                "tokenizer": "standard",
                "filter": ["lowercase", "asciifolding", "pairs"],
            },
            "unjoined": {
                "tokenizer": "whitespace",
                "filter": ["lowercase", "asciifolding", "bare"],
            },
        },
    },
}
_KEYWORD = {"type": "keyword"}
_STORED = {"type": "keyword", "index": False, "doc_values": False}
_WORDS = {"type": "text", "analyzer": "words"}
_NAMES = ["everything", "names"]
MAPPING: dict[str, Any] = {
    "dynamic": False,
    "properties": {
        "product_id": _KEYWORD,
        "sku": {**_KEYWORD, "copy_to": _NAMES},
        "title": {
            **_WORDS,
            "copy_to": _NAMES,
            "index_prefixes": {"min_chars": 1, "max_chars": 12},
        },
        "description": {**_WORDS, "copy_to": ["everything"]},
        "category": {**_KEYWORD, "copy_to": _NAMES, "fields": {"words": _WORDS}},
        "keywords": {**_WORDS, "copy_to": _NAMES},
        "manufacturer": {**_KEYWORD, "copy_to": _NAMES, "fields": {"words": _WORDS}},
        "everything": {**_WORDS, "index_prefixes": {"min_chars": 1, "max_chars": 12}},
        "names": {"type": "text", "analyzer": "joined", "search_analyzer": "unjoined"},
        "price": {"type": "double"},
        "price_minor": {"type": "long", "index": False, "doc_values": False},
        "currency": _KEYWORD,
        "thumbnail": _STORED,
        "rating": {"type": "float"},
        "rating_count": {"type": "integer"},
        "available_qty": {"type": "integer"},
        "created_at": {"type": "date"},
        "gone": {"type": "boolean"},
    },
}
# What a list of results shows.
SHOWN = [
    *("product_id", "title", "price_minor", "currency", "thumbnail", "rating", "rating_count"),
    *("available_qty", "category"),
]


def document(entry: internal.CatalogueEntry) -> dict[str, Any]:
    """Return a product as it is indexed; ``rating`` is 0 without any, so that it can be sorted by."""
    return {
        "product_id": entry.product_id,
        "sku": entry.sku,
        "title": entry.title,
        "description": entry.description,
        "category": entry.category,
        "keywords": entry.keywords,
        "manufacturer": entry.manufacturer,
        "price": float(money.from_minor(entry.price_minor, entry.currency)),
        "price_minor": entry.price_minor,
        "currency": entry.currency,
        "thumbnail": entry.thumbnail,
        "rating": entry.rating or 0.0,
        "rating_count": entry.rating_count,
        "available_qty": entry.available_qty,
        "created_at": entry.created_at.isoformat(),
        "gone": False,
    }


def stub(product_id: str) -> dict[str, Any]:
    """Return what is left of a deleted product."""
    return {"product_id": product_id, "gone": True}
