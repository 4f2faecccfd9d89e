"""What a sale remembers: when it was armed, opened, sold out, closed and settled; each time is set once (pure)."""

from datetime import datetime, timedelta

from doorbuster.contracts import control

from . import health
from .facts import Seen
from .model import FlashSale, Phase, Timeline


def has_opened(sale: FlashSale, gate: control.SaleState, now: datetime) -> bool:
    """Tell whether buyers could ever hold units of this sale."""
    return (
        sale.status.timeline.open_time is not None
        or gate.first_reservation_time is not None
        or (gate.state == "Active" and now >= gate.open_time)
    )


def remembered(
    sale: FlashSale, seen: Seen, phase: Phase, now: datetime, *, is_changing: bool
) -> Timeline:
    """Return the timeline; a gate that is about to change may open again, so it has no close time yet."""
    known, gate = sale.status.timeline, seen.gate
    armed = known.armed_time
    if armed is None and gate is not None:
        # A gate that an earlier process stored was in time: one that comes late says so itself.
        armed = seen.armed_at or min(now, gate.open_time)
    warmup = known.warmup_start_time
    if warmup is None and (phase is Phase.WARMING or gate is not None):
        warmup = min(now, armed or now)
    opened = known.open_time
    if opened is None and gate is not None:
        opened = _open_time(sale, gate, armed or now, now)
    first = known.first_reservation_time or (gate.first_reservation_time if gate else None)
    latency = known.open_latency_millis
    if latency is None and first is not None:
        latency = max(0, (first - sale.spec.open_time) // timedelta(milliseconds=1))
    closed = known.close_time
    is_shut = phase in {Phase.CLOSED, Phase.SETTLED, Phase.CANCELLED} and not is_changing
    if closed is None and is_shut:
        closed = now if gate is None else min(gate.close_time, now)
    return Timeline(
        warmup_start_time=warmup,
        armed_time=armed,
        open_time=opened,
        first_reservation_time=first,
        open_latency_millis=latency,
        sold_out_time=known.sold_out_time or (gate.sold_out_time if gate else None),
        close_time=closed,
        settle_time=known.settle_time or (now if phase is Phase.SETTLED else None),
    )


def _open_time(
    sale: FlashSale, gate: control.SaleState, armed: datetime, now: datetime
) -> datetime | None:
    """Return when the gate really opened: on time, when it was armed late, or when it was resumed."""
    if not has_opened(sale, gate, now) or now < gate.open_time:
        return None
    if health.was_suspended(sale):
        return min(gate.first_reservation_time or now, now)
    return max(gate.open_time, armed)
