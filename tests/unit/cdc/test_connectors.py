"""The connectors as data, and what the watcher does about each state of Connect and of the slot."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from doorbuster.cdc import domain, usecases
from doorbuster.cdc.clients import State
from doorbuster.cdc.domain import INVENTORY, PRODUCTS, Slot

HEALTHY = Slot(wal_status="reserved", is_active=True, lag_bytes=10)
LOST = Slot(wal_status="lost", is_active=False, lag_bytes=10)


@dataclass
class FakeConnect:
    """Connectors by name; a stop and a resume work at once."""

    states: dict[str, State]
    calls: list[str] = field(default_factory=list)
    refusals: int = 0

    async def put(self, connector: domain.Connector) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError("Connect answered 500")
        self.calls.append(f"put {connector.name}")

    async def state(self, name: str) -> State | None:
        return self.states.get(name)

    async def restart_failed(self, name: str) -> None:
        self.calls.append(f"restart {name}")
        self.states[name] = State("RUNNING", "RUNNING")

    async def stop(self, name: str) -> None:
        self.calls.append(f"stop {name}")
        self.states[name] = State("STOPPED", "UNASSIGNED")

    async def resume(self, name: str) -> None:
        self.calls.append(f"resume {name}")
        self.states[name] = State("RUNNING", "RUNNING")

    async def forget_position(self, name: str) -> None:
        assert self.states[name].connector == "STOPPED"
        self.calls.append(f"forget {name}")


@dataclass
class FakeSlots:
    slot: Slot | None
    calls: list[str]

    async def find(self) -> Slot | None:
        return self.slot

    async def drop(self) -> None:
        self.calls.append("drop slot")
        self.slot = None


@dataclass
class World:
    connect: FakeConnect
    slots: FakeSlots
    now: float = 0.0

    def __post_init__(self) -> None:
        self.watcher = usecases.Watcher(
            self.connect, self.slots, list(connectors().values()), monotonic=lambda: self.now
        )


def world(slot: Slot | None = HEALTHY, **states: State) -> World:
    running = State("RUNNING", "RUNNING")
    connect = FakeConnect({INVENTORY: running, PRODUCTS: running} | states)
    return World(connect, FakeSlots(slot, connect.calls))


SNAPSHOT_AGAIN = [f"stop {INVENTORY}", "drop slot", f"forget {INVENTORY}", f"resume {INVENTORY}"]


def connectors() -> dict[str, domain.Connector]:
    made = domain.connectors(
        postgres_dsn="postgresql://cdc:s%40crt@db:5433/inventory",
        mongo_url="mongodb://cdc:secret@mongo:27017/?replicaSet=rs0",
        partitions=3,
        replication=2,
    )
    return {connector.name: connector for connector in made}


def test_topics_follow_from_prefix_and_table() -> None:
    settings = connectors()[INVENTORY].settings
    table = settings["table.include.list"]
    assert f"{settings['topic.prefix']}.{table}" == domain.INVENTORY_TOPIC
    settings = connectors()[PRODUCTS].settings
    collection = settings["collection.include.list"]
    assert f"{settings['topic.prefix']}.{collection}" == domain.PRODUCTS_TOPIC


def test_both_topics_are_compacted_and_take_a_snapshot_when_the_source_forgot() -> None:
    for connector in connectors().values():
        assert connector.settings["topic.creation.default.cleanup.policy"] == "compact"
        assert connector.settings["topic.creation.default.replication.factor"] == "2"
        assert connector.settings["snapshot.mode"] == "when_needed"


def test_a_password_is_read_from_the_dsn_as_it_was_meant() -> None:
    settings = connectors()[INVENTORY].settings
    assert settings["database.password"] == "s@crt"
    assert (settings["database.hostname"], settings["database.port"]) == ("db", "5433")


def test_a_dsn_without_a_database_is_refused() -> None:
    with pytest.raises(ValueError, match="names no database"):
        domain.connectors(
            postgres_dsn="postgresql://a:b@c", mongo_url="mongodb://d", partitions=1, replication=1
        )


def test_a_missing_slot_is_lost_only_after_a_while() -> None:
    assert not domain.is_lost(None, timedelta(seconds=19))
    assert domain.is_lost(None, timedelta(seconds=20))
    assert domain.is_lost(LOST, timedelta(0))
    assert not domain.is_lost(HEALTHY, timedelta(0))


async def test_a_healthy_pair_is_left_alone() -> None:
    at = world()
    await at.watcher.step()
    assert at.connect.calls == []
    assert await at.watcher.oldest_seconds() == 0.0


async def test_a_failed_task_is_started_again() -> None:
    at = world(**{PRODUCTS: State("RUNNING", "FAILED")})
    await at.watcher.step()
    assert at.connect.calls == [f"restart {PRODUCTS}"]


async def test_a_lost_slot_is_dropped_and_snapshotted_again_once() -> None:
    at = world(LOST)
    await at.watcher.step()
    assert at.connect.calls == SNAPSHOT_AGAIN
    await at.watcher.step()
    assert at.connect.calls == SNAPSHOT_AGAIN


async def test_a_dropped_slot_is_waited_for_before_the_repair() -> None:
    at = world(None)
    await at.watcher.step()
    at.now = 19.0
    await at.watcher.step()
    assert at.connect.calls == []
    at.now = 21.0
    await at.watcher.step()
    assert at.connect.calls == SNAPSHOT_AGAIN


async def test_a_repair_that_died_in_the_middle_is_done_again() -> None:
    at = world(None, **{INVENTORY: State("STOPPED", "UNASSIGNED")})
    await at.watcher.step()
    assert at.connect.calls == SNAPSHOT_AGAIN


async def test_what_is_missing_is_registered_and_nothing_else_is_repaired_before() -> None:
    at = world(None)
    at.connect.states.clear()
    at.now = 100.0
    await at.watcher.step()
    assert at.connect.calls == [f"put {INVENTORY}", f"put {PRODUCTS}"]
    at.now = 107.0
    assert await at.watcher.oldest_seconds() == 7.0


async def test_registering_waits_for_a_source_that_is_not_there_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(usecases, "RETRY_SECONDS", 0.0)
    at = world()
    at.connect.refusals = 2
    await usecases.register(at.connect, connectors()[PRODUCTS])
    assert at.connect.calls == [f"put {PRODUCTS}"]


async def test_a_connector_that_never_runs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usecases, "RUNNING_SECONDS", -1.0)
    at = world()
    at.connect.states.clear()
    with pytest.raises(usecases.NotRunningError, match="MISSING"):
        await usecases.until_running(at.connect, PRODUCTS)
