"""Products, pictures, reviews and search as everybody sees them under ``/v1``, and as a merchant edits them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .api import Pagination, Text, require_sane

Sku = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$(?!\n)")]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")]
Category = Annotated[str, Meta(pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$(?!\n)", max_length=60)]
Keyword = Annotated[str, Meta(min_length=1, max_length=60)]
SpecificationName = Annotated[
    str, Meta(min_length=1, max_length=60, pattern=r"^[^.$\x00-\x1f][^.\x00-\x1f]*$(?!\n)")
]
SpecificationValue = Annotated[str, Meta(max_length=500)] | bool | int | float
Rating = Annotated[int, Meta(ge=1, le=5)]
ImageType = Literal["image/jpeg", "image/png", "image/webp"]
MAX_IMAGE_BYTES = 10 * 1024 * 1024
MAX_IMAGES = 12


class Image(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One picture of a product; the addresses never change what they show."""

    image_id: str
    url: str
    thumbnail_url: str
    width: int
    height: int
    alt: str = ""


class Manufacturer(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """Who made it."""

    name: Text
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}$(?!\n)")] | None = None


class OpenSale(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The sale that gives a product its price now; ``list_price`` is what it costs otherwise."""

    sale_id: str
    close_time: datetime
    list_price: Decimal
    per_user_limit: int


class RatingSummary(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``average`` of ``count`` reviews, to one decimal; absent while there is none."""

    average: float | None
    count: int


class Review(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What one buyer says of a product that he received; ``author`` is his first name, as he wrote the review."""

    review_id: str
    product_id: str
    rating: int
    title: str
    text: str
    author: str
    written_at: datetime
    changed_at: datetime | None = None


class ReviewDraft(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``POST /v1/products/{productId}/reviews`` and ``PUT …/reviews/mine``."""

    rating: Rating
    title: Annotated[str, Meta(max_length=120)] = ""
    text: Annotated[str, Meta(max_length=4000)] = ""


class ReviewList(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /v1/products/{productId}/reviews?page=&size=``, newest first."""

    reviews: list[Review]
    rating: RatingSummary
    pagination: Pagination


class Product(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /v1/products/{productId}``; ``price`` is the sale's while one is open, ``reviews`` the latest three.

    ``available_qty`` is absent only while nobody knows it.
    """

    product_id: str
    sku: str
    title: str
    description: str
    category: str
    price: Decimal
    currency: str
    images: list[Image]
    specifications: dict[str, str | bool | int | float]
    keywords: list[str]
    manufacturer: Manufacturer | None
    rating: RatingSummary
    reviews: list[Review]
    available_qty: int | None
    sale: OpenSale | None = None
    version: int
    updated_at: datetime


class ProductDraft(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``PUT /v1/admin/products/{productId}`` with If-Match: everything a merchant says of a product."""

    title: Text
    description: Annotated[str, Meta(max_length=20_000)] = ""
    category: Category
    price: Decimal
    currency: Currency
    specifications: Annotated[
        dict[SpecificationName, SpecificationValue], Meta(max_length=100)
    ] = {}
    keywords: Annotated[list[Keyword], Meta(max_length=50)] = []
    manufacturer: Manufacturer | None = None

    def __post_init__(self) -> None:
        require_sane(self.price)


class NewProduct(ProductDraft, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/admin/products``: the sku names it for ever."""

    sku: Sku


class ImageUpload(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True
):
    """``POST /v1/admin/products/{productId}/images``: what is about to be uploaded; ``size`` in bytes."""

    content_type: ImageType
    size: Annotated[int, Meta(ge=1, le=MAX_IMAGE_BYTES)]
    alt: Annotated[str, Meta(max_length=200)] = ""


class ImageTicket(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """201: send a multipart form with ``fields`` and then ``file`` to ``url`` before ``expires_at``.

    The picture appears with the product once it has been checked and its thumbnail is made;
    ``GET …/images/{imageId}`` tells how far it is.
    """

    image_id: str
    url: str
    fields: dict[str, str]
    expires_at: datetime


class ImageStatus(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``reason`` says why a picture was refused."""

    image_id: str
    state: Literal["waiting", "ready", "refused"]
    reason: str = ""
    image: Image | None = None


class ProductCard(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A product as a list of results shows it."""

    product_id: str
    title: str
    price: Decimal
    currency: str
    thumbnail: str | None
    rating: float | None
    available_qty: int | None
    category: str


class FacetValue(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One value that results have, and how many of them."""

    value: str
    count: int


class PriceRange(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Results that cost ``from_`` or more and less than ``to``."""

    from_: Decimal | None = msgspec.field(default=None, name="from")
    to: Decimal | None = None
    count: int


class Facets(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Counts over all results, each facet without its own filter."""

    categories: list[FacetValue]
    manufacturers: list[FacetValue]
    prices: list[PriceRange]
    ratings: list[FacetValue]
    available: int


Sort = Literal["relevance", "price_asc", "price_desc", "rating", "newest"]


class SearchQuery(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /v1/products/search``: pages up to 10,000 results deep, beyond that with ``cursor`` alone."""

    term: Annotated[str, Meta(max_length=200)] = ""
    category: Annotated[str, Meta(max_length=60)] | None = None
    manufacturer: Annotated[str, Meta(max_length=200)] | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    currency: Currency | None = None
    min_rating: Annotated[float, Meta(ge=0, le=5)] | None = None
    available: bool | None = None
    sort: Sort = "relevance"
    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    size: Annotated[int, Meta(ge=1, le=100)] = 20
    cursor: Annotated[str, Meta(min_length=1, max_length=1_000)] | None = None

    def __post_init__(self) -> None:
        require_sane(self.min_price)
        require_sane(self.max_price)


class SearchResults(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``degraded``: the search engine is away, so only whole words were looked for and there are no facets.

    ``suggestions`` are terms that would find something, where this one found nothing; ``next_cursor`` is absent on
    the last page.
    """

    products: list[ProductCard]
    pagination: Pagination
    facets: Facets | None
    suggestions: list[str] = []
    next_cursor: str | None = None
    degraded: bool = False
