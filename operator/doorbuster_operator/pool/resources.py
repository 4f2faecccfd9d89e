"""What a pool is written as: the stock level for inventory, the status for Kubernetes (pure)."""

from datetime import datetime
from typing import Any

from doorbuster.contracts import control
from doorbuster_operator.conditions import rfc3339, stamp, whole_second
from doorbuster_operator.manifest import conditions_json

from .lifecycle import Decision, PutStock, Seen
from .model import InventoryPool

_COUNTED = ("capacity", "available", "reserved", "sold")


def stock(pool: InventoryPool, put: PutStock, *, fence: int) -> control.PoolSpec:
    """Return the stock level for inventory."""
    return control.PoolSpec(
        capacity=put.capacity,
        safety_stock=put.safety_stock,
        owner_uid=pool.uid,
        generation=pool.generation,
        fence=fence,
    )


def status(
    pool: InventoryPool, seen: Seen, decision: Decision, *, now: datetime
) -> dict[str, Any]:
    """Return the whole status for server-side apply; ``lastAuditTime`` moves only when a counter did."""
    conditions = stamp(
        decision.conditions, pool.status.conditions, generation=pool.generation, now=now
    )
    fields: dict[str, Any] = {
        "observedGeneration": pool.generation,
        "boundSales": sorted(seen.bound_sales)[:64],
    }
    known = seen.stock if seen.stock is not None and seen.stock.owner_uid == pool.uid else None
    if known is not None:
        fields |= {
            "capacity": known.capacity,
            "available": known.available,
            "reserved": known.reserved,
            "sold": known.sold,
            "committed": known.reserved + known.sold,
            "epoch": known.epoch,
        }
    elif pool.status.capacity is not None:
        fields |= {
            name: pool.raw_status[name]
            for name in (*_COUNTED, "committed", "epoch")
            if name in pool.raw_status
        }
    moved = any(fields.get(name) != pool.raw_status.get(name) for name in _COUNTED)
    audited = now if moved and known is not None else pool.status.last_audit_time
    if audited is not None:
        fields["lastAuditTime"] = rfc3339(whole_second(audited))
    fields["conditions"] = conditions_json(conditions)
    return fields
