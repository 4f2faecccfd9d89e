"""The control API of inventory: what the operator says about pools and sales, and what it reads back.

``PUT`` answers the stored state. Refusals are problem+json with the codes STALE_EPOCH (a fence or a
generation that is older than the stored one), RESOURCE_CONFLICT (another owner), BELOW_COMMITTED and OVERLAP.
"""

from datetime import datetime
from typing import Literal

import msgspec

Strategy = Literal["Escrow", "Direct", "Lock"]
DesiredState = Literal["Active", "Suspended", "Cancelled"]


class FenceRequest(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``POST /control/v1/fences``: an elected leader asks once for its fencing token."""

    lease_namespace: str
    lease_name: str
    holder: str


class Fence(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A token that is greater than every one handed out for this lease before."""

    fence: int


class SaleItem(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One sku of a sale; ``quantity`` absent means the whole pool."""

    sku: str
    quantity: int | None = None
    price_minor: int
    currency: str
    per_user_limit: int = 1


class SaleGate(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``PUT /control/v1/sales/{uid}``: the whole gate of one sale.

    ``admit_per_second``: buyers that the sale's waiting room lets in; None is no waiting room.
    """

    namespace: str
    name: str
    generation: int
    fence: int
    state: DesiredState
    open_time: datetime
    close_time: datetime
    strategy: Strategy = "Escrow"
    reservation_timeout_seconds: int = 120
    items: list[SaleItem]
    admit_per_second: int | None = None


class SaleItemState(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Counters of one sku within a sale; ``allocated`` is the sale's share of the pool."""

    sku: str
    product_id: str
    allocated: int
    available: int
    reserved: int
    sold: int
    price_minor: int
    currency: str
    per_user_limit: int
    epoch: int
    armed: bool


class SaleState(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The stored gate with what happened behind it.

    ``armed`` is true when every item's permits and gate are loaded in Redis at the current epoch
    (or the sale needs no Redis). ``drained`` is true when no hold, no payment in flight and no
    unsent event of this sale is left. ``server_time`` is the authority's clock.
    """

    uid: str
    namespace: str
    name: str
    generation: int
    fence: int
    state: DesiredState
    open_time: datetime
    close_time: datetime
    strategy: Strategy
    reservation_timeout_seconds: int
    items: list[SaleItemState]
    armed: bool
    armed_reason: str
    drained: bool
    first_reservation_time: datetime | None
    sold_out_time: datetime | None
    revision: int
    server_time: datetime
    admit_per_second: int | None = None


class SaleStates(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /control/v1/sales?since=``: sales whose revision is greater than ``since``."""

    sales: list[SaleState]
    revision: int
    server_time: datetime


class PoolSpec(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``PUT /control/v1/pools/{sku}``: stock as a level, never as an increment.

    ``DELETE /control/v1/pools/{sku}?ownerUid=&fence=`` (204) gives up the ownership and leaves the stock, so
    that a pool that is made anew may take the sku over with any generation.
    """

    capacity: int
    safety_stock: int = 0
    owner_uid: str
    generation: int
    fence: int


class PoolState(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The stored pool: available + reserved + sold = capacity, always."""

    sku: str
    product_id: str
    owner_uid: str | None
    generation: int
    fence: int
    capacity: int
    safety_stock: int
    available: int
    reserved: int
    sold: int
    epoch: int
    bound_sales: list[str]
    revision: int


class PoolStates(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``GET /control/v1/pools?since=``: pools whose revision is greater than ``since``."""

    pools: list[PoolState]
    revision: int
    server_time: datetime
