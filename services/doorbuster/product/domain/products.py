"""Products: their documents as they are stored, what a merchant may say of them, and how they are shown."""

import math
import re
import unicodedata
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from doorbuster.contracts import catalogue, internal
from doorbuster.kit import ids, money

MOST_WORDS = 150
_WORD = re.compile(r"[^\W_]+")
_LARGEST_INT = 2**63 - 1


class UnknownProductError(Exception):
    """No such product is sold."""


class SkuTakenError(Exception):
    """Another product has this sku."""


class VersionRequiredError(Exception):
    """The caller must say which version he has read."""


class VersionChangedError(Exception):
    """Somebody else has changed the product since it was read."""


class InvalidProductError(Exception):
    """A product cannot be like this."""


class Manufacturer(msgspec.Struct, frozen=True, kw_only=True):
    """Who made it; ``country`` is ISO 3166 alpha-2."""

    name: str
    country: str | None = None


class Picture(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A picture that is shown; ``large`` and ``thumbnail`` are names of public objects, the size is the large one's."""

    image_id: str
    large: str
    thumbnail: str
    width: int
    height: int
    alt: str = ""


class Rating(msgspec.Struct, frozen=True, kw_only=True):
    """The stars of all reviews: their sum, and how many reviews."""

    sum: int = 0
    count: int = 0

    @property
    def average(self) -> float | None:
        """The mean to one decimal; None without reviews."""
        return round(self.sum / self.count, 1) if self.count else None


class Content(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What a merchant says of a product; ``words`` are those that a search for whole words finds."""

    title: str
    description: str = ""
    category: str
    price_minor: int
    currency: str
    specifications: dict[str, str | bool | int | float] = {}
    keywords: list[str] = []
    manufacturer: Manufacturer | None = None
    words: list[str] = []


class Product(Content, frozen=True, rename="camel", kw_only=True):
    """The document of a product, in the form in which it is stored.

    ``version`` grows with every change of the document, ``content_version`` only with a merchant's words:
    stock, stars and pictures must not make his edit fail. ``available_qty`` is inventory's number as of
    ``stock_version``; None while inventory has not spoken of the product.
    """

    product_id: str = msgspec.field(name="_id")
    sku: str
    images: list[Picture] = []
    rating: Rating = Rating()
    available_qty: int | None = None
    stock_version: int = -1
    content_version: int = 1
    version: int = 1
    created_at: datetime
    updated_at: datetime


def new_product(draft: catalogue.NewProduct, now: datetime) -> Product:
    """Return the first document of a product; raises InvalidProductError."""
    content = content_of(draft)
    fields: dict[str, Any] = {name: getattr(content, name) for name in content.__struct_fields__}
    moment = to_millis(now)
    return Product(
        product_id=ids.product_id(draft.sku),
        sku=draft.sku,
        created_at=moment,
        updated_at=moment,
        **fields,
    )


def content_of(draft: catalogue.ProductDraft) -> Content:
    """Return what a draft says, with the price in minor units; raises InvalidProductError."""
    try:
        price_minor = money.to_minor(draft.price, draft.currency)
    except money.FractionTooFineError as error:
        raise InvalidProductError(f"{draft.currency} has no such small units") from error
    for name, value in draft.specifications.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidProductError(f"specification {name} is no number")
        if isinstance(value, int) and abs(value) > _LARGEST_INT:
            raise InvalidProductError(f"specification {name} is too large a number")
    maker = draft.manufacturer
    manufacturer = None if maker is None else Manufacturer(name=maker.name, country=maker.country)
    return Content(
        title=draft.title,
        description=draft.description,
        category=draft.category,
        price_minor=price_minor,
        currency=draft.currency,
        specifications=draft.specifications,
        keywords=draft.keywords,
        manufacturer=manufacturer,
        words=words_of(
            draft.title, *draft.keywords, draft.category, maker.name if maker is not None else ""
        ),
    )


def content_within(product: Product) -> Content:
    """Return a merchant's words alone."""
    return Content(**{name: getattr(product, name) for name in Content.__struct_fields__})


def words_of(*texts: str) -> list[str]:
    """Return the different words of texts, without case and accents, in order, at most ``MOST_WORDS``."""
    plain = unicodedata.normalize("NFKD", " ".join(texts)).casefold()
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return list(dict.fromkeys(_WORD.findall(letters)))[:MOST_WORDS]


def to_millis(moment: datetime) -> datetime:
    """Return the moment with the precision of the store."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


# --- as others see it -----------------------------------------------------------------------------


class Shelf(msgspec.Struct, frozen=True):
    """How stored products look to others; ``cdn_url`` is where public objects are read."""

    cdn_url: str

    def image(self, picture: Picture) -> catalogue.Image:
        """Return a picture with its addresses."""
        return catalogue.Image(
            image_id=picture.image_id,
            url=self._url(picture.large),
            thumbnail_url=self._url(picture.thumbnail),
            width=picture.width,
            height=picture.height,
            alt=picture.alt,
        )

    def thumbnail(self, product: Product) -> str | None:
        """Return the address of the first picture's thumbnail."""
        return self._url(product.images[0].thumbnail) if product.images else None

    def product(
        self,
        product: Product,
        *,
        reviews: list[catalogue.Review],
        available_qty: int | None,
        sale: catalogue.OpenSale | None,
        price: Decimal,
        currency: str,
    ) -> catalogue.Product:
        """Return the details that a buyer sees."""
        maker = product.manufacturer
        return catalogue.Product(
            product_id=product.product_id,
            sku=product.sku,
            title=product.title,
            description=product.description,
            category=product.category,
            price=price,
            currency=currency,
            images=[self.image(picture) for picture in product.images],
            specifications=product.specifications,
            keywords=product.keywords,
            manufacturer=(
                None
                if maker is None
                else catalogue.Manufacturer(name=maker.name, country=maker.country)
            ),
            rating=summary(product.rating),
            reviews=reviews,
            available_qty=available_qty,
            sale=sale,
            version=product.version,
            updated_at=product.updated_at,
        )

    def quote(self, product: Product) -> internal.Quote:
        """Return the list price for another service."""
        return internal.Quote(
            product_id=product.product_id,
            sku=product.sku,
            title=product.title,
            thumbnail=self.thumbnail(product),
            price_minor=product.price_minor,
            currency=product.currency,
            version=product.version,
        )

    def entry(self, product: Product) -> internal.CatalogueEntry:
        """Return the product as search indexes it."""
        return internal.CatalogueEntry(
            product_id=product.product_id,
            sku=product.sku,
            title=product.title,
            description=product.description,
            category=product.category,
            keywords=product.keywords,
            manufacturer=product.manufacturer.name if product.manufacturer is not None else None,
            price_minor=product.price_minor,
            currency=product.currency,
            thumbnail=self.thumbnail(product),
            rating=product.rating.average,
            rating_count=product.rating.count,
            available_qty=product.available_qty,
            created_at=product.created_at,
            version=product.version,
        )

    def _url(self, name: str) -> str:
        return f"{self.cdn_url.rstrip('/')}/{name}"


def summary(rating: Rating) -> catalogue.RatingSummary:
    """Return the stars as they are shown."""
    return catalogue.RatingSummary(average=rating.average, count=rating.count)
