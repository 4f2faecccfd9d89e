"""The product service's stores and neighbours in memory, and builders of products with boring defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from doorbuster.contracts import catalogue, internal
from doorbuster.kit import ids
from doorbuster.product.domain import products as domain
from doorbuster.product.domain.pictures import (
    CLAIM,
    State,
    Ticket,
)
from doorbuster.product.domain.products import (
    Content,
    Picture,
    Product,
    Rating,
    SkuTakenError,
    UnknownProductError,
    VersionChangedError,
)
from doorbuster.product.domain.reviews import (
    AlreadyReviewedError,
    Receipt,
    Review,
    UnknownReviewError,
)
from doorbuster.product.ports import Level, Wanted

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def draft(sku: str = "lamp-1", **values: Any) -> catalogue.NewProduct:
    """Return a lamp for 19.90 EUR."""
    defaults: dict[str, Any] = {
        "sku": sku,
        "title": "Desk lamp",
        "description": "Shines.",
        "category": "lamps",
        "price": Decimal("19.90"),
        "currency": "EUR",
        "specifications": {"watts": 7, "dimmable": True},
        "keywords": ["light"],
        "manufacturer": catalogue.Manufacturer(name="Lumora", country="DE"),
    }
    return catalogue.NewProduct(**{**defaults, **values})


def product(sku: str = "lamp-1", **values: Any) -> Product:
    """Return the first document of a draft."""
    return domain.new_product(draft(sku, **values), NOW)


def review(user_id: str = "user_1", sku: str = "lamp-1", **values: Any) -> Review:
    """Return a review of four stars."""
    defaults: dict[str, Any] = {
        "review_id": ids.new_id("review"),
        "product_id": ids.product_id(sku),
        "user_id": user_id,
        "rating": 4,
        "title": "Good",
        "text": "It shines.",
        "author": "Ada",
        "written_at": NOW,
    }
    return Review(**{**defaults, **values})


@dataclass
class Shelves:
    """What the three stores share."""

    products: dict[str, Product] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    reviews: dict[tuple[str, str], Review] = field(default_factory=dict)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    tickets: dict[str, Ticket] = field(default_factory=dict)

    def sold(self, product_id: str) -> Product:
        """Return a product; raises UnknownProductError."""
        if product_id not in self.products:
            raise UnknownProductError("there is no such product")
        return self.products[product_id]

    def change(self, product_id: str, **values: Any) -> Product:
        """Change a document; raises UnknownProductError."""
        before = self.sold(product_id)
        after = replace(before, version=before.version + 1, **values)
        self.products[product_id] = after
        return after

    def doom(self, product_id: str, picture: Picture, now: datetime) -> None:
        """Have a picture's objects deleted, with what an older ticket of it has still to delete."""
        older = self.tickets.get(picture.image_id)
        self.tickets[picture.image_id] = Ticket(
            image_id=picture.image_id,
            product_id=product_id,
            state=State.REMOVED,
            content_type="",
            size=0,
            objects=[
                *(older.objects if older is not None else []),
                *(picture.large, picture.thumbnail),
            ],
            created_at=now,
            expires_at=now,
            due_at=now,
        )


@dataclass(frozen=True)
class FakeProductStore:
    """Products in memory."""

    shelves: Shelves

    async def add(self, product: Product) -> Product:
        """Store a new product."""
        if product.product_id in self.shelves.products:
            raise SkuTakenError("taken")
        fact = self.shelves.facts.get(product.product_id, {})
        stars = [
            found.rating
            for (name, _user), found in self.shelves.reviews.items()
            if name == product.product_id
        ]
        stored = replace(
            product,
            version=fact.get("version", 0) + 1,
            content_version=fact.get("content", 0) + 1,
            rating=Rating(sum=sum(stars), count=len(stars)),
        )
        if "level" in fact:
            level: Level = fact["level"]
            stored = replace(
                stored, available_qty=level.available_qty, stock_version=level.version
            )
        self.shelves.products[product.product_id] = stored
        return stored

    async def find(self, product_id: str) -> Product | None:
        """Return a product."""
        return self.shelves.products.get(product_id)

    async def find_many(self, product_ids: Sequence[str]) -> list[Product]:
        """Return those that are sold."""
        return [
            replace(self.shelves.products[name], description="", specifications={}, words=[])
            for name in sorted(set(product_ids))
            if name in self.shelves.products
        ]

    async def replace(
        self, product_id: str, content: Content, *, expected: int, now: datetime
    ) -> Product:
        """Replace a merchant's words."""
        self._expect(product_id, expected)
        words = {name: getattr(content, name) for name in content.__struct_fields__}
        return self.shelves.change(
            product_id, content_version=expected + 1, updated_at=now, **words
        )

    async def remove(self, product_id: str, *, expected: int, now: datetime) -> None:
        """Delete a product and doom its pictures."""
        gone = self._expect(product_id, expected)
        fact = self.shelves.facts.setdefault(product_id, {})
        fact |= {"version": gone.version + 1, "content": expected}
        del self.shelves.products[product_id]
        for ticket in list(self.shelves.tickets.values()):
            if ticket.product_id == product_id and ticket.state is State.WAITING:
                self.shelves.tickets[ticket.image_id] = replace(
                    ticket, state=State.REMOVED, due_at=now + CLAIM
                )
        for picture in gone.images:
            self.shelves.doom(product_id, picture, now)

    def _expect(self, product_id: str, expected: int) -> Product:
        found = self.shelves.sold(product_id)
        if found.content_version != expected:
            raise VersionChangedError("changed")
        return found

    async def take_levels(self, levels: Mapping[str, Level]) -> int:
        """Take inventory's numbers."""
        changed = 0
        for product_id, level in levels.items():
            fact = self.shelves.facts.setdefault(product_id, {})
            if "level" not in fact or fact["level"].version < level.version:
                fact["level"] = level
            found = self.shelves.products.get(product_id)
            if found is None or found.stock_version >= level.version:
                continue
            changed += 1
            moved = int(found.available_qty != level.available_qty)
            self.shelves.products[product_id] = replace(
                found,
                available_qty=level.available_qty,
                stock_version=level.version,
                version=found.version + moved,
            )
        return changed

    async def page(self, *, after: str, limit: int) -> tuple[list[Product], int]:
        """Return products by id."""
        found = [
            self.shelves.products[name] for name in sorted(self.shelves.products) if name > after
        ]
        return found[:limit], len(self.shelves.products)

    async def search(
        self, wanted: Wanted, *, offset: int, limit: int
    ) -> tuple[list[Product], int]:
        """Return a page of those that match."""
        found = [item for item in self.shelves.products.values() if _matches(item, wanted)]
        found.sort(key=lambda item: item.product_id)
        found.sort(key=lambda item: _rank(item, wanted.sort))
        page = [
            replace(item, description="", specifications={}, words=[])
            for item in found[offset : offset + limit]
        ]
        return page, len(found)


def _matches(item: Product, wanted: Wanted) -> bool:
    asked = {
        "category": item.category,
        "manufacturer": item.manufacturer.name if item.manufacturer is not None else None,
        "currency": item.currency,
    }
    if any(getattr(wanted, name) not in (None, value) for name, value in asked.items()):
        return False
    has_stock = (item.available_qty or 0) > 0
    return (
        set(wanted.words) <= set(item.words)
        and (wanted.min_price_minor or 0) <= item.price_minor
        and (wanted.max_price_minor is None or item.price_minor <= wanted.max_price_minor)
        and wanted.available in (None, has_stock)
        and (
            wanted.min_rating is None
            or (item.rating.count > 0 and item.rating.sum >= wanted.min_rating * item.rating.count)
        )
    )


def _rank(item: Product, sort: catalogue.Sort) -> float:
    match sort:
        case "relevance":
            return 0
        case "price_asc":
            return item.price_minor
        case "price_desc":
            return -item.price_minor
        case "rating":
            return -item.rating.sum / item.rating.count if item.rating.count else 0
        case "newest":
            return -item.created_at.timestamp()


@dataclass(frozen=True)
class FakeReviewStore:
    """Reviews in memory."""

    shelves: Shelves

    async def add(self, review: Review) -> None:
        """Store a review."""
        self._move(review.product_id, 0, 0, commit=False)
        if (review.product_id, review.user_id) in self.shelves.reviews:
            raise AlreadyReviewedError("again")
        self._move(review.product_id, review.rating, 1)
        self.shelves.reviews[review.product_id, review.user_id] = review

    async def replace(self, review: Review) -> Review:
        """Replace what a buyer wrote."""
        before = self._mine(review.product_id, review.user_id)
        after = replace(
            before,
            rating=review.rating,
            title=review.title,
            text=review.text,
            changed_at=review.changed_at,
        )
        self._move(review.product_id, review.rating - before.rating, 0)
        self.shelves.reviews[review.product_id, review.user_id] = after
        return after

    async def remove(self, product_id: str, user_id: str) -> None:
        """Delete a review."""
        before = self._mine(product_id, user_id)
        self._move(product_id, -before.rating, -1)
        del self.shelves.reviews[product_id, user_id]

    def _mine(self, product_id: str, user_id: str) -> Review:
        self.shelves.sold(product_id)
        found = self.shelves.reviews.get((product_id, user_id))
        if found is None:
            raise UnknownReviewError("none")
        return found

    def _move(self, product_id: str, stars: int, count: int, *, commit: bool = True) -> None:
        rating = self.shelves.sold(product_id).rating
        if commit:
            moved = Rating(sum=rating.sum + stars, count=rating.count + count)
            self.shelves.change(product_id, rating=moved)

    async def page(self, product_id: str, *, offset: int, limit: int) -> list[Review]:
        """Return reviews, newest first."""
        found = [item for (name, _), item in self.shelves.reviews.items() if name == product_id]
        found.sort(key=lambda item: (item.written_at, item.review_id), reverse=True)
        return found[offset : offset + limit]

    async def has_received(self, product_id: str, user_id: str) -> bool:
        """Tell whether the buyer has the product."""
        return any(
            receipt.user_id == user_id
            and product_id in receipt.product_ids
            and not receipt.returned
            for receipt in self.shelves.receipts.values()
        )

    async def take_receipts(self, receipts: Sequence[Receipt]) -> None:
        """Join what orders say."""
        for receipt in receipts:
            known = self.shelves.receipts.get(receipt.order_id, receipt)
            self.shelves.receipts[receipt.order_id] = replace(
                known,
                product_ids=tuple(sorted({*known.product_ids, *receipt.product_ids})),
                returned=known.returned or receipt.returned,
            )


@dataclass
class FakeMarket:
    """Inventory and user as the product service sees them; ``away`` answers nothing."""

    sales_now: list[internal.SaleView] = field(default_factory=list)
    live: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    away: bool = False
    asked: int = 0
    now: datetime = NOW

    async def sales(self) -> internal.Sales:
        """Return the sales."""
        self.asked += 1
        if self.away:
            raise ConnectionError("inventory")
        return internal.Sales(sales=self.sales_now, server_time=self.now)

    async def read(self, product_ids: Sequence[str]) -> dict[str, internal.Availability]:
        """Return what is available."""
        if self.away:
            raise ConnectionError("availability")
        return {
            name: internal.Availability(product_id=name, qty=self.live[name], version=1)
            for name in product_ids
            if name in self.live
        }

    async def author(self, user_id: str) -> str | None:
        """Return a first name."""
        return None if self.away else self.names.get(user_id)
