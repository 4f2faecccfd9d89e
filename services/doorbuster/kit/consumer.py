"""Kafka for consumers: batches to an idempotent handler, offsets committed after the handler's own commit."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError
from opentelemetry.trace import SpanKind
from prometheus_client import Counter

from . import database, failpoints, process, telemetry

MAX_RECORDS = 200
POLL_MILLIS = 500
ATTEMPTS = 5
START_SECONDS = 15.0
STOP_SECONDS = 5.0
COMMIT_SECONDS = 10.0
HANDLED = Counter("doorbuster_consumer_handled", "Events handled", ["group"])
POISON = Counter(
    "doorbuster_consumer_poison",
    "Events given up: unreadable or refused again and again",
    ["group"],
)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One event as it arrived, maybe not for the first time; ``carrier`` is the trace context to go on with.

    ``occurred_at`` is when the producer wrote it, where its header says so.
    """

    event: Any
    topic: str
    carrier: Mapping[str, str]
    occurred_at: datetime | None = None


Handle = Callable[[list[Delivery]], Awaitable[None]]
# Makes what the handler takes of a record's key, value and headers; None skips it. Raises MsgspecError.
Read = Callable[[bytes | None, bytes | None, Mapping[str, str]], Any]


class Consumer:
    """Feeds batches of events to ``handle``, which must be idempotent and commit before it returns.

    ``types`` maps the ``type`` header to the struct of the payload; other types are skipped. Where records are no
    events of ours (changes that Debezium captured), ``read`` makes of them what ``handle`` takes. While the store or
    anything else the handler needs is away (OSError, TimeoutError, ``database.is_away`` or one of ``transient``),
    the batch is kept and tried again for as long as the process lives. Any other failure makes the batch go one
    by one, and an event that fails ``ATTEMPTS`` times is counted, logged and left behind: the sweeps are the
    guarantee, not the event.
    """

    def __init__(
        self,
        *,
        bootstrap: str,
        group: str,
        handle: Handle,
        types: Mapping[str, type[Any]] | None = None,
        read: Read | None = None,
        topics: tuple[str, ...] = (),
        pattern: str | None = None,
        transient: tuple[type[Exception], ...] = (),
    ) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._read = read or _events(types or {})
        self._handle = handle
        self._topics = topics
        self._pattern = pattern
        self._transient: tuple[type[Exception], ...] = (OSError, TimeoutError, *transient)
        self._consumer: AIOKafkaConsumer | None = None
        self._held: list[Delivery] = []
        self._starting: asyncio.Future[None] | None = None

    async def step(self) -> bool:
        """Poll once, handle, commit the offsets; always true: there may be more."""
        consumer = await self._ready()
        try:
            if not self._held:
                batches = await consumer.getmany(timeout_ms=POLL_MILLIS, max_records=MAX_RECORDS)
                records = [record for batch in batches.values() for record in batch]
                if not records:
                    return True
                self._held = [d for d in map(self._decode, records) if d is not None]
            await self._deliver(self._held)
            if self._held:
                failpoints.reach("consumer.handled")
            self._held = []
            await self._commit(consumer)
        except KafkaError as error:
            # An outage or a rebalance: what was not committed is delivered again.
            telemetry.log().warning(
                "consumer_interrupted", group=self._group, error=type(error).__name__
            )
            await self.close()
            raise ConnectionError(type(error).__name__) from error
        except Exception as error:
            if not self._is_transient(error):
                await self.close()
            raise
        except BaseException:
            await self.close()
            raise
        return True

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        """Commit what was handled; the library itself would try for ever to commit to a topic that is deleted.

        Joining anew forgets that topic. What was not committed of the others is delivered again.
        """
        try:
            await asyncio.wait_for(consumer.commit(), COMMIT_SECONDS)
        except TimeoutError as error:
            telemetry.log().warning(
                "consumer_interrupted", group=self._group, error="CommitTimeout"
            )
            await self.close()
            raise ConnectionError("CommitTimeout") from error

    def _is_transient(self, error: Exception) -> bool:
        return isinstance(error, self._transient) or database.is_away(error)

    async def _ready(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                *self._topics,
                bootstrap_servers=self._bootstrap,
                group_id=self._group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                metadata_max_age_ms=2000,
                session_timeout_ms=10_000,
                heartbeat_interval_ms=2000,
                max_poll_interval_ms=600_000,
            )
            if self._pattern is not None:
                consumer.subscribe(pattern=self._pattern)
            self._starting = asyncio.ensure_future(consumer.start())
            try:
                await asyncio.wait_for(self._starting, START_SECONDS)
            except BaseException:
                await _stop(consumer)
                raise
            finally:
                self._starting = None
            self._consumer = consumer
        return self._consumer

    def _decode(self, record: ConsumerRecord) -> Delivery | None:
        headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
        try:
            event = self._read(record.key, record.value, headers)
        except msgspec.MsgspecError as error:
            POISON.labels(self._group).inc()
            telemetry.log().error(
                "event_unreadable",
                group=self._group,
                event_id=headers.get("id"),
                error=str(error)[:200],
            )
            return None
        if event is None:
            return None
        carrier = {
            name: headers[name] for name in ("traceparent", "tracestate") if name in headers
        }
        return Delivery(
            event=event,
            topic=record.topic,
            carrier=carrier,
            occurred_at=_moment(headers.get("occurredAt", "")),
        )

    async def _deliver(self, deliveries: list[Delivery]) -> None:
        if not deliveries:
            return
        try:
            await self._attempt(deliveries)
        except Exception as error:
            if self._is_transient(error):
                raise
            telemetry.log().warning("batch_failed", group=self._group, error=repr(error)[:300])
            for delivery in deliveries:
                await self._alone(delivery)

    async def _alone(self, delivery: Delivery) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._attempt([delivery])
            except Exception as error:
                if self._is_transient(error):
                    raise
                telemetry.log().error(
                    "event_failed",
                    group=self._group,
                    type=type(delivery.event).__name__,
                    order_id=getattr(delivery.event, "order_id", None),
                    attempt=attempt,
                    exc_info=error,
                )
                await asyncio.sleep(0.1 * attempt)
            else:
                return
        POISON.labels(self._group).inc()

    async def _attempt(self, deliveries: list[Delivery]) -> None:
        spans = [
            telemetry.start_span(
                f"process {type(delivery.event).__name__}", SpanKind.CONSUMER, delivery.carrier
            )
            for delivery in deliveries
        ]
        try:
            await self._handle(
                [
                    replace(delivery, carrier=telemetry.carrier_of(span))
                    for delivery, span in zip(deliveries, spans, strict=True)
                ]
            )
        finally:
            for span in spans:
                span.end()
        HANDLED.labels(self._group).inc(len(deliveries))

    def stop_starting(self) -> None:
        """Give up joining, which takes as long as the broker is away or the topic is missing."""
        if self._starting is not None:
            self._starting.cancel()

    async def close(self) -> None:
        """Leave the group; the next step joins again."""
        self._held = []
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await _stop(consumer)


def of_orders(
    service: str,
    *,
    bootstrap: str,
    topic: str,
    pattern: str,
    types: Mapping[str, type[Any]],
    handle: Handle,
) -> dict[str, Consumer]:
    """Return a service's two consumers of order events by their groups: the shop's topic and every sale's own.

    They are two because Kafka's client subscribes to names or to a pattern, never to both. Offsets hang on the
    groups' names, which therefore stay as they are.
    """
    common: dict[str, Any] = {"bootstrap": bootstrap, "types": types, "handle": handle}
    shop, sales = f"{service}.orders", f"{service}.sales"
    return {
        shop: Consumer(group=shop, topics=(topic,), **common),
        sales: Consumer(group=sales, pattern=pattern, **common),
    }


def _events(types: Mapping[str, type[Any]]) -> Read:
    """Read our own events: the header says which, the value is JSON."""

    def read(_key: bytes | None, value: bytes | None, headers: Mapping[str, str]) -> Any:
        struct = types.get(headers.get("type", ""))
        return None if struct is None else msgspec.json.decode(value or b"", type=struct)

    return read


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


async def _stop(consumer: AIOKafkaConsumer) -> None:
    try:
        await asyncio.wait_for(consumer.stop(), STOP_SECONDS)
    except Exception:  # noqa: BLE001,RUF100 - a broker that is away; whatever it says, we leave
        # stop() gave up at leaving the group: close what it did not come to.
        for part in (consumer._fetcher, consumer._client):
            with suppress(Exception):
                await asyncio.wait_for(part.close(), STOP_SECONDS)


@asynccontextmanager
async def consuming(consumer: Consumer, name: str) -> AsyncIterator[None]:
    """Run a consumer in the background while the context is open."""
    try:
        async with process.repeating(name, consumer.step, every_seconds=0.05):
            try:
                yield
            finally:
                consumer.stop_starting()
    finally:
        await consumer.close()
