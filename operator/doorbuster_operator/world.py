"""What all keepers share: the peers, and every object of the namespace as it was last seen."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import msgspec

from doorbuster.kit import telemetry
from doorbuster_operator import manifest
from doorbuster_operator.cluster import API_VERSION, ClusterError
from doorbuster_operator.conditions import Notice
from doorbuster_operator.inventory import Inventory
from doorbuster_operator.pool import lifecycle as pool_lifecycle
from doorbuster_operator.pool import model as pool_model
from doorbuster_operator.sale import model as sale_model
from doorbuster_operator.sale.facts import PoolSeen, TopicSeen, TopicWanted
from doorbuster_operator.watch_debt import WatchDebt


class Writes(Protocol):
    """What keepers write to Kubernetes; see cluster.Cluster."""

    async def apply_status(self, about: Mapping[str, Any], plural: str, status: Any) -> Any: ...

    async def apply_finalizers(
        self, about: Mapping[str, Any], plural: str, finalizers: list[str]
    ) -> Any: ...

    async def delete(self, about: Mapping[str, Any], plural: str) -> Any: ...

    async def tell(self, event: Mapping[str, Any]) -> None: ...


class Topics(Protocol):
    """What keepers ask of Kafka; see topics.KafkaTopics."""

    async def ensure(self, wanted: TopicWanted) -> TopicSeen: ...

    async def unread(self, name: str) -> int: ...

    async def delete(self, name: str) -> None: ...


@dataclass(kw_only=True)
class World:
    """The peers and the objects by name; objects are replaced, never changed."""

    cluster: Writes
    inventory: Inventory
    topics: Topics
    holder: str
    monotonic: Callable[[], float] = time.monotonic
    watch: WatchDebt = field(default_factory=WatchDebt)
    sales: dict[str, sale_model.FlashSale] = field(default_factory=dict)
    pools: dict[str, pool_model.InventoryPool] = field(default_factory=dict)

    def pools_of(self, sale: sale_model.FlashSale) -> dict[str, PoolSeen]:
        """Return the pools of a sale's items as the sale sees them; a missing one is absent."""
        seen = {}
        for item in sale.spec.items:
            pool = self.pools.get(item.pool_name)
            if pool is None:
                continue
            stock = self.inventory.stocks.get(pool.spec.sku)
            seen[item.pool_name] = PoolSeen(
                sku=pool.spec.sku,
                is_deleting=pool.is_deleting,
                is_applied=pool_lifecycle.is_owned(pool, stock),
                is_conserved=stock is None or pool_lifecycle.is_conserved(stock),
            )
        return seen

    def sales_of(self, pool: pool_model.InventoryPool) -> tuple[str, ...]:
        """Return the names of the sales that take units from a pool and are not over."""
        return tuple(
            sorted(
                sale.name
                for sale in self.sales.values()
                if sale.status.phase not in sale_model.OVER
                and any(item.pool_name == pool.name for item in sale.spec.items)
            )
        )

    def keep_sale(self, fresh: sale_model.FlashSale) -> bool:
        """Remember a sale unless a newer state is known; tells whether anything of it is new."""
        self.watch.owe(fresh.uid, fresh.version)
        known = self.sales.get(fresh.name)
        if known is not None and known.uid == fresh.uid:
            if fresh.version < known.version:
                return False
            self.sales[fresh.name] = fresh
            return msgspec.structs.replace(known, version=fresh.version) != fresh
        self.sales[fresh.name] = fresh
        return True

    def keep_pool(self, fresh: pool_model.InventoryPool) -> bool:
        """Remember a pool unless a newer state is known; tells whether anything of it is new."""
        self.watch.owe(fresh.uid, fresh.version)
        known = self.pools.get(fresh.name)
        if known is not None and known.uid == fresh.uid:
            if fresh.version < known.version:
                return False
            self.pools[fresh.name] = fresh
            return msgspec.structs.replace(known, version=fresh.version) != fresh
        self.pools[fresh.name] = fresh
        return True

    async def tell(self, notice: Notice, about: Mapping[str, Any], now: datetime) -> None:
        """Write one Event about an object; one that cannot be written is logged: the status matters more."""
        try:
            await self.cluster.tell(manifest.event(notice, about, now=now, instance=self.holder))
        except ClusterError as error:
            telemetry.log().warning("event_not_told", reason=notice.reason, error=str(error)[:200])


def identity_of(
    thing: sale_model.FlashSale | pool_model.InventoryPool, kind: str
) -> dict[str, Any]:
    """Return who an object is, for writes about it."""
    return manifest.identity(
        kind, api_version=API_VERSION, namespace=thing.namespace, name=thing.name, uid=thing.uid
    )


def state_of(thing: sale_model.FlashSale | pool_model.InventoryPool, kind: str) -> dict[str, Any]:
    """Return who an object is and the version that was decided on, for writes that are void when it changed.

    That keeps a leader which was paused in the middle of a request from writing over what its successor wrote.
    """
    about = identity_of(thing, kind)
    about["metadata"]["resourceVersion"] = str(thing.version)
    return about
