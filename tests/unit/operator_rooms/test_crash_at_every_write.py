"""A whole life of a sale and its pool, killed at every single write, before it and after it.

The operator's passes run against the shipped fakes with a clock that the play moves. Each write is numbered; in run
``i`` the process dies at write ``i``, either before it happened or after it, with the reply lost, and a new process
derives everything from what is there. Every run must pass through the same states as the undisturbed one.
"""

import copy
from contextlib import contextmanager
from datetime import timedelta

import pytest

from doorbuster_operator.capacity_keeper import CapacitySubject
from doorbuster_operator.inventory import Inventory
from doorbuster_operator.pool import model as pool_model
from doorbuster_operator.pool_keeper import PoolSubject
from doorbuster_operator.sale import model as sale_model
from doorbuster_operator.sale_keeper import SaleSubject
from doorbuster_operator.testing.builders import CLOSE, OPEN, SKU, after
from doorbuster_operator.testing.fake_inventory import FakeInventory
from doorbuster_operator.testing.fakes import FakeCluster, FakeTopics
from doorbuster_operator.world import World

SETTLE_PASSES = 12
SALE_UID = "flashsales-drop"

POOL = {"metadata": {"name": "iphone"}, "spec": {"sku": SKU, "capacity": 5}}
SALE = {
    "metadata": {"name": "drop"},
    "spec": {
        "openTime": "2026-11-27T12:00:00Z",
        "closeTime": "2026-11-27T12:10:00Z",
        "items": [
            {
                "sku": SKU,
                "poolName": "iphone",
                "price": {"currency": "USD", "amountMinor": 99_900},
            }
        ],
        "settlement": {"graceSeconds": 30},
        "messaging": {"reclaimPolicy": "Delete"},
        "ttlSecondsAfterSettled": 60,
        "warmup": {"onNotReady": "Hold"},
        "scaling": {
            "targets": [
                {"name": "web", "hpaName": "web", "warmReplicas": 10, "cooldownSeconds": 45}
            ]
        },
    },
}


class KilledError(BaseException):
    """The process is gone; nothing in it may catch this."""


class Play:
    """The world, the operator's present process, and the write at which it dies."""

    def __init__(self, *, die_at=None, is_done_first=False) -> None:
        self.now = after(-3600)
        self.die_at, self.is_done_first = die_at, is_done_first
        self.writes: list[str] = []
        self.states: list[dict] = []
        self.cluster, self.topics = FakeCluster(), FakeTopics()
        self.inventory = FakeInventory(utc_now=lambda: self.now)
        self.cluster.put_autoscaler("web")
        self.cluster.deployments["web"] = 2
        for peer in (self.cluster, self.topics, self.inventory):
            peer.on_write = self._on_write
        self.world = None

    @contextmanager
    def _on_write(self, what):
        number = len(self.writes)
        self.writes.append(what)
        if number == self.die_at and not self.is_done_first:
            raise KilledError
        yield
        if number == self.die_at and self.is_done_first:
            raise KilledError

    async def _start_process(self) -> None:
        inventory = Inventory(
            self.inventory,
            lease=("default", "doorbuster-operator"),
            holder="one",
            monotonic=self._seconds,
            utc_now=lambda: self.now,
        )
        await inventory.greet()
        self.world = World(
            cluster=self.cluster,
            inventory=inventory,
            topics=self.topics,
            holder="one",
            monotonic=self._seconds,
        )
        self.subjects = [
            PoolSubject(self.world, "iphone", "inventorypools-iphone", lambda name: None),
            CapacitySubject(self.world, lambda names: None),
            SaleSubject(self.world, "drop", SALE_UID, lambda name: None),
        ]

    def _seconds(self) -> float:
        return (self.now - OPEN) / timedelta(seconds=1)

    async def come_to_rest(self) -> None:
        """Pass until nothing is written any more, through the death if it falls in here."""
        for _ in range(SETTLE_PASSES):
            before = len(self.writes)
            try:
                if self.world is None:
                    await self._start_process()
                await self._pass()
            except KilledError:
                self.world = None
                continue
            if len(self.writes) == before:
                self.states.append(self._state())
                return
        raise AssertionError(f"still writing: {self.writes[-5:]}")

    async def _pass(self) -> None:
        await self.world.inventory.read_pools(is_full=True)
        await self.world.inventory.read_sales(is_full=True)
        for subject in self.subjects:
            self._watch()
            await subject.run_pass()

    def _watch(self) -> None:
        objects = copy.deepcopy(self.cluster.objects)
        sales = {key[1]: body for key, body in objects.items() if key[0] == "flashsales"}
        pools = {key[1]: body for key, body in objects.items() if key[0] == "inventorypools"}
        for gone in set(self.world.sales) - set(sales):
            self.world.forget_sale(gone)
        for body in sales.values():
            self.world.keep_sale(sale_model.parse(body))
        self.world.pools = {name: pool_model.parse(body) for name, body in pools.items()}

    def _state(self) -> dict:
        """Return what everybody can see, without what counts the operator's lives."""
        objects = copy.deepcopy(self.cluster.objects)
        for body in objects.values():
            del body["metadata"]["resourceVersion"]
            body.get("status", {}).get("gate", {}).pop("fence", None)
            body.get("status", {}).pop("epoch", None)
        gate = self.inventory.sales.get(SALE_UID)
        stock = self.inventory.pools.get(SKU)
        events = [(each["involvedObject"]["name"], each["reason"]) for each in self._events()]
        return {
            "objects": objects,
            "gate": gate and (gate.state, gate.generation, gate.close_time, gate.items[0].sold),
            "stock": stock and (stock.owner_uid, stock.capacity, stock.available, stock.sold),
            "topics": set(self.topics.topics),
            "replicas": self.cluster.autoscalers["web"]["spec"]["minReplicas"],
            "reports": copy.deepcopy(self.cluster.config_maps),
            "events": sorted(events),
        }

    def _events(self):
        return self.cluster.events.values()

    async def perform(self, *, is_left_settled=False) -> None:
        """Play the whole life, or all of it but the deletions."""
        self.cluster.put("inventorypools", POOL)
        self.cluster.put("flashsales", SALE)
        await self.come_to_rest()
        self.now = after(-600)
        await self.come_to_rest()
        self.cluster.deployments["web"] = 9
        for now in (after(-590), OPEN):
            self.now = now
            await self.come_to_rest()
        self.inventory.sell(SALE_UID, 5)
        self.now = after(1)
        await self.come_to_rest()
        self.cluster.put(
            "inventorypools", {**POOL, "spec": {"sku": SKU, "capacity": 7}} | _kept(self)
        )
        self.now = after(10)
        await self.come_to_rest()
        self.inventory.sell(SALE_UID, 2)
        settles, cools = CLOSE + timedelta(seconds=30), CLOSE + timedelta(seconds=45)
        for now in (after(20), CLOSE, settles, cools):
            self.now = now
            await self.come_to_rest()
        if is_left_settled:
            return
        self.now = CLOSE + timedelta(seconds=90)
        await self.come_to_rest()
        self.cluster.ask_deletion("inventorypools", "iphone")
        await self.come_to_rest()

    async def end_in_one_pass(self) -> None:
        """Let the time to live of the settled sale run out and pass once, while the watch tells nothing."""
        self.now = CLOSE + timedelta(seconds=90)
        await self._start_process()
        self._watch()
        for subject in self.subjects[1:]:
            await subject.run_pass()


def _kept(play):
    return {"metadata": {"name": "iphone"}}


async def undisturbed():
    play = Play()
    await play.perform()
    return play


async def test_the_undisturbed_life_is_what_a_merchant_expects():
    play = await undisturbed()
    phases = [
        state["objects"]["flashsales", "drop"]["status"]["phase"]
        for state in play.states
        if ("flashsales", "drop") in state["objects"]
    ]
    assert phases == [
        *("Scheduled", "Warming", "Warming", "Open", "SoldOut", "Open", "SoldOut", "Closed"),
        *("Settled", "Settled"),
    ]
    last = play.states[-1]
    assert last["objects"] == {}
    assert last["topics"] == set()
    assert last["stock"] == (None, 7, 0, 7)
    assert len(play.writes) >= 20
    assert [state["replicas"] for state in play.states] == [2, *8 * [10], *3 * [2]]
    assert set(last["reports"]) == {"drop-report"}


async def test_a_cold_sale_is_held_and_let_go_when_its_replicas_are_ready():
    play = await undisturbed()
    gates = [write for write in play.writes if write.startswith("gate")]
    assert gates == ["gate drop Suspended", "gate drop Active"]


async def test_a_sale_goes_at_its_time_without_a_word_from_the_watch():
    play = Play()
    await play.perform(is_left_settled=True)
    assert play.states[-1]["objects"]["flashsales", "drop"]["status"]["phase"] == "Settled"
    await play.end_in_one_pass()
    assert ("flashsales", "drop") not in play.cluster.objects
    assert play.topics.topics == {}


async def test_no_pass_writes_anything_twice():
    play = await undisturbed()
    statuses = [write for write in play.writes if write.startswith("status flashsales")]
    assert len(statuses) <= 14
    assert len([write for write in play.writes if write.startswith("gate")]) == 2
    assert len([write for write in play.writes if write.startswith("minimum")]) == 2


@pytest.mark.parametrize("is_done_first", [False, True], ids=["before it", "after it"])
async def test_a_process_killed_at_any_write_changes_nothing(is_done_first):
    expected = await undisturbed()
    for number, what in enumerate(expected.writes):
        play = Play(die_at=number, is_done_first=is_done_first)
        await play.perform()
        assert len(play.writes) > number
        for step, (state, wanted) in enumerate(zip(play.states, expected.states, strict=True)):
            assert state == wanted, f"killed at write {number} ({what}), step {step}"
