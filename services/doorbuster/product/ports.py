"""What the product service needs from the world: its stores, pictures made, and answers of its neighbours."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from doorbuster.contracts import catalogue, internal

from .domain.pictures import Renditions, Ticket, Upload
from .domain.products import Content, Picture, Product
from .domain.reviews import Receipt, Review


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """What inventory says may be sold of a product; a higher version is later."""

    available_qty: int
    version: int


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a search for whole words asks for; prices in minor units, both bounds belong to the range."""

    words: tuple[str, ...] = ()
    category: str | None = None
    manufacturer: str | None = None
    currency: str | None = None
    min_price_minor: int | None = None
    max_price_minor: int | None = None
    min_rating: float | None = None
    available: bool | None = None
    sort: catalogue.Sort = "relevance"


class ProductStore(Protocol):
    """Keeps products."""

    async def add(self, product: Product) -> Product:
        """Store a new product with what was known of its id before; raises SkuTakenError."""

    async def find(self, product_id: str) -> Product | None:
        """Return a product."""

    async def find_many(self, product_ids: Sequence[str]) -> list[Product]:
        """Return those that are sold, without description, specifications and words."""

    async def replace(
        self, product_id: str, content: Content, *, expected: int, now: datetime
    ) -> Product:
        """Replace a merchant's words if they are as he read them; raises Unknown… or VersionChangedError."""

    async def remove(self, product_id: str, *, expected: int, now: datetime) -> None:
        """Delete a product and doom its pictures; raises UnknownProductError or VersionChangedError."""

    async def take_levels(self, levels: Mapping[str, Level]) -> int:
        """Take inventory's numbers by product id, each unless a later one is known; return how many changed."""

    async def page(self, *, after: str, limit: int) -> tuple[list[Product], int]:
        """Return whole products by id from after ``after``, and about how many there are in all."""

    async def search(
        self, wanted: Wanted, *, offset: int, limit: int
    ) -> tuple[list[Product], int]:
        """Return a page of the first products that match, and how many matches were counted."""


class ReviewStore(Protocol):
    """Keeps reviews and who received what; the stars of a product are always those of its reviews."""

    async def add(self, review: Review) -> None:
        """Store a review; raises UnknownProductError or AlreadyReviewedError."""

    async def replace(self, review: Review) -> Review:
        """Replace what its buyer wrote, keep who he is and since when; raises Unknown…Error."""

    async def remove(self, product_id: str, user_id: str) -> None:
        """Delete a buyer's review; raises UnknownProductError or UnknownReviewError."""

    async def page(self, product_id: str, *, offset: int, limit: int) -> list[Review]:
        """Return reviews of a product, newest first."""

    async def has_received(self, product_id: str, user_id: str) -> bool:
        """Tell whether an order brought the product to the buyer and he has not returned it."""

    async def take_receipts(self, receipts: Sequence[Receipt]) -> None:
        """Join what orders say: a delivery adds products, a return stays a return."""


class TicketStore(Protocol):
    """Keeps the tickets of pictures that somebody has work with."""

    async def open(self, ticket: Ticket, *, most: int) -> None:
        """Store a ticket unless the product has ``most`` pictures with those under way."""

    async def find(self, product_id: str, image_id: str) -> Ticket | None:
        """Return a ticket of a product."""

    async def claim_due(self, now: datetime) -> Ticket | None:
        """Return the ticket that is due the longest and put it off, so that no other copy takes it."""

    async def put_off(self, image_id: str, until: datetime) -> None:
        """Look at a ticket again then."""

    async def name_objects(self, image_id: str, names: list[str]) -> bool:
        """Remember which objects are about to be stored; false when the picture is not wanted any more."""

    async def show(self, ticket: Ticket, picture: Picture, now: datetime) -> bool:
        """Give the product its picture and leave the original to be deleted; false when nobody wants it any more."""

    async def refuse(self, image_id: str, reason: str, now: datetime) -> None:
        """End an upload that is no picture for us; its objects go next."""

    async def close(self, ticket: Ticket, now: datetime) -> None:
        """Forget a ticket whose objects are gone; a refusal can be read for a day more."""

    async def remove(self, product_id: str, image_id: str, now: datetime) -> None:
        """Take a picture, shown or under way, from its product; raises UnknownImage… or UnknownProductError."""

    async def under_way(self, image_ids: Sequence[str]) -> set[str]:
        """Return those of these pictures that somebody still has work with."""

    async def overdue(self, now: datetime) -> timedelta:
        """Return for how long the oldest ticket has been due."""


class ObjectStore(Protocol):
    """Keeps pictures; every call may raise ConnectionError."""

    async def sign_upload(self, ticket: Ticket) -> tuple[str, dict[str, str]]:
        """Return where to post a form and its fields."""

    async def size(self, name: str) -> int | None:
        """Return the bytes of an object, None when there is none."""

    async def read(self, name: str) -> bytes:
        """Return an object, whose size the caller knows."""

    async def publish(self, name: str, data: bytes) -> None:
        """Store a picture for the public, to be cached for ever."""

    async def delete(self, name: str) -> None:
        """Delete an object; one that is not there is deleted."""

    async def uploads(self, *, after: str, limit: int) -> list[Upload]:
        """Return a page of what was uploaded and not deleted yet, by name from after ``after``."""


class Studio(Protocol):
    """Makes pictures for showing."""

    async def develop(self, data: bytes, content_type: str) -> Renditions:
        """Return both sizes; raises BadPictureError."""


class Availabilities(Protocol):
    """Tells what could be reserved now."""

    async def read(self, product_ids: Sequence[str]) -> dict[str, internal.Availability]:
        """Return what is available by product id; raises ConnectionError when nothing can tell."""


class Inventory(Protocol):
    """What inventory says about sales."""

    async def sales(self) -> internal.Sales:
        """Return the announced, open and lately closed sales; raises ConnectionError."""


class Users(Protocol):
    """What the user service says about who writes."""

    async def author(self, user_id: str) -> str | None:
        """Return a first name, None when nobody knows it or nobody answers."""
