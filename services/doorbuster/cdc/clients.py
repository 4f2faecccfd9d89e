"""Kafka Connect's REST interface."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import msgspec

from .domain import Connector

CALL_SECONDS = 10.0
REBALANCE_SECONDS = 30.0
RETRY_SECONDS = 0.25
BUSY = 409  # the workers are just sharing out the connectors


class ConnectRefusedError(Exception):
    """Connect does not take this; the message is Connect's own, without any configuration."""


class _Part(msgspec.Struct, frozen=True):
    state: str = "UNASSIGNED"


class _Status(msgspec.Struct, frozen=True):
    connector: _Part = _Part()
    tasks: list[_Part] = []


@dataclass(frozen=True)
class State:
    """What a connector and its only task do."""

    connector: str
    task: str


class ConnectClient:
    """Speaks to any worker of the Connect cluster."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url.rstrip("/")

    async def put(self, connector: Connector) -> None:
        """Make the connector or change it; raises ConnectRefusedError or ConnectionError."""
        await self._call("PUT", f"/{connector.name}/config", dict(connector.settings))

    async def state(self, name: str) -> State | None:
        """Return what it is doing, None when there is no such connector."""
        raw = await self._call("GET", f"/{name}/status")
        if raw is None:
            return None
        status = msgspec.json.decode(raw, type=_Status)
        task = status.tasks[0].state if status.tasks else "UNASSIGNED"
        return State(connector=status.connector.state, task=task)

    async def restart_failed(self, name: str) -> None:
        """Start the connector and its task anew where they failed."""
        await self._call("POST", f"/{name}/restart?includeTasks=true&onlyFailed=true")

    async def stop(self, name: str) -> None:
        """End its task; its position stays."""
        await self._call("PUT", f"/{name}/stop")

    async def resume(self, name: str) -> None:
        """Let a stopped connector go on."""
        await self._call("PUT", f"/{name}/resume")

    async def forget_position(self, name: str) -> None:
        """Delete the offsets of a stopped connector."""
        await self._call("DELETE", f"/{name}/offsets")

    async def _call(
        self, method: str, path: str, body: dict[str, str] | None = None
    ) -> bytes | None:
        deadline = asyncio.get_running_loop().time() + REBALANCE_SECONDS
        while True:
            status, raw = await self._once(method, path, body)
            if status != BUSY or asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(RETRY_SECONDS)
        if status == 404:
            return None
        if status < 400:
            return raw
        if status == BUSY or status >= 500:
            raise ConnectionError(f"Connect answered {status}")
        raise ConnectRefusedError(f"Connect refused the configuration ({status})")

    async def _once(
        self, method: str, path: str, body: dict[str, str] | None
    ) -> tuple[int, bytes]:
        try:
            async with self._session.request(
                method, f"{self._url}/connectors{path}", json=body
            ) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionError(f"Connect does not answer ({type(error).__name__})") from error


@asynccontextmanager
async def open_connect(url: str) -> AsyncIterator[ConnectClient]:
    """Open a client; it connects when first used."""
    timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
    headers = {"Content-Type": "application/json"}  # asked for even where there is no body
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        yield ConnectClient(session, url)
