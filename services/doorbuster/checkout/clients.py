"""Checkout's peers over HTTP: inventory and product in batches, cart and user one call at a time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from doorbuster.contracts import api, internal
from doorbuster.kit import client, telemetry
from doorbuster.kit.coalescer import Coalescer

from .ports import Verdict

MOST_IN_BATCH = 256
RESERVE_SECONDS = 3.0  # well below the deadline of a permit, which inventory's reaper keeps
SALES_SECONDS = 1.0
MOST_QUOTED = 200
QUOTE_SECONDS = 1.5
READ_SECONDS = 1.5
_Answers = list[Verdict | Exception]


class HttpInventory:
    """Inventory as its HTTP interface shows it; single calls leave together in batches."""

    def __init__(self, peer: client.ServiceClient) -> None:
        self._peer = peer
        self._reserving: Coalescer[internal.ReserveItem, Verdict] = Coalescer(
            self._reserve_all, max_batch=MOST_IN_BATCH
        )
        self._judging: Coalescer[internal.JudgeItem, Verdict] = Coalescer(
            self._judge_all, max_batch=MOST_IN_BATCH
        )
        self._pinning: Coalescer[internal.PinItem, internal.PinResult] = Coalescer(
            self._pin_all, max_batch=MOST_IN_BATCH
        )
        self._warming: Coalescer[str, None] = Coalescer(
            self._warm_all, max_batch=MOST_IN_BATCH, max_in_flight=1
        )

    async def sales(self) -> internal.Sales:
        """Return the announced, open and lately closed sales."""
        answer: internal.Sales = await self._call(
            "GET", "/internal/v1/sales", internal.Sales, timeout_seconds=SALES_SECONDS
        )
        return answer

    async def reserve(self, item: internal.ReserveItem) -> Verdict:
        """Take all units of an order or none."""
        return await self._reserving.submit(item)

    async def judge(self, item: internal.JudgeItem) -> Verdict:
        """Say what it means that no permit was left."""
        return await self._judging.submit(item)

    async def pin(self, item: internal.PinItem) -> internal.PinResult:
        """Pin the units of an order for a payment attempt."""
        return await self._pinning.submit(item)

    async def warm(self, product_id: str) -> None:
        """Have the permits of a product loaded anew, soon; once for everybody who waits."""
        await self._warming.submit(product_id)

    async def let_go(self, order_id: str) -> None:
        """Release the hold of an order that will not be placed."""
        await self._post("/internal/v1/releases", internal.Release(order_id=order_id), object)

    async def reservation(self, order_id: str) -> internal.ReservationState | None:
        """Return the state of an order's reservation, None when there is none."""
        path = f"/internal/v1/reservations/{order_id}"
        return await _find(self._peer, path, internal.ReservationState)

    async def close(self) -> None:
        """Let the batches under way end."""
        for coalescer in (self._reserving, self._judging, self._pinning, self._warming):
            await coalescer.close()

    async def _reserve_all(self, items: list[internal.ReserveItem]) -> _Answers:
        batch = internal.ReserveBatch(items=items)
        return await self._verdicts("/internal/v1/reservations", batch, len(items))

    async def _judge_all(self, items: list[internal.JudgeItem]) -> _Answers:
        batch = internal.JudgeBatch(items=items)
        return await self._verdicts("/internal/v1/judgements", batch, len(items))

    async def _verdicts(self, path: str, batch: Any, count: int) -> _Answers:
        answer = await self._post(path, batch, internal.ReserveResults)
        if len(answer.results) != count:
            raise client.UnavailableError("inventory answered another batch")
        owners = {name: frozenset(found) for name, found in answer.owners.items()}
        return [
            Verdict(result=result, owners=owners.get(result.product_id or ""))
            for result in answer.results
        ]

    async def _pin_all(
        self, items: list[internal.PinItem]
    ) -> list[internal.PinResult | Exception]:
        batch = internal.PinBatch(items=items)
        answer = await self._post("/internal/v1/pins", batch, internal.PinResults)
        return list(answer.results)

    async def _warm_all(self, product_ids: list[str]) -> list[Exception | None]:
        body = internal.Warm(product_ids=sorted(set(product_ids)))
        await self._post("/internal/v1/warm", body, object)
        return [None] * len(product_ids)

    async def _post(self, path: str, body: Any, answer: type[Any]) -> Any:
        return await self._call("POST", path, answer, body=body, timeout_seconds=RESERVE_SECONDS)

    async def _call(self, method: str, path: str, answer: type[Any], **how: Any) -> Any:
        try:
            return await self._peer.call(method, path, answer, **how)
        except client.RefusedError as error:
            raise _unexpected(error, self._peer.callee) from error


class HttpCatalogue:
    """Product's list prices; single questions leave together in batches."""

    def __init__(self, peer: client.ServiceClient) -> None:
        self._peer = peer
        self._quoting: Coalescer[str, internal.Quote | None] = Coalescer(
            self._quote_all, max_batch=MOST_QUOTED
        )

    async def quote(self, product_id: str) -> internal.Quote | None:
        """Return what a product costs outside sales, None when it is not sold."""
        return await self._quoting.submit(product_id)

    async def close(self) -> None:
        """Let the batches under way end."""
        await self._quoting.close()

    async def _quote_all(self, product_ids: list[str]) -> list[internal.Quote | Exception | None]:
        body = internal.ProductIds(ids=sorted(set(product_ids)))
        try:
            answer = await self._peer.call(
                "POST",
                "/internal/v1/products:quote",
                internal.Quotes,
                body=body,
                timeout_seconds=QUOTE_SECONDS,
            )
        except client.RefusedError as error:
            raise _unexpected(error, self._peer.callee) from error
        found = {one.product_id: one for one in answer.quotes}
        return [found.get(product_id) for product_id in product_ids]


@dataclass(frozen=True)
class HttpCarts:
    """The cart service."""

    peer: client.ServiceClient

    async def find(self, user_id: str, cart_id: str) -> internal.CartContents | None:
        """Return the user's cart, None when it is none of his."""
        path = f"/internal/v1/carts/{cart_id}?userId={quote(user_id, safe='')}"
        return await _find(self.peer, path, internal.CartContents, timeout_seconds=READ_SECONDS)


@dataclass(frozen=True)
class HttpAddresses:
    """The address books of the user service."""

    peer: client.ServiceClient

    async def find(self, user_id: str, address_id: str) -> api.DeliveryAddress | None:
        """Return an address of the user's book, None when it is none of his."""
        path = f"/internal/v1/users/{quote(user_id, safe='')}/addresses/{address_id}"
        return await _find(self.peer, path, api.DeliveryAddress, timeout_seconds=READ_SECONDS)


async def _find(
    peer: client.ServiceClient, path: str, answer: type[client.Answer], **how: Any
) -> client.Answer | None:
    try:
        return await peer.call("GET", path, answer, **how)
    except client.RefusedError as error:
        if error.status == 404:
            return None
        raise _unexpected(error, peer.callee) from error


def _unexpected(error: client.RefusedError, callee: str) -> client.UnavailableError:
    """Nobody refuses a question of ours, so this is a mistake of ours or of the keys: say it, answer 503."""
    telemetry.log().error("peer_refused", callee=callee, status=error.status, code=error.code)
    return client.UnavailableError(f"{callee} refused with {error.code}")


@asynccontextmanager
async def open_inventory(peer: client.ServiceClient) -> AsyncIterator[HttpInventory]:
    """Open the client; on exit the batches under way end."""
    inventory = HttpInventory(peer)
    try:
        yield inventory
    finally:
        await inventory.close()
