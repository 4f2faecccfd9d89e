"""Fakes of the operator's peers for tests: an inventory service over real HTTP, topics and leases in memory.

They keep the contracts that matter to the operator: fences only grow, a lower generation or an older fence is
STALE_EPOCH, another owner is RESOURCE_CONFLICT, less than is committed is BELOW_COMMITTED, two sales of one sku at
one time OVERLAP.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

import msgspec
from aiohttp import web

from doorbuster.contracts import control
from doorbuster.kit import clock, ids
from doorbuster_operator.election import LeaseConflictError, LeaseRecord
from doorbuster_operator.sale.facts import TopicSeen, TopicWanted
from doorbuster_operator.topics import TopicsUnavailableError


class FakeInventory:
    """The control API in memory; ``is_down`` makes it answer 503, ``utc_now`` is the deciding clock."""

    def __init__(self, utc_now: clock.Clock = clock.utc_now) -> None:
        self.utc_now = utc_now
        self.is_down = False
        self.fence = 0
        self.revision = 0
        self.sales: dict[str, control.SaleState] = {}
        self.pools: dict[str, control.PoolState] = {}
        self.puts: list[str] = []

    def app(self) -> web.Application:
        """Return the HTTP application."""
        app = web.Application(middlewares=[self._availability])
        app.router.add_post("/control/v1/fences", self._fences)
        app.router.add_get("/control/v1/sales", self._get_sales)
        app.router.add_put("/control/v1/sales/{uid}", self._put_sale)
        app.router.add_get("/control/v1/pools", self._get_pools)
        app.router.add_put("/control/v1/pools/{sku}", self._put_pool)
        app.router.add_delete("/control/v1/pools/{sku}", self._release_pool)
        return app

    def change_sale(self, uid: str, **changes: object) -> None:
        """Let something happen behind the gate."""
        self.revision += 1
        self.sales[uid] = msgspec.structs.replace(
            self.sales[uid], revision=self.revision, **changes
        )

    def sell(self, uid: str, units: int, at: datetime | None = None) -> None:
        """Sell units of a sale's first item, as buyers and payments would."""
        sale = self.sales[uid]
        item = sale.items[0]
        sold = msgspec.structs.replace(
            item, available=item.available - units, sold=item.sold + units
        )
        moment = at or self.utc_now()
        is_out = sold.available == 0
        self.change_sale(
            uid,
            items=[sold, *sale.items[1:]],
            first_reservation_time=sale.first_reservation_time or moment,
            sold_out_time=moment if is_out else None,
        )
        pool = self.pools[item.sku]
        self.pools[item.sku] = msgspec.structs.replace(
            pool,
            available=pool.available - units,
            sold=pool.sold + units,
            revision=self.revision,
        )

    @web.middleware
    async def _availability(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self.is_down:
            return web.Response(status=503)
        return await handler(request)

    async def _fences(self, request: web.Request) -> web.Response:
        msgspec.json.decode(await request.read(), type=control.FenceRequest)
        self.fence += 1
        return _json(control.Fence(fence=self.fence))

    async def _get_sales(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", "0"))
        found = [sale for sale in self.sales.values() if sale.revision > since]
        now = self.utc_now()
        return _json(control.SaleStates(sales=found, revision=self.revision, server_time=now))

    async def _get_pools(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", "0"))
        found = [pool for pool in self.pools.values() if pool.revision > since]
        now = self.utc_now()
        return _json(control.PoolStates(pools=found, revision=self.revision, server_time=now))

    async def _put_pool(self, request: web.Request) -> web.Response:
        sku = request.match_info["sku"]
        spec = msgspec.json.decode(await request.read(), type=control.PoolSpec)
        old = self.pools.get(sku)
        committed = 0 if old is None else old.reserved + old.sold
        if old is not None and old.owner_uid not in (None, spec.owner_uid):
            return _problem("RESOURCE_CONFLICT", f"{sku} belongs to another pool")
        if spec.fence < self.fence:
            return _problem("STALE_EPOCH", "an older fence")
        if old is not None and old.owner_uid is not None and spec.generation < old.generation:
            return _problem("STALE_EPOCH", "an older generation")
        if spec.capacity < committed:
            return _problem("BELOW_COMMITTED", f"{committed} units are reserved or sold")
        self.revision += 1
        self.puts.append(f"pool/{sku}")
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
        return _json(self.pools[sku])

    async def _release_pool(self, request: web.Request) -> web.Response:
        sku = request.match_info["sku"]
        if int(request.query["fence"]) < self.fence:
            return _problem("STALE_EPOCH", "an older fence")
        pool = self.pools[sku]
        if pool.owner_uid not in (None, request.query["ownerUid"]):
            return _problem("RESOURCE_CONFLICT", f"{sku} belongs to another pool")
        self.revision += 1
        self.puts.append(f"release/{sku}")
        self.pools[sku] = msgspec.structs.replace(
            pool, owner_uid=None, generation=0, revision=self.revision
        )
        return web.Response(status=204)

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

    async def _put_sale(self, request: web.Request) -> web.Response:
        uid = request.match_info["uid"]
        gate = msgspec.json.decode(await request.read(), type=control.SaleGate)
        old = self.sales.get(uid)
        if gate.fence < self.fence or (old is not None and gate.generation < old.generation):
            return _problem("STALE_EPOCH", "an older fence or generation")
        skus = {item.sku for item in gate.items}
        for other_uid, other in self.sales.items():
            shares = skus & {item.sku for item in other.items}
            is_apart = (
                gate.close_time <= other.open_time
                or gate.open_time >= other.close_time
                or other.state == "Cancelled"
            )
            if other_uid != uid and shares and not is_apart:
                return _problem("OVERLAP", f"{other.name} sells {min(shares)} at that time")
        self.puts.append(f"sale/{gate.name}/{gate.state}")
        self.revision += 1
        items = [self._item(each) for each in gate.items] if old is None else old.items
        fields = {
            name: getattr(gate, name)
            for name in gate.__struct_fields__
            if name not in {"items", "namespace", "name"}
        }
        blank = control.SaleState(
            uid=uid,
            namespace=gate.namespace,
            name=gate.name,
            items=items,
            armed=True,
            armed_reason="",
            drained=True,
            first_reservation_time=None,
            sold_out_time=None,
            revision=self.revision,
            server_time=self.utc_now(),
            **fields,
        )
        if old is not None:
            blank = msgspec.structs.replace(
                blank,
                first_reservation_time=old.first_reservation_time,
                sold_out_time=old.sold_out_time,
            )
        self.sales[uid] = blank
        return _json(blank)

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

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[str]:
        """Serve on loopback while the context is open; gives the URL."""
        runner = web.AppRunner(self.app(), access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            address = runner.addresses[0]
            yield f"http://{address[0]}:{address[1]}"
        finally:
            await runner.cleanup()


class FakeTopics:
    """Topics in memory; ``is_down`` makes every call fail as an outage does."""

    def __init__(self) -> None:
        self.is_down = False
        self.topics: dict[str, TopicSeen] = {}
        self.unread_events: dict[str, int] = {}

    async def ensure(self, wanted: TopicWanted) -> TopicSeen:
        """Make or grow a topic."""
        self._check()
        old = self.topics.get(wanted.name)
        partitions = max(wanted.partitions, old.partitions if old else 0)
        self.topics[wanted.name] = TopicSeen(
            name=wanted.name,
            partitions=partitions,
            retention_seconds=wanted.retention_seconds,
        )
        return self.topics[wanted.name]

    async def unread(self, name: str) -> int:
        """Return what a test set, else 0."""
        self._check()
        return self.unread_events.get(name, 0)

    async def delete(self, name: str) -> None:
        """Delete a topic."""
        self._check()
        self.topics.pop(name, None)

    def _check(self) -> None:
        if self.is_down:
            raise TopicsUnavailableError("Kafka does not answer (fake).")


class FakeLeases:
    """One lease in memory with versions; ``is_down`` makes both calls fail."""

    def __init__(self) -> None:
        self.is_down = False
        self.record: LeaseRecord | None = None
        self._version = 0

    async def read(self) -> LeaseRecord | None:
        """Return the lease."""
        self._check()
        return self.record

    async def write(self, record: LeaseRecord) -> LeaseRecord:
        """Store it if nobody else did since it was read."""
        self._check()
        stored = "" if self.record is None else self.record.version
        if record.version != stored:
            raise LeaseConflictError
        self._version += 1
        self.record = replace(record, version=str(self._version))
        return self.record

    def _check(self) -> None:
        if self.is_down:
            raise ConnectionError("the API server does not answer (fake)")


def _json(data: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(data), content_type="application/json")


def _problem(code: str, detail: str) -> web.Response:
    body = {"type": "about:blank", "title": code, "status": 409, "code": code, "detail": detail}
    return web.json_response(body, status=409, content_type="application/problem+json")
