"""The final report: its figures letter by letter, when it is written, and whose ConfigMap is never touched."""

import json
from datetime import timedelta

import msgspec
import pytest

from doorbuster.contracts import control
from doorbuster_operator.conditions import by_type
from doorbuster_operator.sale import model, report
from doorbuster_operator.sale.facts import Failure, WriteReport
from doorbuster_operator.sale.lifecycle import decide
from doorbuster_operator.sale.model import Phase, Timeline
from doorbuster_operator.testing.builders import (
    CLOSE,
    OPEN,
    after,
    build_gate,
    build_sale,
    build_seen,
)

SETTLES = CLOSE + timedelta(seconds=30)
LINE = Timeline(
    armed_time=after(-600),
    open_time=OPEN,
    first_reservation_time=after(0.012),
    open_latency_millis=12,
    sold_out_time=after(1.5),
    close_time=CLOSE,
)
CLOSED = model.Status(phase=Phase.CLOSED, timeline=LINE)
SOLD = build_gate(available=0, sold=5)


def test_the_figures_are_what_inventory_counted():
    written = report.config_map(build_sale(), SOLD, LINE)
    assert written["metadata"] == {
        "name": "drop-report",
        "namespace": "default",
        "labels": {
            "doorbuster.dev/flashsale": "drop",
            "app.kubernetes.io/managed-by": "doorbuster-operator",
        },
    }
    assert json.loads(written["data"]["report.json"]) == {
        "namespace": "default",
        "name": "drop",
        "uid": "sale-uid",
        "generation": 1,
        "gateState": "Active",
        "strategy": "Escrow",
        "times": {
            "announcedOpenTime": "2026-11-27T12:00:00Z",
            "armedTime": "2026-11-27T11:50:00Z",
            "openTime": "2026-11-27T12:00:00Z",
            "firstReservationTime": "2026-11-27T12:00:00.012Z",
            "soldOutTime": "2026-11-27T12:00:01.500Z",
            "closeTime": "2026-11-27T12:10:00Z",
        },
        "openDelayMillis": 0,
        "firstReservationDelayMillis": 12,
        "soldOutAfterMillis": 1500,
        "items": [
            {
                "sku": "iphone-17-pro",
                "capacity": 5,
                "sold": 5,
                "unsold": 0,
                "currency": "USD",
                "priceMinor": 99_900,
                "revenueMinor": 499_500,
            }
        ],
        "totals": {"capacity": 5, "sold": 5, "revenueMinor": {"USD": 499_500}},
    }
    assert written["data"]["report.txt"].startswith("FlashSale default/drop\n")
    assert "iphone-17-pro                            5         5" in written["data"]["report.txt"]


def test_what_never_happened_is_empty_and_the_same_facts_write_the_same_report():
    quiet = report.report(build_sale(), build_gate(), Timeline(close_time=CLOSE))
    assert quiet["openDelayMillis"] is quiet["soldOutAfterMillis"] is None
    assert quiet["totals"] == {"capacity": 5, "sold": 0, "revenueMinor": {"USD": 0}}
    later = msgspec.structs.replace(SOLD, server_time=after(999), revision=77, fence=9)
    assert report.config_map(build_sale(), SOLD, LINE) == report.config_map(
        build_sale(), later, LINE
    )


def test_money_of_two_currencies_is_never_added():
    (item,) = SOLD.items
    euros = msgspec.structs.replace(item, sku="case", currency="EUR", price_minor=100)
    both: control.SaleState = msgspec.structs.replace(SOLD, items=[item, euros])
    assert report.sentence(both) == (
        "10 of 10 units were sold for 5.00 EUR and 4995.00 USD; every payment has its fate."
    )


@pytest.mark.parametrize(
    ("found", "is_ours"),
    [
        (None, True),
        ({"metadata": {"labels": {"doorbuster.dev/flashsale": "drop"}}}, True),
        ({"metadata": {"labels": {"doorbuster.dev/flashsale": "other"}}}, False),
        ({"metadata": {"labels": None}}, False),
        ({"metadata": {}}, False),
    ],
)
def test_only_a_report_of_a_sale_of_this_name_is_written_over(found, is_ours):
    assert report.is_ours(build_sale(), found) is is_ours


def test_the_report_is_written_before_settled_is_told():
    sale = build_sale(status=CLOSED)
    first = decide(sale, build_seen(gate=SOLD, unread=0, is_reported=False), SETTLES)
    assert (first.phase, first.actions) == (Phase.CLOSED, (WriteReport(),))
    done = decide(sale, build_seen(gate=SOLD, unread=0), SETTLES)
    assert (done.phase, done.actions) == (Phase.SETTLED, ())
    (told,) = [notice for notice in done.notices if notice.reason == "SaleSettled"]
    assert told.message == (
        "5 of 5 units were sold for 4995.00 USD; every payment has its fate. "
        "The report is ConfigMap drop-report."
    )


def _failure(reason, *, is_refusal):
    return Failure(
        reason=reason,
        message="-",
        retry_at=SETTLES + timedelta(seconds=2),
        generation=1,
        is_refusal=is_refusal,
    )


def test_somebody_elses_config_map_is_told_and_keeps_no_sale_from_settling():
    conflict = _failure("ReportConflict", is_refusal=True)
    seen = build_seen(gate=SOLD, unread=0, is_reported=False, report_failure=conflict)
    done = decide(build_sale(status=CLOSED), seen, SETTLES)
    assert (done.phase, done.actions) == (Phase.SETTLED, ())
    assert {"ReportConflict", "SaleSettled"} <= {notice.reason for notice in done.notices}


def test_a_report_that_cannot_be_written_now_is_tried_again_and_settled_waits():
    outage = _failure("ReportNotWritten", is_refusal=False)
    seen = build_seen(gate=SOLD, unread=0, is_reported=False, report_failure=outage)
    waiting = decide(build_sale(status=CLOSED), seen, SETTLES)
    assert (waiting.phase, waiting.actions) == (Phase.CLOSED, ())
    assert waiting.wake_at == outage.retry_at
    assert by_type(waiting.conditions)["Settled"].reason == "ReportNotWritten"
    assert decide(build_sale(status=CLOSED), seen, outage.retry_at).actions == (WriteReport(),)


def test_a_sale_that_is_deleted_open_is_reported_before_it_goes():
    opened = model.Status(phase=Phase.OPEN, timeline=LINE)
    deleted = build_sale(is_deleting=True, generation=2, status=opened)
    shut = build_gate(state="Cancelled", generation=2, available=3, sold=2)
    seen = build_seen(gate=shut, is_reported=False)
    assert decide(deleted, seen, after(9)).actions == (WriteReport(),)
    settled = msgspec.structs.replace(
        opened, timeline=msgspec.structs.replace(LINE, settle_time=SETTLES)
    )
    again = build_sale(is_deleting=True, generation=2, status=settled)
    assert WriteReport() not in decide(again, seen, after(999)).actions


def test_a_sale_that_never_opened_has_no_report():
    deleted = build_sale(is_deleting=True, generation=2)
    shut = build_gate(state="Cancelled", generation=2)
    seen = build_seen(gate=shut, is_reported=False)
    assert WriteReport() not in decide(deleted, seen, after(-9)).actions
