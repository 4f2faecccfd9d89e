"""Paid orders through the public door: cancelled and returned ones give money and units back, each once."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
import pytest

from buyers import enrol, gates, plan, shop
from devstack.stack import Stack
from doorbuster.kit import ids

WITHIN_SECONDS = 90.0
PARCEL = {"carrier": "Swift Parcels", "trackingNumber": "SP-9"}
ADDRESS = "198.51.100.7"


@dataclass(kw_only=True)
class Counter:
    """The running shop with a buyer, another buyer and an admin."""

    environment: Mapping[str, str]
    keeper: gates.GateKeeper
    buyer: shop.Visitor
    other: shop.Visitor
    admin: shop.Visitor

    async def bought(self, sku: str) -> str:
        """Buy and pay one unit; returns the order's id once it is confirmed."""
        lines = [{"productId": ids.product_id(sku), "quantity": 1}]
        key = secrets.token_hex(8)

        async def placed() -> bool:
            nonlocal done
            body = {"products": lines}
            done = await self.buyer.call("POST", "/v1/checkout", body=body, key=key)
            return done.status == 201

        done: Any = None
        await eventually(placed, lambda: f"the order is placed: {done}")
        order_id: str = done.body["orderId"]
        body = {"orderId": order_id, "paymentMethod": "card", "token": "pm_card_visa"}
        paid = await self.buyer.call("POST", "/v1/payment", body=body, key="card")
        assert (paid.status, paid.body["status"]) == (200, "success")
        await self.until_status(order_id, "confirmed")
        return order_id

    async def until_status(self, order_id: str, status: str) -> None:
        async def reached() -> bool:
            seen = await self.buyer.call("GET", f"/v1/orders/{order_id}/status")
            return seen.is_success and seen.body["status"] == status

        await eventually(reached, lambda: f"{order_id} is {status}")

    async def until_given_back(self, order_id: str, sku: str, units: int) -> None:
        """Wait until the buyer has his money and the shop its units."""

        async def given_back() -> bool:
            return await self.money(order_id) == 0 and await self.units(sku) == (units, 0, 0)

        await eventually(given_back, lambda: f"{order_id} is given back")

    async def until_sold(self, sku: str) -> None:
        """Wait until inventory has heard that one unit is paid."""

        async def sold() -> bool:
            return (await self.units(sku))[2] == 1

        await eventually(sold, lambda: "one unit is sold")

    async def money(self, order_id: str) -> int:
        """Return what the provider holds of the order's money, taken or promised."""
        url = f"{self.environment['DOORBUSTER_PSP_URL']}/admin/intents"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            intents = (await answer.json())["intents"]
        [intent] = [one for one in intents if one["orderId"] == order_id]
        promised = 1 if intent["status"] == "requires_capture" else 0
        return int(promised + intent["amountCaptured"] - intent["amountRefunded"])

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


async def eventually(condition: Callable[[], Any], what: Callable[[], str]) -> None:
    deadline = asyncio.get_running_loop().time() + WITHIN_SECONDS
    while not await condition():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {WITHIN_SECONDS} s: {what()}")
        await asyncio.sleep(0.1)


@pytest.fixture
async def counter(open_stack: Stack) -> AsyncIterator[Counter]:
    environment = open_stack.env()
    url = environment["DOORBUSTER_PUBLIC_URL"]
    plans = plan.draw_plans(2, 4)
    entrances = await enrol.enrol(url, plans, enrol.CredentialBook())
    async with shop.Visitor(url, ADDRESS) as nobody:
        login = {
            "email": environment["DOORBUSTER_ADMIN_EMAIL"],
            "password": environment["DOORBUSTER_ADMIN_PASSWORD"],
        }
        session = await nobody.call("POST", "/v1/sessions", body=login)
    buyer, other = (
        shop.Visitor(url, one.address, token=entrances[one.name].access_token) for one in plans
    )
    admin = shop.Visitor(url, ADDRESS, token=session.body["accessToken"])
    async with gates.gate_keeper(environment, open_stack.layout.keys / "operator.pem") as keeper:
        yield Counter(
            environment=environment, keeper=keeper, buyer=buyer, other=other, admin=admin
        )
    for visitor in (buyer, other, admin):
        visitor.close()


async def test_a_cancelled_and_a_returned_order_give_money_and_units_back(
    counter: Counter,
) -> None:
    name = f"back-{secrets.token_hex(4)}"
    wish = gates.Wish(name=name, units=3, opens_in=-1.0, hold_seconds=60)
    [sale] = await counter.keeper.open_sales([wish])
    sku = sale.name

    order_id = await counter.bought(sku)
    path, theirs = f"/v1/orders/{order_id}", f"/v1/admin/orders/{order_id}"
    refused = await counter.other.call("POST", f"{path}/cancel", body={})
    assert (refused.status, refused.code) == (404, "UNKNOWN_ORDER")
    for _ in range(2):
        answer = await counter.buyer.call("POST", f"{path}/cancel", body={"reason": "a mistake"})
        assert (answer.status, answer.body["status"]) == (200, "cancelled")
    await counter.until_given_back(order_id, sku, 3)
    refused = await counter.admin.call("POST", f"{theirs}/shipments", body=PARCEL)
    assert (refused.status, refused.code) == (409, "NOT_SHIPPABLE")

    order_id = await counter.bought(sku)
    path, theirs = f"/v1/orders/{order_id}", f"/v1/admin/orders/{order_id}"
    refused = await counter.buyer.call("POST", f"{theirs}/shipments", body=PARCEL)
    assert (refused.status, refused.code) == (403, "FORBIDDEN")
    for call, caller, body in (
        (f"{theirs}/shipments", counter.admin, PARCEL),
        (f"{theirs}/deliveries", counter.admin, {}),
        (f"{path}/return", counter.buyer, {"reason": "too small"}),
    ):
        answer = await caller.call("POST", call, body=body)
        assert (answer.status, answer.body.get("trackingNumber")) == (200, "SP-9"), answer
    assert await counter.money(order_id) > 0
    await counter.until_sold(sku)
    answer = await counter.admin.call("POST", f"{theirs}/returns", body={})
    assert (answer.status, answer.body["status"]) == (200, "returned")
    await counter.until_given_back(order_id, sku, 3)
    seen = await counter.admin.call("GET", theirs)
    assert (seen.body["order"]["status"], seen.body["reason"]) == ("returned", "too small")
