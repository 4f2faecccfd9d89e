"""What a sale is written as: the gate for inventory, the topic for Kafka, the status for Kubernetes (pure)."""

from datetime import datetime, timedelta
from typing import Any

from doorbuster.contracts import control, events
from doorbuster_operator.conditions import rfc3339, stamp
from doorbuster_operator.manifest import conditions_json

from .facts import Decision, Seen, TopicWanted
from .model import OVER, FlashSale

OFFSET_STEP_MILLIS = 250


def gate(
    sale: FlashSale, *, state: control.DesiredState, close_time: datetime, fence: int
) -> control.SaleGate:
    """Return the whole gate of a sale for inventory."""
    spec = sale.spec
    is_waiting_room = spec.admission.mode == "WaitingRoom"
    return control.SaleGate(
        namespace=sale.namespace,
        name=sale.name,
        generation=sale.generation,
        fence=fence,
        state=state,
        open_time=spec.open_time,
        close_time=close_time,
        strategy=spec.strategy,
        reservation_timeout_seconds=spec.reservation_timeout_seconds,
        items=[
            control.SaleItem(
                sku=item.sku,
                quantity=item.quantity,
                price_minor=item.price.amount_minor,
                currency=item.price.currency,
                per_user_limit=item.per_user_limit,
            )
            for item in spec.items
        ],
        admit_per_second=spec.admission.rate_per_second if is_waiting_room else None,
    )


def topic(sale: FlashSale) -> TopicWanted:
    """Return the topic that a sale wants."""
    wanted = sale.spec.messaging
    return TopicWanted(
        name=events.sale_topic(sale.namespace, sale.name),
        partitions=wanted.partitions,
        replication_factor=wanted.replication_factor,
        retention_seconds=wanted.retention_seconds,
    )


def status(
    sale: FlashSale,
    seen: Seen,
    decision: Decision,
    *,
    now: datetime,
    inventory: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return the whole status for server-side apply; absent facts are absent fields.

    ``inventory`` are the counters to show, which the caller renews at its own pace.
    """
    conditions = stamp(
        decision.conditions, sale.status.conditions, generation=sale.generation, now=now
    )
    fields: dict[str, Any] = {
        "observedGeneration": sale.generation,
        "phase": str(decision.phase),
        "summary": decision.summary,
        "nextPhase": str(decision.next_phase) if decision.next_time else None,
        "nextTransitionTime": rfc3339(decision.next_time) if decision.next_time else None,
        "clock": _clock(sale, seen.offset),
        "timeline": _timeline(decision),
        "inventory": inventory,
        "scaling": _scaling(sale, seen),
        "topic": _topic(seen) or sale.raw_status.get("topic"),
        "conditions": conditions_json(conditions),
    }
    if seen.gate is not None:
        fields["gate"] = {
            "state": seen.gate.state,
            "generation": seen.gate.generation,
            "fence": seen.gate.fence,
            "openTime": rfc3339(seen.gate.open_time),
            "closeTime": rfc3339(seen.gate.close_time),
        }
        epoch = max((item.epoch for item in seen.gate.items), default=0)
        # What happens to the stock after the sale is over is no business of the sale.
        is_over = sale.status.phase in OVER
        fields["epoch"] = sale.raw_status.get("epoch", epoch) if is_over else epoch
    return {name: value for name, value in fields.items() if value not in (None, {}, [])}


def counters(gate: control.SaleState) -> dict[str, Any]:
    """Return a sale's counters, summed over its items."""
    return {
        "capacity": sum(item.allocated for item in gate.items),
        "available": sum(item.available for item in gate.items),
        "reserved": sum(item.reserved for item in gate.items),
        "sold": sum(item.sold for item in gate.items),
    }


def _clock(sale: FlashSale, offset: timedelta | None) -> dict[str, Any] | None:
    """Return the offset; jitter is not worth a write, so small changes keep the old figure."""
    shown = sale.status.clock.offset_millis
    if offset is None:
        return None if shown is None else {"offsetMillis": shown}
    millis = round(offset / timedelta(milliseconds=1))
    if shown is not None and abs(millis - shown) < OFFSET_STEP_MILLIS:
        millis = shown
    return {"offsetMillis": millis}


def _timeline(decision: Decision) -> dict[str, Any]:
    line = decision.timeline
    moments = {
        "warmupStartTime": line.warmup_start_time,
        "armedTime": line.armed_time,
        "openTime": line.open_time,
        "firstReservationTime": line.first_reservation_time,
        "soldOutTime": line.sold_out_time,
        "closeTime": line.close_time,
        "settleTime": line.settle_time,
    }
    fields: dict[str, Any] = {
        name: rfc3339(moment) for name, moment in moments.items() if moment is not None
    }
    if line.open_latency_millis is not None:
        fields["openLatencyMillis"] = line.open_latency_millis
    return fields


def _scaling(sale: FlashSale, seen: Seen) -> list[dict[str, Any]]:
    """Return the scaling targets; what an autoscaler does while this sale asks nothing of it is not shown."""
    by_name = {target.name: target for target in seen.targets}
    known = {each["name"]: each for each in sale.raw_status.get("scaling", [])}
    listed = []
    for target in sale.spec.scaling.targets:
        found = by_name.get(target.name)
        entry: dict[str, Any] = {"name": target.name, "hpaName": target.hpa_name}
        if found is not None:
            entry["demand"] = found.demand
        if found is not None and found.demand:
            old = known.get(target.name, {}) if found.problem is None else {}
            minimum, ready = old.get("minReplicas"), old.get("readyReplicas")
            # A process that was just started has not looked yet.
            entry["minReplicas"] = minimum if found.minimum is None else found.minimum
            entry["readyReplicas"] = ready if found.ready is None else found.ready
        listed.append({key: value for key, value in entry.items() if value is not None})
    return listed


def _topic(seen: Seen) -> dict[str, Any] | None:
    if seen.topic is None:
        return None
    return {"name": seen.topic.name, "partitions": seen.topic.partitions}
