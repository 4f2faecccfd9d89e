"""What Elasticsearch or product found, as the buyer sees it: live stock, the open sale's price, facets, pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from doorbuster.contracts import api, catalogue, internal
from doorbuster.kit import money

from . import cursors


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A product as the index shows it."""

    product_id: str
    title: str
    price_minor: int
    currency: str
    category: str
    thumbnail: str | None = None
    rating: float | None = None
    rating_count: int = 0
    available_qty: int | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """One answer of the index: the products, their number in all, where it goes on, and the facets."""

    products: list[Found]
    total: int
    last_keys: list[Any]
    facets: catalogue.Facets


@dataclass(frozen=True, kw_only=True)
class Live:
    """What is true just now, by product id: the units that are left and the price of the open sale."""

    available: Mapping[str, int]
    prices: Mapping[str, tuple[int, str]]


def read_page(page: Mapping[str, Any], counts: Mapping[str, Any]) -> Page:
    """Read Elasticsearch's answers to ``page_body`` and ``count_body``."""
    hits = page["hits"]["hits"]
    return Page(
        products=[msgspec.convert(hit["_source"], Found) for hit in hits],
        total=counts["aggregations"]["all"]["doc_count"],
        last_keys=hits[-1]["sort"] if hits else [],
        facets=read_facets(counts["aggregations"]),
    )


def show(
    page: Page,
    query: catalogue.SearchQuery,
    stage: cursors.Stage,
    after: cursors.Cursor | None,
    live: Live,
) -> catalogue.SearchResults:
    """Return the answer to a search of the index."""
    offset = after.seen if after is not None else (query.page - 1) * query.size
    seen = offset + len(page.products)
    next_cursor = None
    if page.products and seen < page.total:
        place = cursors.Cursor(
            search=cursors.fingerprint(query), stage=stage, seen=seen, values=page.last_keys
        )
        next_cursor = cursors.encode(place)
    return catalogue.SearchResults(
        products=cards(page.products, live),
        pagination=pagination(offset // query.size + 1, query.size, page.total),
        facets=page.facets,
        next_cursor=next_cursor,
    )


def show_degraded(
    matches: internal.CatalogueMatches, query: catalogue.SearchQuery, live: Live
) -> catalogue.SearchResults:
    """Return the answer while there is no index."""
    found = [msgspec.convert(entry, Found, from_attributes=True) for entry in matches.entries]
    return catalogue.SearchResults(
        products=cards(found, live),
        pagination=pagination(query.page, query.size, matches.total),
        facets=None,
        degraded=True,
    )


def pagination(page: int, size: int, total: int) -> api.Pagination:
    """Return where a page stands among all."""
    return api.Pagination(page=page, size=size, total_pages=-(-total // size), total_items=total)


def cards(found: Sequence[Found], live: Live) -> list[catalogue.ProductCard]:
    """Return products as a list shows them."""
    shown = []
    for product in found:
        price_minor, currency = live.prices.get(
            product.product_id, (product.price_minor, product.currency)
        )
        shown.append(
            catalogue.ProductCard(
                product_id=product.product_id,
                title=product.title,
                price=money.from_minor(price_minor, currency),
                currency=currency,
                thumbnail=product.thumbnail,
                rating=product.rating if product.rating_count else None,
                available_qty=live.available.get(product.product_id, product.available_qty),
                category=product.category,
            )
        )
    return shown


def read_facets(aggregations: Mapping[str, Any]) -> catalogue.Facets:
    """Read the facets; values that nothing has are left out."""

    def buckets(name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = aggregations[name]["values"]["buckets"]
        return [bucket for bucket in found if bucket["doc_count"]]

    def values(name: str) -> list[catalogue.FacetValue]:
        return [
            catalogue.FacetValue(value=bucket["key"], count=bucket["doc_count"])
            for bucket in buckets(name)
        ]

    return catalogue.Facets(
        categories=values("categories"),
        manufacturers=values("manufacturers"),
        prices=[
            catalogue.PriceRange(
                from_=_edge(bucket.get("from")),
                to=_edge(bucket.get("to")),
                count=bucket["doc_count"],
            )
            for bucket in buckets("prices")
        ],
        ratings=list(reversed(values("ratings"))),
        available=aggregations["available"]["values"]["doc_count"],
    )


def _edge(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(int(value))
