"""The control API of inventory in memory.

It keeps the contracts that matter to the operator: fences only grow, a lower generation or an older fence is
STALE_EPOCH, another owner is RESOURCE_CONFLICT, less than is committed is BELOW_COMMITTED, two sales of one sku at
one time OVERLAP.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from doorbuster.contracts import control
from doorbuster.kit import client, clock, ids

# Called with the name of a write; what it gives is entered before the write and left after it, so that a test may
# let the writer die at either moment.
OnWrite = Callable[[str], AbstractContextManager[Any]]


class FakeInventory:
    """The control API in memory, called as a client.ServiceClient is.

    ``is_down`` makes every call fail, ``utc_now`` is the deciding clock, ``on_write`` is called around each write.
    """

    def __init__(self, utc_now: clock.Clock = clock.utc_now) -> None:
        self.utc_now = utc_now
        self.is_down = False
        self.fence = 0
        self.revision = 0
        self.sales: dict[str, control.SaleState] = {}
        self.pools: dict[str, control.PoolState] = {}
        self.on_write: OnWrite = lambda what: nullcontext()

    async def call(
        self,
        method: str,
        path: str,
        answer: type[Any],
        *,
        body: Any = None,
        timeout_seconds: float | None = None,
    ) -> Any:
        """Answer as the service would; raises client.RefusedError or client.UnavailableError."""
        if self.is_down:
            raise client.UnavailableError("inventory does not answer")
        url = urlsplit(path)
        query = dict(parse_qsl(url.query))
        key = url.path.rpartition("/")[2]
        match method, url.path.split("/")[3]:
            case "POST", "fences":
                self.fence += 1
                return control.Fence(fence=self.fence)
            case "GET", "sales":
                return self._read_sales(int(query["since"]))
            case "GET", "pools":
                return self._read_pools(int(query["since"]))
            case "PUT", "sales":
                with self.on_write(f"gate {body.name} {body.state}"):
                    return self._put_sale(key, body)
            case "PUT", "pools":
                with self.on_write(f"stock {key} {body.capacity}"):
                    return self._put_pool(key, body)
            case "DELETE", "pools":
                with self.on_write(f"release {key}"):
                    return self._release_pool(key, query["ownerUid"], int(query["fence"]))
            case _:
                raise AssertionError(f"{method} {path} is no call of the control API")

    def change_sale(self, uid: str, **changes: Any) -> None:
        """Let something happen behind the gate."""
        self.revision += 1
        self.sales[uid] = msgspec.structs.replace(
            self.sales[uid], revision=self.revision, **changes
        )

    def sell(self, uid: str, units: int) -> None:
        """Sell units of a sale's first item, as buyers and payments would."""
        sale = self.sales[uid]
        item = sale.items[0]
        sold = msgspec.structs.replace(
            item, available=item.available - units, sold=item.sold + units
        )
        now = self.utc_now()
        self.change_sale(
            uid,
            items=[sold, *sale.items[1:]],
            first_reservation_time=sale.first_reservation_time or now,
            sold_out_time=now if sold.available == 0 else None,
        )
        pool = self.pools[item.sku]
        self.pools[item.sku] = msgspec.structs.replace(
            pool,
            available=pool.available - units,
            sold=pool.sold + units,
            revision=self.revision,
        )

    def _read_sales(self, since: int) -> control.SaleStates:
        found = [sale for sale in self.sales.values() if sale.revision > since]
        now = self.utc_now()
        return control.SaleStates(sales=found, revision=self.revision, server_time=now)

    def _read_pools(self, since: int) -> control.PoolStates:
        found = [pool for pool in self.pools.values() if pool.revision > since]
        now = self.utc_now()
        return control.PoolStates(pools=found, revision=self.revision, server_time=now)

    def _put_pool(self, sku: str, spec: control.PoolSpec) -> control.PoolState:
        old = self.pools.get(sku)
        committed = 0 if old is None else old.reserved + old.sold
        if spec.fence < self.fence:
            raise _refusal("STALE_EPOCH", "an older fence")
        if old is not None and old.owner_uid is not None:
            if old.owner_uid != spec.owner_uid:
                raise _refusal("RESOURCE_CONFLICT", f"{sku} belongs to another pool")
            if spec.generation < old.generation:
                raise _refusal("STALE_EPOCH", "an older generation")
        if spec.capacity < committed:
            raise _refusal("BELOW_COMMITTED", f"{committed} units are reserved or sold")
        self.revision += 1
        self.pools[sku] = control.PoolState(
            sku=sku,
            product_id=ids.product_id(sku),
            owner_uid=spec.owner_uid,
            generation=spec.generation,
            fence=spec.fence,
            capacity=spec.capacity,
            safety_stock=spec.safety_stock,
            available=spec.capacity - committed,
            reserved=0 if old is None else old.reserved,
            sold=0 if old is None else old.sold,
            epoch=1 if old is None else old.epoch + 1,
            bound_sales=[],
            revision=self.revision,
        )
        self._refill(sku)
        return self.pools[sku]

    def _refill(self, sku: str) -> None:
        """Give what a pool gained to the sale that takes the whole pool."""
        pool = self.pools[sku]
        for uid, sale in self.sales.items():
            item = sale.items[0]
            if item.sku == sku:
                fresh = msgspec.structs.replace(
                    item, allocated=pool.capacity, available=pool.available, epoch=pool.epoch
                )
                self.change_sale(uid, items=[fresh], sold_out_time=None)

    def _release_pool(self, sku: str, owner_uid: str, fence: int) -> None:
        if fence < self.fence:
            raise _refusal("STALE_EPOCH", "an older fence")
        pool = self.pools[sku]
        if pool.owner_uid not in (None, owner_uid):
            raise _refusal("RESOURCE_CONFLICT", f"{sku} belongs to another pool")
        self.revision += 1
        self.pools[sku] = msgspec.structs.replace(
            pool, owner_uid=None, generation=0, revision=self.revision
        )

    def _put_sale(self, uid: str, gate: control.SaleGate) -> control.SaleState:
        old = self.sales.get(uid)
        if gate.fence < self.fence or (old is not None and gate.generation < old.generation):
            raise _refusal("STALE_EPOCH", "an older fence or generation")
        self._check_overlap(uid, gate)
        self.revision += 1
        fields = {name: getattr(gate, name) for name in gate.__struct_fields__ if name != "items"}
        self.sales[uid] = control.SaleState(
            uid=uid,
            items=[self._item(each) for each in gate.items] if old is None else old.items,
            armed=True,
            armed_reason="",
            drained=True,
            first_reservation_time=None if old is None else old.first_reservation_time,
            sold_out_time=None if old is None else old.sold_out_time,
            revision=self.revision,
            server_time=self.utc_now(),
            **fields,
        )
        return self.sales[uid]

    def _check_overlap(self, uid: str, gate: control.SaleGate) -> None:
        skus = {item.sku for item in gate.items}
        for other in self.sales.values():
            shares = skus & {item.sku for item in other.items}
            is_apart = gate.close_time <= other.open_time or gate.open_time >= other.close_time
            if other.uid != uid and shares and not is_apart and other.state != "Cancelled":
                raise _refusal("OVERLAP", f"{other.name} sells {min(shares)} at that time")

    def _item(self, item: control.SaleItem) -> control.SaleItemState:
        pool = self.pools[item.sku]
        allocated = pool.available if item.quantity is None else item.quantity
        return control.SaleItemState(
            sku=item.sku,
            product_id=pool.product_id,
            allocated=allocated,
            available=allocated,
            reserved=0,
            sold=0,
            price_minor=item.price_minor,
            currency=item.currency,
            per_user_limit=item.per_user_limit,
            epoch=pool.epoch,
            armed=True,
        )


def _refusal(code: str, detail: str) -> client.RefusedError:
    return client.RefusedError(409, code, detail)
