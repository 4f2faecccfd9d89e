"""What change data capture tells of products: a document as it is now, or that one is gone."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from doorbuster.contracts import internal

TOPIC = "cdc.product.products"


class _Key(msgspec.Struct, frozen=True):
    id: str


class _Picture(msgspec.Struct, frozen=True):
    thumbnail: str | None = None


class _Manufacturer(msgspec.Struct, frozen=True):
    name: str


class _Rating(msgspec.Struct, frozen=True):
    sum: int = 0
    count: int = 0


class _Document(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A product's document; arrays come as objects, ``_0`` first.

    A document that was deleted before its change could be looked up comes without most of its fields.
    """

    product_id: str = msgspec.field(name="_id")
    sku: str = ""
    title: str | None = None
    description: str = ""
    category: str = ""
    keywords: dict[str, str] = {}
    manufacturer: _Manufacturer | None = None
    price_minor: int | None = None
    currency: str = ""
    images: dict[str, _Picture] = {}
    rating: _Rating = _Rating()
    available_qty: int | None = None
    created_at: int = 0
    version: int = 0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A product as it is now; ``entry`` is absent when it was deleted."""

    product_id: str
    entry: internal.CatalogueEntry | None


class Reader:
    """Reads records of the topic; ``cdn_url`` is where pictures are."""

    def __init__(self, cdn_url: str) -> None:
        self._cdn_url = cdn_url.rstrip("/")

    def __call__(
        self, key: bytes | None, value: bytes | None, _headers: Mapping[str, str]
    ) -> Change | None:
        """Return what a record says, None when nothing; raises MsgspecError."""
        product_id = msgspec.json.decode(key or b"", type=_Key).id
        if value is None:
            return Change(product_id=product_id, entry=None)
        document = msgspec.json.decode(value, type=_Document)
        if document.title is None or document.price_minor is None:
            return None  # the deletion follows
        return Change(product_id=product_id, entry=self._entry(document))

    def _entry(self, document: _Document) -> internal.CatalogueEntry:
        rating = document.rating
        thumbnails = [p.thumbnail for p in document.images.values() if p.thumbnail]
        return internal.CatalogueEntry(
            product_id=document.product_id,
            sku=document.sku,
            title=document.title or "",
            description=document.description,
            category=document.category,
            keywords=list(document.keywords.values()),
            manufacturer=document.manufacturer.name if document.manufacturer else None,
            price_minor=document.price_minor or 0,
            currency=document.currency,
            thumbnail=f"{self._cdn_url}/{thumbnails[0]}" if thumbnails else None,
            rating=round(rating.sum / rating.count, 1) if rating.count else None,
            rating_count=rating.count,
            available_qty=document.available_qty,
            created_at=datetime.fromtimestamp(document.created_at / 1000, UTC),
            version=document.version,
        )


def latest(changes: Iterable[Change]) -> list[Change]:
    """Return the last change of each product: one partition holds all of one product's, in their order."""
    return list({change.product_id: change for change in changes}.values())
