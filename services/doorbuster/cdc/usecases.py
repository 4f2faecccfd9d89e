"""Registering the connectors, and keeping them and their slot alive."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from prometheus_client import Gauge

from doorbuster.kit import telemetry, workers

from . import domain
from .ports import Connect, Slots

SOURCE_SECONDS = 60.0
RETRY_SECONDS = 1.0
RUNNING_SECONDS = 90.0
STOPPED_SECONDS = 30.0
LOOK_SECONDS = 0.25
RUNNING = "RUNNING"
FAILED = "FAILED"
LAG = Gauge(
    "doorbuster_cdc_slot_lag_bytes", "WAL that PostgreSQL keeps for the connector of inventory"
)
UP = Gauge("doorbuster_cdc_connector_running", "Whether a connector runs (1) or not (0)", ["name"])


class NotRunningError(Exception):
    """A connector does not run in time; the message says what it does instead."""


async def register(connect: Connect, connector: domain.Connector) -> None:
    """Make or change a connector; safe to repeat.

    Connect looks at the source first, and refuses one whose database is not there yet: tried again until a deadline.
    Raises ConnectionError.
    """
    deadline = time.monotonic() + SOURCE_SECONDS
    while True:
        try:
            return await connect.put(connector)
        except ConnectionError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(RETRY_SECONDS)


async def until_running(connect: Connect, name: str) -> None:
    """Wait until a connector and its task run, starting anew what failed; raises NotRunningError."""
    deadline = time.monotonic() + RUNNING_SECONDS
    while (said := await describe(connect, name)) != RUNNING:
        if time.monotonic() > deadline:
            raise NotRunningError(f"{name}: {said}")
        if said.startswith(FAILED):
            await connect.restart_failed(name)
        await asyncio.sleep(LOOK_SECONDS)


async def describe(connect: Connect, name: str) -> str:
    """Return RUNNING, or what keeps a connector from it: the state of the task, of the connector, or MISSING."""
    state = await connect.state(name)
    if state is None:
        return "MISSING"
    return state.connector if state.connector != RUNNING else state.task


@dataclass
class Watcher:
    """Looks at both connectors and the slot: makes what is missing, starts what failed, replaces a lost slot."""

    connect: Connect
    slots: Slots
    wanted: Sequence[domain.Connector]
    monotonic: Callable[[], float] = time.monotonic
    _missing_since: float | None = None
    _failed_since: dict[str, float] = field(default_factory=dict)
    _worker: workers.Worker = field(
        default_factory=lambda: workers.Worker(
            "cdc", outcomes=("registered", "restarted", "snapshotted"), reasons=()
        )
    )

    async def step(self) -> None:
        """Look once and repair what needs it; raises ConnectionError while Connect or PostgreSQL is away."""
        slot = await self.slots.find()
        LAG.set(slot.lag_bytes if slot is not None else 0)
        states = {each.name: await self._look_at(each) for each in self.wanted}
        if states[domain.INVENTORY] == "MISSING":
            self._missing_since = None
            return
        if domain.is_lost(slot, self._missing_for(slot)):
            await self._snapshot_again()
        elif states[domain.INVENTORY] == "STOPPED":  # we died in the middle of a repair
            await self._snapshot_again()

    async def oldest_seconds(self) -> float:
        """Return for how long the connector that has been down longest has not run, in seconds."""
        now = self.monotonic()
        return max((now - since for since in self._failed_since.values()), default=0.0)

    def _missing_for(self, slot: domain.Slot | None) -> timedelta:
        if slot is not None:
            self._missing_since = None
            return timedelta(0)
        if self._missing_since is None:
            self._missing_since = self.monotonic()
        return timedelta(seconds=self.monotonic() - self._missing_since)

    async def _look_at(self, connector: domain.Connector) -> str:
        name = connector.name
        said = await describe(self.connect, name)
        UP.labels(name).set(said == RUNNING)
        if said == RUNNING:
            self._failed_since.pop(name, None)
            return said
        self._failed_since.setdefault(name, self.monotonic())
        if said == "MISSING":
            await self.connect.put(connector)
            telemetry.log().warning("connector_registered", connector=name)
            self._worker.repaired("registered")
        if said == FAILED:
            telemetry.log().warning("connector_restarted", connector=name)
            await self.connect.restart_failed(name)
            self._worker.repaired("restarted")
        return said

    async def _snapshot_again(self) -> None:
        telemetry.log().error("slot_lost", slot=domain.SLOT)
        await self.connect.stop(domain.INVENTORY)
        deadline = self.monotonic() + STOPPED_SECONDS
        while await describe(self.connect, domain.INVENTORY) != "STOPPED":
            if self.monotonic() > deadline:
                raise ConnectionError("the connector does not stop")
            await asyncio.sleep(LOOK_SECONDS)
        await self.slots.drop()
        await self.connect.forget_position(domain.INVENTORY)
        await self.connect.resume(domain.INVENTORY)
        self._missing_since = None
        self._worker.repaired("snapshotted")
