"""The product service on real MongoDB, Kafka and Redis: a merchant's desk, what buyers see, events, an outage."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec

from devstack.stack import Stack
from doorbuster.contracts import events, internal
from doorbuster.kit import bus, clock, ids
from doorbuster.product.consumers import STOCK_TOPIC
from doorbuster.testing import broker, stories

Eventually = Callable[..., Awaitable[Any]]
LAMP = ids.product_id("lamp-1")
PATH, ADMIN = f"/v1/products/{LAMP}", f"/v1/admin/products/{LAMP}"
DRAFT = {
    "title": "Desk lamp",
    "category": "lamps",
    "price": 19.90,
    "currency": "EUR",
    "specifications": {"watts": 7, "dimmable": True, "colour": "röd"},
    "keywords": ["light"],
    "manufacturer": {"name": "Lumora"},
}
NEW = {**DRAFT, "sku": "lamp-1"}


async def test_a_merchant_edits_what_he_has_read_and_everybody_sees_it(world: Any) -> None:
    async with world.service() as service:

        async def call(*args: Any, **how: Any) -> tuple[int, Any, Any]:
            return await world.call(service, *args, **how)  # type: ignore[no-any-return]

        assert (await call("POST", "/v1/admin/products", NEW))[0] == 401
        assert (await call("POST", "/v1/admin/products", NEW, as_="user_1"))[0] == 403
        status, made, headers = await call("POST", "/v1/admin/products", NEW, as_="merchant")
        assert (status, made["productId"], made["price"]) == (201, LAMP, 19.9)
        assert headers["ETag"] == '"1"'
        status, problem, _ = await call("POST", "/v1/admin/products", NEW, as_="merchant")
        assert (status, problem["code"]) == (409, "SKU_TAKEN")

        edit = {**DRAFT, "price": 17.5}
        for tag, expected in (
            ({}, (428, "VERSION_REQUIRED")),
            ({"If_Match": '"7"'}, (412, "VERSION_CHANGED")),
            ({"If_Match": "what"}, (412, "VERSION_CHANGED")),
        ):
            status, problem, _ = await call("PUT", ADMIN, edit, as_="merchant", **tag)
            assert (status, problem["code"]) == expected
        first = await call("PUT", ADMIN, edit, as_="merchant", If_Match='"1"')
        again = await call("PUT", ADMIN, edit, as_="merchant", If_Match='"1"')
        assert (first[0], first[1], first[2]["ETag"]) == (200, again[1], '"2"')
        other = await call("PUT", ADMIN, DRAFT, as_="merchant", If_Match='"1"')
        assert other[0] == 412
        status, seen, headers = await call("GET", PATH)
        assert (status, seen, headers["ETag"]) == (200, first[1], '"2"')
        assert seen["specifications"] == DRAFT["specifications"]

        for wrong in (
            {"price": 1.999},
            {"price": -1},
            {"specifications": {"atoms": 10**30}},
            {"specifications": {"a.b": 1}},
            {"title": "a\x00b"},
            {"category": "Not A Slug"},
        ):
            status, problem, _ = await call(
                "POST", "/v1/admin/products", {**NEW, "sku": "x", **wrong}, as_="merchant"
            )
            assert (status, problem["code"]) == (422, "INVALID"), wrong
        assert (await call("GET", f"/v1/products/{ids.product_id('x')}"))[0] == 404
        assert (await call("GET", "/v1/products/nonsense"))[1]["code"] == "UNKNOWN_PRODUCT"

        quoted = await world.ask(
            service, "POST", "/internal/v1/products:quote", "cart", {"ids": [LAMP, "prod_none"]}
        )
        assert [quote["priceMinor"] for quote in quoted[1]["quotes"]] == [1750]
        listed = await world.ask(service, "GET", "/internal/v1/products?size=5", "search")
        assert (listed[1]["total"], listed[1]["next"]) == (1, None)
        found = await world.ask(
            service, "GET", "/internal/v1/products:find?term=LIGHT%20desk&maxPrice=17.5", "search"
        )
        assert [entry["productId"] for entry in found[1]["entries"]] == [LAMP]
        assert (await world.ask(service, "GET", "/internal/v1/products", "cart"))[0] == 403

        assert (await call("DELETE", ADMIN, as_="merchant"))[0] == 428
        assert (await call("DELETE", ADMIN, as_="merchant", If_Match='"2"'))[0] == 204
        assert (await call("DELETE", ADMIN, as_="merchant", If_Match='"2"'))[0] == 404
        status, made, headers = await call("POST", "/v1/admin/products", NEW, as_="merchant")
        assert (status, headers["ETag"]) == (201, '"3"')


def sale(price_minor: int) -> internal.SaleView:
    now = clock.utc_now()
    item = internal.SaleItemView(
        product_id=LAMP,
        sku="lamp-1",
        price_minor=price_minor,
        currency="EUR",
        per_user_limit=1,
        allocated=5,
        available=5,
        reserved=0,
        sold=0,
        epoch=1,
    )
    return internal.SaleView(
        uid="u",
        namespace="shop",
        name="drop",
        state="Active",
        strategy="Escrow",
        open_time=now - timedelta(minutes=1),
        close_time=now + timedelta(hours=1),
        reservation_timeout_seconds=60,
        items=[item],
    )


async def test_details_have_the_sales_price_and_live_units_and_do_without_inventory(
    world: Any, eventually: Eventually
) -> None:
    world.neighbours.stock[LAMP] = 4
    async with world.service() as service:
        await world.call(service, "POST", "/v1/admin/products", NEW, as_="merchant")
        world.neighbours.sales.append(sale(990))

        async def on_sale() -> Any:
            _, seen, _ = await world.call(service, "GET", PATH)
            return seen if seen.get("sale") else None

        seen = await eventually(on_sale, what="the sale's price")
        assert (seen["price"], seen["sale"]["listPrice"], seen["sale"]["saleId"]) == (
            *(9.9, 19.9),
            "shop.drop",
        )
        assert seen["availableQty"] == 4
        world.neighbours.away = True

        async def at_list_price() -> bool:
            status, seen, _ = await world.call(service, "GET", PATH)
            assert status == 200
            return bool(seen["price"] == 19.9 and seen["sale"] is None)

        await eventually(at_list_price, what="no sale's price that is older than 5 s")


def row(version: int, available: int, safety: int = 0) -> bus.Message:
    value = {
        "product_id": LAMP,
        "sku": "lamp-1",
        "available_qty": available,
        "safety_stock": safety,
        "version": version,
        "__deleted": "false",
    }
    return bus.Message(
        topic=STOCK_TOPIC,
        key=LAMP,
        value=msgspec.json.encode(value),
        headers=(),
    )


async def test_orders_and_captured_rows_arrive_in_any_order(
    world: Any, eventually: Eventually
) -> None:
    buyer, other = stories.user_id(1), stories.user_id(2)
    world.neighbours.names[buyer] = "Ada"
    delivered = events.OrderDelivered(
        order_id=stories.order_id(1),
        user_id=buyer,
        lines=[stories.line(product_id=LAMP)],
        delivered_at=stories.at(900),
    )
    async with world.service() as service:
        await world.call(service, "POST", "/v1/admin/products", NEW, as_="merchant")
        async with bus.open_bus(world.bootstrap) as kafka:
            await kafka.send([row(5, 9, 2), row(3, 1), row(4, 2), row(5, 9, 2)])
        await broker.publish(world.bootstrap, events.ORDERS_TOPIC, [delivered, delivered])
        reviews = f"{PATH}/reviews"

        async def may_review() -> Any:
            status, body, _ = await world.call(
                service, "POST", reviews, {"rating": 4, "text": "Fine."}, as_=buyer
            )
            return body if status == 201 else None

        written = await eventually(may_review, what="the right to review")
        assert (written["author"], written["rating"]) == ("Ada", 4)
        for user, expected in ((buyer, (409, "ALREADY_REVIEWED")), (other, (403, "NOT_RECEIVED"))):
            status, problem, _ = await world.call(
                service, "POST", reviews, {"rating": 1}, as_=user
            )
            assert (status, problem["code"]) == expected
        status, changed, _ = await world.call(
            service, "PUT", f"{reviews}/mine", {"rating": 2}, as_=buyer
        )
        assert (status, changed["reviewId"], changed["rating"]) == (200, written["reviewId"], 2)

        async def stocked() -> bool:
            _, seen, _ = await world.call(service, "GET", PATH)
            return bool(seen["availableQty"] == 7)

        await eventually(stocked, what="what inventory has above its safety stock")
        _, seen, _ = await world.call(service, "GET", PATH)
        assert seen["rating"] == {"average": 2.0, "count": 1}
        assert [review["text"] for review in seen["reviews"]] == [""]
        listed = (await world.call(service, "GET", f"{reviews}?page=1&size=5"))[1]
        assert listed["pagination"] == {"page": 1, "size": 5, "totalPages": 1, "totalItems": 1}
        assert (await world.call(service, "DELETE", f"{reviews}/mine", as_=buyer))[0] == 204
        assert (await world.call(service, "DELETE", f"{reviews}/mine", as_=buyer))[0] == 404


async def test_a_dead_mongodb_is_said_in_time_and_comes_back_without_hands(
    world: Any, stack: Stack, eventually: Eventually
) -> None:
    async with world.service() as service:
        await world.call(service, "POST", "/v1/admin/products", NEW, as_="merchant")
        seen: dict[int, float] = {}
        stop = asyncio.Event()

        async def reader() -> None:
            while not stop.is_set():
                started = time.monotonic()
                status, body, _ = await world.call(service, "GET", PATH)
                if status != 200:
                    assert (status, body["code"]) == (503, "UNAVAILABLE")
                seen[status] = max(seen.get(status, 0.0), time.monotonic() - started)
                await asyncio.sleep(0.02)

        readers = [asyncio.create_task(reader()) for _ in range(5)]
        try:
            await asyncio.sleep(0)
            await asyncio.to_thread(stack.kill, "mongo")

            async def refused() -> bool:
                return 503 in seen

            await eventually(refused, what="an answer without MongoDB")
            assert not await service.is_ready()
            edit = await world.call(service, "PUT", ADMIN, DRAFT, as_="merchant", If_Match='"1"')
            assert edit[1]["code"] == "UNAVAILABLE"
        finally:
            await asyncio.to_thread(stack.restart, "mongo")
            seen.pop(200, None)

        async def back() -> bool:
            return 200 in seen

        await eventually(back, what="answers again")
        stop.set()
        await asyncio.gather(*readers)
        assert seen[503] < 8.0  # 2 s are the limit; the rest is a busy machine
        edit = await world.call(service, "PUT", ADMIN, DRAFT, as_="merchant", If_Match='"1"')
        assert edit[0] == 200
