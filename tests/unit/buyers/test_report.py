"""What people see and what the stores are asked: the panel, the rendered sample, rest, and the scope."""

import dataclasses
import io
import time
from typing import Any

import pytest
import yaml
from rich.console import Console

from buyers import facts, manifest, report, stores, verdict

REST = facts.Snapshot(
    counters=facts.Counters(available=1, reserved=0, sold=1, total=2),
    per_user_limit=1,
    reservations=[
        facts.Reservation(order="o", user="u", state="SOLD", quantity=1, created_ms=0.0)
    ],
    user_quantities={"u": 1},
    payments=[facts.PaymentRow(order="o", attempt=1, state="CAPTURED", intent="pi")],
    orders=[facts.OrderRow(order="o", user="u", status="confirmed")],
    intents=[],
    permits=1,
    pending={"payment": 0},
)


def test_stores_without_anything_in_flight_are_at_rest() -> None:
    assert stores.is_at_rest(REST)


@pytest.mark.parametrize(
    "changes",
    [
        {"pending": {"payment": 1}},
        {"orders": []},
        {"payments": []},
        {"permits": 0},
        {"reservations": [dataclasses.replace(REST.reservations[0], state="PAYING")]},
        {
            "payments": [
                *REST.payments,
                facts.PaymentRow(order="o", attempt=2, state="CONFIRMING", intent=None),
            ]
        },
    ],
)
def test_anything_in_flight_is_no_rest(changes: dict[str, Any]) -> None:
    assert not stores.is_at_rest(dataclasses.replace(REST, **changes))


def test_missing_addresses_are_named() -> None:
    with pytest.raises(stores.StoreError, match="DOORBUSTER_ORDER_DSN"):
        stores.Addresses.from_environment({"DOORBUSTER_INVENTORY_DSN": "postgresql://u:p@h/d"})


def test_addresses_do_not_show_passwords() -> None:
    names = "INVENTORY_DSN CHECKOUT_DSN PAYMENT_DSN ORDER_DSN REDIS_URL PSP_ADMIN_URL".split()
    found = stores.Addresses.from_environment(
        {f"DOORBUSTER_{name}": "x://u:hush@h/d" for name in names[:-1]}
        | {"DOORBUSTER_PSP_ADMIN_URL": "http://h"}
    )
    assert "hush" not in repr(found)


def test_rendered_sale_opens_soon_under_its_own_names() -> None:
    sale = manifest.render(opens_in=30, units=7, suffix="-x", hold_seconds=11)
    pool, drop = yaml.safe_load_all(sale.text)
    assert (sale.name, sale.path) == ("iphone-drop-x", "default.iphone-drop-x")
    assert (sale.hold_seconds, drop["spec"]["reservationTimeoutSeconds"]) == (11, 11)
    assert pool["spec"]["capacity"] == 7
    assert drop["spec"]["items"][0]["poolName"] == pool["metadata"]["name"] == "iphone-x"
    assert 28 <= sale.opens_at - time.time() <= 32


@pytest.mark.parametrize(
    ("changes", "word"),
    [({}, "held"), ({"oversold": 1}, "BROKEN"), ({"violations": ["I1: no"]}, "I1: no")],
)
def test_panel_says_whether_the_promise_held(changes: dict[str, Any], word: str) -> None:
    figures: dict[str, Any] = dict.fromkeys(
        "seed units sold oversold double_orders double_charges lost_units refused willing left "
        "declined unanswered holds buyers".split(),
        0,
    ) | dict.fromkeys(
        "refused_p50_millis refused_p99_millis open_delay_millis sold_out_after_millis "
        "first_answer_p50_millis first_answer_p99_millis terminal_after_millis".split()
    )
    figures |= {"sale": "a.b", "violations": [], "calls": {}, "endings": {}} | changes
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(report.verdict_panel(verdict.Verdict(**figures)))
    assert word in console.export_text()


def test_percentile_is_the_nearest_rank() -> None:
    values = [float(number) for number in range(1, 101)]
    assert verdict.percentile(values, 0.99) == 99.0
    assert verdict.percentile(values, 0.50) == 50.0
    assert verdict.percentile([7.04], 0.99) == 7.0
    assert verdict.percentile([], 0.5) is None
