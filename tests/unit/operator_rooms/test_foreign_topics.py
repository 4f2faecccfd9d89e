"""Whose topic it is: looked at before it is asked for, written down before it is made, and never guessed."""

import asyncio
import copy
from contextlib import nullcontext
from datetime import timedelta

from doorbuster_operator import sale_keeper
from doorbuster_operator.inventory import Inventory
from doorbuster_operator.pool import model as pool_model
from doorbuster_operator.sale import model
from doorbuster_operator.sale.facts import DropTopic, EnsureTopic, LookForTopic
from doorbuster_operator.sale.lifecycle import decide
from doorbuster_operator.sale_keeper import SaleSubject
from doorbuster_operator.testing.builders import (
    SKU,
    TOPIC,
    after,
    build_gate,
    build_sale,
    build_seen,
    build_stock,
)
from doorbuster_operator.testing.fake_inventory import FakeInventory
from doorbuster_operator.testing.fakes import FakeCluster, FakeTopics
from doorbuster_operator.world import World

BOTH = [model.FINALIZER, model.TOPIC_FINALIZER]


class Stage:
    """One sale in its warm-up over fakes; ``restart`` forgets all that the process knew."""

    def __init__(self):
        self.now = after(-300)
        self.cluster, self.topics = FakeCluster(), FakeTopics()
        self.inventory = FakeInventory(utc_now=lambda: self.now)
        self.cluster.put(
            "inventorypools", {"metadata": {"name": "iphone"}, "spec": {"sku": SKU, "capacity": 5}}
        )
        self.inventory.pools[SKU] = build_stock(owner_uid="inventorypools-iphone")
        self.put()

    def put(self, **annotations):
        price = {"currency": "USD", "amountMinor": 99_900}
        spec = {
            "openTime": "2026-11-27T12:00:00Z",
            "closeTime": "2026-11-27T12:10:00Z",
            "items": [{"sku": SKU, "poolName": "iphone", "price": price}],
            "messaging": {"reclaimPolicy": "Delete"},
        }
        marks = {key.replace("_", "-"): value for key, value in annotations.items()}
        metadata = {
            "name": "drop",
            "annotations": {f"doorbuster.dev/{key}": value for key, value in marks.items()},
        }
        self.cluster.put("flashsales", {"metadata": metadata, "spec": spec})

    async def restart(self):
        inventory = Inventory(
            self.inventory,
            lease=("default", "lease"),
            holder="one",
            monotonic=lambda: self.now.timestamp(),
            utc_now=lambda: self.now,
        )
        await inventory.greet()
        self.world = World(
            cluster=self.cluster, inventory=inventory, topics=self.topics, holder="one"
        )
        self.subject = SaleSubject(self.world, "drop", "flashsales-drop", lambda name: None)

    async def run(self):
        await self.world.inventory.read_sales(is_full=True)
        for (plural, _), body in copy.deepcopy(self.cluster.objects).items():
            if plural == "flashsales":
                self.world.keep_sale(model.parse(body))
            else:
                self.world.keep_pool(pool_model.parse(body))
        await self.subject.run_pass()

    @property
    def sale(self):
        return self.cluster.objects["flashsales", "drop"]

    def told(self):
        parts = {each["type"]: each for each in self.sale["status"]["conditions"]}
        return parts["TopicsReady"]

    def events(self):
        return [each["reason"] for each in self.cluster.events.values()]


async def started():
    stage = Stage()
    await stage.restart()
    return stage


async def test_a_free_name_is_taken_behind_one_finalizer():
    stage = await started()
    writes = []
    stage.cluster.on_write = lambda what: writes.append(what) or nullcontext()
    await stage.run()
    assert stage.sale["metadata"]["finalizers"] == BOTH
    assert stage.told()["status"] == "True"
    assert len([each for each in writes if each.startswith("finalizers")]) == 1


async def test_a_topic_that_was_there_is_left_alone_and_the_sale_sells_all_the_same():
    stage = await started()
    stage.topics.topics[TOPIC.name] = TOPIC
    await stage.run()
    assert stage.sale["metadata"]["finalizers"] == [model.FINALIZER]
    assert (stage.told()["status"], stage.told()["reason"]) == ("False", "ResourceConflict")
    assert "doorbuster.dev/adopt-topic=true" in stage.told()["message"]
    assert stage.inventory.sales["flashsales-drop"].state == "Active"
    assert stage.events().count("ResourceConflict") == 1
    stage.cluster.ask_deletion("flashsales", "drop")
    await stage.run()
    assert ("flashsales", "drop") not in stage.cluster.objects
    assert stage.topics.topics == {TOPIC.name: TOPIC}, "neither changed nor deleted"


async def test_after_a_restart_a_foreign_topic_is_still_foreign_and_our_own_is_ours():
    stage = await started()
    stage.topics.topics[TOPIC.name] = TOPIC
    await stage.run()
    stage.sale["status"] = {}  # the process died before it could tell
    await stage.restart()
    await stage.run()
    assert stage.told()["reason"] == "ResourceConflict"

    ours = await started()
    await ours.run()
    ours.sale["status"] = {}
    await ours.restart()
    await ours.run()
    assert ours.told()["reason"] == "Provisioned"


async def test_a_topic_that_the_merchant_hands_over_is_ours_from_then_on():
    stage = await started()
    stage.topics.topics[TOPIC.name] = TOPIC
    await stage.run()
    stage.put(adopt_topic="true")
    await stage.run()
    assert stage.sale["metadata"]["finalizers"] == BOTH
    assert stage.told()["reason"] == "Provisioned"


async def test_a_foreign_topic_that_goes_makes_room_for_ours():
    stage = await started()
    stage.topics.topics[TOPIC.name] = TOPIC
    await stage.run()
    del stage.topics.topics[TOPIC.name]
    stage.now = after(-240)
    await stage.run()
    assert stage.told()["reason"] == "Provisioned"
    assert stage.sale["metadata"]["finalizers"] == BOTH


async def test_without_kafka_nobody_knows_whose_it_is_and_the_gate_is_armed():
    stage = await started()
    stage.topics.is_down = True
    await stage.run()
    assert stage.sale["metadata"]["finalizers"] == [model.FINALIZER]
    assert stage.told()["reason"] == "KafkaUnavailable"
    assert "flashsales-drop" in stage.inventory.sales
    stage.topics.is_down = False
    stage.now = after(-290)
    await stage.run()
    assert stage.sale["metadata"]["finalizers"] == BOTH


class BlackHole(FakeTopics):
    """Takes every question and answers when the test lets it."""

    def __init__(self):
        super().__init__()
        self.answers = asyncio.Event()
        self.asked = 0

    async def exists(self, name):
        self.asked += 1
        await self.answers.wait()
        return await super().exists(name)


async def test_a_kafka_that_never_answers_holds_up_a_pass_once_and_for_a_short_time(monkeypatch):
    monkeypatch.setattr(sale_keeper, "KAFKA_SECONDS", 0.01)
    stage = Stage()
    stage.topics = BlackHole()
    await stage.restart()
    async with asyncio.timeout(5):
        await stage.run()
    assert stage.told()["reason"] == "KafkaUnavailable"
    assert stage.inventory.sales["flashsales-drop"].state == "Active"
    stage.topics.answers.set()
    await asyncio.sleep(0)
    stage.now += timedelta(seconds=2)
    await stage.run()
    assert stage.told()["reason"] == "Provisioned"
    assert stage.topics.asked == 1, "the answer that came late was taken"


async def test_a_try_that_took_long_is_not_due_again_at_once(monkeypatch):
    stage = Stage()
    stage.topics = BlackHole()
    await stage.restart()
    waits = []

    async def wait(tasks, **limits):
        waits.append(limits["timeout"])
        stage.now += timedelta(seconds=limits["timeout"])
        await asyncio.sleep(0)
        return set(), tasks

    monkeypatch.setattr(sale_keeper.asyncio, "wait", wait)
    await stage.run()
    assert waits == [sale_keeper.KAFKA_SECONDS]
    monkeypatch.undo()
    stage.topics.answers.set()


async def test_an_answer_that_nobody_took_for_long_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(sale_keeper, "KAFKA_SECONDS", 0.01)
    stage = Stage()
    stage.topics = BlackHole()
    await stage.restart()
    stage.world.monotonic = lambda: stage.now.timestamp()
    await stage.run()
    stage.topics.answers.set()
    await asyncio.sleep(0.01)
    stage.topics.topics[TOPIC.name] = TOPIC  # somebody took the name meanwhile
    stage.now += timedelta(seconds=60)
    await stage.run()
    assert stage.told()["reason"] == "ResourceConflict"


def test_it_is_looked_for_before_it_is_asked_for():
    sale = build_sale(owns_topic=False)
    assert decide(sale, build_seen(topic=None), after(-3600)).actions == (LookForTopic(),)
    free = build_seen(topic=None, is_topic_free=True)
    assert EnsureTopic() in decide(sale, free, after(-3600)).actions
    ours = build_sale()
    assert decide(ours, build_seen(topic=None), after(-3600)).actions == (EnsureTopic(),)


def test_a_topic_that_is_not_ours_is_never_dropped():
    policy = model.Messaging(reclaim_policy="Delete")
    deleted = build_sale(is_deleting=True, owns_topic=False, messaging=policy)
    seen = build_seen(gate=build_gate(state="Cancelled"), unread=0)
    assert DropTopic() not in decide(deleted, seen, after(9)).actions
