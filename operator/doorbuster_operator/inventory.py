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
# The refusals that are about what was asked; any other one is about the operator, and then nothing is known.
BUSINESS_STATUSES = frozenset({409, 422})


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
        # How long the answer took, and the authority's time at which our monotonic clock read 0.
        self._samples: deque[tuple[float, datetime]] = deque(maxlen=SAMPLES)
        self._failing_since: float | None = None
        self._refusal: str | None = None
        # Calls overlap: a count tells whether a read began after what is remembered was answered.
        self._ticks = 0
        self._gate_ticks: dict[str, int] = {}
        self._stock_ticks: dict[str, int] = {}
        self._unsure: dict[str, int] = {}
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
            return self._refusal or "The inventory service was not reached yet."
        failing = self._failing_since
        if failing is not None and self._monotonic() - failing >= SILENT_AFTER_SECONDS:
            return self._refusal or "The inventory service does not answer."
        return None

    def silence_of(self, uid: str) -> str | None:
        """Say why the remembered gate of one sale cannot be trusted now, or None."""
        if uid in self._unsure:
            return self.silence or "Inventory did not say whether it stored the gate."
        return self.silence

    @property
    def is_failing(self) -> bool:
        """Tell whether the last call got no answer, or what became of some gate is not known."""
        return self._failing_since is not None or not self._is_loaded or bool(self._unsure)

    @property
    def offset(self) -> timedelta | None:
        """Return the authority's clock minus ours, as it is now."""
        return self.now() - self._utc_now() if self._samples else None

    def now(self) -> datetime:
        """Return the authority's time by the quickest of the last answers; a step of our own clock does not move it."""
        if not self._samples:
            return self._utc_now()
        return min(self._samples)[1] + timedelta(seconds=self._monotonic())

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
        began = self._tick()
        answer = await self._call("GET", path, control.SaleStates)
        changed = set()
        for gate in answer.sales:
            if self._gate_ticks.get(gate.uid, 0) > began:
                continue
            if self._differs(self.gates.get(gate.uid), gate):
                changed.add(gate.uid)
            self.gates[gate.uid], self._gate_ticks[gate.uid] = gate, began
        if is_full:
            known = {gate.uid for gate in answer.sales}
            for uid in set(self.gates) - known:
                if self._gate_ticks.get(uid, 0) < began:
                    del self.gates[uid]
                    self._gate_ticks.pop(uid, None)
                    changed.add(uid)
            self._end_doubt(began)
        self._sales_revision = answer.revision
        return changed

    async def read_pools(self, *, is_full: bool) -> set[str]:
        """Read the stocks that changed (or all); returns the skus whose state is new to us."""
        since = 0 if is_full else self._pools_revision
        began = self._tick()
        answer = await self._call("GET", f"/control/v1/pools?since={since}", control.PoolStates)
        changed = set()
        for stock in answer.pools:
            if self._stock_ticks.get(stock.sku, 0) > began:
                continue
            if self.stocks.get(stock.sku) != stock:
                changed.add(stock.sku)
            self.stocks[stock.sku], self._stock_ticks[stock.sku] = stock, began
        if is_full:
            for sku in set(self.stocks) - {stock.sku for stock in answer.pools}:
                if self._stock_ticks.get(sku, 0) < began:
                    del self.stocks[sku]
                    self._stock_ticks.pop(sku, None)
                    changed.add(sku)
        self._pools_revision = answer.revision
        return changed

    async def put_sale(self, uid: str, gate: control.SaleGate) -> control.SaleState:
        """Store a gate; returns it as it is stored. Raises FencedError when another leader was elected.

        A call without an answer may have stored it: :meth:`silence_of` says so until everything was read anew.
        """
        try:
            stored = await self._write("PUT", f"/control/v1/sales/{uid}", control.SaleState, gate)
        except client.RefusedError as error:
            if error.code == "STALE_EPOCH":
                await self.read_sales(is_full=True)
                known = self.gates.get(uid)
                _check_fence(error, known.generation if known else 0, gate.generation)
            raise
        except BaseException:
            self._unsure[uid] = self._tick()
            raise
        self._unsure.pop(uid, None)
        self.gates[uid], self._gate_ticks[uid] = stored, self._tick()
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
        self.stocks[sku], self._stock_ticks[sku] = stored, self._tick()
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
        self._stock_ticks[sku] = self._tick()

    async def _write(
        self, method: str, path: str, answer: type[Answer], body: object = None
    ) -> Answer:
        async with self._turns:
            return await self._call(method, path, answer, body)

    async def _call(
        self, method: str, path: str, answer: type[Answer], body: object = None
    ) -> Answer:
        started = self._monotonic()
        try:
            found = await self._service.call(method, path, answer, body=body)
        except client.UnavailableError:
            self._fail(started, None)
            raise
        except client.RefusedError as error:
            if error.status not in BUSINESS_STATUSES:
                why = f"The inventory service refuses the operator ({error.status} {error.code})."
                self._fail(started, why)
            raise
        except msgspec.MsgspecError as error:
            why = "An answer of the inventory service cannot be read"
            self._fail(started, f"{why}.")
            raise client.UnavailableError(why) from error
        self._end_silence()
        server_time = getattr(found, "server_time", None)
        took = self._monotonic() - started
        if server_time is not None and (took <= SLOWEST_SAMPLE_SECONDS or not self._samples):
            self._samples.append((took, server_time - timedelta(seconds=started + took / 2)))
        return found

    def _tick(self) -> int:
        self._ticks += 1
        return self._ticks

    def _fail(self, started: float, refusal: str | None) -> None:
        self._refusal = refusal
        if self._failing_since is None:
            self._failing_since = started

    def _end_doubt(self, began: int) -> None:
        """Trust the gates that were in doubt before a full read began; counted, so that their sales look again."""
        left = {uid: since for uid, since in self._unsure.items() if since > began}
        if len(left) < len(self._unsure):
            self.silences_ended += 1
        self._unsure = left

    def _end_silence(self) -> None:
        """Count an outage that was long enough to be told, also one that came and went between two polls."""
        failing, self._failing_since = self._failing_since, None
        self._refusal = None
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
