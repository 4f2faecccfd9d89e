"""Fakes of what the order service needs: a store in memory, a checkout and an inventory with set answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from doorbuster.contracts import internal
from doorbuster.order import domain
from doorbuster.order.domain import Order
from doorbuster.order.ports import OrderPage


@dataclass
class FakeOrderStore:
    """Orders in memory; ``away`` makes every call fail as a lost database does."""

    orders: dict[str, Order] = field(default_factory=dict)
    checks: dict[str, datetime | None] = field(default_factory=dict)
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
            self.orders[view.order_id] = joined

    async def find(self, order_id: str) -> Order | None:
        """Return an order with its steps."""
        self._answer()
        return self.orders.get(order_id)

    async def page(self, user_id: str, *, offset: int, limit: int) -> OrderPage:
        """Return orders of a user whose details are known, newest first, without their steps."""
        self._answer()
        mine = [
            replace(order, steps={})
            for order in self.orders.values()
            if order.user_id == user_id and order.details is not None
        ]
        mine.sort(key=lambda order: (order.placed_at, order.order_id), reverse=True)
        return OrderPage(orders=mine[offset : offset + limit], total=len(mine))

    async def unconfirmed(self, order_ids: Sequence[str]) -> list[str]:
        """Return those ids whose PaymentSucceeded has not arrived."""
        self._answer()
        paid = {order.order_id for order in self.orders.values() if order.payment_id}
        return [order_id for order_id in order_ids if order_id not in paid]

    async def unreversed(self, order_ids: Sequence[str]) -> list[str]:
        """Return those ids that are not known as cancelled or returned."""
        self._answer()
        stored = [self.orders.get(order_id) for order_id in order_ids]
        over = {one.order_id for one in stored if one and one.state in domain.REVERSED}
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
