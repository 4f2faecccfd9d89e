"""Carts, addresses and discounts on real checkouts and PostgreSQL: exact under a crowd, after a death, by events."""

import asyncio
import json
from collections import Counter
from datetime import timedelta

import aiohttp
import pytest

from doorbuster.contracts import events
from doorbuster.kit import bus, clock, ids
from doorbuster.testing import broker, processes
from doorbuster.testing.shelf import build_item, build_sale

CART, HOME = "cart_01h455vb4pex5vsknk084sn02q", "addr_01h455vb4pex5vsknk084sn02q"
CASE = ids.product_id("case")
TEN_PERCENT = {"kind": "percentage", "percent": 10}
WITHIN_SECONDS = 30.0


async def until(condition, what):
    deadline = asyncio.get_running_loop().time() + WITHIN_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {WITHIN_SECONDS} s: {what}")


async def make(shop, code="SAVE", **changed):
    path = f"/v1/admin/discounts/{code}"
    status, answer = await shop.administer("PUT", path, TEN_PERCENT | changed)
    assert status == 200, answer
    return answer


async def test_an_order_from_a_cart_with_an_address_a_code_shipping_and_tax(open_shop, identity):
    identity.catalogue.sell("case", 1_000)
    identity.carts.fill("user_1", CART, 7, case=2)
    address = identity.addresses.write("user_1", HOME)
    wish = {"cartId": CART, "addressId": HOME, "discountCode": "save"}
    settings = {"DOORBUSTER_SHIPPING": "EUR:4.99", "DOORBUSTER_TAX_PERCENT": "19"}
    async with open_shop(**settings) as shop:
        await make(shop)
        shop.shelf.stock(CASE, 5)
        buying = {"key": None, "product": CASE, "quantity": 2, "price": 10, **wish}
        answers = await asyncio.gather(*(shop.buy(**buying) for _ in range(5)))
        assert {status for status, _ in answers} == {201}
        [order_id] = {answer["orderId"] for _, answer in answers}
        done = answers[0][1]
        assert done["totals"] == {"subtotal": 20, "discount": 2, "shipping": 4.99, "tax": 4.37}
        assert done["amount"] == 27.36
        path = f"/internal/v1/orders/{order_id}"
        _, told = await shop.internally("order", "GET", path)
        assert told["address"]["recipient"] == address.recipient
        assert (told["discountCode"], told["topic"]) == ("SAVE", "orders")
        _, begun = await shop.internally(
            "payment", "POST", path + "/begin-payment", {"attempt": 1}
        )
        assert (begun["amountMinor"], begun["address"]) == (2736, None), "no business of payment's"
        _, [event] = await shop.stored()
        assert "address" not in event["payload"]
        assert json.loads(event["payload"])["amountMinor"] == 2736
        identity.addresses.books.clear()
        assert await shop.buy(**buying) == (201, done)


async def test_neighbours_that_are_away_stop_only_who_needs_them(open_shop, identity):
    identity.catalogue.is_away = identity.carts.is_away = identity.addresses.is_away = True
    async with open_shop() as shop:
        assert (await shop.buy("user_1", "a", product=CASE))[0] == 503
        assert (await shop.buy("user_1", "b", addressId=HOME))[0] == 503
        assert (await shop.buy("user_1", None, cartId=CART))[0] == 503
        assert await shop.stored() == ([], [])
        assert not shop.shelf.reservations
        assert (await shop.buy("user_1", "c", cartId=CART))[0] == 201, "a key makes it safe"


@pytest.mark.parametrize(
    ("wish", "status", "code"),
    [
        ({"cartId": CART}, 422, "UNKNOWN_CART"),
        ({"addressId": HOME}, 422, "UNKNOWN_ADDRESS"),
        ({"discountCode": "NEVER"}, 422, "UNKNOWN_DISCOUNT_CODE"),
        ({"discountCode": "DOLLAR"}, 422, "DISCOUNT_NOT_APPLICABLE"),
        ({"discountCode": "FREE"}, 422, "DISCOUNT_NOT_APPLICABLE"),
    ],
)
async def test_what_an_order_names_and_cannot_have(open_shop, wish, status, code):
    async with open_shop() as shop:
        await make(shop, "DOLLAR", kind="fixed", percent=None, amount=1, currency="USD")
        await make(shop, "FREE", percent=100)
        found, answer = await shop.buy(**wish)
        assert (found, answer["code"]) == (status, code)
        assert answer["detail"]
        assert await shop.stored() == ([], [])
        assert not shop.shelf.reservations


async def persist(shop, user, key, code):
    """Order with a code and, as clients do, again with the same key while the shop is too busy."""
    for _ in range(20):
        status, answer = await shop.buy(user, key, discountCode=code)
        if status != 503:
            break
    return status, answer


async def test_of_forty_buyers_on_two_checkouts_five_get_a_code_with_five_uses(open_shop):
    item = build_item(available=100, per_user_limit=50)
    sale = build_sale(clock.utc_now() - timedelta(minutes=1), item, strategy="Direct")
    async with open_shop(sale) as one, open_shop(shelf=one.shelf) as two:
        await make(one, totalUses=5)
        answers = await asyncio.gather(
            *(
                persist((one, two)[number % 2], f"user_{number}", f"key-{number}", "Save")
                for number in range(40)
            )
        )
        orders, _ = await one.stored()
        used, named = await one.uses_of("SAVE")
        greedy = await make(one, "MINE", usesPerUser=2)
        assert greedy["used"] == 0
        mine = await asyncio.gather(
            *(persist((one, two)[n % 2], "user_g", f"g-{n}", "MINE") for n in range(8))
        )
    assert Counter(answer.get("code", "placed") for _, answer in answers) == {
        "placed": 5,
        "DISCOUNT_USED_UP": 35,
    }
    assert used == 5
    assert named == {order["order_id"] for order in orders}
    assert {order["amount_minor"] for order in orders} == {8_991}
    assert Counter(status for status, _ in mine) == {201: 2, 409: 6}
    held = [found for found in one.shelf.reservations.values() if found.state == "HELD"]
    assert len(held) == 7, "who was refused holds nothing"


async def test_the_use_of_a_dead_order_comes_back_once_by_events(open_shop, servers):
    bootstrap = servers("kafka")["DOORBUSTER_KAFKA_BOOTSTRAP"]
    await bus.ensure_topic(bootstrap, events.ORDERS_TOPIC, partitions=3, replication=1)
    async with open_shop(DOORBUSTER_KAFKA_BOOTSTRAP=bootstrap) as shop:
        await make(shop)
        _, dead = await shop.buy(discountCode="SAVE")
        _, alive = await shop.buy("user_2", "k", discountCode="SAVE")
        about = {"order_id": dead["orderId"], "user_id": "user_1", "reason": "x"}
        heard = [
            events.OrderExpired(**about),
            events.PaymentReversed(**about, payment_id="txn", attempt=1),
            events.OrderCancelled(**about),
        ]
        await broker.publish(bootstrap, events.ORDERS_TOPIC, heard * 2)

        async def came_back():
            return await shop.uses_of("SAVE") == (1, {alive["orderId"]})

        await until(came_back, "the use is back")
        _, other = await shop.buy("user_3", "k", discountCode="SAVE")
        about["order_id"] = other["orderId"]
        await broker.publish(bootstrap, events.ORDERS_TOPIC, [events.OrderExpired(**about)])
        await until(came_back, "and those that were heard again have taken no other")


async def die(shop, point, path, buying):
    """Run a checkout that dies at ``point``, and buy there; returns when it is dead."""
    environment = shop.environment | {"DOORBUSTER_FAILPOINTS": point}
    async with processes.running("checkout", environment, path / "checkout.log") as doomed:
        with pytest.raises(aiohttp.ClientError):
            await shop.at(doomed.url).buy(**buying)
        assert await asyncio.wait_for(doomed.process.wait(), WITHIN_SECONDS) == 86


@pytest.mark.parametrize(
    ("point", "used"), [("checkout.discount.taken", 0), ("checkout.order.placed", 1)]
)
async def test_a_death_around_the_commit_takes_one_use_or_none(open_shop, tmp_path, point, used):
    buying = {"discountCode": "SAVE"}
    async with open_shop() as shop:
        await make(shop, totalUses=1)
        await die(shop, point, tmp_path, buying)
        assert (await shop.uses_of("SAVE"))[0] == used
        status, answer = await shop.buy(**buying)
        assert status == 201
        assert await shop.uses_of("SAVE") == (1, {answer["orderId"]})
        orders, told = await shop.stored()
        assert len(orders) == len(told) == 1


async def test_a_death_before_a_refused_order_lets_go_leaves_a_hold_that_runs_out(
    open_shop, tmp_path
):
    buying = {"discountCode": "SAVE"}
    async with open_shop() as shop:
        await make(shop, totalUses=1)

        async def is_waited_for():
            return await shop.pool.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )

        async with shop.pool.acquire() as rival:
            async with rival.transaction():
                await rival.execute("UPDATE discount SET used = used + 1")
                death = asyncio.create_task(die(shop, "checkout.order.refused", tmp_path, buying))
                await until(is_waited_for, "it holds units and waits for the code")
            await death
        [reservation] = shop.shelf.reservations.values()
        assert reservation.state == "HELD", "its pay-by ends it"
        assert await shop.stored() == ([], [])
        assert (await shop.buy(**buying))[1]["code"] == "DISCOUNT_USED_UP"
        assert await shop.uses_of("SAVE") == (1, set())


async def test_merchants_keep_discounts_and_buyers_do_not_see_them(open_shop):
    async with open_shop() as shop:
        made = await make(shop, "spring-1", totalUses=3, minimumAmount=5, currency="EUR")
        assert made | {"createdAt": ""} == {
            **TEN_PERCENT,
            "code": "SPRING-1",
            "amount": None,
            "currency": "EUR",
            "minimumAmount": 5,
            "validFrom": None,
            "validUntil": None,
            "totalUses": 3,
            "usesPerUser": None,
            "active": True,
            "used": 0,
            "createdAt": "",
        }
        assert await make(shop, "SPRING-1", totalUses=3, minimumAmount=5, currency="EUR") == made
        _, listed = await shop.administer("GET", "/v1/admin/discounts?size=1")
        assert (listed["discounts"], listed["pagination"]["totalItems"]) == ([made], 1)
        path = "/v1/admin/discounts/Spring-1"
        assert (await shop.administer("GET", path, role="admin"))[1] == made
        for method in ("GET", "PUT", "DELETE"):
            body = TEN_PERCENT if method == "PUT" else None
            status, answer = await shop.administer(method, path, body, role="buyer")
            assert (status, answer["code"]) == (403, "FORBIDDEN")
        assert (await shop.administer("DELETE", path))[0] == 204
        for method in ("GET", "DELETE"):
            status, answer = await shop.administer(method, path)
            assert (status, answer["code"]) == (404, "UNKNOWN_DISCOUNT_CODE")


BAD_DRAFTS = [
    *({}, {"kind": "percentage"}, {"kind": "free"}, TEN_PERCENT | {"percent": 101}),
    *(TEN_PERCENT | {"percent": 0}, TEN_PERCENT | {"amount": 1}, TEN_PERCENT | {"code": "X"}),
    TEN_PERCENT | {"currency": "eur"},
    TEN_PERCENT | {"minimumAmount": 1},
    TEN_PERCENT | {"totalUses": 0},
    TEN_PERCENT | {"totalUses": 10**12},
    TEN_PERCENT | {"validFrom": "2026-01-01T00:00:00"},
    TEN_PERCENT | {"validFrom": "2026-01-01T00:00:00Z", "validUntil": "2026-01-01T00:00:00Z"},
    {"kind": "fixed", "amount": 1},
    {"kind": "fixed", "amount": 0, "currency": "EUR"},
    {"kind": "fixed", "amount": 0.001, "currency": "EUR"},
    {"kind": "fixed", "amount": 1e300, "currency": "EUR"},
]


async def test_bad_discounts_are_refused_and_nothing_is_made(open_shop):
    async with open_shop() as shop:
        for draft in BAD_DRAFTS:
            status, answer = await shop.administer("PUT", "/v1/admin/discounts/BAD", draft)
            assert (status, answer["code"]) == (422, "INVALID"), draft
        for code in ("x", "-x", "x" * 33, "a%20b", "%00", "a%0a", "caf%C3%A9"):
            path = f"/v1/admin/discounts/{code}"
            status, answer = await shop.administer("PUT", path, TEN_PERCENT)
            assert (status, answer["code"]) == (422, "INVALID"), code
            assert (await shop.administer("GET", path))[0] == 404, code
        _, listed = await shop.administer("GET", "/v1/admin/discounts")
        assert listed["discounts"] == []
