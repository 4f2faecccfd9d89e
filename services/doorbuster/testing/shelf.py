"""A shelf for checkout's tests: sales, units and permits in memory, with the rules of the real ones.

Each part can be away (``is_away``); inventory can also act and lose its reply (``lost_replies``).
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec import structs

from doorbuster import escrow
from doorbuster.checkout.domain.orders import StoredOrder
from doorbuster.checkout.ports import Verdict
from doorbuster.contracts import internal
from doorbuster.kit import client, ids

from .discounts import FakeDiscounts

State = Literal["HELD", "PAYING", "SOLD", "RELEASED", "TOMB"]
ORDINARY_SECONDS = 900
_OWNING: tuple[State, ...] = ("HELD", "PAYING", "SOLD")


def build_item(sku: str = "phone", **changed: Any) -> internal.SaleItemView:
    """Build one product of a sale: 5 units at 99.90 EUR, 1 a person."""
    item = internal.SaleItemView(
        product_id=ids.product_id(sku),
        sku=sku,
        price_minor=9_990,
        currency="EUR",
        per_user_limit=1,
        allocated=5,
        available=5,
        reserved=0,
        sold=0,
        epoch=1,
    )
    return structs.replace(item, **changed)


def build_sale(
    opens: datetime, *items: internal.SaleItemView, **changed: Any
) -> internal.SaleView:
    """Build a sale that is open for ten minutes from ``opens``."""
    sale = internal.SaleView(
        uid="11111111-1111-1111-1111-111111111111",
        namespace="shop",
        name="drop",
        state="Active",
        strategy="Escrow",
        open_time=opens,
        close_time=opens + timedelta(minutes=10),
        reservation_timeout_seconds=120,
        items=list(items) or [build_item()],
    )
    return structs.replace(sale, **changed)


@dataclass
class _Stock:
    available: int
    epoch: int
    orders: dict[str, int] = field(default_factory=dict)


class FakePermits:
    """Permits of products that were loaded; asks no clock: the gate is inventory's here."""

    def __init__(self) -> None:
        self.products: dict[str, _Stock] = {}
        self.gates: dict[str, Literal["NOT_OPEN", "CLOSED", "SUSPENDED", "USER_LIMIT"]] = {}
        self.is_away = False
        self.asked = 0

    def load(self, product_id: str, *, epoch: int, permits: int) -> None:
        """Start an epoch unless this one or a newer one is there."""
        known = self.products.get(product_id)
        if known is None or known.epoch < epoch:
            self.products[product_id] = _Stock(available=permits, epoch=epoch)

    async def permit(self, request: escrow.PermitRequest) -> escrow.Permit:
        """Take a permit, or replay the one that this order has."""
        self.asked += 1
        if self.is_away:
            raise escrow.EscrowAwayError("away")
        stock = self.products.get(request.product_id)
        if stock is None:
            return escrow.Permit(outcome="COLD", epoch=0)
        if request.order_id in stock.orders:
            return escrow.Permit(outcome="GRANTED", epoch=stock.epoch)
        gate = self.gates.get(request.product_id)
        if gate is not None:
            return escrow.Permit(outcome=gate, epoch=stock.epoch)
        if stock.available < request.quantity:
            return escrow.Permit(outcome="OUT", epoch=stock.epoch)
        stock.available -= request.quantity
        stock.orders[request.order_id] = request.quantity
        return escrow.Permit(outcome="GRANTED", epoch=stock.epoch)

    async def untake(self, order_id: str, product_id: str, epoch: int) -> None:
        """Give back a permit with which nothing was reserved."""
        if self.is_away:
            raise escrow.EscrowAwayError("away")
        stock = self.products.get(product_id)
        if stock is not None and stock.epoch == epoch:
            stock.available += stock.orders.pop(order_id, 0)


class FakeLocks:
    """Locks of products in memory; ``kept`` are those that somebody else never frees. No time passes in waiting."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.held: list[str] = []
        self.is_away = False
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def hold(self, product_id: str, *, within_seconds: float) -> AsyncIterator[bool]:
        """Hold a lock while the context is open; False at once when it is kept."""
        if self.is_away:
            raise escrow.EscrowAwayError("away")
        if product_id in self.kept:
            yield False
            return
        async with self._locks[product_id]:
            self.held.append(product_id)
            try:
                yield True
            finally:
                self.held.remove(product_id)


@dataclass
class _Reservation:
    item: internal.ReserveItem
    state: State
    expires_at: datetime
    attempt: int = 0


class FakeInventory:
    """The authority in memory; ``now`` is its clock."""

    def __init__(self, now: Callable[[], datetime], *sales: internal.SaleView) -> None:
        self._now = now
        self.listed = list(sales)
        self.units = {
            item.product_id: _Stock(available=item.available, epoch=item.epoch)
            for sale in sales
            for item in sale.items
        }
        self.reservations: dict[str, _Reservation] = {}
        self.permits = FakePermits()
        self.calls: Counter[str] = Counter()
        self.is_away = False
        self.lost_replies = 0

    def _begin(self, call: str) -> None:
        self.calls[call] += 1
        if self.is_away:
            raise client.UnavailableError("inventory does not answer")

    def _end(self) -> None:
        if self.lost_replies:
            self.lost_replies -= 1
            raise client.UnavailableError("the reply was lost")

    async def sales(self) -> internal.Sales:
        """Return the sales as listed, at this clock."""
        self._begin("sales")
        return internal.Sales(sales=list(self.listed), server_time=self._now())

    async def warm(self, product_id: str) -> None:
        """Start a new epoch of permits."""
        self._begin("warm")
        stock = self.units[product_id]
        stock.epoch += 1
        self.permits.load(product_id, epoch=stock.epoch, permits=stock.available)
        self._end()

    async def reserve(self, item: internal.ReserveItem) -> Verdict:
        """Take all units or none."""
        self._begin("reserve")
        await asyncio.sleep(0)  # as any call over the network, it lets others go on
        verdict = self._known(item.order_id, item.request_hash) or self._take(item)
        self._end()
        return verdict

    async def judge(self, item: internal.JudgeItem) -> Verdict:
        """Judge a missing permit; a known order wins."""
        self._begin("judge")
        known = self._known(item.order_id, item.request_hash)
        stock = self.units[item.product_id]
        if known is None and item.epoch not in (None, stock.epoch):
            await self.warm(item.product_id)
            known = self._verdict(item.order_id, "STALE_EPOCH", item.product_id)
        verdict = known or self._short(item.order_id, item.product_id, item.quantity)
        if verdict.result.outcome == "WAITING":
            sale = next(sale for sale in self.listed if sale.uid == item.sale_uid)
            view = next(view for view in sale.items if view.product_id == item.product_id)
            mine = self._units_of(item.user_id, item.product_id)
            if mine and mine + item.quantity > view.per_user_limit:
                verdict = self._verdict(item.order_id, "USER_LIMIT", item.product_id)
        self._end()
        return verdict

    async def let_go(self, order_id: str) -> None:
        """Release a hold for good."""
        self._begin("let_go")
        if order_id in self.reservations and self.reservations[order_id].state == "HELD":
            self.release(order_id)
        self._end()

    async def pin(self, item: internal.PinItem) -> internal.PinResult:
        """Pin a hold for an attempt."""
        self._begin("pin")
        found = self.reservations.get(item.order_id)
        outcome: Literal["PINNED", "EXPIRED", "CONFLICT", "PAID", "UNKNOWN_ORDER"] = "EXPIRED"
        if found is None:
            outcome = "UNKNOWN_ORDER"
        elif found.state == "SOLD":
            outcome = "PAID"
        elif found.state == "PAYING":
            outcome = "PINNED" if found.attempt == item.attempt else "CONFLICT"
        elif found.state == "HELD" and found.expires_at > self._now():
            found.state, found.attempt, outcome = "PAYING", item.attempt, "PINNED"
        self._end()
        return internal.PinResult(order_id=item.order_id, outcome=outcome)

    async def reservation(self, order_id: str) -> internal.ReservationState | None:
        """Return a reservation's state."""
        self._begin("reservation")
        found = self.reservations.get(order_id)
        if found is None:
            return None
        return internal.ReservationState(
            order_id=order_id,
            state=found.state,
            attempt=found.attempt,
            expires_at=found.expires_at,
        )

    def stock(self, product_id: str, units: int) -> None:
        """Have units of a product that no sale names."""
        self.units[product_id] = _Stock(available=units, epoch=1)

    def release(self, order_id: str) -> None:
        """Let a hold run out: its units and its permit come back."""
        found = self.reservations[order_id]
        found.state = "RELEASED"
        for line in found.item.lines:
            self.units[line.product_id].available += line.quantity
            stock = self.permits.products.get(line.product_id)
            if stock is not None:
                stock.available += line.quantity

    def sell(self, order_id: str) -> None:
        """Mark an order as paid."""
        self.reservations[order_id].state = "SOLD"

    def _known(self, order_id: str, request_hash: str) -> Verdict | None:
        found = self.reservations.get(order_id)
        if found is None:
            return None
        if found.item.request_hash != request_hash:
            return self._verdict(order_id, "KEY_REUSED")
        if found.state == "HELD" and found.expires_at > self._now():
            return self._verdict(order_id, "HELD", pay_by=found.expires_at)
        released = found.state in ("HELD", "RELEASED", "TOMB")
        return self._verdict(order_id, "RELEASED" if released else "PAID")

    def _take(self, item: internal.ReserveItem) -> Verdict:
        timeout = 0
        for line in item.lines:
            sale = next((sale for sale in self.listed if sale.uid == line.sale_uid), None)
            outcome = None if sale is None else self._refusal(item, line, sale)
            if line.product_id not in self.units:
                outcome = "UNKNOWN_PRODUCT"
            if outcome is not None:
                self._drop_permits(item)
                return self._verdict(item.order_id, outcome, line.product_id)
            if self.units[line.product_id].available < line.quantity:
                return self._short(item.order_id, line.product_id, line.quantity)
            timeout = ORDINARY_SECONDS if sale is None else sale.reservation_timeout_seconds
        for line in item.lines:
            self.units[line.product_id].available -= line.quantity
        pay_by = self._now() + timedelta(seconds=timeout)
        self.reservations[item.order_id] = _Reservation(item=item, state="HELD", expires_at=pay_by)
        return self._verdict(item.order_id, "HELD", pay_by=pay_by)

    def _refusal(
        self, item: internal.ReserveItem, line: internal.ReserveLine, sale: internal.SaleView
    ) -> internal.ReserveOutcome | None:
        view = next(view for view in sale.items if view.product_id == line.product_id)
        mine = self._units_of(item.user_id, line.product_id)
        rules: list[tuple[bool, internal.ReserveOutcome]] = [
            (line.epoch not in (None, self.units[line.product_id].epoch), "STALE_EPOCH"),
            (sale.state == "Cancelled" or self._now() >= sale.close_time, "CLOSED"),
            (sale.state == "Suspended", "SUSPENDED"),
            (self._now() < sale.open_time, "NOT_OPEN"),
            (line.price_minor != view.price_minor, "PRICE_CHANGED"),
            (mine + line.quantity > view.per_user_limit, "USER_LIMIT"),
        ]
        return next((outcome for broken, outcome in rules if broken), None)

    def _units_of(self, user_id: str, product_id: str) -> int:
        return sum(
            line.quantity
            for found in self.reservations.values()
            if found.item.user_id == user_id and found.state in _OWNING
            for line in found.item.lines
            if line.product_id == product_id
        )

    def _drop_permits(self, item: internal.ReserveItem) -> None:
        for line in item.lines:
            stock = self.permits.products.get(line.product_id)
            if stock is not None and stock.epoch == line.epoch:
                stock.available += stock.orders.pop(item.order_id, 0)

    def _short(self, order_id: str, product_id: str, quantity: int) -> Verdict:
        """Say WAITING, or SOLD_OUT with all who own units."""
        owners, held = set(), 0
        for name, found in self.reservations.items():
            units = sum(ln.quantity for ln in found.item.lines if ln.product_id == product_id)
            if units and found.state in _OWNING:
                owners.add(name)
                held += 0 if found.state == "SOLD" else units
        if self.units[product_id].available + held >= quantity:
            return self._verdict(order_id, "WAITING", product_id)
        verdict = self._verdict(order_id, "SOLD_OUT", product_id)
        return Verdict(result=verdict.result, owners=frozenset(owners))

    def _verdict(
        self,
        order_id: str,
        outcome: internal.ReserveOutcome,
        product_id: str | None = None,
        pay_by: datetime | None = None,
    ) -> Verdict:
        result = internal.ReserveResult(
            order_id=order_id, outcome=outcome, product_id=product_id, pay_by=pay_by
        )
        return Verdict(result=result)


class FakePlacedOrders:
    """Placed orders in memory, with what would be in the outbox; ``discounts`` are in the same store."""

    def __init__(self, discounts: FakeDiscounts | None = None) -> None:
        self.discounts = discounts or FakeDiscounts()
        self.orders: dict[str, StoredOrder] = {}
        self.announced: list[str] = []
        self.is_away = False
        self.finds = 0

    async def place(self, stored: StoredOrder) -> StoredOrder:
        """Store an order unless its id is known; returns what is stored."""
        self._answer()
        order_id = stored.order.order_id
        if order_id not in self.orders:
            self.discounts.take(stored)
            self.orders[order_id] = stored
            self.announced.append(order_id)
        return self.orders[order_id]

    async def find(self, order_id: str) -> StoredOrder | None:
        """Return a placed order."""
        self._answer()
        self.finds += 1
        return self.orders.get(order_id)

    def _answer(self) -> None:
        if self.is_away:
            raise ConnectionError("the store is away")
