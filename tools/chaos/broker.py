"""What the broker holds: the topics of sales, and what a consumer group has not committed yet."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from . import faults

CALL_MILLIS = 10_000
SALES = "sale."


async def sale_topics(bootstrap: str) -> tuple[str, ...]:
    """The topics of all sales; raises what aiokafka raises while there is no broker."""
    async with _admin(bootstrap) as admin:
        return tuple(sorted(name for name in await admin.list_topics() if name.startswith(SALES)))


async def unread(bootstrap: str, group: str) -> int:
    """How many records a group has begun to read topics of and not committed."""
    async with _admin(bootstrap) as admin:
        committed = await admin.list_consumer_group_offsets(group)
    if not committed:
        return 0
    async with AsyncExitStack() as opened:
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        opened.push_async_callback(consumer.stop)
        await consumer.start()
        ends = await consumer.end_offsets(list(committed))
    return sum(max(0, end - max(0, committed[place].offset)) for place, end in ends.items())


async def lose_everything(bootstrap: str) -> faults.KafkaLoss:
    """The loss of the broker after which the topics of all sales are made again, empty."""
    return faults.KafkaLoss(topics=await sale_topics(bootstrap))


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=CALL_MILLIS)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()
