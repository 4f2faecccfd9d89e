"""What Elasticsearch is asked: words with their weights, filters, facets, orders.

Words are looked for as they are and as the beginning of words; only where that finds nothing are typing mistakes
forgiven (``Stage.FORGIVING``), so that nobody who types right gets what he did not ask for.
"""

import itertools
from typing import Any

from doorbuster.contracts import catalogue
from doorbuster.kit import money

from . import documents
from .cursors import Cursor, Stage

DEEPEST = 10_000  # results that pages reach; Elasticsearch's own limit too
MOST_FACET_VALUES = 50
MOST_SUGGESTIONS = 5
PRICE_EDGES = (25, 50, 100, 250, 500, 1000)
RATING_STEPS = (4, 3, 2, 1)
# One mistake from four letters on, two from eight; the first letter must be right.
_FORGIVING = {"fuzziness": "AUTO:4,8", "prefix_length": 1, "max_expansions": 30}
_SORTS: dict[str, list[dict[str, Any]]] = {
    "relevance": [{"_score": "desc"}],
    "price_asc": [{"price": "asc"}],
    "price_desc": [{"price": "desc"}],
    "rating": [{"rating": "desc"}, {"rating_count": "desc"}],
    "newest": [{"created_at": "desc"}],
}


class PageTooDeepError(Exception):
    """Pages reach so far and no further."""


def offset_of(query: catalogue.SearchQuery) -> int:
    """Return the index of a page's first result; raises PageTooDeepError."""
    if query.page * query.size > DEEPEST:
        raise PageTooDeepError(
            f"pages reach {DEEPEST:,} results deep; go on with the nextCursor of the last one"
        )
    return (query.page - 1) * query.size


def page_body(query: catalogue.SearchQuery, stage: Stage, after: Cursor | None) -> dict[str, Any]:
    """Return the request for the results of one page; raises PageTooDeepError.

    It counts nothing: so Elasticsearch may skip whatever cannot be among the best.
    """
    filters = [*_always(query), *_filters(query).values()]
    must = [] if not query.term.strip() else [_words(query.term, stage)]
    body: dict[str, Any] = {
        "query": {"bool": {"must": must, "filter": filters}},
        "sort": [*_SORTS[query.sort], {"product_id": "asc"}],
        "size": query.size,
        "track_total_hits": False,
        "track_scores": False,
        "_source": documents.SHOWN,
    }
    if after is not None:
        return body | {"search_after": after.values}
    return body | {"from": offset_of(query)}


def count_body(query: catalogue.SearchQuery, stage: Stage) -> dict[str, Any]:
    """Return the request for the number of all results and the facets.

    Without scores, sorts and pages it is the same for every page, and Elasticsearch keeps its answer until the index
    changes.
    """
    chosen = _filters(query)
    matching = [] if not query.term.strip() else [_words(query.term, stage)]
    return {
        "query": {"bool": {"filter": [*matching, *_always(query)]}},
        "size": 0,
        "track_total_hits": False,
        "aggs": {"all": {"filter": _all(chosen.values())}, **_facets(query, chosen)},
    }


def suggestion_body(term: str) -> dict[str, Any]:
    """Return the request for titles that have at least one of the words, mistakes forgiven."""
    near = {"query": term, "fuzziness": "AUTO:3,6", "prefix_length": 0, "max_expansions": 20}
    return {
        "query": {
            "bool": {
                "must": [{"match": {"title": near}}],
                "filter": [{"term": {"gone": False}}],
            }
        },
        "size": MOST_SUGGESTIONS,
        "_source": ["title"],
        "track_total_hits": False,
    }


def price_edges(currency: str | None) -> list[int]:
    """Return where the ranges of the price facet meet: 100 times higher for a currency without decimals."""
    scale = 100 if currency is not None and money.exponent(currency) == 0 else 1
    return [edge * scale for edge in PRICE_EDGES]


def _always(query: catalogue.SearchQuery) -> list[dict[str, Any]]:
    sold = [{"term": {"gone": False}}]
    return sold if query.currency is None else [*sold, {"term": {"currency": query.currency}}]


def _words(term: str, stage: Stage) -> dict[str, Any]:
    if stage is Stage.FORGIVING:
        near = {"query": term, "operator": "and", **_FORGIVING}
        ways: list[dict[str, Any]] = [
            {"match": {"everything": near}},
            {"match_bool_prefix": {"everything": near}},
            {"match": {"title": {**near, "boost": 3}}},
            {"match": {"title": {**near, "operator": "or", "boost": 1}}},
        ]
        required = [{"dis_max": {"queries": ways[:2]}}]
        return {"bool": {"must": required, "should": ways[2:]}}
    every = {"query": term, "operator": "and"}
    ways = [
        {
            "multi_match": {
                **every,
                "type": "cross_fields",
                "fields": [
                    *("title^4", "keywords^2", "manufacturer.words^2", "category.words^2"),
                    "description^0.3",
                ],
                "tie_breaker": 0.3,
                "boost": 2,
            }
        },
        {"match_bool_prefix": {"title": {**every, "boost": 3}}},
        {"match_bool_prefix": {"everything": every}},
        {"match": {"names": {**every, "boost": 2}}},
        # "mac book" and "play station 5" are one word, or written apart elsewhere.
        {"match": {"names": {**every, "query": "".join(term.split())}}},
    ]
    whole_title = {"match_phrase": {"title": {"query": term, "boost": 3}}}
    return {"bool": {"must": [{"dis_max": {"queries": ways}}], "should": [whole_title]}}


def _filters(query: catalogue.SearchQuery) -> dict[str, dict[str, Any]]:
    """Return what the buyer has chosen, by facet."""
    chosen: dict[str, dict[str, Any]] = {}
    if query.category is not None:
        chosen["categories"] = {"term": {"category": query.category}}
    if query.manufacturer is not None:
        chosen["manufacturers"] = {"term": {"manufacturer": query.manufacturer}}
    if query.min_price is not None or query.max_price is not None:
        low, high = query.min_price, query.max_price
        bounds = {
            **({} if low is None else {"gte": float(low)}),
            **({} if high is None else {"lte": float(high)}),
        }
        chosen["prices"] = {"range": {"price": bounds}}
    if query.min_rating is not None:
        chosen["ratings"] = {"range": {"rating": {"gte": query.min_rating}}}
    if query.available is not None:
        in_stock: dict[str, Any] = {"range": {"available_qty": {"gt": 0}}}
        sold_out = {"bool": {"must_not": [in_stock]}}
        chosen["available"] = in_stock if query.available else sold_out
    return chosen


def _facets(
    query: catalogue.SearchQuery, chosen: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the facets, each counted under all filters but its own."""
    edges = [None, *price_edges(query.currency), None]
    ranges = [
        {
            **({} if low is None else {"from": low}),
            **({} if high is None else {"to": high}),
        }
        for low, high in itertools.pairwise(edges)
    ]
    stars = [{"key": str(step), "from": step} for step in RATING_STEPS]
    counts: dict[str, dict[str, Any]] = {
        "categories": {"terms": {"field": "category", "size": MOST_FACET_VALUES}},
        "manufacturers": {"terms": {"field": "manufacturer", "size": MOST_FACET_VALUES}},
        "prices": {"range": {"field": "price", "ranges": ranges}},
        "ratings": {"range": {"field": "rating", "ranges": stars}},
        "available": {"filter": {"range": {"available_qty": {"gt": 0}}}},
    }
    return {
        name: {
            "filter": _all(rule for facet, rule in chosen.items() if facet != name),
            "aggs": {"values": count},
        }
        for name, count in counts.items()
    }


def _all(rules: Any) -> dict[str, Any]:
    wanted = list(rules)
    return {"bool": {"filter": wanted}} if wanted else {"match_all": {}}
