"""The shelf's inventory behind real HTTP, with the routes and callers of the real one."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web as aiohttp_web

from doorbuster.checkout.ports import Verdict
from doorbuster.contracts import internal
from doorbuster.kit import auth, client, web

from .shelf import FakeInventory

Answer = Callable[[aiohttp_web.Request], Awaitable[Any]]


class ShelfServer:
    """The fake inventory behind HTTP; a reply that is lost is a connection that is cut after the act."""

    def __init__(self, inventory: FakeInventory, keys: Path) -> None:
        self.inventory = inventory
        self._keys = keys

    def app(self) -> aiohttp_web.Application:
        """Build the app; ``keys`` is the folder of the services' public keys."""
        routes = [
            _route("GET", "sales", lambda _request: self.inventory.sales()),
            _route("POST", "reservations", self._reserve),
            _route("POST", "judgements", self._judge),
            _route("POST", "pins", self._pin),
            _route("POST", "releases", self._let_go),
            _route("GET", "reservations/{id}", self._reservation),
        ]
        verifier = auth.ServiceVerifier("inventory", self._keys)
        return web.create_app(
            routes=routes, errors={}, authenticator=web.Authenticator(services=verifier)
        )

    async def _reserve(self, request: aiohttp_web.Request) -> internal.ReserveResults:
        batch = await web.read_json(request, internal.ReserveBatch)
        return _results([await self.inventory.reserve(item) for item in batch.items])

    async def _judge(self, request: aiohttp_web.Request) -> internal.ReserveResults:
        batch = await web.read_json(request, internal.JudgeBatch)
        return _results([await self.inventory.judge(item) for item in batch.items])

    async def _pin(self, request: aiohttp_web.Request) -> internal.PinResults:
        batch = await web.read_json(request, internal.PinBatch)
        return internal.PinResults(results=[await self.inventory.pin(i) for i in batch.items])

    async def _let_go(self, request: aiohttp_web.Request) -> None:
        release = await web.read_json(request, internal.Release)
        await self.inventory.let_go(release.order_id)

    async def _reservation(self, request: aiohttp_web.Request) -> internal.ReservationState:
        found = await self.inventory.reservation(request.match_info["id"])
        if found is None:
            raise web.NotFoundError("no such order")
        return found


def _route(method: str, name: str, answer: Answer) -> web.Route:
    async def guarded(request: aiohttp_web.Request) -> aiohttp_web.Response:
        try:
            return web.json_response(await answer(request))
        except client.UnavailableError:
            if request.transport is not None:
                request.transport.close()
            raise

    path = f"/internal/v1/{name}"
    return web.Route(method=method, path=path, handler=guarded, access=web.callers("checkout"))


def _results(verdicts: list[Verdict]) -> internal.ReserveResults:
    owners = {
        verdict.result.product_id: sorted(verdict.owners)
        for verdict in verdicts
        if verdict.owners is not None and verdict.result.product_id is not None
    }
    return internal.ReserveResults(results=[one.result for one in verdicts], owners=owners)
