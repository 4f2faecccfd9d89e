"""Keeps Redis in step with PostgreSQL: warms what is cold or stale, and finds what drifted."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence

from doorbuster.escrow import Escrow, EscrowAwayError, Snapshot
from doorbuster.inventory.domain import DriftWatch, GateFacts, drift, is_warm
from doorbuster.inventory.ports import Gates
from doorbuster.inventory.storage import StockStore, StoreAwayError
from doorbuster.kit import failpoints, telemetry, workers

WARMER = workers.Worker("warmer", outcomes=("asked", "changed"), reasons=("redis_away",))
RECONCILER = workers.Worker(
    "reconciler", outcomes=("not_in_step", "drift"), reasons=("redis_away",)
)
_BY_REASON = {
    "asked": WARMER,
    "changed": WARMER,
    "not_in_step": RECONCILER,
    "drift": RECONCILER,
}
MAX_SUSPECTS = 10_000


class Warmer:
    """Loads permits and gates; one product is warmed by one task at a time in this process."""

    def __init__(self, gates: Gates, escrow: Escrow) -> None:
        self._gates = gates
        self._escrow = escrow
        self._lock = asyncio.Lock()
        self._suspects: dict[str, float] = {}
        self.wake = asyncio.Event()

    def suspect(self, product_ids: Iterable[str]) -> None:
        """Have these products looked at soon, without waiting for it."""
        if len(self._suspects) < MAX_SUSPECTS:
            now = time.monotonic()
            self._suspects = dict.fromkeys(product_ids, now) | self._suspects
            self.wake.set()

    async def step(self) -> bool:
        """Warm what was suspected; what could not be warmed stays suspect. Raises EscrowAwayError."""
        suspects, self._suspects = self._suspects, {}
        if suspects:
            try:
                await self.warm(sorted(suspects))
            except ConnectionError as error:
                self._suspects |= suspects
                if isinstance(error, EscrowAwayError):
                    WARMER.postponed("redis_away", len(suspects))
                raise
        return False

    async def oldest_seconds(self) -> float:
        """Return for how long the oldest suspect has waited."""
        return time.monotonic() - min(self._suspects.values(), default=time.monotonic())

    async def warm(self, product_ids: Sequence[str], *, reason: str = "asked") -> None:
        """Bring Redis in step for those of the products that are not; raises EscrowAwayError.

        A product whose server is away keeps no other from being warmed.
        """
        async with self._lock:
            facts = await self._gates.facts(product_ids)
            seen = await self._escrow.survey([fact.product_id for fact in facts])
            failure: EscrowAwayError | None = None
            for fact in facts:
                run_id, held = seen.runs.get(fact.product_id), seen.held.get(fact.product_id)
                if run_id is None or is_warm(fact, held, run_id):
                    continue
                try:
                    await self._bump(fact, held, run_id, reason)
                except EscrowAwayError as error:
                    failure = error
            if failure is not None:
                raise failure

    async def force(self, fact: GateFacts, held: Snapshot, *, run_id: str, reason: str) -> None:
        """Start a new epoch although gate and epoch agree: the numbers do not."""
        async with self._lock:
            await self._bump(fact, held, run_id, reason)

    async def load_new(self, product_ids: Sequence[str]) -> bool:
        """Load epochs that were started just now by a change of stock or gate; false if Redis is away."""
        facts = [
            fact for fact in await self._gates.facts(product_ids) if fact.strategy == "Escrow"
        ]
        try:
            seen = await self._escrow.survey([fact.product_id for fact in facts])
            for fact in facts:
                await self._load(fact, "changed")
                run_id = seen.runs.get(fact.product_id)
                if run_id is not None:
                    await self._gates.note_run(fact.product_id, epoch=fact.epoch, run_id=run_id)
        except EscrowAwayError:
            self.suspect(product_ids)
            return False
        return True

    async def _bump(
        self, fact: GateFacts, held: Snapshot | None, run_id: str, reason: str
    ) -> None:
        if fact.strategy != "Escrow":
            return
        started = await self._gates.bump(
            fact.product_id,
            seen_epoch=fact.epoch,
            above_epoch=held.epoch if held is not None else 0,
            run_id=run_id,
        )
        if started is not None:
            await self._load(started, reason)

    async def _load(self, fact: GateFacts, reason: str) -> None:
        failpoints.reach("inventory.epoch.bumped")
        # What was released at this very epoch comes by its own return.
        permits = max(0, fact.sellable - fact.returning)
        loaded = await self._escrow.load(
            fact.product_id, epoch=fact.epoch, permits=permits, gate=fact.gate
        )
        failpoints.reach("inventory.epoch.loaded")
        if loaded:
            _BY_REASON[reason].repaired(reason)
            telemetry.log().info(
                "permits_loaded",
                product_id=fact.product_id,
                epoch=fact.epoch,
                permits=permits,
                reason=reason,
            )


class Reconciler:
    """Compares Redis with PostgreSQL for every product whose sale takes permits."""

    def __init__(self, stock: StockStore, escrow: Escrow, warmer: Warmer) -> None:
        self._stock = stock
        self._escrow = escrow
        self._warmer = warmer
        self._watch = DriftWatch()
        self._since: dict[str, float] = {}
        self._trouble: StoreAwayError | None = None

    async def step(self) -> bool:
        """Look once. Without Redis there is nothing to compare: sales go Direct meanwhile."""
        try:
            facts = {fact.product_id: fact for fact in await self._stock.all_facts()}
            self._trouble = None
        except StoreAwayError as error:
            self._trouble = error
            raise
        try:
            await self._look(facts)
        except EscrowAwayError as error:
            self._note_open(facts)
            RECONCILER.postponed("redis_away", len(facts))
            telemetry.log().warning("redis_away", error=str(error))
        return False

    async def oldest_seconds(self) -> float:
        """Return for how long a product has been out of step; raises what the last pass could not see for."""
        if self._trouble is not None:
            raise self._trouble
        return time.monotonic() - min(self._since.values(), default=time.monotonic())

    def _note_open(self, product_ids: Iterable[str]) -> None:
        now = time.monotonic()
        self._since = {name: self._since.get(name, now) for name in product_ids}

    async def _look(self, facts: Mapping[str, GateFacts]) -> None:
        if not facts:
            self._note_open(())
            return
        seen = await self._escrow.survey(list(facts))
        cold = [
            name
            for name, run_id in seen.runs.items()
            if not is_warm(facts[name], seen.held.get(name), run_id)
        ]
        if cold:
            await self._warmer.warm(cold, reason="not_in_step")
        drifts = {
            name: (facts[name].epoch, drift(facts[name], held))
            for name, held in seen.held.items()
            if name not in cold
        }
        real = self._watch.look(drifts)
        away = facts.keys() - seen.runs.keys()
        self._note_open([*cold, *real, *away])
        RECONCILER.postponed("redis_away", len(away))
        for name in real:
            telemetry.log().warning(
                "permits_drifted", product_id=name, epoch=drifts[name][0], units=drifts[name][1]
            )
            await self._warmer.force(
                facts[name], seen.held[name], run_id=seen.runs[name], reason="drift"
            )
        await self._stock.note_sold_out(list(facts))
