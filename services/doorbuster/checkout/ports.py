"""What checkout needs of the world: inventory, permits, queues, its own orders and discounts, and what orders name."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from doorbuster import escrow
from doorbuster.contracts import api, internal

from .domain.discounts import Discount
from .domain.orders import StoredOrder


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What inventory says of one order.

    ``owners``, with SOLD_OUT only and only when there are few enough to say, are all orders that own units of
    ``result.product_id`` at that instant.
    """

    result: internal.ReserveResult
    owners: frozenset[str] | None = None


class Permits(Protocol):
    """The stock permits; both calls raise EscrowAwayError while Redis does not serve them."""

    async def permit(self, request: escrow.PermitRequest) -> escrow.Permit:
        """Take a permit, or replay the one that this order has."""
        ...

    async def untake(self, order_id: str, product_id: str, epoch: int) -> None:
        """Give back a permit with which nothing was reserved."""
        ...


class Locks(Protocol):
    """The locks of products, for sales with the strategy Lock."""

    def hold(self, product_id: str, *, within_seconds: float) -> AbstractAsyncContextManager[bool]:
        """Hold a lock while the context is open; False: not in time. Raises EscrowAwayError on entry."""
        ...


class WaitingRooms(Protocol):
    """The queues in front of sales that let buyers in one after the other."""

    async def ask(self, arrival: escrow.Arrival) -> escrow.Place:
        """Take a place or find the one that the buyer has; raises EscrowAwayError or coalescer.QueueFullError."""
        ...


class Inventory(Protocol):
    """The authority on units and sales. Every call raises ConnectionError when it does not answer.

    A call without an answer may have happened; all of them are safe to repeat.
    """

    async def sales(self) -> internal.Sales:
        """Return the announced, open and lately closed sales."""
        ...

    async def reserve(self, item: internal.ReserveItem) -> Verdict:
        """Take all units of an order or none."""
        ...

    async def judge(self, item: internal.JudgeItem) -> Verdict:
        """Say what it means that no permit was left; a reservation of the same order wins."""
        ...

    async def warm(self, product_id: str) -> None:
        """Have the permits of a product loaded anew, soon."""
        ...

    async def let_go(self, order_id: str) -> None:
        """Release the hold of an order that will not be placed; its id is spent. Does nothing to any other."""
        ...

    async def pin(self, item: internal.PinItem) -> internal.PinResult:
        """Pin the units of an order for a payment attempt."""
        ...

    async def reservation(self, order_id: str) -> internal.ReservationState | None:
        """Return the state of an order's reservation, None when there is none."""
        ...


class Catalogue(Protocol):
    """The list prices; raises ConnectionError when it does not answer."""

    async def quote(self, product_id: str) -> internal.Quote | None:
        """Return what a product costs outside sales, None when it is not sold."""
        ...


class Carts(Protocol):
    """The carts; raises ConnectionError when they do not answer."""

    async def find(self, user_id: str, cart_id: str) -> internal.CartContents | None:
        """Return the user's cart, None when it is none of his."""
        ...


class Addresses(Protocol):
    """The address books; raises ConnectionError when they do not answer."""

    async def find(self, user_id: str, address_id: str) -> api.DeliveryAddress | None:
        """Return an address of the user's book, None when it is none of his."""
        ...


class OrderStore(Protocol):
    """Placed orders, durable; a store that is away raises its own errors, which app.py knows."""

    async def place(self, stored: StoredOrder) -> StoredOrder:
        """Store an order with its OrderPlaced unless its id is known; returns what is stored.

        An order with a discount code is stored together with one use of it, or refused: UnknownDiscountCodeError,
        DiscountUsedUpError. A known id takes no second use.
        """
        ...

    async def find(self, order_id: str) -> StoredOrder | None:
        """Return a placed order."""
        ...


@dataclass(frozen=True, kw_only=True)
class DiscountPage:
    """Some discounts by code, and how many there are."""

    discounts: Sequence[Discount]
    total: int


class DiscountStore(Protocol):
    """Discount codes and their uses, durable, in the store of the orders."""

    async def find(self, code: str) -> Discount | None:
        """Return a discount that was not ended."""
        ...

    async def find_for(self, code: str, user_id: str) -> tuple[Discount, int] | None:
        """Return a discount that was not ended, with the number of this user's uses of it."""
        ...

    async def page(self, *, offset: int, limit: int) -> DiscountPage:
        """Return discounts that were not ended, by code."""
        ...

    async def put(self, discount: Discount) -> Discount:
        """Make or replace a discount; its uses stay counted, also those from before it was ended. Returns it."""
        ...

    async def end(self, code: str) -> bool:
        """End a discount; False when there is none."""
        ...

    async def give_back(self, order_ids: Sequence[str]) -> int:
        """Give back the uses of dead orders, each once however often it is asked; returns how many."""
        ...

    async def keep(self, order_ids: Sequence[str]) -> None:
        """Ask about these no more: they are paid. Their uses can still be given back."""
        ...

    async def claim_due(self, now: datetime, *, limit: int, again_at: datetime) -> list[str]:
        """Return orders whose end should be known by now and put them off to ``again_at``."""
        ...

    async def waiting_since(self) -> datetime | None:
        """Return the earliest time at which an order's end should have been known; None when none waits."""
        ...
