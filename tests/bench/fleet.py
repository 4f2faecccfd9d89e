"""The stack of ``make bench-operator``: a thousand sales and pools on a real API server, and operators as processes."""

import asyncio
import contextlib
import dataclasses
import re
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import asyncpg
import psutil
from aiokafka.admin import AIOKafkaAdminClient

from devstack import process
from devstack.process import Launch
from devstack.servers.apiserver import kubectl
from devstack.stack import Stack
from devstack.surroundings import OperatorProcess
from doorbuster.contracts import events, internal
from doorbuster.kit import auth, client, ids
from doorbuster.kit.clock import utc_now
from doorbuster_operator import cluster
from doorbuster_operator.testing.cluster import GROUP, PLURALS, VERSION, Kube, RefusedByServerError

AT_ONCE = 8
POLL_SECONDS = 0.005
UNITS = 100
ANNOTATIONS = {"doorbuster.dev/allow-delete": "true", "doorbuster.dev/adopt-topic": "true"}
_GATES = "SELECT sale_uid, generation FROM sale WHERE sale_uid = ANY ($1)"
_STOCKS = "SELECT sku, total_qty FROM inventory WHERE sku = ANY ($1)"
_FIRST = "SELECT sale_uid, open_at, first_reservation_at FROM sale WHERE sale_uid = ANY ($1)"
_WRITES = re.compile(
    r'^apiserver_request_total\{(.*)resource="([^"]*)"(.*)verb="(?:POST|PUT|PATCH|APPLY|DELETE)"\} (\S+)$',
    re.MULTILINE,
)
_PASSES = re.compile(
    r'^controller_runtime_reconcile_total\{controller="(\w+)",result="(?:success|requeue_after)"\} (\S+)$',
    re.MULTILINE,
)


@dataclasses.dataclass
class Replica:
    """One operator as a process; one that ends without being asked is started again, as a kubelet would."""

    name: str
    identity: process.Identity
    admin_port: int
    began: float
    is_wanted: bool = True

    @property
    def ps(self) -> psutil.Process:
        return psutil.Process(self.identity.pid)

    def signal(self, number: int) -> None:
        """Signal it; it is not started again."""
        self.is_wanted = False
        process.send(self.identity, number)


class Fleet:
    """Objects by number: sale ``s-0007`` takes from pool ``p-0007``; use :func:`running`."""

    def __init__(
        self,
        stack: Stack,
        kube: Kube,
        namespace: cluster.Cluster,
        database: Any,
        checkout: client.ServiceClient,
        session: aiohttp.ClientSession,
    ) -> None:
        self.stack, self.kube, self.database = stack, kube, database
        self.uids: dict[int, str] = {}
        self.generations: dict[int, int] = {}
        self.restarts = 0
        self._namespace, self._checkout, self._session = namespace, checkout, session
        self._replicas: list[Replica] = []

    # --- operators --------------------------------------------------------------------------------

    async def start(self, name: str) -> Replica:
        """Start an operator and return at once."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        began = time.monotonic()
        replica = Replica(name, await asyncio.to_thread(self._launch, name, port), port, began)
        self._replicas.append(replica)
        return replica

    def _launch(self, name: str, port: int) -> process.Identity:
        launch = OperatorProcess().launch(self.stack.site)
        environment = {
            **launch.env,
            "DOORBUSTER_ADMIN_PORT": str(port),
            "DOORBUSTER_OPERATOR_IDENTITY": name,
        }
        return process.start(
            Launch(launch.argv, environment, launch.cwd),
            run_file=self.stack.layout.run_file(name),
            log_file=self.stack.layout.log(name),
        )

    async def supervise(self) -> None:
        """Start again who ended by itself (it lost its lease on a busy machine), and count it."""
        while True:
            for replica in self._replicas:
                if replica.is_wanted and not process.is_alive(replica.identity):
                    self.restarts += 1
                    replica.identity = await asyncio.to_thread(
                        self._launch, replica.name, replica.admin_port
                    )
            await asyncio.sleep(0.2)

    async def stop(self, replica: Replica, number: int = signal.SIGTERM) -> None:
        """End an operator and wait until it is gone."""
        replica.signal(number)
        await until(lambda: not process.is_alive(replica.identity), 15, "the operator ends")

    async def stop_all(self) -> None:
        for replica in self._replicas:
            if process.is_alive(replica.identity):
                await self.stop(replica)

    async def leader(self) -> str:
        """Return the name of who leads, "" for nobody."""
        try:
            return str((await self.kube.lease())["spec"].get("holderIdentity") or "")
        except RefusedByServerError:
            return ""

    async def until_leads(self, replica: Replica, within: float = 60) -> None:
        async def leads() -> bool:
            return await self.leader() == replica.name

        await until(leads, within, f"{replica.name} leads")

    async def passes(self, replica: Replica) -> dict[str, float]:
        """Return how many passes of each kind went well, by the operator's own count."""
        url = f"http://127.0.0.1:{replica.admin_port}/metrics"
        async with self._session.get(url) as answer:
            found: dict[str, float] = {}
            for kind, count in _PASSES.findall(await answer.text()):
                found[kind] = found.get(kind, 0) + float(count)
            return found

    async def api_writes(self) -> dict[str, float]:
        """Return the API server's own count of writes by resource, leases left out."""
        text = await asyncio.to_thread(kubectl, self.stack.site, "get", "--raw", "/metrics")
        found: dict[str, float] = {}
        for _, resource, _, count in _WRITES.findall(text):
            if resource != "leases":
                found[resource] = found.get(resource, 0) + float(count)
        return found

    # --- objects ----------------------------------------------------------------------------------

    async def make_pools(self, numbers: Iterable[int]) -> None:
        await at_once(
            numbers,
            lambda number: self.kube.create(
                _object("InventoryPool", pool_name(number), sku=pool_name(number), capacity=UNITS)
            ),
        )

    async def make_sales(
        self, numbers: Iterable[int], opens: Callable[[int], datetime], lead: int, partitions: int
    ) -> None:
        """Make FlashSales that last an hour."""

        async def make(number: int) -> None:
            opened = opens(number)
            made = await self.kube.create(
                _object(
                    "FlashSale",
                    sale_name(number),
                    openTime=stamp(opened),
                    closeTime=stamp(opened + timedelta(hours=1)),
                    items=[
                        {
                            "sku": pool_name(number),
                            "poolName": pool_name(number),
                            "price": {"currency": "EUR", "amountMinor": 100},
                        }
                    ],
                    reservationTimeoutSeconds=10,
                    warmup={"leadSeconds": lead},
                    messaging={"partitions": partitions},
                    settlement={"graceSeconds": 0},
                )
            )
            self.uids[number] = made["metadata"]["uid"]
            self.generations[number] = made["metadata"]["generation"]

        await at_once(numbers, make)

    async def edit_sale(self, number: int, **spec: Any) -> float:
        """Change a sale's spec; returns when the API server had it."""
        edited = await self.kube.patch("FlashSale", sale_name(number), {"spec": spec})
        self.generations[number] = edited["metadata"]["generation"]
        return time.monotonic()

    async def delete_sales(self, numbers: Sequence[int], within: float) -> None:
        """Delete sales and wait until their finalizers let them go."""
        await at_once(numbers, lambda number: self.kube.delete("FlashSale", sale_name(number)))
        await self.until_all("FlashSale", lambda found: False, 0, within)
        for number in numbers:
            del self.uids[number]

    async def until_all(
        self, kind: str, holds: Callable[[dict[str, Any]], bool], count: int, within: float
    ) -> None:
        """Wait until there are ``count`` objects of a kind and all are as told."""

        async def are_all() -> bool:
            try:
                found = await self._namespace.list(PLURALS[kind])
            except cluster.ClusterError:  # busy
                return False
            return len(found) == count and all(holds(each) for each in found)

        await until(are_all, within, f"{count} {kind}s are as told", pause=1.0)

    # --- what came of it --------------------------------------------------------------------------

    async def effects(self, numbers: Iterable[int], within: float) -> dict[int, float]:
        """Return when inventory's PostgreSQL had each sale's last edit, by number."""
        left, seen = set(numbers), dict[int, float]()

        async def look() -> bool:
            seen.update(await self.effects_now(left))
            left.difference_update(seen)
            return not left

        await until(look, within, "the edits are in effect", pause=POLL_SECONDS)
        return seen

    async def effects_now(self, numbers: Iterable[int]) -> dict[int, float]:
        """Return those whose last edit is stored, with the time of this look."""
        by_uid = {self.uids[number]: number for number in numbers}
        rows = await self.database.fetch(_GATES, list(by_uid)) if by_uid else []
        now = time.monotonic()
        found = {by_uid[row["sale_uid"]]: row["generation"] for row in rows}
        return {number: now for number, seen in found.items() if seen >= self.generations[number]}

    async def until_stocked(self, levels: dict[int, int], within: float) -> None:
        """Wait until inventory holds these levels of the pools' stock."""
        wanted = {pool_name(number): units for number, units in levels.items()}

        async def look() -> bool:
            rows = await self.database.fetch(_STOCKS, list(wanted))
            return {row["sku"]: row["total_qty"] for row in rows} == wanted

        await until(look, within, "the stock is applied", pause=0.02)

    async def first_holds(self) -> list[tuple[datetime, datetime | None]]:
        """Return openTime and first hold of all sales, by the authority's clock."""
        rows = await self.database.fetch(_FIRST, list(self.uids.values()))
        return [(row["open_at"], row["first_reservation_at"]) for row in rows]

    async def topics(self) -> set[str]:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self.stack.env()["DOORBUSTER_KAFKA_BOOTSTRAP"]
        )
        await admin.start()
        try:
            return set(await admin.list_topics())
        finally:
            await admin.close()

    async def reserve(self, numbers: Sequence[int]) -> list[str]:
        """Ask inventory for one unit of each sale, as checkout does; returns the outcomes."""
        items = [
            internal.ReserveItem(
                order_id=ids.order_id(secrets.token_hex(4), "key"),
                user_id=ids.new_id("user"),
                request_hash="h",
                topic=events.sale_topic("default", sale_name(number)),
                lines=[
                    internal.ReserveLine(
                        product_id=ids.product_id(pool_name(number)),
                        quantity=1,
                        sale_uid=self.uids[number],
                    )
                ],
            )
            for number in numbers
        ]
        answer = await self._checkout.call(
            "POST",
            "/internal/v1/reservations",
            internal.ReserveResults,
            body=internal.ReserveBatch(items=items),
        )
        return [result.outcome for result in answer.results]


@contextlib.asynccontextmanager
async def running(stack: Stack) -> AsyncIterator[Fleet]:
    """Everything but operators, of which none is left at the end."""
    environment = stack.env()
    async with contextlib.AsyncExitStack() as opened:
        enter = opened.enter_async_context
        api = await enter(cluster.connect(environment["KUBECONFIG"]))
        database = await asyncpg.connect(environment["DOORBUSTER_INVENTORY_DSN"])
        opened.push_async_callback(database.close)
        session = await enter(client.open_session())
        checkout = client.ServiceClient(
            callee="inventory",
            urls=tuple(environment["DOORBUSTER_INVENTORY_URLS"].split(",")),
            session=session,
            signer=auth.ServiceSigner("checkout", stack.layout.keys / "checkout.pem"),
        )
        namespace = cluster.Cluster(api, "default")
        fleet = Fleet(stack, Kube(api), namespace, database, checkout, session)
        opened.push_async_callback(fleet.stop_all)
        supervisor = asyncio.create_task(fleet.supervise())
        opened.callback(supervisor.cancel)
        yield fleet


def sale_name(number: int) -> str:
    return f"s-{number:04}"


def pool_name(number: int) -> str:
    return f"p-{number:04}"


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def soon(seconds: float) -> datetime:
    return utc_now() + timedelta(seconds=seconds)


def _object(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "annotations": ANNOTATIONS}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    }


async def at_once(numbers: Iterable[int], do: Callable[[int], Awaitable[Any]]) -> None:
    """Do something for every number, a few at a time."""
    turns = iter(numbers)

    async def work() -> None:
        for number in turns:
            await do(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


async def until(
    holds: Callable[[], Any], within: float, what: str, *, pause: float = 0.02
) -> None:
    """Wait until something holds; raises TimeoutError."""
    deadline = time.monotonic() + within
    while True:
        answer = holds()
        if await answer if asyncio.iscoroutine(answer) else answer:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within:.0f} s: {what}")
        await asyncio.sleep(pause)
