"""What a sale is written as, compared with what it should be, letter by letter."""

from datetime import timedelta

import msgspec

from doorbuster.contracts import control
from doorbuster_operator import manifest
from doorbuster_operator.conditions import Notice
from doorbuster_operator.sale import model, resources
from doorbuster_operator.sale.facts import TopicWanted
from doorbuster_operator.sale.lifecycle import decide
from doorbuster_operator.testing.builders import (
    CLOSE,
    OPEN,
    after,
    build_gate,
    build_sale,
    build_seen,
)


def test_the_gate_says_everything_that_inventory_needs():
    sale = build_sale(generation=3, reservation_timeout_seconds=20)
    assert resources.gate(sale, state="Active", close_time=CLOSE, fence=7) == control.SaleGate(
        namespace="default",
        name="drop",
        generation=3,
        fence=7,
        state="Active",
        open_time=OPEN,
        close_time=CLOSE,
        strategy="Escrow",
        reservation_timeout_seconds=20,
        items=[control.SaleItem(sku="iphone-17-pro", price_minor=99_900, currency="USD")],
    )


def test_the_topic_has_the_name_that_every_consumer_expects():
    assert resources.topic(build_sale()) == TopicWanted(
        name="sale.default.drop.orders",
        partitions=3,
        replication_factor=1,
        retention_seconds=604_800,
    )


def _written(sale, seen, now):
    decision = decide(sale, seen, now)
    counters = resources.counters(seen.gate) if seen.gate else None
    return resources.status(sale, seen, decision, now=now, inventory=counters)


def test_the_status_of_an_open_sale_letter_by_letter():
    gate = build_gate(available=3, reserved=1, sold=1, first_reservation_time=after(0.012))
    written = _written(build_sale(), build_seen(gate=gate, armed_at=after(-9.5)), after(2))
    conditions = {each["type"]: each for each in written.pop("conditions")}
    assert written == {
        "observedGeneration": 1,
        "phase": "Open",
        "summary": "Open until 2026-11-27T12:10:00Z.",
        "nextPhase": "Closed",
        "nextTransitionTime": "2026-11-27T12:10:00Z",
        "clock": {"offsetMillis": 0},
        "timeline": {
            "warmupStartTime": "2026-11-27T11:59:50.500Z",
            "armedTime": "2026-11-27T11:59:50.500Z",
            "openTime": "2026-11-27T12:00:00Z",
            "firstReservationTime": "2026-11-27T12:00:00.012Z",
            "openLatencyMillis": 12,
        },
        "inventory": {"capacity": 5, "available": 3, "reserved": 1, "sold": 1},
        "topic": {"name": "sale.default.drop.orders", "partitions": 3},
        "gate": {
            "state": "Active",
            "generation": 1,
            "fence": 1,
            "openTime": "2026-11-27T12:00:00Z",
            "closeTime": "2026-11-27T12:10:00Z",
        },
        "epoch": 1,
    }
    assert conditions["Open"] == {
        "type": "Open",
        "status": "True",
        "reason": "WindowOpen",
        "message": "Until 2026-11-27T12:10:00Z.",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-27T12:00:02Z",
    }
    assert set(conditions) == {
        *("Ready", "Accepted", "PoolsBound", "TopicsReady", "ClockSynchronized"),
        *("CapacityWarmed", "Armed", "Open", "SoldOut", "Settled"),
    }


def test_the_same_facts_later_write_the_same_status():
    seen = build_seen(gate=build_gate(), offset=timedelta(milliseconds=3))
    written = _written(build_sale(), seen, after(2))
    known = build_sale(status=msgspec.convert(written, model.Status))
    known = msgspec.structs.replace(known, raw_status=written)
    jitter = build_seen(gate=build_gate(), offset=timedelta(milliseconds=90))
    assert _written(known, jitter, after(300)) == written


def test_a_clock_that_jumps_is_shown():
    written = _written(build_sale(), build_seen(offset=timedelta(seconds=-600)), after(-900))
    assert written["clock"] == {"offsetMillis": -600_000}


def test_stock_that_moves_after_the_sale_is_over_does_not_touch_it():
    over = model.Status(phase=model.Phase.CANCELLED)
    sale = msgspec.structs.replace(build_sale(status=over), raw_status={"epoch": 1})
    item = msgspec.structs.replace(build_gate().items[0], epoch=9)
    assert _written(sale, build_seen(gate=build_gate(items=[item])), after(1))["epoch"] == 1


def test_an_event_has_a_name_that_says_what_it_tells():
    about = manifest.identity(
        "FlashSale",
        api_version="doorbuster.dev/v1alpha1",
        namespace="default",
        name="drop",
        uid="sale-uid",
    )

    def event(key):
        notice = Notice(reason="SaleOpened", message="The sale opened on time.", key=key)
        return manifest.event(notice, about, now=OPEN, instance="operator-0")

    assert event("opened") == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "default", "name": "drop.077b7836b9348e7b"},
        "eventTime": "2026-11-27T12:00:00.000000Z",
        "firstTimestamp": "2026-11-27T12:00:00Z",
        "lastTimestamp": "2026-11-27T12:00:00Z",
        "count": 1,
        "involvedObject": {
            "apiVersion": "doorbuster.dev/v1alpha1",
            "kind": "FlashSale",
            "namespace": "default",
            "name": "drop",
            "uid": "sale-uid",
        },
        "type": "Normal",
        "reason": "SaleOpened",
        "message": "The sale opened on time.",
        "action": "Reconcile",
        "source": {"component": "doorbuster-operator"},
        "reportingComponent": "doorbuster.dev/doorbuster-operator",
        "reportingInstance": "operator-0",
    }
    assert event("opened")["metadata"] != event("opened-again")["metadata"]
