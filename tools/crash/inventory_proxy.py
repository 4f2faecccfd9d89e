"""The operator's inventory service: its control API with every write named and recorded."""

import contextlib
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from yarl import URL

from .cluster_proxy import WRITES
from .tape import FENCE, Tape

_PASSED_ON = ("Authorization", "Content-Type")


class InventoryProxy:
    """One run's way to inventory."""

    def __init__(self, *, base: str, session: aiohttp.ClientSession, tape: Tape) -> None:
        self._base = base
        self._session = session
        self._tape = tape
        self._stored: dict[str, Any] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass one call on; a write counts unless it only repeats the last one, whatever its fence."""
        body = await request.read()
        if request.method in WRITES and not await self._tape.may_write():
            return web.Response(status=503)
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        url = URL(self._base + request.raw_path, encoded=True)
        async with self._session.request(
            request.method, url, headers=headers, data=body
        ) as answer:
            raw = await answer.read()
            reply = web.Response(
                status=answer.status,
                body=raw,
                headers={"Content-Type": answer.headers.get("Content-Type", "application/json")},
            )
            reply.headers["Date"] = answer.headers.get("Date", "")
        if request.method not in WRITES or answer.status >= 300:
            return reply
        name = self._name(request, body, raw)
        if name is None:
            return reply

        async def deliver() -> None:
            with contextlib.suppress(ConnectionError):
                await reply.prepare(request)
                await reply.write_eof()

        await self._tape.take_effect(name, deliver)
        return reply

    def _name(self, request: web.Request, body: bytes, raw: bytes) -> str | None:
        """Return what a successful write is called, None when it changed nothing."""
        if request.path.endswith("/fences"):
            self._tape.fences.append(msgspec.json.decode(raw)["fence"])
            return FENCE
        level = msgspec.json.decode(body or b"{}")
        level.pop("fence", None)
        is_new = request.path not in self._stored or self._stored[request.path] != level
        self._stored[request.path] = level
        if not is_new:
            return None
        if request.method == "DELETE":
            return "DELETE stock owner"
        if "/sales/" in request.path:
            return f"PUT gate {level['state']}"
        return f"PUT stock {level['capacity']}"
