"""The operator's API server: plain HTTP in, TLS with its client certificate out, watches streamed."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from yarl import URL

from . import cluster_names
from .tape import Tape

MOST_BODY_BYTES = 4 * 1024 * 1024
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_PASSED_ON = ("Accept", "Content-Type", "User-Agent")


class ClusterProxy:
    """One run's way to the API server; ``operator`` and ``admin`` are sessions with their certificates."""

    def __init__(
        self,
        *,
        base: str,
        operator: aiohttp.ClientSession,
        admin: aiohttp.ClientSession,
        tape: Tape,
    ) -> None:
        self._base = base
        self._operator = operator
        self._admin = admin
        self._tape = tape

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass one request on; a write is named and recorded when it has changed something."""
        if request.method in WRITES:
            return await self._write(request)
        return await self._read(request)

    async def _read(self, request: web.Request) -> web.StreamResponse:
        async with self._operator.get(
            self._url(request),
            headers=_headers(request),
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            reply = web.StreamResponse(status=answer.status)
            reply.content_type = answer.content_type
            with contextlib.suppress(
                ConnectionError
            ):  # the process is gone, and its watch with it
                await reply.prepare(request)
                async for chunk in answer.content.iter_any():
                    await reply.write(chunk)
                await reply.write_eof()
            return reply

    async def _write(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if not await self._tape.may_write():
            return web.Response(status=503)
        before = await self._look(request.path)
        async with self._operator.request(
            request.method, self._url(request), headers=_headers(request), data=body
        ) as answer:
            raw = await answer.read()
            reply = web.Response(status=answer.status, body=raw, content_type=answer.content_type)
        if answer.status >= 300:
            return reply
        stored, sent = _json(raw), _json(body)
        is_delete = request.method == "DELETE"
        was_deleted = "deletionTimestamp" in (before or {}).get("metadata", {})
        if was_deleted if is_delete else not cluster_names.has_changed(before, stored):
            return reply
        name = cluster_names.name_of(request.method, request.path, sent, stored, before)

        async def deliver() -> None:
            with contextlib.suppress(ConnectionError):
                await reply.prepare(request)
                await reply.write_eof()

        await self._tape.take_effect(name, deliver)
        return reply

    async def _look(self, path: str) -> Any:
        """Read the object as it is before the write."""
        where = cluster_names.object_path(path)
        if where is None:
            return None
        async with self._admin.get(URL(self._base + where, encoded=True)) as answer:
            return _json(await answer.read()) if answer.status == 200 else None

    def _url(self, request: web.Request) -> URL:
        return URL(self._base + request.raw_path, encoded=True)


def _headers(request: web.Request) -> dict[str, str]:
    return {name: request.headers[name] for name in _PASSED_ON if name in request.headers}


def _json(raw: bytes) -> Any:
    """Decode a body; patches and answers of this client are JSON, whatever their type is called."""
    return msgspec.json.decode(raw or b"{}")


@asynccontextmanager
async def serving(handle: Any) -> AsyncIterator[str]:
    """Serve every path with one handler on a free port of the loopback; yields its base URL."""
    app = web.Application(client_max_size=MOST_BODY_BYTES)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
