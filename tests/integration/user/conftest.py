"""The user service as a process on a real MariaDB."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from doorbuster.kit import migrations
from doorbuster.testing import processes

SECRET = "a secret that no log may show"


@pytest.fixture(scope="module")
def environment(fresh_mysql: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("keys")
    keys = processes.Keys(folder, ("user", "notification", "checkout", "product"))
    asyncio.run(migrations.upgrade("doorbuster.user", fresh_mysql))
    return {
        **keys.env("user"),
        "DOORBUSTER_USER_DSN": fresh_mysql,
        "DOORBUSTER_SIGNING_KEY_SECRET": SECRET,
        "KEYS_FOLDER": str(folder),
    }


@pytest.fixture
async def service(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[processes.Running]:
    async with processes.running("user", environment, tmp_path / "user.log") as started:
        yield started


class Caller:
    """Calls the service and returns status and decoded body."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def __call__(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **rest: Any
    ) -> tuple[int, Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self.session.request(
            method, self.url + path, json=body, headers=headers | rest.pop("headers", {}), **rest
        ) as answer:
            raw = await answer.read()
            return answer.status, (await answer.json(content_type=None)) if raw else None

    async def enter(self, email: str) -> dict[str, Any]:
        """Sign up and log in; returns the session."""
        who = {"email": email, "password": "12345678"}
        status, _ = await self("POST", "/v1/users", {"name": "Bo", **who})
        assert status in (201, 409)
        status, session = await self("POST", "/v1/sessions", who)
        assert status == 201
        assert isinstance(session, dict)
        return session


@pytest.fixture
async def call(service: processes.Running) -> AsyncIterator[Caller]:
    timeout = aiohttp.ClientTimeout(total=30)
    # A connection each: the server closes one whose body it refused to read, without a word.
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield Caller(session, service.url)
