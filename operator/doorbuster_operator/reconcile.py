"""The reconciler: a keeper for every object, one poll for all of them, and a look at the whole list now and then."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

import msgspec

from doorbuster.kit import client, telemetry
from doorbuster_operator import manifest, metrics
from doorbuster_operator.capacity_keeper import CapacitySubject
from doorbuster_operator.cluster import Cluster, ClusterError
from doorbuster_operator.conditions import Notice
from doorbuster_operator.inventory import FencedError, Inventory
from doorbuster_operator.keeper import Keeper
from doorbuster_operator.pool import model as pool_model
from doorbuster_operator.pool_keeper import PoolSubject
from doorbuster_operator.sale import model as sale_model
from doorbuster_operator.sale_keeper import SaleSubject
from doorbuster_operator.topics import KafkaTopics
from doorbuster_operator.world import World, identity_of

POLL_SECONDS = 1.0
FULL_EVERY_POLLS = 10
IDLE_POLL_SECONDS = 30.0
RELIST_SECONDS = 60.0
RELIST_RETRY_SECONDS = 1.0
GREET_SECONDS = 3.0
LAST_WORD_SECONDS = 1.0
LISTED = "LISTED"


class Reconciler:
    """Feeds the world from the API server and from inventory, and wakes whom it concerns; use :func:`running`."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        inventory: Inventory,
        topics: KafkaTopics,
        holder: str,
        relist_seconds: float = RELIST_SECONDS,
    ) -> None:
        self._relist_seconds = relist_seconds
        self._cluster = cluster
        self._inventory = inventory
        self._world = World(cluster=cluster, inventory=inventory, topics=topics, holder=holder)
        self._sales: dict[str, tuple[SaleSubject, Keeper]] = {}
        self._pools: dict[str, tuple[PoolSubject, Keeper]] = {}
        self._capacity: Keeper | None = None
        self._polls = 0
        self._polled = asyncio.Event()
        self._was_silent = True
        self._silences_ended = 0
        self._is_listed = False
        self._audited_at = float("-inf")
        self._gone: set[str] = set()
        self._refused: dict[str, Any] | None = None
        metrics.WATCH_AGE.set_function(lambda: self.watch_age_seconds)
        self.fenced = asyncio.Event()

    # --- from the API server ----------------------------------------------------------------------

    async def relist(self) -> None:
        """Read every object: what the watch may have missed, and at the start what there is."""
        self._gone.clear()
        world = self._world
        known = {pool.uid for pool in world.pools.values()}
        known |= {sale.uid for sale in world.sales.values()}
        pools = await self._cluster.list(pool_model.PLURAL)
        sales = await self._cluster.list(sale_model.PLURAL)
        # What the watch told to be gone or made while we listed is newer than the lists.
        pools = [body for body in pools if body["metadata"]["uid"] not in self._gone]
        sales = [body for body in sales if body["metadata"]["uid"] not in self._gone]
        for body in pools:
            self.on_pool(LISTED, body)
        for body in sales:
            self.on_sale(LISTED, body)
        # By uid: a name that is not in the lists may have come back through the watch since.
        gone = known - {body["metadata"]["uid"] for body in (*pools, *sales)}
        for name in [name for name, pool in world.pools.items() if pool.uid in gone]:
            self._forget_pool(name)
        for name in [name for name, sale in world.sales.items() if sale.uid in gone]:
            self._forget_sale(name)
        self._is_listed = True
        self._keep_all()
        if self._capacity is None:
            # Not before every sale is known: what no sale asks for is given back.
            subject = CapacitySubject(self._world, self._capacity_changed)
            self._capacity = Keeper(
                subject, now=self._inventory.now, on_fenced=lambda _: self.fenced.set()
            )

    def _keep_all(self) -> None:
        """Begin to keep what has no keeper yet: whatever the watch told before the first list was there.

        A sale that is looked at before its pools are known would take them for missing.
        """
        for pool in self._world.pools.values():
            self._keep_pool(pool)
        for sale in self._world.sales.values():
            self._keep_sale(sale)

    def _keep_pool(self, pool: pool_model.InventoryPool) -> None:
        if pool.name not in self._pools:
            subject = PoolSubject(self._world, pool.name, pool.uid, self._pool_changed)
            self._pools[pool.name] = (subject, self._keep(subject))
            self._pool_changed(pool.name)

    def _keep_sale(self, sale: sale_model.FlashSale) -> None:
        if sale.name not in self._sales:
            subject = SaleSubject(self._world, sale.name, sale.uid, self._sale_changed)
            self._sales[sale.name] = (subject, self._keep(subject))
            self._sale_changed(sale.name)

    @property
    def known_names(self) -> tuple[set[str], set[str]]:
        """The names of all pools and all sales that are kept."""
        return set(self._pools), set(self._sales)

    @property
    def watch_age_seconds(self) -> float:
        """For how long the watch has owed a change that is known from elsewhere."""
        return self._world.watch.age_seconds

    def _told(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Keep account of what came through the watch."""
        metadata = body["metadata"]
        if event == "DELETED":
            self._gone.add(metadata["uid"])
        elif event != LISTED:
            self._world.watch.tell(metadata["uid"], int(metadata["resourceVersion"]))

    def on_sale(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Take a FlashSale as the API server told it."""
        self._told(event, body)
        name = body["metadata"]["name"]
        if event == "DELETED":
            known = self._world.sales.get(name)
            if known is not None and known.uid == body["metadata"]["uid"]:
                self._forget_sale(name)
            return
        if _is_known(self._world.sales.get(name), body):
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
        self._wake_capacity(before, sale)
        if not self._is_listed:
            return
        if name not in self._sales:
            self._keep_sale(sale)
            return
        self._sales[name][1].wake()
        self._wake_pools_of(sale)
        if before is not None:
            self._wake_pools_of(before)  # a pool that the sale left counts its sales anew

    def on_pool(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Take an InventoryPool as the API server told it."""
        self._told(event, body)
        name = body["metadata"]["name"]
        if event == "DELETED":
            known = self._world.pools.get(name)
            if known is not None and known.uid == body["metadata"]["uid"]:
                self._forget_pool(name)
            return
        if _is_known(self._world.pools.get(name), body):
            return
        try:
            pool = pool_model.parse(body)
        except (msgspec.ValidationError, KeyError) as error:
            telemetry.log().error("pool_unreadable", name=name, error=str(error)[:200])
            return
        before = self._world.pools.get(name)
        if before is not None and before.uid != pool.uid:
            self._forget_pool(name)
        if not self._world.keep_pool(pool) or not self._is_listed:
            return
        if name not in self._pools:
            self._keep_pool(pool)
            return
        self._pools[name][1].wake()
        self._pool_changed(name)

    def _keep(self, subject: SaleSubject | PoolSubject) -> Keeper:
        on_fenced = partial(self._fence, subject)
        return Keeper(subject, now=self._inventory.now, on_fenced=on_fenced)

    def _fence(self, subject: SaleSubject | PoolSubject, error: FencedError) -> None:
        """Remember at which object it was learnt that there is a newer leader."""
        if isinstance(subject, SaleSubject):
            sale = self._world.sales.get(subject.name)
            about = None if sale is None else identity_of(sale, sale_model.KIND)
        else:
            pool = self._world.pools.get(subject.name)
            about = None if pool is None else identity_of(pool, pool_model.KIND)
        self._refused = self._refused or about
        self.fenced.set()

    async def tell_fenced(self) -> None:
        """Tell at the object where it was learnt that inventory refuses this process; it leaves after that."""
        if self._refused is None:
            return
        text = (
            f"Inventory refused a write of {self._world.holder}: another operator was elected "
            "since. Nothing was changed and this one leaves."
        )
        key = f"fence-{self._inventory.fence}"
        notice = Notice(reason="StaleEpochRejected", message=text, key=key, is_warning=True)
        now, holder = self._inventory.now(), self._world.holder
        event = manifest.event(notice, self._refused, now=now, instance=holder)
        try:
            async with asyncio.timeout(LAST_WORD_SECONDS):
                await self._cluster.tell(event, is_last_word=True)
        except (ClusterError, TimeoutError) as error:
            telemetry.log().warning("event_not_told", reason=notice.reason, error=str(error)[:200])

    def _forget_sale(self, name: str) -> None:
        sale = self._world.forget_sale(name)
        kept = self._sales.pop(name, None)
        if kept is not None:
            kept[1].cancel()
        if sale is not None:
            self._world.watch.forget(sale.uid)
            for phase in sale_model.Phase:
                with suppress(KeyError):
                    metrics.SALE_PHASE.remove(f"{sale.namespace}.{name}", str(phase))
            self._wake_pools_of(sale)
            self._wake_capacity(sale)

    def _forget_pool(self, name: str) -> None:
        pool = self._world.pools.pop(name, None)
        kept = self._pools.pop(name, None)
        if kept is not None:
            kept[1].cancel()
        if pool is not None:
            self._world.watch.forget(pool.uid)
            with suppress(KeyError):
                metrics.CONSERVATION.remove(name)
            self._pool_changed(name)

    # --- who concerns whom ------------------------------------------------------------------------

    def _sale_changed(self, name: str) -> None:
        """A sale came or entered another phase: its pools count who uses them, and the poll may be needed."""
        sale = self._world.sales.get(name)
        if sale is not None:
            self._wake_pools_of(sale)
            self._wake_capacity(sale)
        self._polled.set()

    def _wake_capacity(self, *sales: sale_model.FlashSale | None) -> None:
        """A sale came, went or is another: what it asks of autoscalers may have changed."""
        asks = any(sale is not None and sale.spec.scaling.targets for sale in sales)
        if asks and self._capacity is not None:
            self._capacity.wake()

    def _capacity_changed(self, autoscalers: set[str]) -> None:
        """Autoscalers look different (an empty name stands for all): the sales that name them look again."""
        for name, sale in self._world.sales.items():
            named = {target.hpa_name for target in sale.spec.scaling.targets}
            kept = self._sales.get(name)
            if kept is not None and named and (named & autoscalers or "" in autoscalers):
                kept[1].wake()

    def _wake_pools_of(self, sale: sale_model.FlashSale) -> None:
        for item in sale.spec.items:
            kept = self._pools.get(item.pool_name)
            if kept is not None:
                kept[1].wake()

    def _pool_changed(self, name: str) -> None:
        """A pool came, went, or has another stock: the sales that take from it look again."""
        for sale_name in self._world.users_of(name):
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
        ended = self._inventory.silences_ended
        if is_silent != self._was_silent or ended != self._silences_ended:
            self._was_silent, self._silences_ended = is_silent, ended
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
            try:
                await self.poll()
            except Exception as error:  # without the poll every sale would look as it did last
                telemetry.log().error("poll_failed", error=repr(error)[:300], exc_info=error)
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
            except Exception as error:  # it covers for the watch, so it must live
                expected = isinstance(error, ClusterError)
                telemetry.log().warning(
                    "relist_failed",
                    error=str(error)[:200],
                    exc_info=None if expected else error,
                )
                await asyncio.sleep(RELIST_RETRY_SECONDS)
                continue
            await asyncio.sleep(self._relist_seconds)

    async def stop(self) -> None:
        """Stop all keepers; safe to call twice."""
        keepers = [kept[1] for kept in (*self._sales.values(), *self._pools.values())]
        if self._capacity is not None:
            keepers.append(self._capacity)
        await asyncio.gather(*(keeper.stop() for keeper in keepers))


def _is_known(
    known: sale_model.FlashSale | pool_model.InventoryPool | None, body: Mapping[str, Any]
) -> bool:
    """Tell whether this very state, or a newer one, was taken already: most of a list says nothing new."""
    metadata = body["metadata"]
    return (
        known is not None
        and known.uid == metadata["uid"]
        and known.version >= int(metadata["resourceVersion"])
    )
