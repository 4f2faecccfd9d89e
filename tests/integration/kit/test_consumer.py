"""Batches to an idempotent handler: nothing is skipped while something is away, nothing bad holds up the rest."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa
from aiokafka.admin import AIOKafkaAdminClient

from doorbuster.contracts import events
from doorbuster.kit import bus, database
from doorbuster.kit.consumer import Consumer, consuming
from doorbuster.testing import broker, stories


def ids_of(numbers: range) -> set[str]:
    return {stories.order_id(number) for number in numbers}


async def test_a_new_sale_topic_is_found_with_its_first_events(
    bootstrap: str, topic_prefix: str, pattern_reader: Any
) -> None:
    early, name = (events.sale_topic(topic_prefix.rstrip("-"), drop) for drop in ("one", "two"))
    await bus.ensure_topic(bootstrap, early, partitions=3, replication=1)
    await broker.publish(bootstrap, early, [stories.paid(99)])
    await pattern_reader.read(ids_of(range(99, 100)))
    await pattern_reader.settle()
    await bus.ensure_topic(bootstrap, name, partitions=3, replication=1)
    await broker.publish(bootstrap, name, [stories.paid(number) for number in range(1, 11)])
    # It looks every 2 s and then joins, which a busy machine makes longer; the library's default is 300 s.
    await pattern_reader.read(ids_of(range(1, 11)), within_seconds=15)


async def test_a_topic_that_is_deleted_under_way_holds_up_no_other(
    bootstrap: str, topic_prefix: str, pattern_reader: Any
) -> None:
    gone, other = (events.sale_topic(topic_prefix.rstrip("-"), drop) for drop in ("one", "two"))
    for name in (gone, other):
        await bus.ensure_topic(bootstrap, name, partitions=1, replication=1)
    handled = pattern_reader.consumer._handle

    async def delete_and_handle(deliveries: Any) -> None:
        pattern_reader.consumer._handle = handled
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            await admin.delete_topics([gone])
        finally:
            await admin.close()
        await handled(deliveries)

    pattern_reader.consumer._handle = delete_and_handle
    await broker.publish(bootstrap, gone, [stories.paid(1)])
    await pattern_reader.read(ids_of(range(1, 2)))
    await broker.publish(bootstrap, other, [stories.paid(2)])
    await pattern_reader.read(ids_of(range(2, 3)))


async def test_a_batch_is_kept_while_its_store_is_away(
    bootstrap: str, topic: str, reader: Any
) -> None:
    await broker.publish(bootstrap, topic, [stories.paid(number) for number in range(1, 21)])
    away = [ConnectionError("away"), TimeoutError(), OSError("no route")] * 4
    reader.failures += away
    await reader.read(ids_of(range(1, 21)))
    assert reader.failures == []
    assert len(reader.order_ids) == 20


async def test_an_event_that_fails_again_and_again_is_left_behind_alone(
    bootstrap: str, topic: str, reader: Any
) -> None:
    taken: list[str] = []

    async def refuse_third(deliveries: Any) -> None:
        if any(delivery.event.order_id == stories.order_id(3) for delivery in deliveries):
            raise ValueError("a mistake of ours")
        taken.extend(delivery.event.order_id for delivery in deliveries)

    reader.consumer._handle = refuse_third
    await broker.publish(bootstrap, topic, [stories.paid(number) for number in range(1, 6)])
    deadline = time.monotonic() + 30
    while len(taken) < 4 and time.monotonic() < deadline:
        await reader.consumer.step()
    assert sorted(taken) == sorted(ids_of(range(1, 6)) - {stories.order_id(3)})


async def test_what_was_not_committed_comes_again(bootstrap: str, topic: str, reader: Any) -> None:
    await broker.publish(bootstrap, topic, [stories.paid(number) for number in range(1, 6)])
    reader.failures.append(ConnectionError("away"))
    while reader.failures:
        with suppress(ConnectionError):
            await reader.consumer.step()
    await reader.consumer.close()
    await reader.read(ids_of(range(1, 6)))


async def test_a_consumer_that_waits_for_its_topic_stops_at_once(
    bootstrap: str, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(_deliveries: Any) -> None:
        raise AssertionError("there is nothing to handle")

    consumer = Consumer(
        bootstrap=bootstrap,
        group=f"{topic_prefix}early",
        types=events.BY_TYPE,
        handle=handle,
        topics=(f"{topic_prefix}not-yet",),
    )
    async with consuming(consumer, "early"):
        async with asyncio.timeout(20):
            while "not found in cluster metadata" not in caplog.text:  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0.02)
        started = time.monotonic()
    assert time.monotonic() - started < 3


async def test_types_of_no_interest_are_skipped_and_committed(
    bootstrap: str, topic: str, reader: Any
) -> None:
    strange = broker.message(topic, stories.paid(1))
    strange = bus.Message(
        topic=topic, key="k", value=b"{}", headers=(("type", "OrderShipped"), ("version", "1"))
    )
    async with bus.open_bus(bootstrap) as sender:
        await sender.send([strange, broker.message(topic, stories.paid(2))])
    await reader.read(ids_of(range(2, 3)))
    assert len(reader.deliveries) == 1


NARROW = sa.Table(
    "narrow",
    sa.MetaData(),
    sa.Column("name", sa.String(3), primary_key=True),
    sa.Column("number", sa.Integer, sa.CheckConstraint("number >= 0"), nullable=False),
)


@pytest.mark.parametrize(
    "values",
    [
        [{"name": "long name", "number": 1}],
        [{"name": "a", "number": -1}],
        [{"name": "a", "number": 2**40}],
        [{"name": "b", "number": 1}, {"name": "b", "number": 1}],
        [{"name": "c", "number": None}],
        [{"name": "d", "number": "x"}],
    ],
)
async def test_what_the_store_always_refuses_is_not_taken_for_an_outage(
    store: Any, values: list[dict[str, Any]]
) -> None:
    async with store.engine.begin() as connection:
        await connection.run_sync(NARROW.metadata.drop_all)
        await connection.run_sync(NARROW.metadata.create_all)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - every driver has its own
        async with store.engine.begin() as connection:
            await connection.execute(sa.insert(NARROW).values(values))
    assert not database.is_away(caught.value)


async def test_wrong_sql_is_not_taken_for_an_outage(store: Any) -> None:
    for statement in ("SELECT FROM WHERE", "SELECT * FROM nothing", "SELECT nothing FROM outbox"):
        with pytest.raises(sa.exc.DBAPIError) as caught:
            async with store.engine.connect() as connection:
                await connection.execute(sa.text(statement))
        assert not database.is_away(caught.value), statement


async def test_a_server_that_is_not_there_is_away(store: Any) -> None:
    url = sa.make_url(store.dsn).set(port=1).render_as_string(hide_password=False)
    async with database.open_engine(url) as engine:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - every driver has its own
            await database.ping(engine)
    assert database.is_away(caught.value)


async def test_a_killed_connection_is_away_and_the_next_one_works(store: Any) -> None:
    dialect = store.engine.dialect.name
    me, end = (
        ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})")
        if dialect == "postgresql"
        else ("SELECT CONNECTION_ID()", "KILL {}")
    )
    async with store.engine.connect() as connection:
        number = await connection.scalar(sa.text(me))
        async with store.engine.connect() as other:
            await other.execute(sa.text(end.format(int(number))))
        with pytest.raises(Exception) as caught:  # noqa: PT011 - every driver has its own
            await connection.execute(sa.text("SELECT 1"))
    assert database.is_away(caught.value)
    await database.ping(store.engine)


async def test_a_statement_that_takes_too_long_is_away(store: Any) -> None:
    postgres = store.engine.dialect.name == "postgresql"
    sleep = "SELECT pg_sleep(20)" if postgres else "SELECT SLEEP(20)"
    async with database.open_engine(store.dsn, statement_seconds=1.0) as engine:
        started = time.monotonic()
        with pytest.raises(Exception) as caught:  # noqa: PT011 - every driver has its own
            async with engine.connect() as connection:
                await connection.execute(sa.text(sleep))
        assert time.monotonic() - started < 8
        assert database.is_away(caught.value)
        await database.ping(engine)
