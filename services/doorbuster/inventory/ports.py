"""What the use cases need from the world: the ledger, the stock, payment."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from doorbuster.contracts import internal

from .domain import GateFacts


class Verdicts(Protocol):
    """Payment's word on attempts."""

    async def verdicts(self, attempts: Sequence[internal.Attempt]) -> list[internal.Verdict]:
        """Return a verdict for each attempt payment speaks of."""
        ...


class Pins(Protocol):
    """The pinned reservations."""

    async def stale_pins(
        self, older_than_seconds: float, *, again_seconds: float, limit: int
    ) -> list[internal.Attempt]:
        """Return pinned attempts nobody asked about for so long; nobody else gets them for a while."""
        ...

    async def oldest_pin_seconds(self) -> float:
        """Return how long ago the oldest payment under way was pinned; 0 when there is none."""
        ...

    async def let_go(self, order_id: str) -> bool:
        """Release the hold of an order that will not be placed; False when it holds nothing."""
        ...

    async def decline(self, attempts: Sequence[internal.Attempt]) -> int:
        """Note attempts that ended without a charge."""
        ...

    async def confirm(self, attempts: Sequence[internal.Attempt]) -> Mapping[str, tuple[str, int]]:
        """Note attempts that were paid; returns state and attempt of every order known."""
        ...

    async def take_back(self, attempts: Sequence[internal.Attempt]) -> list[str]:
        """Note payments that were reversed; returns the products that have units again."""
        ...


class Gates(Protocol):
    """What Redis should hold, by PostgreSQL."""

    async def facts(self, product_ids: Sequence[str]) -> list[GateFacts]:
        """Return the facts of those products that have a sale ahead or open."""
        ...

    async def bump(
        self, product_id: str, *, seen_epoch: int, above_epoch: int, run_id: str
    ) -> GateFacts | None:
        """Start a new epoch; None when somebody else did since ``seen_epoch`` was read."""
        ...

    async def note_run(self, product_id: str, *, epoch: int, run_id: str) -> None:
        """Note that ``epoch`` was loaded into the Redis of ``run_id``."""
        ...


class ReservationFinder(Protocol):
    """Looks reservations up."""

    async def find(self, order_id: str) -> internal.ReservationState | None:
        """Return what is stored of an order."""
        ...

    async def unreturned(self, attempts: Sequence[internal.Attempt]) -> list[str]:
        """Return the orders whose units these attempts hold: PAYING or SOLD."""
        ...


class AvailableStock(Protocol):
    """What anybody could reserve now."""

    async def availability(
        self, product_ids: Sequence[str], order_ids: Sequence[str] = ()
    ) -> list[internal.Availability]:
        """Return it for these products and for those of these orders; products without stock are missing."""
        ...

    async def turned(self) -> Mapping[str, float]:
        """Return the products of which a sale opened or closed since their last version, and seconds since then."""
        ...

    async def touch(self, product_ids: Sequence[str]) -> None:
        """Give these products a new version."""
        ...
