"""A pool's pass: observe, decide, apply, and one status patch."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, assert_never

from doorbuster.kit import client
from doorbuster_operator import metrics
from doorbuster_operator.pool import lifecycle, model, resources
from doorbuster_operator.sale.health import REFUSALS
from doorbuster_operator.world import World, identity_of, state_of

ROUNDS = 4
REFUSED_RETRY = timedelta(seconds=10)
OUTAGE_RETRY = timedelta(seconds=1)


class PoolSubject:
    """One InventoryPool; ``on_change`` is called when its stock changed, for the sales that take from it."""

    kind = "inventorypool"

    def __init__(
        self, world: World, name: str, uid: str, on_change: Callable[[str], None]
    ) -> None:
        self._world = world
        self._on_change = on_change
        self._failure: lifecycle.Failure | None = None
        self._uid = uid
        self.name = name

    async def run_pass(self) -> datetime | None:
        """Bring the stock to its level and tell how it is."""
        world = self._world
        pool = self._current()
        if pool is None:
            return None
        now = world.inventory.now()
        seen = self._look(pool)
        decision = lifecycle.decide(pool, seen, now)
        for _ in range(ROUNDS):
            if not decision.actions:
                break
            for action in decision.actions:
                if not await self._apply(pool, action, now):
                    break
                if isinstance(action, lifecycle.DropFinalizer):
                    return None
            pool = self._current()
            if pool is None:
                return None
            seen = self._look(pool)
            decision = lifecycle.decide(pool, seen, now)
        is_stale = await self._write(pool, seen, decision, now)
        return now if is_stale or decision.actions else decision.wake_at

    def _current(self) -> model.InventoryPool | None:
        pool = self._world.pools.get(self.name)
        return pool if pool is not None and pool.uid == self._uid else None

    def _look(self, pool: model.InventoryPool) -> lifecycle.Seen:
        inventory = self._world.inventory
        return lifecycle.Seen(
            stock=inventory.stocks.get(pool.spec.sku),
            silence=inventory.silence,
            failure=self._failure,
            bound_sales=self._world.sales_of(pool),
        )

    async def _apply(
        self, pool: model.InventoryPool, action: lifecycle.Action, now: datetime
    ) -> bool:
        """Do one thing; tells whether what follows it may be done too."""
        world = self._world
        match action:
            case lifecycle.AddFinalizer() | lifecycle.DropFinalizer():
                wanted = [model.FINALIZER] if isinstance(action, lifecycle.AddFinalizer) else []
                about = identity_of(pool, model.KIND)
                body = await world.cluster.apply_finalizers(about, model.PLURAL, wanted)
                if wanted:
                    world.keep_pool(model.parse(body))
                return True
            case lifecycle.PutStock() | lifecycle.ReleaseStock():
                return await self._set_stock(pool, action, now)
            case _:
                assert_never(action)

    async def _set_stock(
        self,
        pool: model.InventoryPool,
        action: lifecycle.PutStock | lifecycle.ReleaseStock,
        now: datetime,
    ) -> bool:
        inventory = self._world.inventory
        if inventory.fence is None:
            return False
        try:
            if isinstance(action, lifecycle.ReleaseStock):
                await inventory.release_pool(pool.spec.sku, owner_uid=pool.uid)
            else:
                spec = resources.stock(pool, action, fence=inventory.fence)
                await inventory.put_pool(pool.spec.sku, spec)
        except client.RefusedError as error:
            reason = REFUSALS.get(error.code, "Refused")
            self._failure = self._fail(
                pool, reason, error.detail or error.code, REFUSED_RETRY, now
            )
            return False
        except client.UnavailableError as error:
            text = f"{error}."
            self._failure = self._fail(pool, "InventoryUnavailable", text, OUTAGE_RETRY, now)
            return False
        self._failure = None
        self._on_change(pool.name)
        return True

    @staticmethod
    def _fail(
        pool: model.InventoryPool, reason: str, message: str, pause: timedelta, now: datetime
    ) -> lifecycle.Failure:
        return lifecycle.Failure(
            reason=reason, message=message, retry_at=now + pause, generation=pool.generation
        )

    async def _write(
        self,
        pool: model.InventoryPool,
        seen: lifecycle.Seen,
        decision: lifecycle.Decision,
        now: datetime,
    ) -> bool:
        """Patch the status if anything changed; tells whether the object is another than was decided on."""
        world = self._world
        if seen.stock is not None:
            stock = seen.stock
            off = stock.capacity - stock.available - stock.reserved - stock.sold
            metrics.CONSERVATION.labels(pool.name).set(off)
        status: dict[str, Any] = resources.status(pool, seen, decision, now=now)
        if status == pool.raw_status:
            return False
        about = identity_of(pool, model.KIND)
        for notice in decision.notices:
            await world.tell(notice, about, now)
        body = await world.cluster.apply_status(state_of(pool, model.KIND), model.PLURAL, status)
        metrics.STATUS_WRITES.labels(self.kind).inc()
        fresh = model.parse(body)
        world.keep_pool(fresh)
        return fresh.generation != pool.generation or fresh.is_deleting != pool.is_deleting
