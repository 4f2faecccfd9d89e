"""What can be done to a running stack: how each fault strikes, and how it is healed.

A fault is a value. ``strike`` and ``heal`` may be called again at any time, in any state of the part: what is
down stays down, what serves again is left alone. Both have deadlines, the stack's own where it waits for a part.
"""

import asyncio
import contextlib
import dataclasses
import pathlib
import shutil
import signal
import time
from collections.abc import AsyncIterator
from typing import Any, Literal, Protocol

import aiohttp
import redis.asyncio
from aiokafka.errors import KafkaError

from devstack.errors import StackError
from devstack.stack import Stack
from doorbuster.__main__ import ORDERS_PARTITIONS
from doorbuster.contracts import events
from doorbuster.kit import bus

CALL_SECONDS = 5.0
DIE_SECONDS = 30.0
POLL_SECONDS = 0.02
SERVE_SECONDS = 120.0
SUPERVISE_SECONDS = 0.1
TOPIC_SECONDS = 30.0
TOPIC_AGAIN_SECONDS = 0.2
SALE_PARTITIONS = 3
DUMP = "dump.rdb"

Conduct = Literal["drop_reply", "error", "acted_error", "delay", "crash"]
CONDUCTS: dict[Conduct, dict[str, Any]] = {
    "drop_reply": {"dropReplyNext": {"count": 3}},
    "error": {"failNext": {"count": 3, "status": 500}},
    "acted_error": {"failNext": {"count": 3, "status": 500, "acted": True}},
    "delay": {"delayMillis": 1500},
    "crash": {"crashNext": {"count": 1, "when": "after"}},
}


class Fault(Protocol):
    """One way to disturb a stack; ``part`` is what it disturbs, ``name`` what the report calls it.

    Both raise StackError when the stack does not obey, ConnectionError or TimeoutError when a server does not.
    """

    @property
    def name(self) -> str: ...

    @property
    def part(self) -> str: ...

    async def strike(self, stack: Stack) -> None:
        """Do it; where the fault has a beginning and an end, both lie in here."""
        ...

    async def heal(self, stack: Stack) -> None:
        """Undo it: afterwards the part serves again, whatever it forgot."""
        ...


@dataclasses.dataclass(frozen=True)
class Kill:
    """kill -9 of a part, workers included; healing starts it again. Redis comes back empty, see RedisRollback."""

    part: str

    @property
    def name(self) -> str:
        return f"kill:{self.part}"

    async def strike(self, stack: Stack) -> None:
        """Kill it."""
        await asyncio.to_thread(_signal, stack, self.part, signal.SIGKILL)

    async def heal(self, stack: Stack) -> None:
        """Start it again and wait until it serves."""
        if self.part == "redis":
            _dump(stack).unlink(missing_ok=True)
        await asyncio.to_thread(_revive, stack, self.part)


@dataclasses.dataclass(frozen=True)
class Freeze:
    """SIGSTOP of a part until it is healed by SIGCONT: it misses every deadline and knows nothing of it."""

    part: str

    @property
    def name(self) -> str:
        return f"freeze:{self.part}"

    async def strike(self, stack: Stack) -> None:
        """Stop it where it stands."""
        await asyncio.to_thread(_signal, stack, self.part, signal.SIGSTOP)

    async def heal(self, stack: Stack) -> None:
        """Let it go on; one that died meanwhile is started again."""
        await asyncio.to_thread(_signal, stack, self.part, signal.SIGCONT)
        await asyncio.to_thread(_revive, stack, self.part)


@dataclasses.dataclass(frozen=True)
class Stop:
    """An orderly end of a part (Kafka: for as long as it is not healed)."""

    part: str

    @property
    def name(self) -> str:
        return f"stop:{self.part}"

    async def strike(self, stack: Stack) -> None:
        """End it as its owner would, without holding up those who start other parts."""
        await asyncio.to_thread(_end, stack, self.part, signal.SIGTERM)

    async def heal(self, stack: Stack) -> None:
        """Start it again and wait until it serves."""
        await asyncio.to_thread(_revive, stack, self.part)


@dataclasses.dataclass(frozen=True)
class RedisFlush:
    """FLUSHALL: Redis runs on and knows nothing."""

    name: str = "flush:redis"
    part: str = "redis"

    async def strike(self, stack: Stack) -> None:
        """Flush every database."""
        async with _redis(stack) as client:
            await client.flushall()

    async def heal(self, stack: Stack) -> None:
        """Nothing to start."""


@dataclasses.dataclass(frozen=True)
class RedisRollback:
    """Redis saves, goes on for ``age_seconds``, is killed, and comes back as it was at the save."""

    age_seconds: float = 1.0
    name: str = "rollback:redis"
    part: str = "redis"

    async def strike(self, stack: Stack) -> None:
        """Save, wait, kill."""
        async with _redis(stack) as client:
            await client.save()
        await asyncio.sleep(self.age_seconds)
        await asyncio.to_thread(_signal, stack, self.part, signal.SIGKILL)

    async def heal(self, stack: Stack) -> None:
        """Start from the old file, then put it away, so that a later crash brings Redis back empty."""
        await asyncio.to_thread(_revive, stack, self.part)
        _dump(stack).unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class KafkaLoss:
    """Kafka dies and loses every record, topic and offset; ``topics`` are made again beside the usual ones."""

    topics: tuple[str, ...] = ()
    name: str = "loss:kafka"
    part: str = "kafka"

    async def strike(self, stack: Stack) -> None:
        """Kill it and remove its log."""
        await asyncio.to_thread(_signal, stack, self.part, signal.SIGKILL)
        log = stack.layout.data(self.part, None) / "log"
        await asyncio.to_thread(shutil.rmtree, log, ignore_errors=True)

    async def heal(self, stack: Stack) -> None:
        """Start it empty and make the topics again, as a deployment (and the operator, for a sale's) does."""
        await asyncio.to_thread(_revive, stack, self.part)
        await make_topics(stack.env()["DOORBUSTER_KAFKA_BOOTSTRAP"], self.topics)


@dataclasses.dataclass(frozen=True)
class PostgresCrash:
    """SIGQUIT to the postmaster, which is what ``pg_ctl stop -m immediate`` sends: no checkpoint, recovery at start."""

    name: str = "crash:postgres"
    part: str = "postgres"

    async def strike(self, stack: Stack) -> None:
        """End it at once and wait until it is gone."""
        await asyncio.to_thread(_end, stack, self.part, signal.SIGQUIT)

    async def heal(self, stack: Stack) -> None:
        """Start it; it recovers from its log."""
        await asyncio.to_thread(_revive, stack, self.part)


@dataclasses.dataclass(frozen=True)
class PspConduct:
    """The payment provider misbehaves for its next calls, or until it is healed."""

    conduct: Conduct
    part: str = "psp"

    @property
    def name(self) -> str:
        return f"{self.conduct}:psp"

    async def strike(self, stack: Stack) -> None:
        """Switch it on."""
        await _behave(stack, CONDUCTS[self.conduct])

    async def heal(self, stack: Stack) -> None:
        """Switch it off; a provider that crashed is started again."""
        await asyncio.to_thread(_revive, stack, self.part)
        await _behave(stack, {})


async def make_topics(bootstrap: str, names: tuple[str, ...]) -> None:
    """Create the common topic and these, unless they are there; raises TimeoutError when Kafka does not take them."""
    wanted = {events.ORDERS_TOPIC: ORDERS_PARTITIONS, **dict.fromkeys(names, SALE_PARTITIONS)}
    async with asyncio.timeout(TOPIC_SECONDS):
        for name, partitions in wanted.items():
            # Nobody can wake us: the broker is only starting.
            while not await _has_topic(bootstrap, name, partitions):  # noqa: ASYNC110
                await asyncio.sleep(TOPIC_AGAIN_SECONDS)


async def _has_topic(bootstrap: str, name: str, partitions: int) -> bool:
    try:
        await bus.ensure_topic(bootstrap, name, partitions=partitions, replication=1)
    except (KafkaError, OSError):
        return False
    return True


# --- signals and small calls ------------------------------------------------------------------------


def _signal(stack: Stack, part: str, number: int) -> None:
    """Signal a part; one that is down already needs no signal."""
    try:
        stack.kill(part, number)
    except StackError:
        if stack.is_running(part):
            raise


def _end(stack: Stack, part: str, number: int) -> None:
    """Send its main process the signal that ends it, and wait until it is gone."""
    members = stack.processes().get(part, [])
    if not members:
        return
    members[0].send_signal(number)
    deadline = time.monotonic() + DIE_SECONDS
    while stack.is_running(part):
        if time.monotonic() > deadline:
            raise StackError(f"{part} does not end by {signal.Signals(number).name}")
        time.sleep(POLL_SECONDS)


def _revive(stack: Stack, part: str) -> None:
    """Have a part serve again as a supervisor would: start it as often as it ends, until it serves."""
    deadline = time.monotonic() + SERVE_SECONDS
    while (lacking := stack.lacks(part)) is not None:
        if time.monotonic() > deadline:
            raise StackError(f"{part} does not serve after {SERVE_SECONDS:.0f} s: {lacking}")
        if not stack.is_running(part):
            stack.start(part)
        time.sleep(SUPERVISE_SECONDS)


def _dump(stack: Stack) -> pathlib.Path:
    return stack.layout.data("redis", None) / DUMP


@contextlib.asynccontextmanager
async def _redis(stack: Stack) -> AsyncIterator[redis.asyncio.Redis]:
    url = stack.env()["DOORBUSTER_REDIS_URL"]
    async with redis.asyncio.from_url(url, socket_timeout=CALL_SECONDS) as client:
        try:
            yield client
        except redis.RedisError as error:
            raise ConnectionError(f"Redis: {error}") from error


async def _behave(stack: Stack, behaviour: dict[str, Any]) -> None:
    url = f"{stack.env()['DOORBUSTER_PSP_ADMIN_URL']}/behaviour"
    timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        try:
            async with session.put(url, json=behaviour) as answer:
                answer.raise_for_status()
        except aiohttp.ClientError as error:
            raise ConnectionError(f"the provider's sandbox: {error}") from error
