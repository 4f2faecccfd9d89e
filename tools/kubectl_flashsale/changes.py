"""What changed between two looks at a sale, one line a change (pure)."""

from collections.abc import Iterator

from .model import FlashSale
from .story import units
from .times import stamp


def first(sale: FlashSale) -> str:
    """Return the line that a watch begins with."""
    return f"phase {sale.status.phase or '-'}: {sale.status.summary or 'not seen by the operator yet.'}"


def between(before: FlashSale, after: FlashSale) -> Iterator[str]:
    """Yield one line per change that a person would want to know of."""
    old, new = before.spec, after.spec
    if new.desired_state != old.desired_state:
        yield f"wanted {new.desired_state} (was {old.desired_state})"
    if new.open_time != old.open_time:
        yield f"opens {stamp(new.open_time)} (was {stamp(old.open_time)})"
    if new.close_time != old.close_time:
        yield f"closes {stamp(new.close_time)} (was {stamp(old.close_time)})"
    if after.metadata.deletion_timestamp and not before.metadata.deletion_timestamp:
        yield "deletion asked for"
    yield from _observed(before, after)


def _observed(before: FlashSale, after: FlashSale) -> Iterator[str]:
    old, new = before.status, after.status
    if new.phase != old.phase:
        yield f"phase {new.phase or '-'} (was {old.phase or '-'}): {new.summary}"
    for condition in new.conditions:
        known = old.condition(condition.type)
        if known is None or (known.status, known.reason) != (condition.status, condition.reason):
            told = f"{condition.type} {condition.status} {condition.reason}: {condition.message}"
            yield f"condition {told}"
    if new.inventory is not None and new.inventory != old.inventory:
        yield f"stock {units(new.inventory)}"
    seen = {target.name: target for target in old.scaling}
    for target in new.scaling:
        if target != seen.get(target.name):
            yield (
                f"target {target.name}: wanted {target.demand}, "
                f"minReplicas {target.min_replicas}, ready {target.ready_replicas}"
            )
