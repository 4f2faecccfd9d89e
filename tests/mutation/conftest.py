"""A shop on the real stack whose services can be started from a broken copy of the sources, and what a crowd finds."""

import asyncio
import contextlib
import dataclasses
import pathlib
import secrets
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import aiohttp
import asyncpg
import pytest

from buyers import enrol, gates, plan, play, stores, verdict
from devstack.layout import PROJECT
from devstack.stack import Stack

OPENS_IN_SECONDS = 3.0
PATIENCE_SECONDS = 45.0
SEED = 4
STEADY = plan.Mix(
    early=0, double_press=0, cut_press=0, leaves=0, another_card=0, no_card=0, cut_pay=0
)


class Build:
    """A copy of the services' sources with changes; each change must match exactly once."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.path = folder / "build"
        shutil.copytree(
            PROJECT / "services" / "doorbuster",
            self.path / "doorbuster",
            ignore=shutil.ignore_patterns("__pycache__"),
        )

    def change(self, file: str, old: str, new: str) -> "Build":
        """Replace ``old``, which stands once in ``file``."""
        path = self.path / "doorbuster" / file
        path.write_text(changed(path.read_text(encoding="utf-8"), old, new), encoding="utf-8")
        return self


def changed(text: str, old: str, new: str) -> str:
    """Replace what stands there once: a mutation that changes nothing would prove nothing."""
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in what is to be broken"
    return text.replace(old, new)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenario:
    """A sale and its crowd; ``hold_seconds`` of a unit, ``behaviour`` of the PSP's sandbox."""

    buyers: int
    units: int
    hold_seconds: int
    mix: plan.Mix = STEADY
    strategy: Any = "Escrow"
    behaviour: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Shop:
    """The running stack, its database of units, its PSP, and a crowd with accounts."""

    def __init__(self, stack: Stack, keeper: gates.GateKeeper, folder: pathlib.Path) -> None:
        self.stack = stack
        self.environment = stack.env()
        self._keeper = keeper
        self._folder = folder
        self._book = enrol.CredentialBook()

    async def hold(
        self, scenario: Scenario, *, rest_seconds: float = play.REST_SECONDS
    ) -> verdict.Verdict:
        """Hold one sale of a fresh product and judge it, at the latest ``rest_seconds`` after its end."""
        url = self.environment["DOORBUSTER_PUBLIC_URL"]
        plans = plan.draw_plans(scenario.buyers, SEED, scenario.mix)
        entrances = await enrol.enrol(url, plans, self._book)
        name = f"drop-{secrets.token_hex(4)}"
        wish = gates.Wish(
            name=name,
            units=scenario.units,
            opens_in=OPENS_IN_SECONDS,
            hold_seconds=scenario.hold_seconds,
            strategy=scenario.strategy,
        )
        await self.behave(scenario.behaviour)
        try:
            sale = await self._keeper.open_sale(wish)
            history = self._folder / f"{name}.jsonl"
            cast = play.Cast(plans=plans, entrances=entrances, seed=SEED)
            await play.fight_over(
                self.environment,
                sale,
                cast,
                history,
                units=scenario.units,
                patience=PATIENCE_SECONDS,
            )
        finally:
            await self.behave({})
        addresses = stores.Addresses.from_environment(self.environment)
        return await play.judge(history, addresses, rest_seconds=rest_seconds)

    async def behave(self, behaviour: Mapping[str, Any]) -> None:
        """Tell the PSP's sandbox how to behave."""
        url = self.environment["DOORBUSTER_PSP_ADMIN_URL"] + "/behaviour"
        async with aiohttp.ClientSession() as session:
            async with session.put(url, json=dict(behaviour)) as response:
                response.raise_for_status()

    @contextlib.asynccontextmanager
    async def running(self, build: Build, parts: Sequence[str]) -> AsyncIterator[None]:
        """Run these parts from a build, and from the real sources afterwards."""
        try:
            for part in parts:
                await asyncio.to_thread(self.stack.restart, part, {"PYTHONPATH": str(build.path)})
            yield
        finally:
            for part in parts:
                await asyncio.to_thread(self.stack.restart, part)

    @contextlib.asynccontextmanager
    async def function(self, name: str, *changes: tuple[str, str]) -> AsyncIterator[None]:
        """Break a function of inventory's database, and mend it afterwards."""
        async with self._database() as database:
            sound = await database.fetchval("SELECT pg_get_functiondef($1::regproc)", name)
            broken = sound
            for old, new in changes:
                broken = changed(broken, old, new)
            await database.execute(broken)
            try:
                yield
            finally:
                await database.execute(sound)

    @contextlib.asynccontextmanager
    async def without_checks(self, *tables: str) -> AsyncIterator[None]:
        """Drop the CHECK constraints of tables; afterwards they hold for new rows again."""
        query = """
            SELECT conrelid::regclass::text AS place, conname, pg_get_constraintdef(oid) AS said
            FROM pg_constraint WHERE contype = 'c' AND conrelid = ANY ($1::regclass[])
        """
        async with self._database() as database:
            checks = await database.fetch(query, list(tables))
            assert checks
            for place, name, _ in checks:
                await database.execute(f'ALTER TABLE {place} DROP CONSTRAINT "{name}"')
            try:
                yield
            finally:
                for place, name, said in checks:
                    await database.execute(
                        f'ALTER TABLE {place} ADD CONSTRAINT "{name}" {said} NOT VALID'
                    )

    @contextlib.asynccontextmanager
    async def _database(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.environment["DOORBUSTER_INVENTORY_DSN"])
        try:
            yield connection
        finally:
            await connection.close()


@pytest.fixture
async def shop(open_stack: Stack, tmp_path: pathlib.Path) -> AsyncIterator[Shop]:
    """A shop whose sales are opened through the control API."""
    key = open_stack.layout.keys / "operator.pem"
    async with gates.gate_keeper(open_stack.env(), key) as keeper:
        yield Shop(open_stack, keeper, tmp_path)


@pytest.fixture
def build(tmp_path: pathlib.Path) -> Build:
    """A copy of the sources to break."""
    return Build(tmp_path)
