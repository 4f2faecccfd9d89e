"""Builders with boring defaults: a test shows only the values it is about. Times count from ``OPEN``."""

from datetime import UTC, datetime, timedelta
from typing import Any

from doorbuster.contracts import control
from doorbuster.kit import ids
from doorbuster_operator.pool import model as pool_model
from doorbuster_operator.sale import model as sale_model
from doorbuster_operator.sale.facts import PoolSeen, Seen, TopicSeen

OPEN = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
CLOSE = OPEN + timedelta(minutes=10)
SKU = "iphone-17-pro"
TOPIC = TopicSeen(name="sale.default.drop.orders", partitions=3, retention_seconds=604_800)


def after(seconds: float) -> datetime:
    """Return the moment this long after the opening (before it, when negative)."""
    return OPEN + timedelta(seconds=seconds)


def build_sale(
    *,
    status: sale_model.Status | None = None,
    generation: int = 1,
    is_finalized: bool = True,
    owns_topic: bool | None = None,
    adopts_topic: bool = False,
    is_deleting: bool = False,
    **spec: Any,
) -> sale_model.FlashSale:
    """Return a FlashSale of one item over a whole pool."""
    price = sale_model.Price(currency="USD", amount_minor=99_900)
    fields: dict[str, Any] = {
        "open_time": OPEN,
        "close_time": CLOSE,
        "items": [sale_model.Item(sku=SKU, pool_name="iphone", price=price)],
        "settlement": sale_model.Settlement(grace_seconds=30),
    }
    return sale_model.FlashSale(
        namespace="default",
        name="drop",
        uid="sale-uid",
        version=1,
        generation=generation,
        is_deleting=is_deleting,
        is_finalized=is_finalized,
        owns_topic=is_finalized if owns_topic is None else owns_topic,
        adopts_topic=adopts_topic,
        spec=sale_model.Spec(**(fields | spec)),
        status=status or sale_model.Status(),
        raw_status={},
    )


def build_gate(
    *, available: int = 5, reserved: int = 0, sold: int = 0, **changes: Any
) -> control.SaleState:
    """Return the gate of :func:`build_sale` as inventory stores it: armed, nothing sold."""
    item = control.SaleItemState(
        sku=SKU,
        product_id=ids.product_id(SKU),
        allocated=available + reserved + sold,
        available=available,
        reserved=reserved,
        sold=sold,
        price_minor=99_900,
        currency="USD",
        per_user_limit=1,
        epoch=1,
        armed=True,
    )
    fields: dict[str, Any] = {
        "uid": "sale-uid",
        "namespace": "default",
        "name": "drop",
        "generation": 1,
        "fence": 1,
        "state": "Active",
        "open_time": OPEN,
        "close_time": CLOSE,
        "strategy": "Escrow",
        "reservation_timeout_seconds": 120,
        "items": [item],
        "armed": True,
        "armed_reason": "",
        "drained": reserved == 0,
        "first_reservation_time": None,
        "sold_out_time": None,
        "revision": 1,
        "server_time": OPEN,
    }
    return control.SaleState(**(fields | changes))


def build_seen(**changes: Any) -> Seen:
    """Return facts in which all is well, no gate is stored yet, and a report has been written."""
    fields: dict[str, Any] = {
        "pools": {"iphone": PoolSeen(sku=SKU)},
        "topic": TOPIC,
        "is_reported": True,
        "offset": timedelta(0),
    }
    return Seen(**(fields | changes))


def build_pool(
    *,
    capacity: int = 5,
    generation: int = 1,
    is_finalized: bool = True,
    is_deleting: bool = False,
    status: pool_model.Status | None = None,
    **spec: Any,
) -> pool_model.InventoryPool:
    """Return an InventoryPool of five."""
    return pool_model.InventoryPool(
        namespace="default",
        name="iphone",
        uid="pool-uid",
        version=1,
        generation=generation,
        is_deleting=is_deleting,
        is_finalized=is_finalized,
        spec=pool_model.Spec(sku=SKU, capacity=capacity, **spec),
        status=status or pool_model.Status(),
        raw_status={},
    )


def build_stock(
    *, available: int = 5, reserved: int = 0, sold: int = 0, **changes: Any
) -> control.PoolState:
    """Return the stock of :func:`build_pool` as inventory stores it."""
    fields: dict[str, Any] = {
        "sku": SKU,
        "product_id": ids.product_id(SKU),
        "owner_uid": "pool-uid",
        "generation": 1,
        "fence": 1,
        "capacity": available + reserved + sold,
        "safety_stock": 0,
        "available": available,
        "reserved": reserved,
        "sold": sold,
        "epoch": 1,
        "bound_sales": [],
        "revision": 1,
    }
    return control.PoolState(**(fields | changes))
