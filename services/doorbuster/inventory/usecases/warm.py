"""Keeps Redis in step with PostgreSQL: warms what is cold or stale, and finds what drifted."""

import asyncio
from collections.abc import Iterable, Sequence

from prometheus_client import Counter

from doorbuster.escrow import Escrow, EscrowAwayError, Snapshot
from doorbuster.inventory.domain import DriftWatch, GateFacts, drift, is_warm
from doorbuster.inventory.ports import Gates
from doorbuster.inventory.storage import StockStore
from doorbuster.kit import failpoints, telemetry

WARMED = Counter("doorbuster_inventory_warmed", "Epochs loaded into Redis", ["reason"])
MAX_SUSPECTS = 10_000


class Warmer:
    """Loads permits and gates; one product is warmed by one task at a time in this process."""

    def __init__(self, gates: Gates, escrow: Escrow) -> None:
        self._gates = gates
        self._escrow = escrow
        self._lock = asyncio.Lock()
        self._suspects: set[str] = set()
        self.wake = asyncio.Event()

    def suspect(self, product_ids: Iterable[str]) -> None:
        """Have these products looked at soon, without waiting for it."""
        if len(self._suspects) < MAX_SUSPECTS:
            self._suspects.update(product_ids)
            self.wake.set()

    async def step(self) -> bool:
        """Warm what was suspected; false as long as Redis is away: the reconciler comes back to it."""
        suspects, self._suspects = self._suspects, set()
        if suspects:
            await self.warm(sorted(suspects))
        return False

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
        loaded = await self._escrow.load(
            fact.product_id, epoch=fact.epoch, permits=fact.sellable, gate=fact.gate
        )
        failpoints.reach("inventory.epoch.loaded")
        if loaded:
            WARMED.labels(reason).inc()
            telemetry.log().info(
                "permits_loaded",
                product_id=fact.product_id,
                epoch=fact.epoch,
                permits=fact.sellable,
                reason=reason,
            )


class Reconciler:
    """Compares Redis with PostgreSQL for every product whose sale takes permits."""

    def __init__(self, stock: StockStore, escrow: Escrow, warmer: Warmer) -> None:
        self._stock = stock
        self._escrow = escrow
        self._warmer = warmer
        self._watch = DriftWatch()

    async def step(self) -> bool:
        """Look once. Without Redis there is nothing to compare: sales go Direct meanwhile."""
        try:
            await self._look()
        except EscrowAwayError as error:
            telemetry.log().warning("redis_away", error=str(error))
        return False

    async def _look(self) -> None:
        facts = {fact.product_id: fact for fact in await self._stock.all_facts()}
        if not facts:
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
        for name in self._watch.look(drifts):
            telemetry.log().warning(
                "permits_drifted", product_id=name, epoch=drifts[name][0], units=drifts[name][1]
            )
            await self._warmer.force(
                facts[name], seen.held[name], run_id=seen.runs[name], reason="drift"
            )
        await self._stock.note_sold_out(list(facts))
