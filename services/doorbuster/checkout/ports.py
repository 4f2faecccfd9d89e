"""What checkout needs of the world: inventory, the permits, its own orders."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from doorbuster import escrow
from doorbuster.contracts import internal

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

    async def pin(self, item: internal.PinItem) -> internal.PinResult:
        """Pin the units of an order for a payment attempt."""
        ...

    async def reservation(self, order_id: str) -> internal.ReservationState | None:
        """Return the state of an order's reservation, None when there is none."""
        ...


class OrderStore(Protocol):
    """Placed orders, durable; a store that is away raises its own errors, which app.py knows."""

    async def place(self, stored: StoredOrder) -> StoredOrder:
        """Store an order with its OrderPlaced unless its id is known; returns what is stored."""
        ...

    async def find(self, order_id: str) -> StoredOrder | None:
        """Return a placed order."""
        ...
