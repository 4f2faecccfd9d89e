"""The operator's broker: a TCP proxy that understands as much of Kafka's protocol as it takes to see an admin's writes.

All runs share it, because a broker advertises one address; whose write it is, the topic's name says.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, NamedTuple

from aiokafka.protocol import admin

from .tape import Tape

MOST_FRAME_BYTES = 16 * 1024 * 1024
# Number of each writing request -> its name in aiokafka's module.
WRITES = {19: "CreateTopics", 20: "DeleteTopics", 33: "AlterConfigs", 37: "CreatePartitions"}
NOT_READ = frozenset({44})  # IncrementalAlterConfigs: aiokafka neither sends nor decodes it


class Write(NamedTuple):
    """A writing request that waits for its answer."""

    kind: str
    version: int
    topics: dict[str, Any]


class KafkaProxy:
    """Finds the tape of a topic with ``tape_of``; topics of nobody are passed on unseen."""

    def __init__(self, *, broker_port: int, tape_of: Callable[[str], Tape | None]) -> None:
        self._broker_port = broker_port
        self._tape_of = tape_of
        self._configs: dict[str, Any] = {}
        self.faults: list[str] = []

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[None]:
        """Listen on the port that the broker advertises while the context is open."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            writer.close()
            return
        waiting: dict[int, Write] = {}
        pumps = {
            asyncio.create_task(self._requests(reader, up_writer, waiting)),
            asyncio.create_task(self._answers(up_reader, writer, waiting)),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            return  # Python 3.11's streams would report it as an error
        finally:
            for pump in pumps:
                if pump.done() and pump.exception() is not None:
                    self.faults.append(repr(pump.exception()))
                pump.cancel()
            up_writer.close()
            writer.close()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, waiting: dict[int, Write]
    ) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(reader)
                number, version, correlation = struct.unpack_from(">hhi", frame)
                if number in NOT_READ:
                    raise AssertionError(
                        f"the operator sends request {number}: teach it to the proxy"
                    )
                if number in WRITES:
                    write = _parse(number, version, frame)
                    tapes = [tape for name in write.topics if (tape := self._tape_of(name))]
                    if not all([await tape.may_write() for tape in tapes]):
                        return
                    waiting[correlation] = write
                writer.write(struct.pack(">i", len(frame)) + frame)
                await writer.drain()

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, waiting: dict[int, Write]
    ) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(reader)
                (correlation,) = struct.unpack_from(">i", frame)
                write = waiting.pop(correlation, None)

                async def deliver(frame: bytes = frame) -> None:
                    writer.write(struct.pack(">i", len(frame)) + frame)
                    with contextlib.suppress(ConnectionError):
                        await writer.drain()

                done = [] if write is None else self._effects(write, frame)
                if not done:
                    await deliver()
                for tape, name in done:
                    await tape.take_effect(name, deliver)

    def _effects(self, write: Write, frame: bytes) -> list[tuple[Tape, str]]:
        """Return what a write changed, as (tape, name); a batch of this operator has one topic a run."""
        answer = getattr(admin, f"{write.kind}Response_v{write.version}").decode(
            BytesIO(frame[4:])
        )
        done = []
        for topic, code in _codes(write.kind, answer):
            tape = self._tape_of(topic)
            if tape is None or code != 0 or topic not in write.topics:
                continue
            wanted = write.topics[topic]
            if write.kind == "AlterConfigs" and self._configs.get(topic) == wanted:
                continue
            if write.kind in {"CreateTopics", "AlterConfigs"}:
                self._configs[topic] = wanted
            done.append((tape, f"{write.kind} topic"))
        return done


def _parse(number: int, version: int, frame: bytes) -> Write:
    """Return a request's topics with what is wanted of each."""
    kind = WRITES[number]
    (client_bytes,) = struct.unpack_from(">h", frame, 8)
    body = frame[10 + max(client_bytes, 0) :]
    request = getattr(admin, f"{kind}Request_v{version}").decode(BytesIO(body))
    topics: dict[str, Any]
    if kind == "CreateTopics":
        topics = {row[0]: dict(row[4]) for row in request.create_topic_requests}
    elif kind == "AlterConfigs":
        topics = {row[1]: dict(row[2]) for row in request.resources}
    elif kind == "CreatePartitions":
        topics = {row[0]: row[1][0] for row in request.topic_partitions}
    else:
        topics = dict.fromkeys(request.topics)
    return Write(kind, version, topics)


def _codes(kind: str, answer: Any) -> list[tuple[str, int]]:
    """Return (topic, error code) of an answer."""
    if kind == "CreateTopics":
        return [(row[0], row[1]) for row in answer.topic_errors]
    if kind == "AlterConfigs":
        return [(row[3], row[0]) for row in answer.resources]
    if kind == "CreatePartitions":
        return [(row[0], row[1]) for row in answer.topic_errors]
    return [(row[0], row[1]) for row in answer.topic_error_codes]


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    if not 0 < size <= MOST_FRAME_BYTES:
        raise ConnectionError(f"a frame of {size} bytes")
    return await reader.readexactly(size)
