"""What happened to a namespace's objects, version by version, seen through watches of our own."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import msgspec

CUSTOM = "/apis/doorbuster.dev/v1alpha1"
WATCHED = {
    "flashsales": CUSTOM,
    "inventorypools": CUSTOM,
    "horizontalpodautoscalers": "/apis/autoscaling/v2",
}
STEP_SECONDS = 60.0
AGAIN_SECONDS = 0.1
TOO_MANY_REQUESTS = 429
Holds = Callable[[dict[str, Any]], bool]


class Observer:
    """Every version of every object of one namespace; ``gone`` names the kinds whose object was deleted."""

    def __init__(self) -> None:
        self.versions: dict[str, list[dict[str, Any]]] = {kind: [] for kind in WATCHED}
        self.gone: set[str] = set()
        self._read: dict[str, int] = dict.fromkeys(WATCHED, 0)
        self._news = asyncio.Event()
        self.failure: BaseException | None = None

    def take(self, kind: str, event: dict[str, Any]) -> None:
        """Remember one event of a watch; a version that is known comes again when a watch begins anew."""
        version = event["object"]["metadata"]["resourceVersion"]
        known = self.versions[kind][-1:]
        if known and known[0]["metadata"]["resourceVersion"] == version:
            return
        self.versions[kind].append(event["object"])
        if event["type"] == "DELETED":
            self.gone.add(kind)
        self._news.set()

    def ended(self, watch: "asyncio.Task[None]") -> None:
        """Remember why a watch ended that should not have."""
        if not watch.cancelled():
            self.failure = watch.exception()
            self._news.set()

    async def until(self, kind: str, what: str, holds: Holds) -> dict[str, Any]:
        """Return the first version after the last one returned of which it holds; raises TimeoutError."""
        try:
            async with asyncio.timeout(STEP_SECONDS):
                while True:
                    if self.failure is not None:
                        raise RuntimeError("the observer's watch failed") from self.failure
                    self._news.clear()
                    for index in range(self._read[kind], len(self.versions[kind])):
                        if holds(self.versions[kind][index]):
                            self._read[kind] = index
                            return self.versions[kind][index]
                    await self._news.wait()
        except TimeoutError:
            last = self.versions[kind][-1].get("status") if self.versions[kind] else None
            raise TimeoutError(f"{what}; the last status: {json.dumps(last)[:1500]}") from None

    async def until_gone(self, kind: str) -> None:
        """Wait until the object was deleted; raises TimeoutError."""
        await self.until(kind, f"the end of the {kind}", lambda _: kind in self.gone)


@asynccontextmanager
async def observing(
    session: aiohttp.ClientSession, base: str, namespace: str
) -> AsyncIterator[Observer]:
    """Watch a namespace while the context is open."""
    seen = Observer()

    async def follow(kind: str, group: str) -> None:
        url = f"{base}{group}/namespaces/{namespace}/{kind}"
        forever = aiohttp.ClientTimeout(total=None)
        # An API server ends watches, and has none to give while it takes up a kind (429).
        while True:
            query = {"watch": "true"}
            if seen.versions[kind]:
                query["resourceVersion"] = seen.versions[kind][-1]["metadata"]["resourceVersion"]
            async with session.get(url, params=query, timeout=forever) as answer:
                if answer.status != TOO_MANY_REQUESTS:
                    answer.raise_for_status()
                    async for line in answer.content:
                        seen.take(kind, msgspec.json.decode(line))
            await asyncio.sleep(AGAIN_SECONDS)

    async with AsyncExitStack() as stack:
        for kind, group in WATCHED.items():
            task = asyncio.create_task(follow(kind, group), name=f"observe {kind}")
            task.add_done_callback(seen.ended)
            stack.callback(task.cancel)
        yield seen
