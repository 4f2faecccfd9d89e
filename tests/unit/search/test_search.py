"""Searching without servers: queries, cursors, facets, degraded answers, live stock and sale prices."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from doorbuster.contracts import catalogue, internal
from doorbuster.kit import ids
from doorbuster.search.domain import cursors, queries, results
from doorbuster.search.domain.cursors import Stage
from doorbuster.search.ports import IndexAwayError
from doorbuster.search.usecases.live import LiveView
from doorbuster.search.usecases.look import Search

PHONE = ids.product_id("phone")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HIT = {
    "_source": {
        "product_id": PHONE,
        "title": "Phone",
        "price_minor": 89900,
        "currency": "EUR",
        "category": "smartphones",
        "thumbnail": None,
        "rating": 4.5,
        "rating_count": 2,
        "available_qty": 3,
    },
    "sort": [12.5, PHONE],
}


NO_FACETS: dict[str, Any] = {
    name: {"values": {"buckets": []}}
    for name in ("categories", "manufacturers", "prices", "ratings")
} | {"available": {"values": {"doc_count": 0}}}


def answer(*hits: dict[str, Any], total: int | None = None) -> list[dict[str, Any]]:
    """Elasticsearch's two answers to a page: its hits, and the counts of all."""
    counted = {"doc_count": len(hits) if total is None else total}
    return [{"hits": {"hits": list(hits)}}, {"aggregations": {"all": counted, **NO_FACETS}}]


@dataclass
class FakeIndex:
    """Answers what was put in ``answers``, one after the other; without any it is away."""

    answers: list[list[dict[str, Any]]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    is_well: bool = True

    async def search(self, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
        self.asked.append(bodies[0])
        if not self.answers:
            raise IndexAwayError("away")
        return self.answers.pop(0)[: len(bodies)]

    async def ping(self) -> None:
        if not self.is_well:
            raise IndexAwayError("away")


@dataclass
class FakeProducts:
    """Finds one product; ``asked`` are the pages."""

    asked: list[catalogue.SearchQuery] = field(default_factory=list)
    is_away: bool = False

    async def find(self, query: catalogue.SearchQuery) -> internal.CatalogueMatches:
        self.asked.append(query)
        if self.is_away:
            raise ConnectionError("product does not answer")
        entry = internal.CatalogueEntry(
            product_id=PHONE,
            sku="phone",
            title="Phone",
            description="",
            category="smartphones",
            keywords=[],
            manufacturer=None,
            price_minor=89900,
            currency="EUR",
            thumbnail=None,
            rating=None,
            rating_count=0,
            available_qty=3,
            created_at=NOW,
            version=1,
        )
        return internal.CatalogueMatches(entries=[entry], total=41)


@dataclass
class FakeNeighbours:
    """Stock and sales of the phone."""

    qty: int | None = None
    sale: internal.SaleView | None = None

    async def read(self, product_ids: Sequence[str]) -> dict[str, internal.Availability]:
        if self.qty is None:
            raise ConnectionError("neither Redis nor inventory")
        item = internal.Availability(product_id=PHONE, qty=self.qty, version=1)
        return {PHONE: item} if PHONE in product_ids else {}

    async def sales(self) -> internal.Sales:
        return internal.Sales(sales=[self.sale] if self.sale else [], server_time=NOW)


def searching(
    *answers: list[dict[str, Any]], neighbours: FakeNeighbours | None = None
) -> tuple[Search, FakeIndex, FakeProducts]:
    index, products = FakeIndex(list(answers)), FakeProducts()
    seen = neighbours or FakeNeighbours()
    live = LiveView(stock=seen, inventory=seen)
    return Search(index=index, products=products, live=live), index, products


def sale(*, opens: timedelta, closes: timedelta, state: str = "Active") -> internal.SaleView:
    return internal.SaleView(
        uid="sale-1",
        namespace="default",
        name="drop",
        state=state,  # type: ignore[arg-type]
        strategy="Escrow",
        open_time=NOW + opens,
        close_time=NOW + closes,
        reservation_timeout_seconds=60,
        items=[
            internal.SaleItemView(
                product_id=PHONE,
                sku="phone",
                price_minor=49900,
                currency="EUR",
                per_user_limit=1,
                allocated=5,
                available=5,
                reserved=0,
                sold=0,
                epoch=1,
            )
        ],
    )


# --- pages and cursors ----------------------------------------------------------------------------


def test_pages_reach_ten_thousand_results_and_no_further() -> None:
    assert queries.offset_of(catalogue.SearchQuery(page=100, size=100)) == 9_900
    with pytest.raises(queries.PageTooDeepError, match="nextCursor"):
        queries.offset_of(catalogue.SearchQuery(page=101, size=100))


async def test_a_page_too_deep_is_refused_before_anybody_is_asked() -> None:
    search, index, products = searching()
    with pytest.raises(queries.PageTooDeepError):
        await search.find(catalogue.SearchQuery(page=1_000_000))
    assert (index.asked, products.asked) == ([], [])


async def test_a_cursor_goes_on_after_the_last_result() -> None:
    search, index, _ = searching(answer(HIT, total=3), answer(HIT, total=3))
    first = await search.find(catalogue.SearchQuery(term="phone", size=1))
    assert first.next_cursor is not None
    second = await search.find(
        catalogue.SearchQuery(term="phone", size=1, cursor=first.next_cursor)
    )
    assert index.asked[1]["search_after"] == [12.5, PHONE]
    assert "from" not in index.asked[1]
    assert second.pagination.page == 2
    assert second.pagination.total_pages == 3


async def test_the_last_page_has_no_cursor() -> None:
    search, _, _ = searching(answer(HIT))
    assert (await search.find(catalogue.SearchQuery(size=1))).next_cursor is None


def cursor_of(query: catalogue.SearchQuery, **changes: Any) -> str:
    place = cursors.Cursor(
        search=cursors.fingerprint(query), stage=Stage.EXACT, seen=20, values=[1.0, PHONE]
    )
    return cursors.encode(msgspec.structs.replace(place, **changes))


@pytest.mark.parametrize(
    "text", ["x", "e30", "bm9uc2Vuc2U", "!!!!", "é", "W10", "eyJzZWFyY2giOjF9"]
)
def test_a_cursor_that_is_none_of_ours_is_refused(text: str) -> None:
    with pytest.raises(cursors.CursorError):
        cursors.decode(text, catalogue.SearchQuery())


def test_a_cursor_is_refused_by_another_search_and_taken_on_any_page_of_its_own() -> None:
    text = cursor_of(catalogue.SearchQuery(term="phone"))
    assert cursors.decode(text, catalogue.SearchQuery(term="phone", page=7)).seen == 20
    with pytest.raises(cursors.CursorError, match="another search"):
        cursors.decode(text, catalogue.SearchQuery(term="phones"))


@pytest.mark.parametrize("changes", [{"seen": -1}, {"values": []}, {"values": [1, 2, 3, 4]}])
def test_a_cursor_that_was_changed_is_refused(changes: dict[str, Any]) -> None:
    query = catalogue.SearchQuery()
    with pytest.raises(cursors.CursorError):
        cursors.decode(cursor_of(query, **changes), query)


# --- what Elasticsearch is asked ------------------------------------------------------------------


def test_each_facet_is_counted_without_its_own_filter() -> None:
    query = catalogue.SearchQuery(category="laptops", manufacturer="Dell", available=True)
    facets = queries.count_body(query, Stage.EXACT)["aggs"]
    category = {"term": {"category": "laptops"}}
    assert category not in facets["categories"]["filter"]["bool"]["filter"]
    for other in ("manufacturers", "prices", "ratings", "available"):
        assert category in facets[other]["filter"]["bool"]["filter"]


def test_the_counts_are_the_same_question_for_every_page_and_order() -> None:
    one = catalogue.SearchQuery(term="phone", category="laptops")
    other = msgspec.structs.replace(one, page=3, sort="newest")
    assert queries.count_body(one, Stage.EXACT) == queries.count_body(other, Stage.EXACT)
    assert queries.page_body(one, Stage.EXACT, None)["track_total_hits"] is False


def test_ties_are_broken_by_product_id_in_every_order() -> None:
    for sort in ("relevance", "price_asc", "price_desc", "rating", "newest"):
        body = queries.page_body(catalogue.SearchQuery(sort=sort), Stage.EXACT, None)
        assert body["sort"][-1] == {"product_id": "asc"}


def test_prices_without_decimals_have_wider_ranges() -> None:
    assert queries.price_edges("JPY")[0] == 100 * queries.price_edges("EUR")[0]


def test_facets_are_read_without_empty_values() -> None:
    facets = results.read_facets(
        {
            "categories": {"values": {"buckets": [{"key": "laptops", "doc_count": 2}]}},
            "manufacturers": {"values": {"buckets": []}},
            "prices": {
                "values": {
                    "buckets": [
                        {"to": 25.0, "doc_count": 0},
                        {"from": 25.0, "to": 50.0, "doc_count": 2},
                    ]
                }
            },
            "ratings": {
                "values": {"buckets": [{"key": "3", "doc_count": 2}, {"key": "4", "doc_count": 1}]}
            },
            "available": {"values": {"doc_count": 1}},
        }
    )
    assert facets.prices == [catalogue.PriceRange(from_=Decimal(25), to=Decimal(50), count=2)]
    assert [rating.value for rating in facets.ratings] == ["4", "3"]
    assert facets.available == 1


# --- mistakes, suggestions, degraded answers ------------------------------------------------------


async def test_mistakes_are_forgiven_only_where_nothing_was_found() -> None:
    search, index, _ = searching(answer(HIT))
    await search.find(catalogue.SearchQuery(term="phone"))
    assert len(index.asked) == 1
    search, index, _ = searching(answer(), answer(HIT))
    found = await search.find(catalogue.SearchQuery(term="phoen"))
    assert len(index.asked) == 2
    assert [card.title for card in found.products] == ["Phone"]


async def test_nothing_found_brings_suggestions_once_each() -> None:
    near = answer(HIT, HIT)
    search, _, _ = searching(answer(), answer(), near)
    found = await search.find(catalogue.SearchQuery(term="blue phone"))
    assert (found.products, found.suggestions) == ([], ["Phone"])


async def test_without_the_index_product_answers_and_the_index_is_left_alone() -> None:
    search, index, _ = searching()
    for _ in range(3):
        found = await search.find(catalogue.SearchQuery(term="phone"))
        assert found.degraded
        assert found.facets is None
        assert found.pagination.total_pages == 3
    assert len(index.asked) == 1


async def test_an_index_that_is_back_is_asked_again() -> None:
    search, index, _ = searching()
    await search.find(catalogue.SearchQuery())
    index.is_well = False
    with pytest.raises(IndexAwayError):
        await search.probe()
    index.is_well = True
    await search.probe()
    index.answers.append(answer(HIT))
    assert not (await search.find(catalogue.SearchQuery())).degraded


async def test_a_cursor_is_answered_by_its_page_while_degraded() -> None:
    search, _, products = searching()
    query = catalogue.SearchQuery(term="phone", size=10)
    cursor = cursor_of(query)
    await search.find(msgspec.structs.replace(query, cursor=cursor))
    assert [(asked.page, asked.cursor) for asked in products.asked] == [(3, None)]


async def test_with_product_away_too_the_search_is_unavailable() -> None:
    search, _, products = searching()
    products.is_away = True
    with pytest.raises(ConnectionError):
        await search.find(catalogue.SearchQuery())


# --- live stock and prices ------------------------------------------------------------------------


async def test_live_stock_wins_over_the_index_and_its_absence_does_not_hurt() -> None:
    search, _, _ = searching(answer(HIT), neighbours=FakeNeighbours(qty=0))
    assert (await search.find(catalogue.SearchQuery())).products[0].available_qty == 0
    search, _, _ = searching(answer(HIT))
    assert (await search.find(catalogue.SearchQuery())).products[0].available_qty == 3


@pytest.mark.parametrize(
    ("seen", "price"),
    [
        (sale(opens=timedelta(0), closes=timedelta(hours=1)), "499"),
        (sale(opens=timedelta(seconds=9), closes=timedelta(hours=1)), "899"),
        (sale(opens=timedelta(hours=-2), closes=timedelta(0)), "899"),
        (sale(opens=timedelta(0), closes=timedelta(hours=1), state="Suspended"), "899"),
    ],
)
async def test_only_an_open_sale_shows_its_price(seen: internal.SaleView, price: str) -> None:
    search, _, _ = searching(answer(HIT), neighbours=FakeNeighbours(sale=seen))
    search.live.monotonic = lambda: 0.0
    await search.live.refresh()
    assert (await search.find(catalogue.SearchQuery())).products[0].price == Decimal(price)


async def test_a_sale_seen_too_long_ago_shows_no_price() -> None:
    seen = sale(opens=timedelta(0), closes=timedelta(hours=1))
    search, _, _ = searching(answer(HIT), neighbours=FakeNeighbours(sale=seen))
    search.live.monotonic = lambda: 0.0
    await search.live.refresh()
    search.live.monotonic = lambda: 6.0
    assert (await search.find(catalogue.SearchQuery())).products[0].price == Decimal(899)
