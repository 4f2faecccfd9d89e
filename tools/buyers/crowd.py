"""The run of one sale: buyers come in, look at the clock on the sale's page, and fight."""

import asyncio
import dataclasses
import gc
import random
import secrets
import ssl
import time
from collections.abc import Mapping, Sequence

from .enrol import Entrance
from .history import Enrolled, Recorder, Run, now_ms
from .life import Buyer, Scene
from .plan import EARLY_MILLIS, Plan
from .shop import NoAnswerError, SalePage, UnexpectedAnswerError, Visitor

CLOCK_LOOKS = 5
PAGE_SECONDS = 30.0
COLLECTOR_THRESHOLD = (50_000, 20, 50)
DOORS_IN_FLIGHT = 16
LAST_CALL_SECONDS = 45.0  # after the deadline a call may still end and an order be looked at


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clock:
    """The authority's clock beside ours: ``offset_ms`` = authority - wall, ``page`` as read last."""

    page: SalePage
    offset_ms: float

    def monotonic_at(self, authority_ms: float) -> float:
        """Return our monotonic time, in seconds, of a moment of the authority's clock."""
        at, wall = now_ms()
        return (authority_ms - self.offset_ms - wall + at) / 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crowd:
    """Who takes part and how long they keep trying after the opening, in seconds."""

    plans: Sequence[Plan]
    entrances: Mapping[str, Entrance]
    seed: int
    patience_seconds: float
    clock_looks: int = CLOCK_LOOKS


async def read_clock(
    url: str, sale: str, looks: int = CLOCK_LOOKS, *, tls: ssl.SSLContext | None = None
) -> Clock:
    """Look at the sale's page until it is there, then a few times for the clock.

    A page may come from a short-lived copy, which can only be late: the largest offset seen is the
    best one. Raises UnexpectedAnswerError when the sale does not appear in time.
    """
    deadline = time.monotonic() + PAGE_SECONDS
    offsets: list[float] = []
    async with Visitor(url, "198.19.255.254", tls=tls) as visitor:
        while True:
            before = time.time() * 1000
            try:
                page = await visitor.sale_page(sale)
            except (NoAnswerError, UnexpectedAnswerError) as error:
                if time.monotonic() > deadline:
                    raise UnexpectedAnswerError(f"sale {sale} did not appear: {error}") from error
                await asyncio.sleep(0.3)
                continue
            offsets.append(page.server_ms - (before + time.time() * 1000) / 2)
            if len(offsets) >= looks:
                return Clock(page=page, offset_ms=max(offsets))
            await asyncio.sleep(0.25)


async def fight(
    url: str,
    sale: str,
    crowd: Crowd,
    recorder: Recorder,
    *,
    units: int | None = None,
    tls: ssl.SSLContext | None = None,
) -> Clock:
    """Let the crowd fight for the sale's one product, and return when everybody went home.

    Must be called before the opening, early enough for every buyer to open his connection.
    """
    clock = await read_clock(url, sale, crowd.clock_looks, tls=tls)
    at, wall = now_ms()
    recorder.write(
        Run(
            seed=crowd.seed,
            sale=sale,
            product=clock.page.product_id,
            open_ms=clock.page.open_ms,
            offset_ms=round(clock.offset_ms, 3),
            at=at,
            wall=wall,
            units=units,
        )
    )
    open_at = clock.monotonic_at(clock.page.open_ms)
    scene = Scene(
        sale=sale,
        page=clock.page,
        open_at=open_at,
        deadline=max(open_at, time.monotonic()) + crowd.patience_seconds,
        recorder=recorder,
        run_id=secrets.token_hex(4),
    )
    visitors: list[Visitor] = []
    try:
        buyers = []
        for plan in crowd.plans:
            entrance = crowd.entrances[plan.name]
            recorder.write(Enrolled(buyer=plan.name, user=entrance.user_id, is_able=plan.is_able))
            visitor = Visitor(url, plan.address, token=entrance.access_token, tls=tls)
            visitors.append(visitor)
            chance = random.Random(f"{crowd.seed}/{plan.name}/life")
            buyers.append(Buyer(plan, visitor, scene, chance))
        await _open_doors(visitors, sale, open_at - EARLY_MILLIS / 1000)
        _calm_collector()
        lives = [asyncio.create_task(buyer.live()) for buyer in buyers]
        _, late = await asyncio.wait(
            lives, timeout=scene.deadline + LAST_CALL_SECONDS - time.monotonic()
        )
        for life in late:  # the checker will say that they never had an answer
            life.cancel()
        for failed in [life for life in lives if life not in late and life.exception()]:
            failed.result()
        recorder.finished()
    finally:
        for visitor in visitors:
            visitor.close()
    return clock


def _calm_collector() -> None:
    """What stands now stays for the run: keep Python's collector from walking through it in the rush."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLD)


async def _open_doors(visitors: Sequence[Visitor], sale: str, until: float) -> None:
    """Let every buyer look at the sale's page once, so that his connection stands before the rush.

    Spread over what time is left before the most eager buyer presses; whoever comes too late for it
    connects when he presses.
    """
    waiting = iter(visitors)

    async def usher() -> None:
        for visitor in waiting:
            if time.monotonic() > until:
                return
            try:
                await visitor.sale_page(sale)
            except (NoAnswerError, UnexpectedAnswerError):
                continue  # he will find out when he presses

    await asyncio.gather(*(usher() for _ in range(DOORS_IN_FLIGHT)))
