"""The reconciler: a keeper for every object, one poll for all of them, and a look at the whole list now and then."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import msgspec

from doorbuster.kit import client, telemetry
from doorbuster_operator import metrics
from doorbuster_operator.cluster import Cluster, ClusterError
from doorbuster_operator.inventory import Inventory
from doorbuster_operator.keeper import Keeper
from doorbuster_operator.pool import model as pool_model
from doorbuster_operator.pool_keeper import PoolSubject
from doorbuster_operator.sale import model as sale_model
from doorbuster_operator.sale_keeper import SaleSubject
from doorbuster_operator.topics import KafkaTopics
from doorbuster_operator.world import World

POLL_SECONDS = 1.0
FULL_EVERY_POLLS = 10
IDLE_POLL_SECONDS = 30.0
RELIST_SECONDS = 60.0
RELIST_RETRY_SECONDS = 1.0
GREET_SECONDS = 3.0


class Reconciler:
    """Feeds the world from the API server and from inventory, and wakes whom it concerns; use :func:`running`."""

    def __init__(
        self, *, cluster: Cluster, inventory: Inventory, topics: KafkaTopics, holder: str
    ) -> None:
        self._cluster = cluster
        self._inventory = inventory
        self._world = World(cluster=cluster, inventory=inventory, topics=topics, holder=holder)
        self._sales: dict[str, tuple[SaleSubject, Keeper]] = {}
        self._pools: dict[str, tuple[PoolSubject, Keeper]] = {}
        self._polls = 0
        self._polled = asyncio.Event()
        self._was_silent = True
        self._audited_at = float("-inf")
        self.fenced = asyncio.Event()

    # --- from the API server ----------------------------------------------------------------------

    async def relist(self) -> None:
        """Read every object: what the watch may have missed, and at the start what there is."""
        pools = await self._cluster.list(pool_model.PLURAL)
        sales = await self._cluster.list(sale_model.PLURAL)
        for body in pools:
            self.on_pool("LISTED", body)
        for body in sales:
            self.on_sale("LISTED", body)
        names = {body["metadata"]["name"] for body in pools}
        for gone in set(self._world.pools) - names:
            self._forget_pool(gone)
        names = {body["metadata"]["name"] for body in sales}
        for gone in set(self._world.sales) - names:
            self._forget_sale(gone)

    def on_sale(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Take a FlashSale as the API server told it."""
        name = body["metadata"]["name"]
        if event == "DELETED":
            self._forget_sale(name)
            return
        try:
            sale = sale_model.parse(body)
        except (msgspec.ValidationError, KeyError) as error:
            telemetry.log().error("sale_unreadable", name=name, error=str(error)[:200])
            return
        before = self._world.sales.get(name)
        if before is not None and before.uid != sale.uid:
            self._forget_sale(name)
        if not self._world.keep_sale(sale):
            return
        if name not in self._sales:
            subject = SaleSubject(self._world, name, sale.uid, self._sale_changed)
            self._sales[name] = (subject, self._keep(subject))
            self._sale_changed(name)
            return
        self._sales[name][1].wake()
        self._wake_pools_of(sale)

    def on_pool(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Take an InventoryPool as the API server told it."""
        name = body["metadata"]["name"]
        if event == "DELETED":
            self._forget_pool(name)
            return
        try:
            pool = pool_model.parse(body)
        except (msgspec.ValidationError, KeyError) as error:
            telemetry.log().error("pool_unreadable", name=name, error=str(error)[:200])
            return
        before = self._world.pools.get(name)
        if before is not None and before.uid != pool.uid:
            self._forget_pool(name)
        if not self._world.keep_pool(pool):
            return
        if name not in self._pools:
            subject = PoolSubject(self._world, name, pool.uid, self._pool_changed)
            self._pools[name] = (subject, self._keep(subject))
        else:
            self._pools[name][1].wake()
        self._pool_changed(name)

    def _keep(self, subject: SaleSubject | PoolSubject) -> Keeper:
        return Keeper(subject, now=self._inventory.now, on_fenced=self.fenced.set)

    def _forget_sale(self, name: str) -> None:
        sale = self._world.sales.pop(name, None)
        kept = self._sales.pop(name, None)
        if kept is not None:
            kept[1].cancel()
        if sale is not None:
            for phase in sale_model.Phase:
                with suppress(KeyError):
                    metrics.SALE_PHASE.remove(f"{sale.namespace}.{name}", str(phase))
            self._wake_pools_of(sale)

    def _forget_pool(self, name: str) -> None:
        pool = self._world.pools.pop(name, None)
        kept = self._pools.pop(name, None)
        if kept is not None:
            kept[1].cancel()
        if pool is not None:
            with suppress(KeyError):
                metrics.CONSERVATION.remove(name)
            self._pool_changed(name)

    # --- who concerns whom ------------------------------------------------------------------------

    def _sale_changed(self, name: str) -> None:
        """A sale came or entered another phase: its pools count who uses them, and the poll may be needed."""
        sale = self._world.sales.get(name)
        if sale is not None:
            self._wake_pools_of(sale)
        self._polled.set()

    def _wake_pools_of(self, sale: sale_model.FlashSale) -> None:
        for item in sale.spec.items:
            kept = self._pools.get(item.pool_name)
            if kept is not None:
                kept[1].wake()

    def _pool_changed(self, name: str) -> None:
        """A pool came, went, or has another stock: the sales that take from it look again."""
        for sale_name, sale in self._world.sales.items():
            if any(item.pool_name == name for item in sale.spec.items):
                kept = self._sales.get(sale_name)
                if kept is not None:
                    kept[1].wake()

    # --- from inventory ---------------------------------------------------------------------------

    async def poll(self) -> None:
        """Read what changed in inventory while any sale is live; wake those it concerns."""
        try:
            await self._read()
        except (client.UnavailableError, client.RefusedError) as error:
            telemetry.log().warning("inventory_not_read", error=str(error)[:200])
        is_silent = self._inventory.silence is not None
        if is_silent != self._was_silent:
            self._was_silent = is_silent
            for kept in (*self._pools.values(), *self._sales.values()):
                kept[1].wake()

    async def _read(self) -> None:
        if self._inventory.fence is None or self._inventory.is_failing:
            await self._inventory.greet()
        self._polls += 1
        is_full = self._polls % FULL_EVERY_POLLS == 0
        by_uid = {sale.uid: name for name, sale in self._world.sales.items()}
        for uid in await self._inventory.read_sales(is_full=is_full):
            kept = self._sales.get(by_uid.get(uid, ""))
            if kept is not None:
                kept[1].wake()
        await self._audit()

    async def _audit(self) -> None:
        """Read the pools' counters as often as the most frequent pool asks."""
        asked = [pool.spec.audit_interval_seconds for pool in self._world.pools.values()]
        now = self._world.monotonic()
        if not asked or now - self._audited_at < min(asked):
            return
        self._audited_at = now
        by_sku = {pool.spec.sku: name for name, pool in self._world.pools.items()}
        for sku in await self._inventory.read_pools(is_full=True):
            kept = self._pools.get(by_sku.get(sku, ""))
            if kept is not None:
                kept[1].wake()

    def _pause(self) -> float:
        """Return how long the poll may rest: a second while a sale is live or inventory is silent."""
        is_live = any(subject.is_watched for subject, _ in self._sales.values())
        if is_live or self._inventory.is_failing:
            return POLL_SECONDS
        asked = [pool.spec.audit_interval_seconds for pool in self._world.pools.values()]
        return min([IDLE_POLL_SECONDS, *map(float, asked)])

    async def _poll_forever(self) -> None:
        while True:
            await self.poll()
            await asyncio.sleep(POLL_SECONDS)
            rest = self._pause() - POLL_SECONDS
            if rest > 0:
                self._polled.clear()
                try:
                    async with asyncio.timeout(rest):
                        await self._polled.wait()
                except TimeoutError:
                    continue

    # --- life -------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load, keep everything in step, and stop all keepers at the end."""
        try:
            async with asyncio.timeout(GREET_SECONDS):
                await self._inventory.greet()
        except (client.UnavailableError, client.RefusedError, TimeoutError) as error:
            telemetry.log().warning("inventory_not_reached", error=str(error)[:200])
        self._was_silent = self._inventory.silence is not None
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.stop)
            relist = asyncio.create_task(self._relist_forever(), name="relist")
            stack.callback(relist.cancel)
            poll = asyncio.create_task(self._poll_forever(), name="poll")
            stack.callback(poll.cancel)
            yield

    async def _relist_forever(self) -> None:
        while True:
            try:
                await self.relist()
            except ClusterError as error:
                telemetry.log().warning("relist_failed", error=str(error)[:200])
                await asyncio.sleep(RELIST_RETRY_SECONDS)
                continue
            await asyncio.sleep(RELIST_SECONDS)

    async def stop(self) -> None:
        """Stop all keepers; safe to call twice."""
        keepers = [kept[1] for kept in (*self._sales.values(), *self._pools.values())]
        await asyncio.gather(*(keeper.stop() for keeper in keepers))
