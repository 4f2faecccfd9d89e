"""Events leave with the transaction that made them true, and all of them arrive, whoever dies in between."""

import asyncio
import contextlib
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from devstack.stack import Stack
from doorbuster.kit import bus, clock, outbox, process
from doorbuster.testing import stories

DYING_RELAY = Path(__file__).with_name("relay_that_dies.py")


def ids_of(numbers: range) -> set[str]:
    return {stories.order_id(number) for number in numbers}


async def drain(store: Any, relay: outbox.Relay, *, within_seconds: float = 40.0) -> None:
    async with asyncio.timeout(within_seconds):
        while await store.left():
            with suppress(ConnectionError, TimeoutError):
                await relay.step()


async def test_an_event_whose_transaction_rolls_back_never_was(store: Any) -> None:
    async def fail() -> None:
        async with store.engine.begin() as connection:
            heard = [("orders", stories.paid())]
            await outbox.enqueue(connection, store.table, heard, now=clock.utc_now())
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert await store.left() == 0


async def test_an_event_arrives_as_it_was_written(
    store: Any, bootstrap: str, topic: str, reader: Any
) -> None:
    tracer = TracerProvider().get_tracer("test")
    now = clock.utc_now()
    with tracer.start_as_current_span("checkout") as span:
        trace_id = f"{span.get_span_context().trace_id:032x}"
        async with store.engine.begin() as connection:
            await outbox.enqueue(connection, store.table, [(topic, stories.paid())], now=now)
    async with bus.open_bus(bootstrap) as sender:
        await drain(store, outbox.Relay(store.engine, store.table, sender))
    await reader.read(ids_of(range(1, 2)))
    [delivery] = reader.deliveries
    assert delivery.event == stories.paid()
    assert (delivery.topic, delivery.occurred_at) == (topic, now)
    assert trace_id in delivery.carrier["traceparent"]


async def test_several_relays_send_everything_and_nothing_twice(
    store: Any, bootstrap: str, topic: str, reader: Any
) -> None:
    numbers = range(1, 901)
    await store.enqueue(topic, numbers)
    async with bus.open_bus(bootstrap) as sender:
        relays = [outbox.Relay(store.engine, store.table, sender) for _ in range(3)]
        await asyncio.gather(*(drain(store, relay) for relay in relays))
    await reader.read(ids_of(numbers))
    assert len(reader.order_ids) == len(numbers)


async def test_a_relay_killed_between_sending_and_deleting_sends_again(
    store: Any, bootstrap: str, topic: str, reader: Any
) -> None:
    numbers = range(1, 51)
    await store.enqueue(topic, numbers)
    dying = await asyncio.create_subprocess_exec(
        sys.executable, str(DYING_RELAY), store.dsn, bootstrap
    )
    assert await asyncio.wait_for(dying.wait(), 30) == -signal.SIGKILL
    assert await store.left() == len(numbers)
    async with bus.open_bus(bootstrap) as sender:
        await drain(store, outbox.Relay(store.engine, store.table, sender))
    await reader.read(ids_of(numbers))
    async with asyncio.timeout(20):
        while len(reader.order_ids) < 2 * len(numbers):  # what the dead relay sent is there too
            await reader.consumer.step()
    assert sorted(set(reader.order_ids)) == sorted(ids_of(numbers))


async def test_a_topic_that_takes_nothing_holds_up_no_other(
    store: Any, bootstrap: str, topic: str, reader: Any
) -> None:
    await store.enqueue("nobody.made.this.topic", range(100, 110))
    await store.enqueue(topic, range(1, 11))
    async with bus.open_bus(bootstrap) as sender:
        relay = outbox.Relay(store.engine, store.table, sender)
        with contextlib.suppress(
            TimeoutError
        ):  # a busy machine: Kafka did not say in time that there is none
            assert await relay.step(), "the loop goes on at once with the other topics"
        await relay.step()
    await reader.read(ids_of(range(1, 11)))
    assert await store.left() == 10


async def test_missing_topics_hold_up_no_other_while_the_loop_runs(
    store: Any, bootstrap: str, topic: str, reader: Any
) -> None:
    """However often they are tried again: their events are the oldest, and come first in every batch."""
    for number in range(3):
        await store.enqueue(f"{topic}.late.{number}", range(100, 110))
    async with bus.open_bus(bootstrap) as sender:
        relay = outbox.Relay(store.engine, store.table, sender)
        async with process.repeating(
            "relay", relay.step, every_seconds=outbox.POLL_SECONDS, wake=relay.wake
        ):
            for start in range(1, 41, 10):
                await store.enqueue(topic, range(start, start + 10))
                relay.wake.set()
                await reader.read(ids_of(range(1, start + 10)), within_seconds=60)
            assert await store.left() == 30
            await bus.ensure_topic(bootstrap, f"{topic}.late.2", partitions=1, replication=1)
            async with asyncio.timeout(60):
                while await store.left() > 20:  # noqa: ASYNC110, only the database knows
                    await asyncio.sleep(0.1)


async def test_a_broker_that_dies_under_load_loses_nothing(
    store: Any, stack: Stack, bootstrap: str, topic: str, reader: Any
) -> None:
    async with bus.open_bus(bootstrap) as sender:
        relay = outbox.Relay(store.engine, store.table, sender)
        async with process.repeating(
            "relay", relay.step, every_seconds=outbox.POLL_SECONDS, wake=relay.wake
        ):
            for start in range(1, 401, 20):
                await store.enqueue(topic, range(start, start + 20))
                relay.wake.set()
                if start == 101:
                    await reader.read(ids_of(range(1, 21)))
                    stack.kill("kafka")
            await asyncio.to_thread(stack.restart, "kafka")
            await reader.read(ids_of(range(1, 401)), within_seconds=60)
    assert await store.left() == 0
