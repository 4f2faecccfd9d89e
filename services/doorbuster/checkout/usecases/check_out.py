"""Check out: price, queue, complete, permit, reserve, store, each step safe to repeat under the same order id.

Nothing is asked of checkout's own database before the units are held, so that a buyer who loses costs no query of
his own. Only a refusal that inventory has not judged looks for a stored order first (many in one query): whoever
owns an order gets it again, whatever became of the sale.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from doorbuster.checkout.domain import orders, refusals
from doorbuster.checkout.domain.orders import PricedLine, PricedOrder, StoredOrder, Wanted
from doorbuster.checkout.domain.sales import Sighting
from doorbuster.checkout.domain.soldout import SoldOutBits
from doorbuster.checkout.ports import (
    Inventory,
    Locks,
    OrderStore,
    Permits,
    Verdict,
    WaitingRooms,
)
from doorbuster.contracts import api, internal
from doorbuster.kit import clock, failpoints, ids, telemetry

from . import meters
from .admission import Admission, Sleep
from .board import SalesBoard
from .locking import take_turn
from .particulars import Particulars
from .permitting import NoPermit, Permitted, take_permits, untake, without_turn
from .queueing import find_waiting
from .quotes import CACHED_SECONDS, QuoteBoard

TOTAL_SECONDS = 8.0
FRESH_SECONDS = 0.25
LOCK_WAIT_SECONDS = 3.0
_DIRECT = ("direct",)
# A permit can be cold or stale: warm, pause, ask again. After the last round the order goes without a permit.
_PAUSES_SECONDS = (0.0, 0.03, 0.1, 0.3)
# What inventory says of an order that it knows, whatever Redis said.
_OWN: frozenset[internal.ReserveOutcome] = frozenset({"HELD", "PAID", "RELEASED", "KEY_REUSED"})
_AS_TOLD: dict[str, internal.ReserveOutcome] = {
    "NOT_OPEN": "NOT_OPEN",
    "CLOSED": "CLOSED",
    "SUSPENDED": "SUSPENDED",
}


class SalesUnknownError(ConnectionError):
    """The sales as last seen are too old to refuse anybody, and inventory does not answer."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many orders may be under way: with one product, and without permits."""

    per_product: int
    direct: int


class CheckOut:
    """The use case; hold one for the life of the process."""

    def __init__(
        self,
        *,
        board: SalesBoard,
        quotes: QuoteBoard,
        particulars: Particulars,
        permits: Permits,
        locks: Locks,
        rooms: WaitingRooms,
        inventory: Inventory,
        store: OrderStore,
        limits: Limits,
        now: clock.Clock,
        monotonic: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._board = board
        self._quotes = quotes
        self._particulars = particulars
        self._permits = permits
        self._locks = locks
        self._rooms = rooms
        self._inventory = inventory
        self._store = store
        self._now = now
        self._monotonic = monotonic
        self._sleep = sleep
        self._admission = Admission(most=limits.per_product, sleep=sleep)
        self._direct = Admission(most=limits.direct, sleep=sleep)
        self._bits = SoldOutBits()
        self._under_way: dict[tuple[str, str], asyncio.Task[StoredOrder]] = {}

    async def check_out(
        self, user_id: str, request: api.Checkout, key: str | None
    ) -> internal.PlacedOrder:
        """Return the placed order, the same for the same key; raises RefusalError or ConnectionError.

        A second request for an order that is under way in this process waits for the first.
        """
        try:
            cart = None
            if key is None and request.cart_id is not None:
                cart = await self._particulars.find_cart(user_id, request.cart_id)
            wanted = orders.read_request(
                user_id,
                request,
                key=key,
                fresh_key=ids.new_id("key"),
                cart_version=None if cart is None else cart.version,
            )
            stored = await self._join(wanted, cart)
        except refusals.RefusalError as refusal:
            meters.REFUSALS.labels(refusal.reason).inc()
            raise
        meters.HOLDS.inc()
        return stored.order

    async def _join(self, wanted: Wanted, cart: internal.CartContents | None) -> StoredOrder:
        name = (wanted.order_id, wanted.request_hash)
        task = self._under_way.get(name)
        if task is None:
            task = asyncio.create_task(self._within_deadline(wanted, cart), name="check_out")
            self._under_way[name] = task
            task.add_done_callback(lambda done: self._finished(name, done))
        else:
            meters.JOINED.inc()
        return await asyncio.shield(task)

    def _finished(self, name: tuple[str, str], task: asyncio.Task[StoredOrder]) -> None:
        self._under_way.pop(name, None)
        if not task.cancelled():
            task.exception()  # every waiter may be gone by now

    async def _within_deadline(
        self, wanted: Wanted, cart: internal.CartContents | None
    ) -> StoredOrder:
        failpoints.reach("checkout.request.received")
        async with asyncio.timeout(TOTAL_SECONDS):
            try:
                order = await self._price(wanted)
            except refusals.RefusalError as refusal:
                return await self._stored_or(wanted, refusal)
            self._refuse_remembered(order)
            await self._pass_waiting_rooms(order)
            if not wanted.is_bare:
                try:
                    order = await self._particulars.complete(order, wanted, cart)
                except (refusals.RefusalError, ConnectionError) as problem:
                    return await self._stored_or(wanted, problem)
            return await self._take(order)

    async def _price(self, wanted: Wanted) -> PricedOrder:
        """Price from what was seen last; refuse only after a fresh look."""
        sighting = await self._board.sighting()
        try:
            return await self._price_by(wanted, sighting, CACHED_SECONDS)
        except (refusals.RefusalError, ConnectionError):
            sighting = await self._board.sighting(at_most_seconds=FRESH_SECONDS)
        try:
            return await self._price_by(wanted, sighting, FRESH_SECONDS)
        except refusals.RefusalError as refusal:
            if not self._board.is_trusted:
                raise SalesUnknownError("the sales are not known now") from refusal
            raise

    async def _price_by(
        self, wanted: Wanted, sighting: Sighting, at_most_seconds: float
    ) -> PricedOrder:
        now = self._board.authority_time(sighting)
        asked = orders.may_be_ordinary(wanted, sighting, now)
        quotes = await self._quotes.quotes(asked, at_most_seconds=at_most_seconds)
        return orders.price(wanted, sighting, now, quotes=quotes, terms=self._particulars.terms)

    async def _stored_or(self, wanted: Wanted, problem: Exception) -> StoredOrder:
        """Return the order this buyer owns already, else raise what stands in the way of a new one."""
        stored = await self._store.find(wanted.order_id)
        if stored is None:
            raise problem
        if stored.request_hash != wanted.request_hash:
            raise refusals.KeyReusedError
        reservation = await self._inventory.reservation(wanted.order_id)
        if reservation is None or reservation.state in ("RELEASED", "TOMB"):
            raise refusals.HoldExpiredError
        return stored

    def _refuse_remembered(self, order: PricedOrder) -> None:
        for line in order.lines:
            if self._bits.covers(
                line.product_id,
                line.quantity,
                order.order_id,
                epoch=line.epoch,
                monotonic=self._monotonic(),
            ):
                meters.BIT_HITS.inc()
                raise refusals.SoldOutError(product_id=line.product_id)

    async def _pass_waiting_rooms(self, order: PricedOrder) -> None:
        """Return when every waiting room has let the buyer in, or when inventory knows the order already.

        Raises the refusal otherwise: who waits is told what is final as soon as anybody else.
        """
        waiting = await find_waiting(self._rooms, order)
        if waiting is None:
            return
        verdict = await self._judge(order, waiting.line, None)
        told = verdict.result.outcome
        if told in _OWN:
            return
        if told == "WAITING":
            raise waiting.refusal()
        if told == "SOLD_OUT":
            self._remember_sold_out(order, verdict)
        raise orders.refusal(told, order, verdict.result.product_id, self._board.authority_time())

    async def _take(self, order: PricedOrder) -> StoredOrder:
        products = [line.product_id for line in order.lines]
        await self._admission.wait_if_full(products)
        with self._admission.under_way(products):
            return await self._rounds(order)

    async def _rounds(self, order: PricedOrder) -> StoredOrder:
        lock_until = self._monotonic() + LOCK_WAIT_SECONDS
        for pause in _PAUSES_SECONDS:
            if pause:
                await self._sleep(pause)
            permitted = await take_permits(self._permits, order)
            if isinstance(permitted, NoPermit) and permitted.permit.outcome == "COLD":
                meters.STALE.inc()
                await self._inventory.warm(permitted.line.product_id)
                continue
            verdict, permitted = await self._ask_inventory(order, permitted, lock_until)
            failpoints.reach("checkout.reserve.answered")
            if verdict.result.outcome == "STALE_EPOCH":
                meters.STALE.inc()
                await self._warm_for(verdict, permitted)
                continue
            return await self._finish(order, verdict, permitted)
        meters.DEGRADED.labels("permit").inc()
        direct = Permitted(epochs={}, is_direct=True)
        return await self._finish(order, *await self._ask_inventory(order, direct, lock_until))

    async def _ask_inventory(
        self, order: PricedOrder, permitted: Permitted | NoPermit, lock_until: float
    ) -> tuple[Verdict, Permitted | NoPermit]:
        """Reserve with the permits and locks, or have a missing one judged; says also which of them it was."""
        if isinstance(permitted, Permitted):
            async with take_turn(
                self._locks, order, lambda: lock_until - self._monotonic()
            ) as turn:
                if turn.kept is None:
                    is_direct = permitted.is_direct or turn.is_direct
                    return await self._reserve(order, permitted, is_direct=is_direct), permitted
            await untake(self._permits, order.order_id, permitted.epochs)
            permitted = without_turn(turn.kept)
        # Only a line that was refused a permit at some epoch can be stale.
        epoch = None if permitted.line.needs_lock else permitted.permit.epoch
        return await self._judge(order, permitted.line, epoch), permitted

    async def _judge(self, order: PricedOrder, line: PricedLine, epoch: int | None) -> Verdict:
        """Have a line that may not ask for units judged, and the others: one line that is gone ends the order."""
        items = orders.judge_items(order, line, epoch, telemetry.traceparent())
        verdicts = await asyncio.gather(*(self._inventory.judge(item) for item in items))
        return min(verdicts, key=lambda verdict: orders.severity(verdict.result.outcome))

    async def _reserve(
        self, order: PricedOrder, permitted: Permitted, *, is_direct: bool
    ) -> Verdict:
        item = orders.reserve_item(order, permitted.epochs, telemetry.traceparent())
        if not is_direct:
            return await self._inventory.reserve(item)
        await self._direct.wait_if_full(_DIRECT)
        with self._direct.under_way(_DIRECT):
            return await self._inventory.reserve(item)

    async def _warm_for(self, verdict: Verdict, permitted: Permitted | NoPermit) -> None:
        """Warm what was stale; a judgement that was stale has made inventory warm it itself."""
        if isinstance(permitted, NoPermit):
            return
        named = verdict.result.product_id
        for product_id in permitted.epochs if named is None else (named,):
            await self._inventory.warm(product_id)

    async def _finish(
        self, order: PricedOrder, verdict: Verdict, permitted: Permitted | NoPermit
    ) -> StoredOrder:
        result = verdict.result
        if result.outcome == "HELD" and result.pay_by is not None:
            return await self._place(order, result.pay_by)
        told, product_id = result.outcome, result.product_id
        if isinstance(permitted, NoPermit) and told not in _OWN:
            # Nothing is known of this order, so what Redis said of the gate stands. The limit is judged: Redis
            # may not have heard yet that a hold of the same buyer is over.
            said = _AS_TOLD.get(permitted.permit.outcome)
            if said is not None:
                told, product_id = said, permitted.line.product_id
        refusal = orders.refusal(told, order, product_id, self._board.authority_time())
        if told == "PAID":
            return await self._paid(order, refusal)
        if told == "SOLD_OUT":
            self._remember_sold_out(order, verdict)
        raise refusal

    async def _place(self, order: PricedOrder, pay_by: datetime) -> StoredOrder:
        failpoints.reach("checkout.order.held")
        placing = orders.place(
            order, pay_by=pay_by, now=self._now(), traceparent=telemetry.traceparent()
        )
        try:
            stored = await self._store.place(placing)
        except refusals.RefusalError:
            # The last use of the discount went to somebody else since we looked. The same request may have been
            # stored through another copy meanwhile: those units are that order's.
            if await self._store.find(order.order_id) is None:
                await self._let_go(order.order_id)
            raise
        failpoints.reach("checkout.order.placed")
        if stored.request_hash != order.request_hash:
            raise refusals.KeyReusedError
        return stored

    async def _let_go(self, order_id: str) -> None:
        """Give the units of an order that is not placed to the others; if that fails, its pay-by does."""
        failpoints.reach("checkout.order.refused")
        try:
            await self._inventory.let_go(order_id)
        except ConnectionError:
            meters.DEGRADED.labels("let_go").inc()

    async def _paid(self, order: PricedOrder, refusal: refusals.RefusalError) -> StoredOrder:
        """Answer as before: a paid order was stored before it could be paid."""
        stored = await self._store.find(order.order_id)
        if stored is None:
            raise refusal
        if stored.request_hash != order.request_hash:
            raise refusals.KeyReusedError
        return stored

    def _remember_sold_out(self, order: PricedOrder, verdict: Verdict) -> None:
        if verdict.owners is None:
            return
        for line in order.lines:
            if line.offer is not None and line.product_id == verdict.result.product_id:
                self._bits.set(
                    line.product_id,
                    line.quantity,
                    epoch=line.epoch,
                    owners=verdict.owners,
                    monotonic=self._monotonic(),
                )
