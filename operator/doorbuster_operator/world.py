"""What all keepers share: the peers, and every object of the namespace as it was last seen."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import msgspec

from doorbuster.kit import telemetry
from doorbuster_operator import manifest
from doorbuster_operator.autoscaler import Autoscaler
from doorbuster_operator.cluster import API_VERSION, ClusterError
from doorbuster_operator.conditions import Notice
from doorbuster_operator.inventory import Inventory
from doorbuster_operator.pool import lifecycle as pool_lifecycle
from doorbuster_operator.pool import model as pool_model
from doorbuster_operator.sale import capacity as sale_capacity
from doorbuster_operator.sale import model as sale_model
from doorbuster_operator.sale.facts import PoolSeen, TargetSeen, TopicSeen, TopicWanted
from doorbuster_operator.watch_debt import WatchDebt


class Writes(Protocol):
    """What keepers write to Kubernetes; see cluster.Cluster."""

    async def apply_status(self, about: Mapping[str, Any], plural: str, status: Any) -> Any: ...

    async def apply_finalizers(
        self, about: Mapping[str, Any], plural: str, finalizers: list[str]
    ) -> Any: ...

    async def delete(self, about: Mapping[str, Any], plural: str) -> Any: ...

    async def list_autoscalers(self) -> list[Any]: ...

    async def list_deployments(self) -> list[Any]: ...

    async def apply_minimum(self, scaler: Autoscaler, minimum: int) -> Any: ...

    async def read_config_map(self, name: str) -> Any | None: ...

    async def apply_config_map(self, body: Mapping[str, Any]) -> Any: ...

    async def tell(self, event: Mapping[str, Any]) -> None: ...


class Topics(Protocol):
    """What keepers ask of Kafka; see topics.KafkaTopics."""

    async def exists(self, name: str) -> bool: ...

    async def ensure(self, wanted: TopicWanted) -> TopicSeen: ...

    async def unread(self, name: str) -> int: ...

    async def delete(self, name: str) -> None: ...


@dataclass(kw_only=True)
class Capacity:
    """Autoscalers by name and ready replicas by Deployment, as they were last seen.

    ``asked`` are the names that sales named then: of others nothing is known. ``ready`` is None while no sale
    is live. ``failure`` says why nothing can be seen; ``refusals`` why an autoscaler could not be written.
    """

    asked: frozenset[str] = frozenset()
    autoscalers: dict[str, Autoscaler] = field(default_factory=dict)
    ready: dict[str, int] | None = None
    failure: str | None = None
    refusals: dict[str, str] = field(default_factory=dict)


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
    capacity: Capacity = field(default_factory=Capacity)
    _users: dict[str, set[str]] = field(default_factory=dict)
    _demands: tuple[datetime, datetime | None, dict[str, int]] | None = None

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

    def demands(self, now: datetime) -> dict[str, int]:
        """Return what all sales ask of autoscalers: counted once, until a sale or the time changes it."""
        if self._demands is not None:
            since, until, known = self._demands
            if since <= now and (until is None or now < until):
                return known
        counted = sale_capacity.demands(self.sales.values(), now)
        until = sale_capacity.next_change(self.sales.values(), now)
        self._demands = now, until, counted
        return counted

    def targets_of(self, sale: sale_model.FlashSale, now: datetime) -> tuple[TargetSeen, ...]:
        """Return a sale's scaling targets as they were last seen."""
        is_returning = sale.is_deleting and sale.spec.scaling.targets
        left = self.demands(now) if is_returning else {}
        return tuple(
            self._target_of(sale, target, left.get(target.hpa_name, 0), now)
            for target in sale.spec.scaling.targets
        )

    def _target_of(
        self,
        sale: sale_model.FlashSale,
        target: sale_model.ScalingTarget,
        left: int,
        now: datetime,
    ) -> TargetSeen:
        """Look at one target; ``left`` is what the other sales ask of it when this one is deleted."""
        known, name = self.capacity, target.hpa_name
        asked = sale_capacity.demand(sale, target, now)
        failure = known.failure or known.refusals.get(name)
        if failure is None and name not in known.asked:
            return TargetSeen(name=target.name, demand=asked, is_returned=False)
        scaler = known.autoscalers.get(name)
        seen = sale_capacity.look(target, asked, scaler, ready=known.ready, failure=failure)
        wanted = None if scaler is None else scaler.wanted(left)
        is_returned = failure is None and (scaler is None or wanted in (None, scaler.minimum))
        return replace(seen, is_returned=is_returned)

    def sales_of(self, pool: pool_model.InventoryPool) -> tuple[str, ...]:
        """Return the names of the sales that take units from a pool and are not over."""
        return tuple(
            sorted(
                name
                for name in self.users_of(pool.name)
                if self.sales[name].status.phase not in sale_model.OVER
            )
        )

    def users_of(self, pool_name: str) -> frozenset[str]:
        """Return the names of all sales that name a pool: an index, so that one event costs no look at every sale."""
        return frozenset(self._users.get(pool_name, ()))

    def forget_sale(self, name: str) -> sale_model.FlashSale | None:
        """Drop a sale; returns it as it was last seen."""
        sale = self.sales.pop(name, None)
        if sale is not None:
            self._unlist(sale)
            if sale_capacity.basis(sale) is not None:
                self._demands = None
        return sale

    def _unlist(self, sale: sale_model.FlashSale) -> None:
        for item in sale.spec.items:
            users = self._users.get(item.pool_name, set())
            users.discard(sale.name)
            if not users:
                self._users.pop(item.pool_name, None)

    def keep_sale(self, fresh: sale_model.FlashSale) -> bool:
        """Remember a sale unless a newer state is known; tells whether anything of it is new."""
        self.watch.owe(fresh.uid, fresh.version)
        known = self.sales.get(fresh.name)
        if known is not None and known.uid == fresh.uid:
            if fresh.version < known.version:
                return False
            is_new = msgspec.structs.replace(known, version=fresh.version) != fresh
        else:
            is_new = True
        before = None if known is None else sale_capacity.basis(known)
        if before != sale_capacity.basis(fresh):
            self._demands = None
        if known is not None:
            self._unlist(known)
        self.sales[fresh.name] = fresh
        for item in fresh.spec.items:
            self._users.setdefault(item.pool_name, set()).add(fresh.name)
        return is_new

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
