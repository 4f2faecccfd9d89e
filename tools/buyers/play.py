"""One sale from the first connection to the verdict: the crowd, the sampler beside it, and then the judge."""

import asyncio
import dataclasses
import pathlib
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from . import checker, crowd, enrol, facts, kubectl, manifest, plan, sampler, stores
from .history import Recorder, read_history
from .verdict import Verdict

PATIENCE_HOLDS = 4.0
PATIENCE_SECONDS = 30.0
REST_SECONDS = 90.0  # after the last buyer: the longest hold, two sweeps and a slow relay


@dataclasses.dataclass(frozen=True, kw_only=True)
class Game:
    """What is played: the sale ``namespace.name`` at ``url``, how many units are promised, whom to trust."""

    url: str
    sale: str
    units: int | None = None
    tls: ssl.SSLContext | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cast:
    """The buyers who are in, their plans and the seed these were drawn from."""

    plans: Sequence[plan.Plan]
    entrances: Mapping[str, enrol.Entrance]
    seed: int


async def play(
    game: Game, people: crowd.Crowd, recorder: Recorder, addresses: stores.Addresses | None
) -> None:
    """Let the crowd fight; with ``addresses`` the product's counters are sampled all the while."""
    if addresses is None or "inventory" in addresses.missing:
        await crowd.fight(game.url, game.sale, people, recorder, units=game.units, tls=game.tls)
        return
    clock = await crowd.read_clock(game.url, game.sale, looks=1, tls=game.tls)
    async with _sampling(addresses, clock.page.product_id, recorder):
        await crowd.fight(game.url, game.sale, people, recorder, units=game.units, tls=game.tls)


async def judge(
    history: pathlib.Path,
    addresses: stores.Addresses,
    units: int | None = None,
    *,
    rest_seconds: float = REST_SECONDS,
) -> Verdict:
    """Wait until the stores are at rest, at most so long, and judge; raises StoreError, HistoryError."""
    scope = stores.Scope.of(facts.index(read_history(history)))
    picture = await stores.at_rest(addresses, scope, rest_seconds)
    return checker.check(read_history(history), picture, units)


def patience_seconds(sale: manifest.Sale) -> float:
    """Return how long a buyer waits after the opening: some holds in a row and a little more."""
    return sale.hold_seconds * PATIENCE_HOLDS + PATIENCE_SECONDS


async def hold_sale(
    environment: Mapping[str, str],
    sale: manifest.Sale,
    cast: Cast,
    history: pathlib.Path,
    *,
    units: int,
) -> Verdict:
    """Apply a rendered sale, let the cast fight over it, and judge. ``environment`` is the stack's."""
    await asyncio.to_thread(kubectl.Kubectl(environment=environment).apply, sale.text)
    await fight_over(environment, sale, cast, history, units=units)
    return await judge(history, stores.Addresses.from_environment(environment), units)


async def fight_over(
    environment: Mapping[str, str],
    sale: manifest.Sale,
    cast: Cast,
    history: pathlib.Path,
    *,
    units: int | None = None,
    patience: float | None = None,
) -> None:
    """Let the cast fight over a sale that is there and not open yet, and write the history.

    ``patience`` in seconds after the opening; some holds in a row and a little more by default.
    """
    addresses = stores.Addresses.from_environment(environment)
    people = crowd.Crowd(
        plans=cast.plans,
        entrances=cast.entrances,
        seed=cast.seed,
        patience_seconds=patience_seconds(sale) if patience is None else patience,
    )
    game = Game(url=environment["DOORBUSTER_PUBLIC_URL"], sale=sale.path, units=units)
    recorder = Recorder(history)
    try:
        await play(game, people, recorder, addresses)
    finally:
        recorder.close()


@asynccontextmanager
async def _sampling(
    addresses: stores.Addresses, product: str, recorder: Recorder
) -> AsyncIterator[None]:
    stop = asyncio.Event()
    looks = asyncio.create_task(sampler.sample_until(stop, addresses, product, recorder))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(looks, stores.QUERY_SECONDS)
