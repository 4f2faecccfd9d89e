"""Fixtures of the operator's tests on a real API server."""

import asyncio
import secrets
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import pytest

from devstack import ports
from devstack.stack import Stack
from devstack.surroundings import OperatorProcess
from doorbuster.kit.clock import utc_now
from doorbuster_operator import cluster
from doorbuster_operator.testing import peer as peers
from doorbuster_operator.testing.cluster import GROUP, VERSION, Kube


@pytest.fixture
async def api(servers: Any) -> AsyncIterator[Kube]:
    """The API server with the CRDs and policies of this project."""
    environment = servers("apiserver")
    async with cluster.connect(environment["KUBECONFIG"]) as client:
        yield Kube(client)


@pytest.fixture
async def peer(servers: Any, stack: Stack) -> AsyncIterator[peers.Peer]:
    """Inventory's callers."""
    environment = servers("inventory")
    urls = tuple(environment["DOORBUSTER_INVENTORY_URLS"].split(","))
    bootstrap = environment["DOORBUSTER_KAFKA_BOOTSTRAP"]
    async with peers.connect(urls, stack.layout.keys, bootstrap) as found:
        yield found


@pytest.fixture
async def room(servers: Any, name: str) -> AsyncIterator[Kube]:
    """A namespace of this test's own, with no operator but those that it starts itself."""
    environment = servers("apiserver", "inventory", "kafka")
    async with cluster.connect(environment["KUBECONFIG"]) as connection:
        found = Kube(connection, name)
        await found.ensure_namespace()
        yield found


class Replica:
    """An operator process of one namespace; several may run side by side."""

    def __init__(self, stack: Stack, room: Kube, holder: str, **environment: str) -> None:
        launch = OperatorProcess().launch(stack.site)
        chosen = ports.choose(["admin"], known={}, preferred={}, reserved=frozenset())
        self._port = chosen["admin"]
        self.holder = holder
        self.log = stack.layout.logs / f"operator-{room.namespace}-{holder}.log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                launch.argv,
                env={
                    **launch.env,
                    "KUBECONFIG": str(stack.layout.kubeconfig),
                    "DOORBUSTER_ADMIN_PORT": str(self._port),
                    "DOORBUSTER_OPERATOR_NAMESPACE": room.namespace,
                    "DOORBUSTER_OPERATOR_IDENTITY": holder,
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
            )

    def send(self, number: int) -> None:
        """Signal the process."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    async def exit_code(self, *, within_seconds: float) -> int:
        """Wait until it has ended by itself."""
        deadline = time.monotonic() + within_seconds
        while (code := self._process.poll()) is None:
            assert time.monotonic() < deadline, f"{self.holder} still runs: {self.said()}"
            await asyncio.sleep(0.02)
        return code

    async def probe(self, path: str, *, seconds: float = 1.0) -> tuple[int, str]:
        """Ask its admin port as a kubelet does; status 0 is no answer in time."""
        url = f"http://127.0.0.1:{self._port}{path}"
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(url) as answer,
            ):
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            return 0, type(error).__name__

    async def until_ready(self, *, within_seconds: float = 90.0) -> "Replica":
        """Wait until it leads or stands by, with its connections open."""
        deadline = time.monotonic() + within_seconds
        while (await self.probe("/readyz"))[0] != 200:
            assert self._process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            await asyncio.sleep(0.05)
        return self

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:]


@pytest.fixture
def replica(stack: Stack, room: Kube) -> Iterator[Callable[..., Replica]]:
    """Start an operator in this test's namespace: ``replica("one", NAME="value")``; ends with the test."""
    started: list[Replica] = []

    own = room

    def start(holder: str, *, room: Kube | None = None, **environment: str) -> Replica:
        started.append(Replica(stack, room or own, holder, **environment))
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def name() -> Iterator[str]:
    """A name that nobody else uses; also a sku."""
    return f"t-{secrets.token_hex(4)}"


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def sale_of() -> Callable[..., dict[str, Any]]:
    """Build a valid FlashSale over the pool of the same name; keywords go into the spec."""

    def build(
        name: str, *, opens_in: float = 3600, lasts: float = 600, **spec: Any
    ) -> dict[str, Any]:
        opens = utc_now() + timedelta(seconds=opens_in)
        fields: dict[str, Any] = {
            "openTime": _stamp(opens),
            "closeTime": _stamp(opens + timedelta(seconds=lasts)),
            "items": [
                {
                    "sku": name,
                    "poolName": name,
                    "price": {"currency": "USD", "amountMinor": 99_900},
                }
            ],
            "settlement": {"graceSeconds": 0},
        }
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "FlashSale",
            "metadata": {"name": name},
            "spec": fields | spec,
        }

    return build


@pytest.fixture
def pool_of() -> Callable[..., dict[str, Any]]:
    """Build a valid InventoryPool whose sku is its name; keywords go into the spec."""

    def build(name: str, capacity: int = 5, **spec: Any) -> dict[str, Any]:
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "InventoryPool",
            "metadata": {"name": name},
            "spec": {"sku": name, "capacity": capacity} | spec,
        }

    return build
