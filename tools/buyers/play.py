"""One sale from the first connection to the verdict: the crowd, the sampler beside it, and then the judge."""

import asyncio
import dataclasses
import pathlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from . import checker, crowd, facts, stores
from .history import Recorder, read_history
from .verdict import Verdict

REST_SECONDS = 90.0  # after the last buyer: the longest hold, two sweeps and a slow relay


@dataclasses.dataclass(frozen=True, kw_only=True)
class Game:
    """What is played: the sale ``namespace.name`` at ``url``, and how many units are promised."""

    url: str
    sale: str
    units: int | None = None


async def play(
    game: Game, people: crowd.Crowd, recorder: Recorder, addresses: stores.Addresses | None
) -> None:
    """Let the crowd fight; with ``addresses`` the product's counters are sampled all the while."""
    if addresses is None:
        await crowd.fight(game.url, game.sale, people, recorder, units=game.units)
        return
    clock = await crowd.read_clock(game.url, game.sale, looks=1)
    async with _sampling(addresses, clock.page.product_id, recorder):
        await crowd.fight(game.url, game.sale, people, recorder, units=game.units)


async def judge(
    history: pathlib.Path, addresses: stores.Addresses, units: int | None = None
) -> Verdict:
    """Wait until the stores are at rest and judge; raises StoreError, HistoryError."""
    scope = stores.Scope.of(facts.index(read_history(history)))
    picture = await stores.at_rest(addresses, scope, REST_SECONDS)
    return checker.check(read_history(history), picture, units)


@asynccontextmanager
async def _sampling(
    addresses: stores.Addresses, product: str, recorder: Recorder
) -> AsyncIterator[None]:
    stop = asyncio.Event()
    sampler = asyncio.create_task(stores.sample_until(stop, addresses, product, recorder))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(sampler, stores.QUERY_SECONDS)
