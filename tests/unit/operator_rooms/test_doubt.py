"""What the operator knows of inventory when replies are lost, late, refused or unreadable, and when clocks jump."""

import asyncio
from contextlib import contextmanager
from datetime import timedelta

import msgspec
import pytest

from doorbuster.contracts import control
from doorbuster.kit import client
from doorbuster_operator.inventory import Inventory
from doorbuster_operator.pool import model as pool_model
from doorbuster_operator.sale import model
from doorbuster_operator.sale.facts import PutGate
from doorbuster_operator.sale.lifecycle import decide
from doorbuster_operator.sale.model import Phase, Status
from doorbuster_operator.sale_keeper import SaleSubject
from doorbuster_operator.testing.builders import (
    CLOSE,
    OPEN,
    SKU,
    after,
    build_gate,
    build_sale,
    build_seen,
    build_stock,
)
from doorbuster_operator.testing.fake_inventory import FakeInventory
from doorbuster_operator.testing.fakes import FakeCluster, FakeTopics
from doorbuster_operator.world import World

UID = "flashsales-drop"
TEN_MINUTES = timedelta(minutes=10)


class Service(FakeInventory):
    """Inventory whose replies can be lost, held up, or be something else."""

    def __init__(self, **options):
        super().__init__(**options)
        self.loses_replies = False
        self.failure: Exception | None = None
        self.read = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.delay = lambda: None

    async def call(self, method, path, answer, **options):
        if self.failure is not None:
            raise self.failure
        found = await super().call(method, path, answer, **options)
        self.delay()
        if method == "GET":
            self.read.set()
            await self.may_answer.wait()
        if method == "PUT" and self.loses_replies:
            raise client.UnavailableError("inventory does not answer")
        return found

    @contextmanager
    def holding_an_answer(self):
        self.read.clear()
        self.may_answer.clear()
        yield
        self.may_answer.set()


class Stage:
    """One process's view of inventory, with clocks that the test moves."""

    def __init__(self):
        self.now = after(-60)
        self.step = timedelta(0)
        self.service = Service(utc_now=lambda: self.now)
        self.service.pools[SKU] = build_stock(owner_uid="inventorypools-iphone")
        self.inventory = Inventory(
            self.service,
            lease=("default", "lease"),
            holder="one",
            monotonic=lambda: (self.now - OPEN) / timedelta(seconds=1) + 5000,
            utc_now=lambda: self.now + self.step,
        )

    def gate(self, **changes):
        item = control.SaleItem(sku=SKU, price_minor=1, currency="USD")
        fields = {"namespace": "default", "name": "drop", "generation": 1, "state": "Active"}
        times = {"open_time": OPEN, "close_time": CLOSE}
        fence = self.inventory.fence
        return control.SaleGate(**(fields | times | {"fence": fence, "items": [item]} | changes))


@pytest.fixture
async def stage():
    built = Stage()
    await built.inventory.greet()
    return built


class SaleStage(Stage):
    """One sale over it that asks for its gate before the opening and loses the reply."""

    async def lose_the_reply(self, **spec):
        await self.inventory.greet()
        self.cluster, self.changes = FakeCluster(), []
        self.world = World(
            cluster=self.cluster, inventory=self.inventory, topics=FakeTopics(), holder="one"
        )
        body = {"metadata": {"name": "iphone"}, "spec": {"sku": SKU, "capacity": 5}}
        self.world.keep_pool(pool_model.parse(self.cluster.put("inventorypools", body)))
        price = {"currency": "USD", "amountMinor": 99_900}
        times = {"openTime": "2026-11-27T12:00:00Z", "closeTime": "2026-11-27T12:10:00Z"}
        items = [{"sku": SKU, "poolName": "iphone", "price": price}]
        body = {"metadata": {"name": "drop"}, "spec": {**times, "items": items, **spec}}
        self.cluster.put("flashsales", body)
        self.subject = SaleSubject(self.world, "drop", UID, self.changes.append)
        self.now = after(-3600)
        await self.look()
        assert self.status["phase"] == "Scheduled"
        self.changes.clear()
        self.now = after(-0.5)
        self.service.loses_replies = True
        await self.look()
        self.service.loses_replies = False
        assert UID in self.service.sales
        assert UID not in self.inventory.gates

    async def look(self):
        self.world.keep_sale(model.parse(self.cluster.objects["flashsales", "drop"]))
        await self.subject.run_pass()

    @property
    def status(self):
        return self.cluster.objects["flashsales", "drop"]["status"]

    def told(self, kind):
        return next(each for each in self.status["conditions"] if each["type"] == kind)


# --- the reply to a gate is lost ------------------------------------------------------------------


async def test_a_strict_sale_whose_gate_is_in_doubt_has_not_missed_its_opening():
    stage = SaleStage()
    await stage.lose_the_reply(lateOpenPolicy="Reject")
    assert "drop" in stage.changes, "the poll is asked for"
    stage.now = OPEN
    await stage.look()
    assert stage.status["phase"] != "Cancelled"
    assert stage.told("Armed")["reason"] == "InventoryUnavailable"
    await stage.inventory.read_sales(is_full=True)
    stage.now = after(0.6)
    await stage.look()
    assert stage.status["phase"] == "Open"
    assert stage.told("Armed")["reason"] == "Loaded"


async def test_a_sale_that_is_deleted_with_its_gate_in_doubt_leaves_no_gate():
    stage = SaleStage()
    await stage.lose_the_reply()
    stage.cluster.ask_deletion("flashsales", "drop")
    await stage.look()
    assert ("flashsales", "drop") in stage.cluster.objects
    stage.now = after(-0.1)
    await stage.inventory.read_sales(is_full=True)
    stage.now = after(0.6)
    await stage.look()
    assert stage.service.sales[UID].state == "Cancelled"


def test_a_gate_that_comes_to_light_behind_a_cancelled_sale_is_shut():
    sale = build_sale(status=Status(phase=Phase.CANCELLED), late_open_policy="Reject")
    decision = decide(sale, build_seen(gate=build_gate()), after(2))
    assert decision.actions == (PutGate("Cancelled", CLOSE),)
    shut = build_seen(gate=build_gate(state="Cancelled"))
    assert decide(sale, shut, after(2)).actions == ()


async def test_a_doubt_ends_with_a_full_read_that_began_after_it(stage):
    uid, told = "sale-uid", stage.inventory.silences_ended
    with stage.service.holding_an_answer():
        early = asyncio.create_task(stage.inventory.read_sales(is_full=True))
        await stage.service.read.wait()
        stage.service.loses_replies = True
        with pytest.raises(client.UnavailableError):
            await stage.inventory.put_sale(uid, stage.gate())
    await early
    assert stage.inventory.silence_of(uid) is not None
    assert stage.inventory.is_failing, "so that the poll reads everything"
    assert stage.inventory.silence_of("another") is None
    await stage.inventory.read_sales(is_full=False)
    assert stage.inventory.silence_of(uid) is not None
    await stage.inventory.read_sales(is_full=True)
    assert (stage.inventory.silence_of(uid), stage.inventory.is_failing) == (None, False)
    assert stage.inventory.silences_ended == told + 1, "so that the sale looks again"
    assert uid in stage.inventory.gates


async def test_a_later_answer_or_a_refusal_leaves_no_doubt(stage):
    stage.service.loses_replies = True
    with pytest.raises(client.UnavailableError):
        await stage.inventory.put_sale("a", stage.gate())
    stage.service.loses_replies = False
    await stage.inventory.put_sale("a", stage.gate())
    with pytest.raises(client.RefusedError):
        await stage.inventory.put_sale("b", stage.gate(name="other"))
    assert stage.inventory.silence_of("a") is None
    assert stage.inventory.silence_of("b") is None


# --- answers that overtake each other -------------------------------------------------------------


@pytest.mark.parametrize("is_stored_before", [False, True], ids=["new", "stored before"])
async def test_an_older_read_takes_no_newer_gate_away(stage, is_stored_before):
    if is_stored_before:
        await stage.inventory.put_sale("a", stage.gate())
    with stage.service.holding_an_answer():
        early = asyncio.create_task(stage.inventory.read_sales(is_full=True))
        await stage.service.read.wait()
        await stage.inventory.put_sale("a", stage.gate(generation=2))
    assert await early == set()
    assert stage.inventory.gates["a"].generation == 2
    del stage.service.sales["a"]
    assert await stage.inventory.read_sales(is_full=True) == {"a"}
    assert stage.inventory.gates == {}


@pytest.mark.parametrize("is_stored_before", [False, True], ids=["new", "stored before"])
async def test_an_older_read_takes_no_newer_stock_away(stage, is_stored_before):
    if not is_stored_before:
        stage.service.pools.clear()
        await stage.inventory.read_pools(is_full=True)
    spec = control.PoolSpec(
        capacity=9, owner_uid="inventorypools-iphone", generation=2, fence=stage.inventory.fence
    )
    with stage.service.holding_an_answer():
        early = asyncio.create_task(stage.inventory.read_pools(is_full=True))
        await stage.service.read.wait()
        await stage.inventory.put_pool(SKU, spec)
    assert await early == set()
    assert stage.inventory.stocks[SKU].capacity == 9
    stage.service.pools.clear()
    assert await stage.inventory.read_pools(is_full=True) == {SKU}
    assert stage.inventory.stocks == {}


# --- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [TEN_MINUTES, -TEN_MINUTES])
async def test_a_step_of_our_clock_moves_no_opening_and_is_shown(stage, step):
    assert (stage.inventory.now(), stage.inventory.offset) == (stage.now, timedelta(0))
    stage.step = step
    assert (stage.inventory.now(), stage.inventory.offset) == (stage.now, -step)
    stage.now = OPEN
    assert stage.inventory.now() == OPEN


async def test_a_slow_answer_tells_the_time_until_there_is_a_quicker_one():
    def crawl():
        stage.now += timedelta(seconds=4)

    stage = Stage()
    stage.step = TEN_MINUTES
    assert (stage.inventory.now(), stage.inventory.offset) == (stage.now + TEN_MINUTES, None)
    stage.service.delay = crawl
    await stage.inventory.read_pools(is_full=True)
    assert stage.now - stage.inventory.now() == timedelta(seconds=2)
    stage.service.delay = lambda: None
    await stage.inventory.read_pools(is_full=True)
    assert stage.inventory.now() == stage.now


# --- answers that are none ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (client.RefusedError(401, "UNAUTHENTICATED", ""), "(401 UNAUTHENTICATED)"),
        (client.RefusedError(403, "FORBIDDEN", ""), "(403 FORBIDDEN)"),
        (client.RefusedError(404, "NOT_FOUND", ""), "(404 NOT_FOUND)"),
        (msgspec.DecodeError("it is HTML"), "cannot be read"),
    ],
)
async def test_who_is_not_let_in_or_cannot_read_knows_nothing(stage, failure, why):
    stage.service.failure = failure
    with pytest.raises((client.RefusedError, client.UnavailableError)):
        await stage.inventory.read_sales(is_full=True)
    assert stage.inventory.is_failing
    stage.now += timedelta(seconds=3)
    assert why in stage.inventory.silence
    stage.service.failure = None
    await stage.inventory.read_sales(is_full=True)
    assert stage.inventory.silence is None


@pytest.mark.parametrize("status", [409, 422])
async def test_a_refusal_of_what_was_asked_is_no_silence(stage, status):
    stage.service.failure = client.RefusedError(status, "OVERLAP", "")
    with pytest.raises(client.RefusedError):
        await stage.inventory.put_sale("a", stage.gate())
    stage.now += timedelta(seconds=3)
    assert (stage.inventory.silence, stage.inventory.is_failing) == (None, False)
