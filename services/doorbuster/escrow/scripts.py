"""Lua scripts of the escrow: read from the package, run by their hash, sent again where Redis forgot them."""

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError


class Script:
    """One script; ``name`` is its file in ``lua/`` without the ending."""

    def __init__(self, name: str) -> None:
        folder = resources.files(__package__) / "lua"
        prelude = (folder / "prelude.lua").read_text(encoding="utf-8")
        self._text = prelude + (folder / f"{name}.lua").read_text(encoding="utf-8")
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: Redis, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        """Run it; raises what redis-py raises."""
        client: Any = redis
        try:
            return await client.evalsha(self._sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await client.eval(self._text, len(keys), *keys, *arguments)
