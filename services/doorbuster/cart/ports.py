"""What the cart needs from the world: a store of carts, and who knows the products, the sales and the stock."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from doorbuster.contracts import internal

from .domain import Line, Lines, OfNobody, Owner, StoredCart

Change = Callable[[Lines], Lines]


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """A paid order."""

    order_id: str
    user_id: str
    bought: tuple[Line, ...]
    paid_at: datetime


class CartStore(Protocol):
    """Keeps carts; every change is one transaction under the row's lock, so that none is lost."""

    async def find(self, owner: Owner) -> StoredCart | None:
        """Return the owner's cart."""

    async def of_user(self, cart_id: str, user_id: str) -> StoredCart | None:
        """Return this cart if it is this user's."""

    async def change(
        self, owner: Owner, change: Change, now: datetime, *, new_id: str | None = None
    ) -> StoredCart:
        """Apply a change; ``new_id`` makes the cart if there is none. The version grows if the lines change.

        Raises UnknownCartError, and what ``change`` raises.
        """

    async def merge(
        self, source: OfNobody, user_id: str, now: datetime, *, new_id: str
    ) -> StoredCart:
        """Move a cart of nobody into the user's, once; raises UnknownCartError."""

    async def take_out(self, purchases: Sequence[Purchase], now: datetime) -> int:
        """Take bought units out of the buyers' carts, once an order; returns how many orders were new."""

    async def expire(self, before: datetime, limit: int) -> int:
        """Delete at most ``limit`` carts of nobody last changed before then; returns how many went."""

    async def forget_orders(self, before: datetime, limit: int) -> int:
        """Forget at most ``limit`` bought orders paid before then; returns how many went."""

    async def oldest_of_nobody(self) -> datetime | None:
        """Return when the stalest cart of nobody was last changed."""


class Catalogue(Protocol):
    """The product service."""

    async def quotes(self, product_ids: Sequence[str]) -> Mapping[str, internal.Quote]:
        """Return the list prices of those that are sold; raises ConnectionError."""


class Sales(Protocol):
    """The inventory service's sales."""

    async def sales(self) -> internal.Sales:
        """Return the announced, open and lately closed sales; raises ConnectionError."""


class Stock(Protocol):
    """How many units anybody could reserve."""

    async def read(self, product_ids: Sequence[str]) -> dict[str, internal.Availability]:
        """Return those that have stock rows; raises ConnectionError."""
