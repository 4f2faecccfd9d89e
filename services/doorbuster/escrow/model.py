"""What the escrow speaks of: permits, their settlement and return, gates and snapshots, places in waiting rooms."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

Outcome = Literal["GRANTED", "OUT", "COLD", "NOT_OPEN", "CLOSED", "SUSPENDED", "USER_LIMIT"]
GateState = Literal["Active", "Suspended", "Cancelled"]


class EscrowAwayError(ConnectionError):
    """Redis does not serve permits just now; sell Direct (without a permit) instead."""


class Fate(StrEnum):
    """How a permit in flight ends; only a permit still in flight moves, so each may be told again."""

    KEEP = "K"  # PostgreSQL reserved the units with this very permit
    RETURN = "R"  # nothing was reserved with it: the units go back
    PHANTOM = "P"  # PostgreSQL had fewer units than permits: nothing goes back
    RELEASED = "G"  # reserved with it and released since: the units come by give_back


@dataclass(frozen=True, kw_only=True, slots=True)
class PermitRequest:
    """An order that wants ``quantity`` units (at least 1) of a product under sale."""

    order_id: str
    user_id: str
    product_id: str
    quantity: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Permit:
    """The answer to a request.

    GRANTED (also to an order that asked before): reserve with ``epoch``. OUT: ask for a judgement with ``epoch``.
    COLD: ask inventory to warm. NOT_OPEN carries ``open_at_millis`` (Unix time by the authority's window).
    USER_LIMIT is a hint: other orders of this buyer took the limit's units; reserve alone knows for sure.
    """

    outcome: Outcome
    epoch: int
    open_at_millis: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """The end of one order's permit of ``epoch``."""

    order_id: str
    product_id: str
    epoch: int
    fate: Fate


@dataclass(frozen=True, kw_only=True, slots=True)
class Return:
    """Units that PostgreSQL released while its epoch was ``epoch``."""

    order_id: str
    product_id: str
    epoch: int
    quantity: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Overdue:
    """A permit that is in flight past its deadline."""

    order_id: str
    product_id: str
    epoch: int
    quantity: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """When and how a product's permits may be taken; times are Unix milliseconds."""

    sale_uid: str
    open_at_millis: int
    close_at_millis: int
    state: GateState
    per_user_limit: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What Redis holds of one product: units still to be permitted, and units in flight."""

    epoch: int
    permits: int
    unsettled: int
    gate: Gate


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What Redis is and holds at one instant, by product; a product whose server does not serve is in neither.

    ``runs`` names the life of the server that holds a product: another one may have forgotten anything.
    """

    runs: Mapping[str, str]
    held: Mapping[str, Snapshot]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A buyer at the waiting room of a sale, with what is known of the sale."""

    sale_uid: str
    user_id: str
    admit_per_second: int
    open_time: datetime
    close_time: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a buyer is: position 0 is inside; 1 is the next whose turn comes, in ``wait_seconds`` as things are."""

    position: int
    wait_seconds: float

    @property
    def is_inside(self) -> bool:
        """Whether the buyer may go on."""
        return self.position == 0
