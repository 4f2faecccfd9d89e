"""Orders of several lines through the public door: whole or not at all, and the answer names the line that failed."""

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from buyers import enrol, gates, manifest, plan, shop
from devstack.stack import Stack
from doorbuster.kit import ids

CROWD = 40
WITHIN_SECONDS = 60.0


@dataclass(kw_only=True)
class Mall:
    """The running shop with people who are signed in."""

    environment: Mapping[str, str]
    keeper: gates.GateKeeper
    people: list[shop.Visitor]
    names: dict[str, str] = field(default_factory=dict)

    async def open(self, *wishes: gates.Wish) -> list[manifest.Sale]:
        """Open sales and wait until a buyer sees all of them open."""
        sales = await self.keeper.open_sales(list(wishes))

        async def are_open() -> bool:
            pages = [
                await self.people[0].call("GET", f"/v1/sales/{manifest.NAMESPACE}.{sale.name}")
                for sale in sales
                for _ in range(4)  # more than one checkout answers
            ]
            return all(page.body.get("phase") == "Open" for page in pages)

        await eventually(are_open, "the sales are open")
        return sales

    async def buy(self, person: int, key: str, *skus: str, **quantities: int) -> shop.Answer:
        lines = [
            {"productId": ids.product_id(sku), "quantity": quantities.get("quantity", 1)}
            for sku in skus
        ]
        return await self.people[person].call(
            "POST", "/v1/checkout", body={"products": lines}, key=key
        )

    async def pay(self, person: int, order_id: str) -> shop.Answer:
        body = {"orderId": order_id, "paymentMethod": "card", "token": "pm_card_visa"}
        return await self.people[person].call("POST", "/v1/payment", body=body, key="card")

    async def units(self, sku: str) -> tuple[int, int, int]:
        """Return (available, reserved, sold) as stored."""
        connection = await asyncpg.connect(self.environment["DOORBUSTER_INVENTORY_DSN"])
        try:
            row = await connection.fetchrow(
                "SELECT available_qty, reserved_qty, sold_qty FROM inventory WHERE sku = $1", sku
            )
        finally:
            await connection.close()
        return tuple(row)

    async def are_sold(self, sku: str, units: int) -> bool:
        return (await self.units(sku))[2] == units


async def eventually(condition: Callable[[], Any], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + WITHIN_SECONDS
    while not await condition():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {WITHIN_SECONDS} s: {what}")
        await asyncio.sleep(0.1)


@pytest.fixture
async def mall(open_stack: Stack) -> AsyncIterator[Mall]:
    environment = open_stack.env()
    url = environment["DOORBUSTER_PUBLIC_URL"]
    plans = plan.draw_plans(CROWD, 4)
    entrances = await enrol.enrol(url, plans, enrol.CredentialBook())
    people = [
        shop.Visitor(url, one.address, token=entrances[one.name].access_token) for one in plans
    ]
    async with gates.gate_keeper(environment, open_stack.layout.keys / "operator.pem") as keeper:
        yield Mall(environment=environment, keeper=keeper, people=people)
    for person in people:
        person.close()


def wish(units: int, **changes: Any) -> gates.Wish:
    given = {"name": f"lines-{secrets.token_hex(4)}", "opens_in": -1.0, "hold_seconds": 60}
    return gates.Wish(units=units, **given | changes)


async def test_lines_of_several_sales_are_one_order_with_the_shortest_time_to_pay(
    mall: Mall,
) -> None:
    sales = await mall.open(
        wish(5), wish(5, hold_seconds=20), wish(5, strategy="Direct", hold_seconds=90)
    )
    skus = [sale.name for sale in sales]
    done = await mall.buy(0, secrets.token_hex(8), *skus)
    assert done.status == 201, done
    reservation = await _reservation(mall, done.body["orderId"])
    assert reservation["seconds"] == pytest.approx(20, abs=0.1)
    assert reservation["lines"] == 3
    paid = await mall.pay(0, done.body["orderId"])
    assert (paid.status, paid.body["status"]) == (200, "success")
    for sku in skus:
        await eventually(lambda sku=sku: mall.are_sold(sku, 1), f"{sku} is sold")
        assert await mall.units(sku) == (4, 0, 1)


async def _reservation(mall: Mall, order_id: str) -> Mapping[str, Any]:
    connection = await asyncpg.connect(mall.environment["DOORBUSTER_INVENTORY_DSN"])
    try:
        return await connection.fetchrow(
            "SELECT extract(epoch FROM expires_at - created_at)::float8 AS seconds,"
            " (SELECT count(*) FROM reservation_line l WHERE l.order_id = r.order_id) AS lines"
            " FROM reservation r WHERE order_id = $1",
            order_id,
        )
    finally:
        await connection.close()


async def test_the_answer_names_the_line_that_failed_in_both_dialects(mall: Mall) -> None:
    scarce, plenty = (sale.name for sale in await mall.open(wish(1), wish(5)))
    holder = await mall.buy(0, secrets.token_hex(8), scarce)
    assert holder.status == 201

    async def refused(person: int, *skus: str, quantity: int = 1) -> tuple[int, str, str]:
        answer = await mall.buy(person, secrets.token_hex(8), *skus, quantity=quantity)
        return answer.status, answer.code, answer.body["productId"]

    named = ids.product_id(scarce)
    assert await refused(1, scarce, plenty) == (409, "WAITING", named)
    assert await refused(1, plenty, scarce) == (409, "WAITING", named)
    short = await mall.people[1].call(
        "POST",
        "/api/checkout",
        body={
            "products": [
                {"product_id": ids.product_id(sku), "quantity": 1} for sku in (plenty, scarce)
            ]
        },
        key=secrets.token_hex(8),
    )
    assert (short.status, short.code, short.body["productId"]) == (409, "WAITING", named)
    limit = await refused(1, plenty, quantity=2)
    assert limit == (409, "PER_USER_LIMIT", ids.product_id(plenty))
    # What no sale has is asked of the catalogue, which is not there.
    ordinary = await mall.buy(1, secrets.token_hex(8), plenty, "no-such-thing")
    assert (ordinary.status, ordinary.code) == (503, "UNAVAILABLE")
    assert await mall.units(plenty) == (5, 0, 0)
    # The others hold all of the plenty, too, but the scarce is gone for good: that ends the order.
    for person in range(2, 7):
        assert (await mall.buy(person, secrets.token_hex(8), plenty)).status == 201
    assert (await mall.pay(0, holder.body["orderId"])).body["status"] == "success"
    await eventually(lambda: mall.are_sold(scarce, 1), "the scarce is sold")
    for skus in ((plenty, scarce), (scarce, plenty)):
        assert await refused(1, *skus) == (409, "SOLD_OUT", named)
    assert (await refused(1, plenty))[1] == "WAITING"


async def test_a_crowd_with_baskets_leaves_no_unit_behind_and_none_half_held(mall: Mall) -> None:
    sales = await mall.open(wish(5), wish(7), wish(4), wish(6, strategy="Direct"))
    stock = dict(zip((sale.name for sale in sales), (5, 7, 4, 6), strict=True))
    dice = random.Random(11)
    baskets = [dice.sample(list(stock), dice.randint(1, 3)) for _ in range(CROWD)]
    keys = [secrets.token_hex(8) for _ in range(CROWD)]
    held: dict[int, str] = {}
    deadline = asyncio.get_running_loop().time() + WITHIN_SECONDS

    async def person(number: int) -> str:
        """Try again with the same key until the answer is final or nobody can win any more."""
        while asyncio.get_running_loop().time() < deadline:
            answer = await mall.buy(number, keys[number], *baskets[number])
            if answer.status == 201:
                held[number] = answer.body["orderId"]
                paid = await mall.pay(number, held[number])
                assert paid.body["status"] == "success", paid
                return "PAID"
            assert answer.status == 409, answer
            assert answer.body["productId"] in {ids.product_id(sku) for sku in baskets[number]}
            if answer.code == "SOLD_OUT":
                return "SOLD_OUT"
            assert answer.code == "WAITING", answer
            await asyncio.sleep(random.uniform(0.2, 0.6))
        return "WAITING"

    ends = await asyncio.gather(*(person(number) for number in range(CROWD)))
    sold = Counter(sku for number in held for sku in baskets[number])
    for sku in stock:
        await eventually(lambda sku=sku: mall.are_sold(sku, sold[sku]), f"{sku} settles")
        assert await mall.units(sku) == (stock[sku] - sold[sku], 0, sold[sku])
    left = {sku for sku in stock if sold[sku] < stock[sku]}
    # Whoever lost lacks a product that is gone: a final answer, and no unit of a winnable basket is left.
    for number, end in enumerate(ends):
        assert end in ("PAID", "SOLD_OUT")
        assert (end == "PAID") or not set(baskets[number]) <= left
