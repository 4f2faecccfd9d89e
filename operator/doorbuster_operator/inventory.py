"""The inventory service as the operator knows it: its control API, its clock, and what it was last seen to hold."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

import msgspec

from doorbuster.contracts import control
from doorbuster.kit import client, clock, telemetry

Answer = TypeVar("Answer")

SILENT_AFTER_SECONDS = 3.0
SLOWEST_SAMPLE_SECONDS = 1.0
SAMPLES = 8
# A call has its deadline from when it is sent; more at once would only wait in inventory, and look like an outage.
WRITES_AT_ONCE = 8


class Service(Protocol):
    """What is needed of client.ServiceClient."""

    async def call(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        *,
        body: Any = None,
        timeout_seconds: float | None = None,
    ) -> Answer:
        """Return the decoded answer; raises RefusedError or UnavailableError."""
        ...


class FencedError(Exception):
    """Another operator was elected after this one: this process must stop."""


class Inventory:
    """Calls the control API and remembers the answers.

    ``gates`` by sale uid and ``stocks`` by sku are the last known states; they outlive an outage, and
    :attr:`silence` says whether they can be trusted. Refusals pass through as client.RefusedError, outages as
    client.UnavailableError.
    """

    def __init__(
        self,
        service: Service,
        *,
        lease: tuple[str, str],
        holder: str,
        monotonic: Callable[[], float] = time.monotonic,
        utc_now: clock.Clock = clock.utc_now,
    ) -> None:
        self._service = service
        self._lease = lease
        self._holder = holder
        self._monotonic = monotonic
        self._utc_now = utc_now
        self._turns = asyncio.Semaphore(WRITES_AT_ONCE)
        self._samples: deque[tuple[float, timedelta]] = deque(maxlen=SAMPLES)
        self._failing_since: float | None = None
        self.silences_ended = 0
        self._sales_revision = 0
        self._pools_revision = 0
        self._is_loaded = False
        self.fence: int | None = None
        self.gates: dict[str, control.SaleState] = {}
        self.stocks: dict[str, control.PoolState] = {}

    @property
    def silence(self) -> str | None:
        """Say why the remembered states cannot be trusted now, or None."""
        if not self._is_loaded or self.fence is None:
            return "The inventory service was not reached yet."
        failing = self._failing_since
        if failing is not None and self._monotonic() - failing >= SILENT_AFTER_SECONDS:
            return "The inventory service does not answer."
        return None

    @property
    def is_failing(self) -> bool:
        """Tell whether the last call got no answer."""
        return self._failing_since is not None or not self._is_loaded

    @property
    def offset(self) -> timedelta | None:
        """Return the authority's clock minus ours, from the quickest of the last answers."""
        return min(self._samples)[1] if self._samples else None

    def now(self) -> datetime:
        """Return the authority's time, as well as it is known."""
        return self._utc_now() + (self.offset or timedelta(0))

    async def greet(self) -> None:
        """Get this leader's fence (once) and load everything that is stored."""
        if self.fence is None:
            namespace, name = self._lease
            request = control.FenceRequest(
                lease_namespace=namespace, lease_name=name, holder=self._holder
            )
            answer = await self._call("POST", "/control/v1/fences", control.Fence, request)
            self.fence = answer.fence
            telemetry.log().info("fence_taken", fence=answer.fence)
        await self.read_pools(is_full=True)
        await self.read_sales(is_full=True)
        self._is_loaded = True

    async def read_sales(self, *, is_full: bool) -> set[str]:
        """Read the gates that changed (or all); returns the uids whose state is new to us."""
        since = 0 if is_full else self._sales_revision
        path = f"/control/v1/sales?since={since}"
        answer = await self._call("GET", path, control.SaleStates)
        changed = set()
        for gate in answer.sales:
            if self._differs(self.gates.get(gate.uid), gate):
                changed.add(gate.uid)
            self.gates[gate.uid] = gate
        if is_full:
            known = {gate.uid for gate in answer.sales}
            for uid in set(self.gates) - known:
                del self.gates[uid]
                changed.add(uid)
        self._sales_revision = answer.revision
        return changed

    async def read_pools(self, *, is_full: bool) -> set[str]:
        """Read the stocks that changed (or all); returns the skus whose state is new to us."""
        since = 0 if is_full else self._pools_revision
        answer = await self._call("GET", f"/control/v1/pools?since={since}", control.PoolStates)
        changed = set()
        for stock in answer.pools:
            if self.stocks.get(stock.sku) != stock:
                changed.add(stock.sku)
            self.stocks[stock.sku] = stock
        if is_full:
            for sku in set(self.stocks) - {stock.sku for stock in answer.pools}:
                del self.stocks[sku]
                changed.add(sku)
        self._pools_revision = answer.revision
        return changed

    async def put_sale(self, uid: str, gate: control.SaleGate) -> control.SaleState:
        """Store a gate; returns it as it is stored. Raises FencedError when another leader was elected."""
        try:
            stored = await self._write("PUT", f"/control/v1/sales/{uid}", control.SaleState, gate)
        except client.RefusedError as error:
            if error.code == "STALE_EPOCH":
                await self.read_sales(is_full=True)
                known = self.gates.get(uid)
                _check_fence(error, known.generation if known else 0, gate.generation)
            raise
        self.gates[uid] = stored
        return stored

    async def put_pool(self, sku: str, spec: control.PoolSpec) -> control.PoolState:
        """Store a stock level; returns it as it is stored. Raises FencedError when another leader was elected."""
        try:
            stored = await self._write("PUT", f"/control/v1/pools/{sku}", control.PoolState, spec)
        except client.RefusedError as error:
            if error.code == "STALE_EPOCH":
                await self.read_pools(is_full=True)
                known = self.stocks.get(sku)
                _check_fence(error, known.generation if known else 0, spec.generation)
            raise
        self.stocks[sku] = stored
        return stored

    async def release_pool(self, sku: str, *, owner_uid: str) -> None:
        """Give up the ownership of a sku's stock. Raises FencedError when another leader was elected."""
        path = f"/control/v1/pools/{sku}?ownerUid={owner_uid}&fence={self.fence}"
        try:
            await self._write("DELETE", path, type(None))
        except client.RefusedError as error:
            # There is no generation in this call: what is stale can only be the fence.
            _check_fence(error, 0, 0)
            raise
        self.stocks.pop(sku, None)

    async def _write(
        self, method: str, path: str, answer: type[Answer], body: object = None
    ) -> Answer:
        async with self._turns:
            return await self._call(method, path, answer, body)

    async def _call(
        self, method: str, path: str, answer: type[Answer], body: object = None
    ) -> Answer:
        started = self._monotonic()
        before = self._utc_now()
        try:
            found = await self._service.call(method, path, answer, body=body)
        except client.UnavailableError:
            if self._failing_since is None:
                self._failing_since = started
            raise
        self._end_silence()
        server_time = getattr(found, "server_time", None)
        took = self._monotonic() - started
        if server_time is not None and took <= SLOWEST_SAMPLE_SECONDS:
            self._samples.append((took, server_time - (before + timedelta(seconds=took / 2))))
        return found

    def _end_silence(self) -> None:
        """Count an outage that was long enough to be told, also one that came and went between two polls."""
        failing, self._failing_since = self._failing_since, None
        if failing is not None and self._monotonic() - failing >= SILENT_AFTER_SECONDS:
            self.silences_ended += 1

    @staticmethod
    def _differs(old: control.SaleState | None, new: control.SaleState) -> bool:
        if old is None:
            return True
        # When it was read does not matter. Every gate is compared every second while a sale is live.
        return (
            msgspec.structs.replace(new, server_time=old.server_time, revision=old.revision) != old
        )


def _check_fence(error: client.RefusedError, stored_generation: int, generation: int) -> None:
    """Tell a newer leader from an older generation: both are refused with the same code."""
    if error.code == "STALE_EPOCH" and stored_generation <= generation:
        raise FencedError(error.detail or "the fence is stale") from error
