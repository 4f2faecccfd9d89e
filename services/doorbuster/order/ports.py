"""What the order service needs from the world: a store, and answers of checkout and inventory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from doorbuster.contracts import internal

from .domain import Change, Order, State

Decide = Callable[[Order], Change | None]


@dataclass(frozen=True, kw_only=True)
class OrderPage:
    """One page of orders, newest first, and how many there are in all."""

    orders: list[Order]
    total: int


class OrderStore(Protocol):
    """Keeps orders; every write is a merge, so that repeating one changes nothing.

    What a change tells is in the outbox, for ``orders``, in the change's own transaction.
    """

    async def merge(self, views: Sequence[Order], now: datetime) -> None:
        """Join views (one an order, sorted by id) into the stored orders in one transaction."""

    async def find(self, order_id: str) -> Order | None:
        """Return an order with its steps."""

    async def page(self, user_id: str, *, offset: int, limit: int) -> OrderPage:
        """Return orders of a user whose details are known, newest first, without their steps."""

    async def page_all(self, state: State | None, *, offset: int, limit: int) -> OrderPage:
        """Return everybody's orders (in one state) whose details are known, newest first, with their steps."""

    async def change(self, known: Order, decide: Decide, now: datetime) -> Order:
        """Join in what is known, let ``decide`` look at the locked order, store and tell what it says.

        Returns the order as it is then; what ``decide`` raises leaves everything as it was.
        """

    async def tell_again(self, now: datetime, *, limit: int, again_at: datetime) -> int:
        """Tell once more of orders whose money should have come back by now, and put them off to ``again_at``.

        Returns how many.
        """

    async def untold_since(self) -> datetime | None:
        """Return when the order ended whose money has been out longest; None when there is none."""

    async def unconfirmed(self, order_ids: Sequence[str]) -> list[str]:
        """Return those ids whose PaymentSucceeded has not arrived."""

    async def unreversed(self, order_ids: Sequence[str]) -> list[str]:
        """Return those ids whose PaymentReversed has not arrived."""

    async def waiting_since(self) -> tuple[datetime | None, datetime | None]:
        """Return the earliest pay-by of unpaid orders, and the earliest time heard of one without a pay-by."""

    async def claim_due(self, now: datetime, *, limit: int, again_at: datetime) -> list[Order]:
        """Return unpaid orders that are to be checked by now and put them off to ``again_at``."""


class Checkout(Protocol):
    """What checkout says about an order that it placed."""

    async def find_placed(self, order_id: str) -> internal.PlacedOrder | None:
        """Return the order as it was placed; raises ConnectionError when checkout does not answer."""


class Inventory(Protocol):
    """What inventory says about the units of an order."""

    async def find_reservation(self, order_id: str) -> internal.ReservationState | None:
        """Return the reservation; raises ConnectionError when inventory does not answer."""
