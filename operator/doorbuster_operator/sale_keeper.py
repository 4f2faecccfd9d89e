"""A sale's pass: observe, decide, apply, read back, and one status patch."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, assert_never

import msgspec

from doorbuster.contracts import control
from doorbuster.kit import client
from doorbuster_operator import metrics
from doorbuster_operator.cluster import ClusterError, ConflictError, GoneError
from doorbuster_operator.conditions import Notice
from doorbuster_operator.inventory import BUSINESS_STATUSES
from doorbuster_operator.sale import facts, lifecycle, model, report, resources
from doorbuster_operator.sale.health import REFUSALS
from doorbuster_operator.topics import TopicRefusedError, TopicsUnavailableError
from doorbuster_operator.world import World, identity_of, state_of

ROUNDS = 6
REFUSED_RETRY = timedelta(seconds=10)
OUTAGE_RETRY = timedelta(seconds=1)
KAFKA_RETRY = timedelta(seconds=2)
KAFKA_SECONDS = 2.5
ANSWER_GOOD_SECONDS = 10.0
REPORT_RETRY = timedelta(seconds=2)
FOREIGN_RETRY = timedelta(seconds=60)
COUNTERS_EVERY_SECONDS = 5.0
UNREAD_GOOD_SECONDS = 2.0
RELOAD = timedelta(seconds=2)


class SaleSubject:
    """One FlashSale with what this process remembers of its own attempts; nothing of it is needed after a restart."""

    kind = "flashsale"

    def __init__(
        self, world: World, name: str, uid: str, on_change: Callable[[str], None]
    ) -> None:
        self._world = world
        self._on_change = on_change
        self._topic: facts.TopicSeen | None = None
        self._topic_failure: facts.Failure | None = None
        self._is_topic_free = False
        self._asked_of_kafka: dict[str, tuple[float, asyncio.Task[Any]]] = {}
        self._is_reported = False
        self._report_failure: facts.Failure | None = None
        self._gate_failure: facts.Failure | None = None
        self._armed_at: datetime | None = None
        self._unloaded_since: float | None = None
        self._unread: int | None = None
        self._unread_at = float("-inf")
        self._unread_failure: facts.Failure | None = None
        self._counted_at = float("-inf")
        self._told: set[str] = set()
        self._measured: model.Phase | None = None
        self._uid = uid
        self.name = name
        self.is_watched = False

    async def run_pass(self) -> datetime | None:
        """Bring the sale to where it should be now and tell how it is."""
        world = self._world
        sale = self._current()
        if sale is None:
            return None
        notices: dict[str, Notice] = {}
        timeline = sale.status.timeline
        if world.monotonic() - self._unread_at >= UNREAD_GOOD_SECONDS:
            self._unread = None
        for _ in range(ROUNDS):
            now = world.inventory.now()
            seen = self._look(sale, now)
            decision = lifecycle.decide(_remember(sale, timeline), seen, now)
            timeline = decision.timeline
            notices |= {each.key: each for each in decision.notices}
            if not decision.actions:
                break
            for action in decision.actions:
                if isinstance(action, facts.DropFinalizer | facts.DeleteSale):
                    await self._tell(sale, notices, now)
                if not await self._apply(_remember(sale, timeline), action, now):
                    break
                if isinstance(action, facts.DropFinalizer):
                    self.is_watched = False
                    return None
            sale = self._current()
            if sale is None:
                return None
        self.is_watched = decision.is_watched
        again_at = await self._write(sale, seen, decision, notices, now)
        if decision.actions:  # more rounds than one pass takes: go on after a breath
            again_at = now + OUTAGE_RETRY
        reload_at = None if self._unloaded_since is None else now + RELOAD
        moments = [each for each in (decision.wake_at, again_at, reload_at) if each is not None]
        return min(moments, default=None)

    def _current(self) -> model.FlashSale | None:
        sale = self._world.sales.get(self.name)
        return sale if sale is not None and sale.uid == self._uid else None

    def _steady(
        self, sale: model.FlashSale, gate: control.SaleState | None
    ) -> control.SaleState | None:
        """Return the gate; permits that look lost for a moment only, while they are loaded anew, count as loaded."""
        was_loaded = any(
            each.type == "Armed" and each.status == "True" for each in sale.status.conditions
        )
        if gate is None or gate.armed_reason != "NotLoaded" or not was_loaded:
            self._unloaded_since = None
            return gate
        now = self._world.monotonic()
        since = self._unloaded_since
        if since is not None and now - since >= RELOAD.total_seconds():
            return gate
        self._unloaded_since = now if since is None else since
        return msgspec.structs.replace(gate, armed=True)

    def _look(self, sale: model.FlashSale, now: datetime) -> facts.Seen:
        inventory = self._world.inventory
        return facts.Seen(
            pools=self._world.pools_of(sale),
            silence=inventory.silence_of(sale.uid),
            gate=self._steady(sale, inventory.gates.get(sale.uid)),
            armed_at=self._armed_at,
            gate_failure=self._lasting_gate_failure(now),
            topic=self._topic,
            topic_failure=self._topic_failure,
            is_topic_free=self._is_topic_free,
            targets=self._world.targets_of(sale, now),
            is_reported=self._is_reported,
            report_failure=self._report_failure,
            unread=self._unread,
            unread_failure=self._unread_failure,
            offset=inventory.offset,
        )

    def _lasting_gate_failure(self, now: datetime) -> facts.Failure | None:
        """Return what keeps the gate from being stored; an outage counts until it is time to try again.

        The gate may have been stored all the same, and then there is no other try that would end the failure.
        """
        failure = self._gate_failure
        if failure is not None and not failure.is_refusal and now >= failure.retry_at:
            self._gate_failure = None
        return self._gate_failure

    async def _apply(self, sale: model.FlashSale, action: facts.Action, now: datetime) -> bool:
        """Do one thing; tells whether what follows it may be done too."""
        world = self._world
        about = identity_of(sale, model.KIND)
        match action:
            case facts.AddFinalizer():
                finalizers = [model.FINALIZER]
                if action.owns_topic:
                    finalizers.append(model.TOPIC_FINALIZER)
                body = await world.cluster.apply_finalizers(about, model.PLURAL, finalizers)
                world.keep_sale(model.parse(body))
                return True
            case facts.DropFinalizer():
                await world.cluster.apply_finalizers(about, model.PLURAL, [])
                return True
            case facts.DeleteSale():
                body = await world.cluster.delete(about, model.PLURAL)
                if body.get("kind") != "Status":
                    world.keep_sale(model.parse(body))
                return True
            case facts.PutGate():
                await self._put_gate(sale, action, now)
                return True
            case facts.WriteReport():
                await self._write_report(sale, now)
                return True
            case facts.LookForTopic():
                await self._look_for_topic(sale)
                return True
            case facts.EnsureTopic():
                await self._ensure_topic(sale)
                return True
            case facts.CountUnread():
                await self._count_unread(sale, now)
                return True
            case facts.DropTopic():
                return await self._drop_topic(sale, now)
            case _:
                assert_never(action)

    async def _put_gate(self, sale: model.FlashSale, put: facts.PutGate, now: datetime) -> None:
        inventory = self._world.inventory
        if inventory.fence is None:
            return
        is_first = sale.uid not in inventory.gates
        gate = resources.gate(
            sale, state=put.state, close_time=put.close_time, fence=inventory.fence
        )
        try:
            stored = await inventory.put_sale(sale.uid, gate)
        except client.RefusedError as error:
            is_business = error.status in BUSINESS_STATUSES and error.code != "STALE_EPOCH"
            self._gate_failure = _failure(
                sale,
                REFUSALS.get(error.code, "Refused"),
                error.detail or error.code,
                now + (REFUSED_RETRY if is_business else OUTAGE_RETRY),
                is_refusal=is_business,
            )
            return
        except client.UnavailableError as error:
            self._gate_failure = _failure(
                sale, "InventoryUnavailable", f"{error}.", now + OUTAGE_RETRY
            )
            return
        finally:
            if inventory.is_failing:
                # The poll may rest: it shall ask what became of the gate.
                self._on_change(sale.name)
        self._gate_failure = None
        if is_first:
            self._armed_at = stored.server_time

    async def _ask_kafka(self, what: str, ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Return Kafka's answer, or raise TopicsUnavailableError: a silent Kafka may not hold up the gate.

        The question goes on by itself, so that a slow answer is there for the next try.
        """
        now = self._world.monotonic()
        asked_at, task = self._asked_of_kafka.get(what, (now, None))
        if task is None or (task.done() and now - asked_at > ANSWER_GOOD_SECONDS):
            task = asyncio.create_task(ask(), name=f"{what} {self.name}")
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            self._asked_of_kafka[what] = (now, task)
        done, _ = await asyncio.wait({task}, timeout=KAFKA_SECONDS)
        if not done:
            raise TopicsUnavailableError("Kafka does not answer in time.")
        del self._asked_of_kafka[what]
        return task.result()

    async def _ensure_topic(self, sale: model.FlashSale) -> None:
        topics, wanted = self._world.topics, resources.topic(sale)
        try:
            self._topic = await self._ask_kafka("ensure", lambda: topics.ensure(wanted))
            self._topic_failure = None
        except (TopicRefusedError, TopicsUnavailableError) as error:
            # Not the time when it was asked: by now another try would be due.
            self._topic_failure = _kafka_failure(sale, error, self._world.inventory.now())

    async def _look_for_topic(self, sale: model.FlashSale) -> None:
        name = resources.topic(sale).name
        self._is_topic_free = False
        try:
            is_taken = await self._ask_kafka("exists", lambda: self._world.topics.exists(name))
        except TopicsUnavailableError as error:
            self._topic_failure = _kafka_failure(sale, error, self._world.inventory.now())
            return
        now = self._world.inventory.now()
        self._is_topic_free, self._topic_failure = not is_taken, None
        if is_taken:
            text = (
                f"Topic {name} was there before this sale asked for it: it is used, but not changed and "
                f"never deleted. To hand it over, annotate the FlashSale with {model.ADOPT_TOPIC}=true; "
                "or delete the topic and it is made anew."
            )
            self._topic_failure = _failure(
                sale, lifecycle.FOREIGN, text, now + FOREIGN_RETRY, is_refusal=True
            )

    async def _write_report(self, sale: model.FlashSale, now: datetime) -> None:
        cluster, gate = self._world.cluster, self._world.inventory.gates[sale.uid]
        name = report.name(sale)
        try:
            if report.is_ours(sale, await cluster.read_config_map(name)):
                await cluster.apply_config_map(report.config_map(sale, gate, sale.status.timeline))
                self._is_reported, self._report_failure = True, None
                return
            text = (
                f"ConfigMap {name} is not a report: it stays as it is, and the sale has no report."
            )
            self._report_failure = _failure(
                sale, "ReportConflict", text, now + REFUSED_RETRY, is_refusal=True
            )
        except ConflictError as error:
            text = f"ConfigMap {name} cannot be written, and the sale has no report: {error}"
            self._report_failure = _failure(
                sale, "ReportConflict", text, now + REFUSED_RETRY, is_refusal=True
            )
        except (ClusterError, GoneError) as error:
            text = f"The report could not be written: {error}"
            self._report_failure = _failure(sale, "ReportNotWritten", text, now + REPORT_RETRY)

    async def _count_unread(self, sale: model.FlashSale, now: datetime) -> None:
        try:
            self._unread = await self._world.topics.unread(resources.topic(sale).name)
            self._unread_at = self._world.monotonic()
            self._unread_failure = None
        except (TopicRefusedError, TopicsUnavailableError) as error:
            self._unread_failure = _kafka_failure(sale, error, now)

    async def _drop_topic(self, sale: model.FlashSale, now: datetime) -> bool:
        try:
            await self._world.topics.delete(resources.topic(sale).name)
        except (TopicRefusedError, TopicsUnavailableError) as error:
            self._topic_failure = _kafka_failure(sale, error, now)
            return False
        return True

    async def _write(
        self,
        sale: model.FlashSale,
        seen: facts.Seen,
        decision: facts.Decision,
        notices: dict[str, Notice],
        now: datetime,
    ) -> datetime | None:
        """Patch the status if anything changed; returns when to write again.

        That is when counters that were held back are due, or now when the object is another than was decided on.
        """
        world = self._world
        self._measure(sale, seen, decision)
        shown = sale.raw_status.get("inventory")
        is_over = sale.status.phase in model.OVER
        counted = shown if is_over or seen.gate is None else resources.counters(seen.gate)
        status = resources.status(sale, seen, decision, now=now, inventory=shown)
        if status == sale.raw_status:
            if counted == shown:
                return None
            age = world.monotonic() - self._counted_at
            if age < COUNTERS_EVERY_SECONDS:
                return now + timedelta(seconds=COUNTERS_EVERY_SECONDS - age)
        if counted is not None:
            status["inventory"] = counted
        await self._tell(sale, notices, now)
        about = state_of(sale, model.KIND)
        body: dict[str, Any] = await world.cluster.apply_status(about, model.PLURAL, status)
        metrics.STATUS_WRITES.labels(self.kind).inc()
        # Only now: a write that failed is done again, and the opening would count twice.
        latency = decision.timeline.open_latency_millis
        if latency is not None and sale.status.timeline.open_latency_millis is None:
            metrics.OPEN_DELAY.observe(latency / 1000)
        self._counted_at = world.monotonic()
        fresh = model.parse(body)
        world.keep_sale(fresh)
        if sale.status.phase is not decision.phase:
            self._on_change(sale.name)
        is_stale = fresh.generation != sale.generation or fresh.is_deleting != sale.is_deleting
        return now if is_stale else None

    async def _tell(
        self, sale: model.FlashSale, notices: dict[str, Notice], now: datetime
    ) -> None:
        about = identity_of(sale, model.KIND)
        for notice in notices.values():
            if notice.key not in self._told:
                await self._world.tell(notice, about, now)
                self._told.add(notice.key)

    def _measure(self, sale: model.FlashSale, seen: facts.Seen, decision: facts.Decision) -> None:
        if seen.offset is not None:
            metrics.CLOCK_OFFSET.set(seen.offset / timedelta(seconds=1))
        if decision.phase is self._measured:
            return
        self._measured = decision.phase
        for phase in model.Phase:
            value = 1 if phase is decision.phase else 0
            metrics.SALE_PHASE.labels(f"{sale.namespace}.{sale.name}", str(phase)).set(value)


def _remember(sale: model.FlashSale, timeline: model.Timeline) -> model.FlashSale:
    """Carry the timeline of an earlier round, so that what a round saw is not forgotten by its own effect."""
    return msgspec.structs.replace(
        sale, status=msgspec.structs.replace(sale.status, timeline=timeline)
    )


def _failure(
    sale: model.FlashSale,
    reason: str,
    message: str,
    retry_at: datetime,
    *,
    is_refusal: bool = False,
) -> facts.Failure:
    return facts.Failure(
        reason=reason,
        message=message,
        retry_at=retry_at,
        generation=sale.generation,
        is_refusal=is_refusal,
    )


def _kafka_failure(sale: model.FlashSale, error: Exception, now: datetime) -> facts.Failure:
    if isinstance(error, TopicRefusedError):
        return _failure(sale, error.reason, str(error), now + REFUSED_RETRY, is_refusal=True)
    return _failure(sale, "KafkaUnavailable", str(error), now + KAFKA_RETRY)
