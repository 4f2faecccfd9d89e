"""Fakes of what the order service needs: a store in memory, a checkout and an inventory with set answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from doorbuster.contracts import events, internal
from doorbuster.order import domain
from doorbuster.order.domain import Order, State
from doorbuster.order.ports import Decide, OrderPage


@dataclass
class FakeOrderStore:
    """Orders in memory; ``away`` makes every call fail as a lost database does, ``told`` is what it would send."""

    orders: dict[str, Order] = field(default_factory=dict)
    checks: dict[str, datetime | None] = field(default_factory=dict)
    tells: dict[str, datetime | None] = field(default_factory=dict)
    told: list[events.Event] = field(default_factory=list)
    away: bool = False

    def _answer(self) -> None:
        if self.away:
            raise ConnectionError("the store is away")

    async def merge(self, views: Sequence[Order], now: datetime) -> None:
        """Join views into the orders."""
        self._answer()
        for view in views:
            known = self.orders.get(view.order_id)
            joined = view if known is None else domain.merge(known, view)
            if known is None or replace(joined, steps={}) != replace(known, steps={}):
                self.checks[view.order_id] = domain.check_at(joined, now)
                self.tells[view.order_id] = domain.tell_at(joined, now)
            self.orders[view.order_id] = joined

    async def find(self, order_id: str) -> Order | None:
        """Return an order with its steps."""
        self._answer()
        return self.orders.get(order_id)

    async def page(self, user_id: str, *, offset: int, limit: int) -> OrderPage:
        """Return orders of a user whose details are known, newest first, without their steps."""
        self._answer()
        mine = [
            replace(order, steps={}) for order in self.orders.values() if order.user_id == user_id
        ]
        return _page(mine, offset, limit)

    async def page_all(self, state: State | None, *, offset: int, limit: int) -> OrderPage:
        """Return everybody's orders (in one state) whose details are known, newest first, with their steps."""
        self._answer()
        wanted = [order for order in self.orders.values() if state in (order.state, None)]
        return _page(wanted, offset, limit)

    async def change(self, known: Order, decide: Decide, now: datetime) -> Order:
        """Join in what is known, let ``decide`` look at the order, store and tell what it says."""
        self._answer()
        before = self.orders.get(known.order_id)
        change = decide(known if before is None else domain.merge(before, known))
        await self.merge([known], now)
        if change is not None:
            await self.merge([change.view], now)
            self.told += [change.event] if change.event is not None else []
        return self.orders[known.order_id]

    async def tell_again(self, now: datetime, *, limit: int, again_at: datetime) -> int:
        """Tell once more of orders whose money should have come back by now, and put them off to ``again_at``."""
        self._answer()
        due = sorted((at, name) for name, at in self.tells.items() if at is not None and at <= now)
        for _, order_id in due[:limit]:
            self.tells[order_id] = again_at
            self.told.append(domain.money_back(self.orders[order_id]))
        return len(due[:limit])

    async def untold_since(self) -> datetime | None:
        """Return when the order ended whose money has been out longest; None when there is none."""
        self._answer()
        open_ones = [self.orders[name] for name, at in self.tells.items() if at is not None]
        return min((order.steps[order.state] for order in open_ones), default=None)

    async def unconfirmed(self, order_ids: Sequence[str]) -> list[str]:
        """Return those ids whose PaymentSucceeded has not arrived."""
        self._answer()
        paid = {order.order_id for order in self.orders.values() if order.payment_id}
        return [order_id for order_id in order_ids if order_id not in paid]

    async def unreversed(self, order_ids: Sequence[str]) -> list[str]:
        """Return those ids whose PaymentReversed has not arrived."""
        self._answer()
        over = {order.order_id for order in self.orders.values() if order.reversed_at}
        return [order_id for order_id in order_ids if order_id not in over]

    async def waiting_since(self) -> tuple[datetime | None, datetime | None]:
        """Return the earliest pay-by of unpaid orders, and the earliest time heard of one without a pay-by."""
        self._answer()
        open_ones = [self.orders[name] for name, at in self.checks.items() if at is not None]
        pay_bys = [order.pay_by for order in open_ones if order.pay_by is not None]
        unplaced = [order.placed_at for order in open_ones if order.pay_by is None]
        return min(pay_bys, default=None), min(unplaced, default=None)

    async def claim_due(self, now: datetime, *, limit: int, again_at: datetime) -> list[Order]:
        """Return unpaid orders that are to be checked by now and put them off to ``again_at``."""
        self._answer()
        due = sorted(
            (check_at, order_id)
            for order_id, check_at in self.checks.items()
            if check_at is not None and check_at <= now
        )[:limit]
        for _, order_id in due:
            self.checks[order_id] = again_at
        return [replace(self.orders[order_id], steps={}) for _, order_id in due]


def _page(wanted: list[Order], offset: int, limit: int) -> OrderPage:
    known = [order for order in wanted if order.details is not None]
    known.sort(key=lambda order: (order.placed_at, order.order_id), reverse=True)
    return OrderPage(orders=known[offset : offset + limit], total=len(known))


@dataclass
class FakeCheckout:
    """Knows the orders it is given."""

    placed: dict[str, internal.PlacedOrder] = field(default_factory=dict)
    away: bool = False
    asked: int = 0

    async def find_placed(self, order_id: str) -> internal.PlacedOrder | None:
        """Return the order as it was placed."""
        self.asked += 1
        if self.away:
            raise ConnectionError("checkout does not answer")
        return self.placed.get(order_id)


@dataclass
class FakeInventory:
    """Knows the reservations it is given; goes away after ``answers_left`` answers."""

    reservations: dict[str, internal.ReservationState] = field(default_factory=dict)
    answers_left: int = 1000

    async def find_reservation(self, order_id: str) -> internal.ReservationState | None:
        """Return the reservation."""
        if self.answers_left == 0:
            raise ConnectionError("inventory does not answer")
        self.answers_left -= 1
        return self.reservations.get(order_id)
