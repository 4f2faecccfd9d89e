"""The capacity's pass: one list of all autoscalers, the highest demand of all live sales for each, and readiness.

minReplicas of every autoscaler that its owner marked is a level: max(base, live demands). Whatever changed it, a
sale, a death or a hand, the next look sets it right; nothing has to be remembered to give it back.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from doorbuster.kit import telemetry
from doorbuster_operator import autoscaler
from doorbuster_operator.cluster import ClusterError, GoneError
from doorbuster_operator.sale import capacity
from doorbuster_operator.sale.model import Phase
from doorbuster_operator.world import World

WARMING_SECONDS = 2.0
LIVE_SECONDS = 15.0
IDLE_SECONDS = 60.0
RETRY_SECONDS = 5.0
NO_FENCE_SECONDS = 1.0
# Every change of a sale wakes this one keeper, and a pass looks at every sale.
LEAST_REST_SECONDS = 0.1


class CapacitySubject:
    """The autoscalers of one namespace.

    ``on_change`` is called with the names of those that look different; an empty name stands for all of them.
    """

    kind = "capacity"
    name = "autoscalers"

    def __init__(self, world: World, on_change: Callable[[set[str]], None]) -> None:
        self._world = world
        self._on_change = on_change
        self._demands: dict[str, int] = {}
        self._looked_at = float("-inf")
        self._passed_at = float("-inf")

    async def run_pass(self) -> datetime | None:
        """Look and set, or rest first if the last pass was a moment ago."""
        world = self._world
        now = world.inventory.now()
        if world.inventory.fence is None:
            return now + timedelta(seconds=NO_FENCE_SECONDS)
        rest = self._passed_at + LEAST_REST_SECONDS - world.monotonic()
        if rest > 0:
            return now + timedelta(seconds=rest)
        try:
            return await self._look_if_due(now)
        finally:
            self._passed_at = world.monotonic()

    async def _look_if_due(self, now: datetime) -> datetime:
        """Look when a demand changed or the last look is old; set what is not as it should be."""
        world = self._world
        demands = world.demands(now)
        asked = frozenset(
            target.hpa_name
            for sale in world.sales.values()
            for target in sale.spec.scaling.targets
        )
        age = world.monotonic() - self._looked_at
        is_news = demands != self._demands or not asked <= world.capacity.asked
        if is_news or age >= self._every(demands):
            await self._look_and_set(demands, asked)
            age = 0.0
        again = now + timedelta(seconds=self._every(demands) - age)
        change = capacity.next_change(world.sales.values(), now)
        return again if change is None else min(again, change)

    def _every(self, demands: dict[str, int]) -> float:
        """Return how old a look may be."""
        if self._world.capacity.refusals:
            return RETRY_SECONDS
        if not demands:
            return IDLE_SECONDS
        is_warming = any(
            sale.spec.scaling.targets and sale.status.phase in {Phase.SCHEDULED, Phase.WARMING}
            for sale in self._world.sales.values()
            if capacity.warmup_time(sale) <= self._world.inventory.now()
        )
        return WARMING_SECONDS if is_warming else LIVE_SECONDS

    async def _look_and_set(self, demands: dict[str, int], asked: frozenset[str]) -> None:
        known = self._world.capacity
        before = self._picture()
        try:
            bodies = await self._world.cluster.list_autoscalers()
            deployments = await self._world.cluster.list_deployments() if demands else None
        except ClusterError as error:
            known.failure = f"{error}."
            self._tell(before)
            raise
        known.failure, known.asked = None, asked
        known.autoscalers = {
            each.name: each for each in (autoscaler.parse(body) for body in bodies)
        }
        known.ready = None if deployments is None else _ready(deployments)
        known.refusals = {}
        for scaler in list(known.autoscalers.values()):
            await self._set(scaler, demands.get(scaler.name, 0))
        self._demands, self._looked_at = demands, self._world.monotonic()
        self._tell(before)

    async def _set(self, scaler: autoscaler.Autoscaler, demand: int) -> None:
        """Set minReplicas of one autoscaler; one that cannot be written is no reason to leave the others."""
        known, wanted = self._world.capacity, scaler.wanted(demand)
        if wanted is None or wanted == scaler.minimum:
            return
        try:
            body = await self._world.cluster.apply_minimum(scaler, wanted)
        except GoneError:
            return  # the next look tells
        except ClusterError as error:
            known.refusals[scaler.name] = f"{error}."
            telemetry.log().warning(
                "minimum_not_set", autoscaler=scaler.name, error=str(error)[:200]
            )
            return
        known.autoscalers[scaler.name] = autoscaler.parse(body)
        telemetry.log().info(
            "minimum_set", autoscaler=scaler.name, minimum=wanted, before=scaler.minimum
        )

    def _picture(self) -> dict[str, object]:
        """Return what can be seen of each autoscaler."""
        known = self._world.capacity
        ready = known.ready or {}
        picture: dict[str, object] = {name: None for name in known.asked}
        for name, scaler in known.autoscalers.items():
            picture[name] = (scaler, ready.get(scaler.deployment or ""), known.refusals.get(name))
        return picture | {"": (known.failure, known.ready is None)}

    def _tell(self, before: dict[str, object]) -> None:
        nothing, after = object(), self._picture()
        changed = {
            name
            for name in before | after
            if before.get(name, nothing) != after.get(name, nothing)
        }
        if changed:
            self._on_change(changed)


def _ready(deployments: list[Any]) -> dict[str, int]:
    return {
        body["metadata"]["name"]: (body.get("status") or {}).get("readyReplicas", 0)
        for body in deployments
    }
