"""Inventory and Kafka as checkout, payment and the operator see them, for tests against the real ones."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from doorbuster.contracts import control, events, internal
from doorbuster.kit import auth, bus, client, clock, ids


class Peer:
    """One shop's buyers; ``outcomes`` are the answers to the last reservations."""

    def __init__(
        self, checkout: client.ServiceClient, operator: client.ServiceClient, bootstrap: str
    ) -> None:
        self._checkout, self._operator, self._bootstrap = checkout, operator, bootstrap
        self.outcomes: list[str] = []

    async def gate(self, uid: str) -> control.SaleState | None:
        """The stored gate, or None."""
        answer = await self._operator.call("GET", "/control/v1/sales?since=0", control.SaleStates)
        return next((sale for sale in answer.sales if sale.uid == uid), None)

    async def take_fence(self, namespace: str) -> int:
        """Be elected in the operators' place: from now on theirs is stale."""
        request = control.FenceRequest(
            lease_namespace=namespace, lease_name="doorbuster-operator", holder="somebody"
        )
        answer = await self._operator.call(
            "POST", "/control/v1/fences", control.Fence, body=request
        )
        return answer.fence

    async def pool(self, sku: str) -> control.PoolState | None:
        """The stored stock."""
        answer = await self._operator.call("GET", "/control/v1/pools?since=0", control.PoolStates)
        return next((pool for pool in answer.pools if pool.sku == sku), None)

    async def reserve(self, sale: dict[str, Any], units: int = 1) -> list[internal.ReserveItem]:
        """Ask for ``units`` single orders of a sale's only product; returns those that are held."""
        product_id = ids.product_id(sale["spec"]["items"][0]["sku"])
        line = internal.ReserveLine(
            product_id=product_id,
            quantity=1,
            price_minor=99_900,
            currency="USD",
            sale_uid=sale["metadata"]["uid"],
        )
        topic = events.sale_topic(sale["metadata"]["namespace"], sale["metadata"]["name"])
        items = [
            internal.ReserveItem(
                order_id=ids.order_id(secrets.token_hex(4), "key"),
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
        held = {result.order_id for result in answer.results if result.outcome == "HELD"}
        self.outcomes = [result.outcome for result in answer.results]
        return [item for item in items if item.order_id in held]

    async def pay(self, orders: list[internal.ReserveItem]) -> None:
        """Pin the orders and let their payments succeed, as an event on the sale's topic."""
        pins = internal.PinBatch(
            items=[internal.PinItem(order_id=each.order_id, attempt=1) for each in orders]
        )
        await self._checkout.call("POST", "/internal/v1/pins", internal.PinResults, body=pins)
        async with bus.open_bus(self._bootstrap) as open_bus:
            await open_bus.send([_paid(each) for each in orders])


def _paid(order: internal.ReserveItem) -> bus.Message:
    lines = [
        events.Line(product_id=line.product_id, quantity=1, price_minor=99_900)
        for line in order.lines
    ]
    event = events.PaymentSucceeded(
        order_id=order.order_id,
        user_id=order.user_id,
        lines=lines,
        amount_minor=99_900,
        currency="USD",
        payment_id=ids.new_id("txn"),
        attempt=1,
        topic=order.topic,
        paid_at=clock.utc_now(),
    )
    headers = (("id", secrets.token_hex(8)), ("type", event.type), ("version", "1"))
    return bus.Message(
        topic=order.topic, key=order.order_id, value=msgspec.json.encode(event), headers=headers
    )


@asynccontextmanager
async def connect(urls: tuple[str, ...], keys: Path, bootstrap: str) -> AsyncIterator[Peer]:
    """Open the connections; ``keys`` is the folder of the callers' private keys."""
    async with client.open_session() as session:
        checkout, operator = (
            client.ServiceClient(
                callee="inventory",
                urls=urls,
                session=session,
                signer=auth.ServiceSigner(caller, keys / f"{caller}.pem"),
            )
            for caller in ("checkout", "operator")
        )
        yield Peer(checkout, operator, bootstrap)
