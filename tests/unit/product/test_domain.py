"""What a product may be, the words that find it, the price of the moment, and who received what."""

import itertools
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from doorbuster.contracts import events, internal
from doorbuster.kit import ids
from doorbuster.product.domain import pictures, pricing, products, reviews
from doorbuster.product.domain.products import InvalidProductError, Picture, Rating, Shelf
from doorbuster.testing import catalogue, stories
from doorbuster.testing.catalogue import NOW

LAMP = ids.product_id("lamp-1")


@pytest.mark.parametrize(
    ("price", "currency", "minor"),
    [("19.90", "EUR", 1990), ("500", "JPY", 500), ("1.234", "KWD", 1234)],
)
def test_money_is_kept_in_minor_units(price: str, currency: str, minor: int) -> None:
    made = catalogue.product(price=Decimal(price), currency=currency)
    assert (made.price_minor, made.currency) == (minor, currency)


@pytest.mark.parametrize(
    "wrong",
    [
        {"price": Decimal("1.999")},
        {"price": Decimal("0.5"), "currency": "JPY"},
        {"specifications": {"atoms": 2**63}},
        {"specifications": {"weight": float("inf")}},
    ],
)
def test_what_the_store_could_not_keep_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidProductError):
        catalogue.product(**wrong)


def test_words_are_found_without_case_accents_and_signs_once() -> None:
    assert products.words_of("Crème-Brûlée SET", "set", "4K_tv (2026)") == [
        *("creme", "brulee", "set", "4k", "tv", "2026")
    ]
    assert len(products.words_of(" ".join(map(str, range(1000))))) == products.MOST_WORDS


def test_stars_have_one_decimal_and_none_without_reviews() -> None:
    assert Rating().average is None
    assert Rating(sum=14, count=3).average == 4.7


def test_addresses_begin_with_the_cdn() -> None:
    picture = Picture(
        image_id="img_1", large="images/l.webp", thumbnail="images/s.webp", width=9, height=9
    )
    shelf = Shelf("https://cdn.example/")
    assert shelf.image(picture).url == "https://cdn.example/images/l.webp"
    assert shelf.thumbnail(catalogue.product()) is None


def sale(**values: Any) -> internal.SaleView:
    item = internal.SaleItemView(
        product_id=LAMP,
        sku="lamp-1",
        price_minor=990,
        currency="EUR",
        per_user_limit=2,
        allocated=5,
        available=5,
        reserved=0,
        sold=0,
        epoch=1,
    )
    defaults: dict[str, Any] = {
        "uid": "u",
        "namespace": "shop",
        "name": "drop",
        "state": "Active",
        "strategy": "Escrow",
        "open_time": NOW,
        "close_time": NOW + timedelta(seconds=60),
        "reservation_timeout_seconds": 60,
        "items": [item],
    }
    return internal.SaleView(**{**defaults, **values})


@pytest.mark.parametrize(("seconds", "is_open"), [(-1, False), (0, True), (59, True), (60, False)])
def test_the_sale_counts_from_opening_to_closing_by_inventorys_clock(
    seconds: int, is_open: bool
) -> None:
    board = pricing.arrange(
        internal.Sales(sales=[sale()], server_time=NOW + timedelta(seconds=seconds - 5)),
        answered_at=100.0,
    )
    assert (board.open_offer(LAMP, 105.0) is not None) is is_open
    assert board.open_offer(ids.product_id("other"), 105.0) is None


@pytest.mark.parametrize("state", ["Suspended", "Cancelled"])
def test_a_sale_that_does_not_run_has_no_price(state: str) -> None:
    board = pricing.arrange(
        internal.Sales(sales=[sale(state=state)], server_time=NOW), answered_at=0.0
    )
    assert board.open_offer(LAMP, 1.0) is None


def test_the_open_sale_gives_the_price_and_says_the_other() -> None:
    found = sale()
    price, currency, shown = pricing.price_now(
        catalogue.product(), pricing.Offer(found, found.items[0])
    )
    assert (price, currency) == (Decimal("9.90"), "EUR")
    assert shown is not None
    assert (shown.sale_id, shown.list_price) == ("shop.drop", Decimal("19.90"))
    assert pricing.price_now(catalogue.product(), None) == (Decimal("19.90"), "EUR", None)


def test_an_order_tells_who_received_what_each_product_once() -> None:
    delivered = events.OrderDelivered(
        order_id="o",
        user_id="u",
        lines=[stories.line(product_id=LAMP), stories.line(product_id=LAMP)],
        delivered_at=NOW,
    )
    receipt = reviews.receipt_of(delivered)
    assert receipt == reviews.Receipt(order_id="o", user_id="u", product_ids=(LAMP,))
    returned = events.OrderReturned(order_id="o", user_id="u", reason="", returned_at=NOW)
    found = reviews.receipt_of(returned)
    assert found is not None
    assert found.returned
    assert reviews.receipt_of(stories.paid()) is None


def test_an_upload_is_looked_for_ever_less_often_until_nobody_can_upload() -> None:
    one = pictures.new_ticket("img_1", LAMP, content_type="image/png", size=1, alt="", now=NOW)
    moments, at = [], NOW
    while not pictures.is_over(one, at):
        moments.append(at)
        at = pictures.look_again_at(one, at)
    pauses = [later - sooner for sooner, later in itertools.pairwise(moments)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (pictures.SOONEST, pictures.LATEST)
    assert len(moments) < 100


def test_a_public_name_changes_with_what_it_shows() -> None:
    names = {
        pictures.public_name("img_1", pictures.Rendition(data=data, width=9, height=9))
        for data in (b"a", b"b", b"a")
    }
    assert len(names) == 2
