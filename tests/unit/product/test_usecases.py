"""A merchant's repeats, live prices while neighbours are away, who may review, rows in any order, pictures' ends."""

import io
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from PIL import Image

from doorbuster.contracts import catalogue as shapes
from doorbuster.contracts import events
from doorbuster.kit import ids
from doorbuster.kit.consumer import Delivery
from doorbuster.product.domain import pictures
from doorbuster.product.domain.products import Shelf, UnknownProductError, VersionChangedError
from doorbuster.product.domain.reviews import NotReceivedError
from doorbuster.product.imaging import PillowStudio
from doorbuster.product.usecases.illustrate import Illustrate
from doorbuster.product.usecases.look import Look, SalesBoard, wanted
from doorbuster.product.usecases.manage import Manage
from doorbuster.product.usecases.review import Reviewing
from doorbuster.product.usecases.stock import Stock, read_row
from doorbuster.product.usecases.sweep_uploads import PAGE, UploadSweep
from doorbuster.testing import catalogue, stories
from doorbuster.testing.catalogue import NOW
from doorbuster.testing.pictures import FakeObjectStore, FakeTicketStore

LAMP = ids.product_id("lamp-1")


class World:
    """The use cases over fakes, with clocks that are set by hand."""

    def __init__(self) -> None:
        self.shelves = catalogue.Shelves()
        self.market = catalogue.FakeMarket()
        self.objects = FakeObjectStore()
        self.time, self.monotonic = NOW, 0.0
        self.products = catalogue.FakeProductStore(self.shelves)
        self.reviews = catalogue.FakeReviewStore(self.shelves)
        self.tickets = FakeTicketStore(self.shelves)
        shelf = Shelf("https://cdn.example")
        self.manage = Manage(store=self.products, now=self.now)
        self.look = Look(
            store=self.products,
            review_store=self.reviews,
            board=SalesBoard(self.market, lambda: self.monotonic),
            availability=self.market,
            shelf=shelf,
        )
        self.reviewing = Reviewing(
            store=self.products, review_store=self.reviews, users=self.market, now=self.now
        )
        self.illustrate = Illustrate(
            store=self.products,
            tickets=self.tickets,
            objects=self.objects,
            studio=PillowStudio(),
            shelf=shelf,
            now=self.now,
        )
        self.sweep = UploadSweep(tickets=self.tickets, objects=self.objects, now=self.now)

    def now(self) -> Any:
        return self.time

    def pass_seconds(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.monotonic += seconds
        self.market.now += timedelta(seconds=seconds)

    async def work(self) -> None:
        while await self.illustrate.step():
            pass


@pytest.fixture
async def world() -> World:
    made = World()
    await made.manage.add(catalogue.draft())
    return made


def edit(**values: Any) -> shapes.ProductDraft:
    new = catalogue.draft(**values)
    fields = {name: getattr(new, name) for name in shapes.ProductDraft.__struct_fields__}
    return shapes.ProductDraft(**fields)


async def test_the_same_edit_again_is_answered_as_the_first_time(world: World) -> None:
    first = await world.manage.replace(LAMP, edit(title="New"), expected=1)
    assert await world.manage.replace(LAMP, edit(title="New"), expected=1) == first
    with pytest.raises(VersionChangedError):
        await world.manage.replace(LAMP, edit(title="Newer"), expected=1)


async def test_an_edit_that_others_have_followed_is_refused_when_it_comes_again(
    world: World,
) -> None:
    await world.manage.replace(LAMP, edit(title="A"), expected=1)
    await world.manage.replace(LAMP, edit(title="B"), expected=2)
    await world.manage.replace(LAMP, edit(title="A"), expected=3)
    with pytest.raises(VersionChangedError):
        await world.manage.replace(LAMP, edit(title="A"), expected=1)


async def test_sales_are_asked_for_once_a_second_for_all_who_look(world: World) -> None:
    for _ in range(20):
        await world.look.details(LAMP)
    assert world.market.asked == 1
    world.pass_seconds(1.0)
    await world.look.details(LAMP)
    assert world.market.asked == 2


async def test_without_anybody_to_ask_the_document_is_shown(world: World) -> None:
    await Stock(world.products).take_in(rows((1, 6, 0)))
    world.market.away = True
    seen, version = await world.look.details(LAMP)
    assert (str(seen.price), seen.available_qty, seen.sale, version) == ("19.90", 6, None, 1)


async def test_the_live_number_goes_before_the_documents(world: World) -> None:
    await Stock(world.products).take_in(rows((1, 6, 0)))
    world.market.live[LAMP] = 2
    seen, _ = await world.look.details(LAMP)
    assert seen.available_qty == 2


async def test_what_is_not_sold_has_no_details(world: World) -> None:
    with pytest.raises(UnknownProductError):
        await world.look.details(ids.product_id("other"))


def rows(*found: tuple[int, int, int]) -> list[Delivery]:
    made = []
    for version, available, safety in found:
        value = msgspec.json.encode(
            {
                "product_id": LAMP,
                "available_qty": available,
                "safety_stock": safety,
                "version": version,
                "sku": "lamp-1",
            }
        )
        made.append(Delivery(event=read_row(b"", value, {}), topic="t", carrier={}))
    return made


@pytest.mark.parametrize(
    "order", [((1, 9, 0), (2, 5, 1)), ((2, 5, 1), (1, 9, 0)), ((2, 5, 1), (2, 5, 1))]
)
async def test_the_newest_row_counts_less_its_safety_stock(world: World, order: Any) -> None:
    stock = Stock(world.products)
    await stock.take_in(rows(*order))
    assert world.shelves.products[LAMP].available_qty == 4
    for one in order:
        await stock.take_in(rows(one))
    assert world.shelves.products[LAMP].available_qty == 4


async def test_stock_below_the_safety_stock_is_none(world: World) -> None:
    await Stock(world.products).take_in(rows((1, 2, 5)))
    assert world.shelves.products[LAMP].available_qty == 0


def test_a_deletion_is_no_row() -> None:
    assert read_row(b"{}", None, {}) is None
    with pytest.raises(msgspec.ValidationError):
        read_row(b"{}", b'{"product_id": 1}', {})


async def test_only_who_received_it_reviews_and_a_nameless_is_a_buyer(world: World) -> None:
    draft = shapes.ReviewDraft(rating=5)
    with pytest.raises(NotReceivedError):
        await world.reviewing.write(LAMP, "user_1", draft)
    delivered = events.OrderDelivered(
        order_id="o", user_id="user_1", lines=[stories.line(product_id=LAMP)], delivered_at=NOW
    )
    await world.reviewing.take_in([Delivery(event=delivered, topic="orders", carrier={})])
    written = await world.reviewing.write(LAMP, "user_1", draft)
    assert written.author == "A buyer"
    found, rating = await world.reviewing.page(LAMP, offset=0, limit=5)
    assert (found, rating.average, rating.count) == ([written], 5.0, 1)
    with pytest.raises(UnknownProductError):
        await world.reviewing.write(ids.product_id("other"), "user_1", draft)


def drawing(size: int = 64) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (size, size), "red").save(out, "PNG")
    return out.getvalue()


async def ticket(world: World, size: int = 100_000) -> str:
    upload = shapes.ImageUpload(content_type="image/png", size=size)
    return (await world.illustrate.open_ticket(LAMP, upload)).image_id


async def test_an_upload_is_shown_and_its_original_deleted(world: World) -> None:
    image_id = await ticket(world)
    world.pass_seconds(2)
    await world.work()
    assert (await world.illustrate.status(LAMP, image_id)).state == "waiting"
    world.objects.held[f"uploads/{image_id}"] = drawing()
    world.pass_seconds(2)
    await world.work()
    status = await world.illustrate.status(LAMP, image_id)
    assert status.state == "ready"
    assert status.image is not None
    assert {f"https://cdn.example/{name}" for name in world.objects.held} == {
        status.image.url,
        status.image.thumbnail_url,
    }
    assert world.shelves.tickets == {}
    await world.illustrate.remove(LAMP, image_id)
    await world.work()
    assert (world.objects.held, world.shelves.tickets) == ({}, {})


@pytest.mark.parametrize(
    ("data", "size", "reason"), [(b"text", 100, "no PNG"), (drawing(), 10, "more than the 10")]
)
async def test_a_refusal_is_said_and_its_original_deleted(
    world: World, data: bytes, size: int, reason: str
) -> None:
    image_id = await ticket(world, size)
    world.objects.held[f"uploads/{image_id}"] = data
    world.pass_seconds(2)
    await world.work()
    status = await world.illustrate.status(LAMP, image_id)
    assert status.state == "refused"
    assert reason in status.reason
    assert world.objects.held == {}


async def test_a_ticket_that_nobody_used_ends(world: World) -> None:
    image_id = await ticket(world)
    for _ in range(100):
        world.pass_seconds(15)
        await world.work()
    assert (await world.illustrate.status(LAMP, image_id)).state == "refused"
    assert await world.tickets.claim_due(world.time + timedelta(days=1)) is None


async def test_an_upload_that_ends_after_its_ticket_is_deleted_an_hour_later(world: World) -> None:
    late = await ticket(world)
    world.pass_seconds(20 * 60 + 1)
    await world.work()
    name = f"uploads/{late}"
    world.objects.held |= {name: drawing(), "images/shown": b"", "images/others": b""}
    world.objects.stored_at[name] = world.time
    waiting = await ticket(world)  # its worker is behind: the upload is old and still wanted
    world.objects.held[f"uploads/{waiting}"] = drawing()
    world.pass_seconds(3600)
    assert not await world.sweep.step()
    assert name in world.objects.held, "not yet"
    world.pass_seconds(1)
    assert not await world.sweep.step()
    assert sorted(world.objects.held) == ["images/others", "images/shown", f"uploads/{waiting}"]


async def test_the_sweep_of_uploads_walks_on_where_it_stopped_and_begins_again(
    world: World,
) -> None:
    world.objects.held = {f"uploads/img_{number:04}": b"" for number in range(PAGE + 1)}
    world.pass_seconds(3601)
    world.objects.away = True
    with pytest.raises(ConnectionError):
        await world.sweep.step()
    world.objects.away = False
    assert await world.sweep.step()
    assert list(world.objects.held) == [f"uploads/img_{PAGE:04}"]
    assert not await world.sweep.step()
    assert not world.objects.held
    world.objects.held["uploads/img_0000"] = b""
    assert not await world.sweep.step()
    assert not world.objects.held


async def test_while_objects_are_away_nothing_is_lost(world: World) -> None:
    image_id = await ticket(world)
    world.objects.held[f"uploads/{image_id}"] = drawing()
    world.objects.away = True
    with pytest.raises(ConnectionError):
        await ticket(world)
    assert len(world.shelves.tickets) == 1
    world.pass_seconds(2)
    with pytest.raises(ConnectionError):
        await world.illustrate.step()
    world.objects.away = False
    world.pass_seconds(pictures.CLAIM.total_seconds())
    await world.work()
    assert (await world.illustrate.status(LAMP, image_id)).state == "ready"


async def test_signs_alone_find_nothing_and_nothing_finds_all(world: World) -> None:
    assert (await world.look.search(shapes.SearchQuery(term="!?"))).total == 0
    assert (await world.look.search(shapes.SearchQuery(term=" "))).total == 1


def test_a_search_for_whole_words_keeps_the_bounds_of_prices_inside() -> None:
    query = msgspec.convert(
        {"term": "Red  Lamp", "minPrice": "9.991", "maxPrice": "20.009", "currency": "EUR"},
        shapes.SearchQuery,
        strict=False,
    )
    asked = wanted(query)
    assert (asked.words, asked.min_price_minor, asked.max_price_minor) == (
        ("red", "lamp"),
        1000,
        2000,
    )
