"""Inventory as checkout, payment and a reader of its books see it: buyers hold and pay, nobody asks the operator."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from doorbuster.contracts import control, events, internal
from doorbuster.kit import bus, client, clock, ids

PRICE_MINOR = 99_900
CURRENCY = "USD"
POLL_SECONDS = 0.05
STEP_SECONDS = 60.0
Seen = TypeVar("Seen")


class Shopper:
    """Buys single units of the only product of one sale."""

    def __init__(
        self, *, checkout: client.ServiceClient, reader: client.ServiceClient, open_bus: bus.Bus
    ) -> None:
        self._checkout = checkout
        self._reader = reader
        self._bus = open_bus

    async def gate(self, uid: str) -> control.SaleState | None:
        """Return the stored gate of a sale."""
        answer = await self._reader.call("GET", "/control/v1/sales?since=0", control.SaleStates)
        return next((sale for sale in answer.sales if sale.uid == uid), None)

    async def stock(self, sku: str) -> control.PoolState | None:
        """Return the stored stock of a sku."""
        answer = await self._reader.call("GET", "/control/v1/pools?since=0", control.PoolStates)
        return next((pool for pool in answer.pools if pool.sku == sku), None)

    async def ask(self, sale: dict[str, Any], units: int = 1) -> tuple[list[Any], list[str]]:
        """Let that many strangers ask for a unit; returns the orders that hold one, and all outcomes."""
        line = internal.ReserveLine(
            product_id=ids.product_id(sale["spec"]["items"][0]["sku"]),
            quantity=1,
            price_minor=PRICE_MINOR,
            currency=CURRENCY,
            sale_uid=sale["metadata"]["uid"],
        )
        topic = events.sale_topic(sale["metadata"]["namespace"], sale["metadata"]["name"])
        items = [
            internal.ReserveItem(
                order_id=ids.order_id(secrets.token_hex(8), "key"),
                user_id=ids.new_id("user"),
                request_hash="h",
                topic=topic,
                lines=[line],
            )
            for _ in range(units)
        ]
        answer = await self._checkout.call(
            "POST",
            "/internal/v1/reservations",
            internal.ReserveResults,
            body=internal.ReserveBatch(items=items),
        )
        held = {each.order_id for each in answer.results if each.outcome == "HELD"}
        return [item for item in items if item.order_id in held], [
            each.outcome for each in answer.results
        ]

    async def buy(self, sale: dict[str, Any], units: int) -> None:
        """Hold and pay so many units, and wait until they are sold; raises TimeoutError."""
        orders: list[Any] = []

        async def hold() -> bool:
            held, _ = await self.ask(sale, units - len(orders))
            orders.extend(held)
            return len(orders) == units

        await eventually(f"{units} units held", hold, bool)
        await self.pay(sale, orders)

    async def pay(self, sale: dict[str, Any], orders: Sequence[Any]) -> None:
        """Let payments of held units succeed, and wait until they are sold; raises TimeoutError."""
        uid = sale["metadata"]["uid"]
        wanted = _sold(await self.gate(uid)) + len(orders)
        pins = [internal.PinItem(order_id=each.order_id, attempt=1) for each in orders]
        await self._checkout.call(
            "POST", "/internal/v1/pins", internal.PinResults, body=internal.PinBatch(items=pins)
        )
        await self._bus.send([_paid(each) for each in orders])
        await eventually(
            f"{wanted} units sold", lambda: self.gate(uid), lambda gate: _sold(gate) == wanted
        )


async def eventually(
    what: str, ask: Callable[[], Awaitable[Seen]], holds: Callable[[Seen], bool]
) -> Seen:
    """Ask until the answer is right; raises TimeoutError with the last one."""
    deadline = time.monotonic() + STEP_SECONDS
    while True:
        seen = await ask()
        if holds(seen):
            return seen
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: at last {seen!r}")
        await asyncio.sleep(POLL_SECONDS)


def _sold(gate: control.SaleState | None) -> int:
    return sum(item.sold for item in gate.items) if gate is not None else 0


def _paid(order: internal.ReserveItem) -> bus.Message:
    lines: Sequence[internal.ReserveLine] = order.lines
    event = events.PaymentSucceeded(
        order_id=order.order_id,
        user_id=order.user_id,
        lines=[
            events.Line(product_id=line.product_id, quantity=1, price_minor=PRICE_MINOR)
            for line in lines
        ],
        amount_minor=PRICE_MINOR,
        currency=CURRENCY,
        payment_id=ids.new_id("txn"),
        attempt=1,
        topic=order.topic,
        paid_at=clock.utc_now(),
    )
    headers = (("id", secrets.token_hex(8)), ("type", event.type), ("version", "1"))
    return bus.Message(
        topic=order.topic, key=order.order_id, value=msgspec.json.encode(event), headers=headers
    )
