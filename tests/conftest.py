"""Real servers for tests: say which you need, get their addresses; one stack a pytest session.

    async def test_something(servers):
        env = servers("postgres", "redis")          # started on first use, shared by the session

    def test_rows(fresh_postgres):                   # or fresh_mysql: an empty database, a module's
        dsn = fresh_postgres                         # postgresql://user:password@host:port/database

    def test_a_purchase(open_stack): ...     # the whole shop, but for Kubernetes and letters
    async def test_documents(fresh_mongo): ...       # mongodb://…/database, an empty one, a module's
    async def test_cache(fresh_redis): ...           # redis://…/N, an emptied database, a test's
    async def test_slots(fresh_redis_cluster): ...   # redis+cluster://…, three servers, emptied
    async def test_events(topic_prefix): ...         # "t-1f9c…-", unique to a test

A server that is missing is a failure that says what to run, never a skip.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType

import asyncmy
import asyncpg
import pymongo
import pytest
import redis

from devstack.errors import StackError
from devstack.layout import PROJECT
from devstack.stack import Stack
from devstack.state import exclusive
from doorbuster.kit.redis import parse_cluster_url

Servers = Callable[..., dict[str, str]]
_TESTS_ROOT = Path(os.environ.get("DOORBUSTER_VAR") or PROJECT / "var") / "test"
_REDIS_DATABASES = 64
SHOP = ("nginx", "gateway", "user", "checkout", "inventory", "payment", "order", "psp")


def pytest_configure(config: pytest.Config) -> None:
    """End as on Ctrl-C when somebody ends us, so that the servers end too."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


_shared: list[Stack] = []
_WARNINGS_SHOWN = 8


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the processes of the stack complained about while the test ran."""
    report = yield
    if report.failed and _shared:
        began = time.time() - report.duration
        for log in sorted(_shared[0].layout.logs.glob("*.log")):
            if said := _warnings_since(log, began):
                report.sections.append((f"{log.stem} warned", "\n".join(said)))
    return report


def _warnings_since(log: Path, began: float) -> list[str]:
    """The last warnings and errors of a service's log, each with its seconds since the test began."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        if not line.startswith("{"):
            continue
        try:
            entry = json.loads(line)
            at = datetime.fromisoformat(entry["timestamp"]).timestamp() - began
        except (ValueError, KeyError):
            continue
        if at >= 0 and entry.get("level") in {"warning", "error", "critical"}:
            found.append(f"{at:7.3f} {line}")
    return found[-_WARNINGS_SHOWN:]


def _sweep() -> None:
    """Take down what a killed earlier session left; a live one holds its owner lock."""
    for folder in _TESTS_ROOT.glob("session-*"):
        try:
            with exclusive(folder / "owner", within_seconds=0.0):
                Stack(folder / "stack", public_port=0).down(forget=True)
                shutil.rmtree(folder, ignore_errors=True)
        except StackError:
            continue


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The session's own stack, empty at first: ``servers`` and ``stack.up`` fill it."""
    _TESTS_ROOT.mkdir(parents=True, exist_ok=True)
    with ExitStack() as owned:
        with exclusive(_TESTS_ROOT / "lock", within_seconds=60.0):
            _sweep()
            folder = Path(tempfile.mkdtemp(prefix="session-", dir=_TESTS_ROOT))
            folder.chmod(0o755)
            owned.enter_context(exclusive(folder / "owner", within_seconds=0.0))
        shared = Stack(folder / "stack", public_port=0)
        _shared.append(shared)
        try:
            yield shared
        finally:
            shared.down(forget=True)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def servers(stack: Stack) -> Servers:
    """``servers("postgres", "kafka")`` -> the environment with their addresses, all of them up."""

    def ensure(*names: str) -> dict[str, str]:
        try:
            stack.up(only=names)
        except StackError as error:
            pytest.fail(str(error), pytrace=False)
        return stack.env()

    return ensure


@pytest.fixture
def open_stack(stack: Stack, servers: Servers) -> Stack:
    """The session's stack with the whole shop in it, but for Kubernetes and letters."""
    servers(*SHOP)
    return stack


@contextmanager
def _empty_postgres(servers: Servers) -> Iterator[str]:
    admin = servers("postgres")["DOORBUSTER_POSTGRES_ADMIN_DSN"]
    name = f"t_{secrets.token_hex(6)}"

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(admin)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run(f'CREATE DATABASE "{name}"'))
    try:
        yield f"{admin.rpartition('/')[0]}/{name}"
    finally:
        asyncio.run(run(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(scope="module")
def fresh_postgres(servers: Servers) -> Iterator[str]:
    """The DSN of an empty PostgreSQL database of this test module."""
    with _empty_postgres(servers) as dsn:
        yield dsn


@pytest.fixture
def scratch_postgres(servers: Servers) -> Iterator[str]:
    """The DSN of an empty PostgreSQL database of this test alone: it may break what is in it."""
    with _empty_postgres(servers) as dsn:
        yield dsn


@pytest.fixture(scope="module")
def fresh_mysql(servers: Servers) -> Iterator[str]:
    """The DSN of an empty MariaDB database of this test module."""
    admin = servers("mariadb")["DOORBUSTER_MYSQL_ADMIN_DSN"]
    name = f"t_{secrets.token_hex(6)}"
    account, _, address = admin.removeprefix("mysql://").rpartition("/")[0].partition("@")
    user, _, password = account.partition(":")
    host, _, port = address.partition(":")

    async def run(statement: str) -> None:
        connection = await asyncmy.connect(host=host, port=int(port), user=user, password=password)
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(statement)
        finally:
            await connection.ensure_closed()

    asyncio.run(run(f"CREATE DATABASE `{name}`"))
    yield f"{admin.rpartition('/')[0]}/{name}"
    asyncio.run(run(f"DROP DATABASE `{name}`"))


@pytest.fixture(scope="module")
def fresh_mongo(servers: Servers) -> Iterator[str]:
    """The URL of an empty MongoDB database of this test module, with every right."""
    admin = servers("mongo")["DOORBUSTER_MONGO_ADMIN_URL"]
    name = f"t_{secrets.token_hex(6)}"
    place, _, options = admin.partition("/?")
    yield f"{place}/{name}?{options}"
    with pymongo.MongoClient[dict[str, object]](admin) as client:
        client.drop_database(name)


@pytest.fixture(scope="session")
def _redis_numbers() -> Iterator[int]:
    """Database numbers in turn; 0 is left to the services."""
    return iter([1 + index % (_REDIS_DATABASES - 1) for index in range(100_000)])


@pytest.fixture
def fresh_redis(servers: Servers, _redis_numbers: Iterator[int]) -> str:
    """The URL of an emptied Redis database of this test."""
    base = servers("redis")["DOORBUSTER_REDIS_URL"].rpartition("/")[0]
    url = f"{base}/{next(_redis_numbers)}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def fresh_redis_cluster(servers: Servers) -> str:
    """The URL of a Redis Cluster of three servers, emptied for this test."""
    url = servers("redis-cluster")["DOORBUSTER_REDIS_CLUSTER_URL"]
    places, credentials = parse_cluster_url(url)
    for host, port in places:
        with redis.Redis(host=host, port=port, **credentials) as client:
            client.flushdb()
    return url


@pytest.fixture
def topic_prefix() -> str:
    """Begins the names of this test's Kafka topics and groups."""
    return f"t-{secrets.token_hex(6)}-"
