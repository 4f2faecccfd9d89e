"""The final report of a sale: what was sold, for how much, and when; it outlives the FlashSale (pure)."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from doorbuster.contracts import control
from doorbuster.kit import money
from doorbuster_operator.conditions import rfc3339

from .model import FlashSale, Timeline

LABEL = "doorbuster.dev/flashsale"


def name(sale: FlashSale) -> str:
    """Return the name of the report's ConfigMap."""
    return f"{sale.name}-report"


def is_ours(sale: FlashSale, found: Mapping[str, Any] | None) -> bool:
    """Tell whether a ConfigMap may be written: there is none, or it is the report of a sale of this name."""
    if found is None:
        return True
    labels = found["metadata"].get("labels") or {}
    return bool(labels.get(LABEL) == sale.name)


def config_map(sale: FlashSale, gate: control.SaleState, line: Timeline) -> dict[str, Any]:
    """Return the ConfigMap. It has no owner, so that it stays when the FlashSale is deleted."""
    figures = report(sale, gate, line)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name(sale),
            "namespace": sale.namespace,
            "labels": {LABEL: sale.name, "app.kubernetes.io/managed-by": "doorbuster-operator"},
        },
        "data": {
            "report.json": json.dumps(figures, indent=2) + "\n",
            "report.txt": text(sale, figures),
        },
    }


def report(sale: FlashSale, gate: control.SaleState, line: Timeline) -> dict[str, Any]:
    """Return the figures: times are RFC 3339 or None, money is in minor units, delays in milliseconds."""
    return {
        "namespace": sale.namespace,
        "name": sale.name,
        "uid": sale.uid,
        "generation": sale.generation,
        "gateState": gate.state,
        "strategy": gate.strategy,
        "times": {
            "announcedOpenTime": rfc3339(sale.spec.open_time),
            "armedTime": _stamp(line.armed_time),
            "openTime": _stamp(line.open_time),
            "firstReservationTime": _stamp(line.first_reservation_time),
            "soldOutTime": _stamp(line.sold_out_time),
            "closeTime": _stamp(line.close_time),
        },
        "openDelayMillis": _millis(sale.spec.open_time, line.open_time),
        "firstReservationDelayMillis": line.open_latency_millis,
        "soldOutAfterMillis": _millis(line.open_time, line.sold_out_time),
        "items": [_item(item) for item in gate.items],
        "totals": {
            "capacity": sum(item.allocated for item in gate.items),
            "sold": sum(item.sold for item in gate.items),
            "revenueMinor": revenue(gate),
        },
    }


def _item(item: control.SaleItemState) -> dict[str, Any]:
    return {
        "sku": item.sku,
        "capacity": item.allocated,
        "sold": item.sold,
        "unsold": item.allocated - item.sold,
        "currency": item.currency,
        "priceMinor": item.price_minor,
        "revenueMinor": item.sold * item.price_minor,
    }


def revenue(gate: control.SaleState) -> dict[str, int]:
    """Return what was sold in minor units by currency."""
    totals: Counter[str] = Counter()
    for item in gate.items:
        totals[item.currency] += item.sold * item.price_minor
    return dict(sorted(totals.items()))


def sentence(gate: control.SaleState) -> str:
    """Return the figures in a sentence."""
    sold = sum(item.sold for item in gate.items)
    units = sum(item.allocated for item in gate.items)
    earned = " and ".join(
        f"{money.from_minor(amount, currency)} {currency}"
        for currency, amount in revenue(gate).items()
    )
    return f"{sold} of {units} units were sold for {earned}; every payment has its fate."


def text(sale: FlashSale, figures: Mapping[str, Any]) -> str:
    """Return the report for people, in lines of at most 99 characters and no trailing blanks."""
    lines = [f"FlashSale {sale.namespace}/{sale.name}", ""]
    lines += [f"{key:<22}{moment or '-'}" for key, moment in figures["times"].items()]
    for key in ("openDelayMillis", "firstReservationDelayMillis", "soldOutAfterMillis"):
        lines.append(f"{key:<28}{'-' if figures[key] is None else figures[key]}")
    lines += ["", f"{'sku':<32}{'capacity':>10}{'sold':>10}{'price':>14}{'revenue':>18}"]
    for item in figures["items"]:
        lines.append(
            f"{item['sku']:<32}{item['capacity']:>10}{item['sold']:>10}"
            f"{item['priceMinor']:>14}{item['revenueMinor']:>14} {item['currency']}"
        )
    lines += ["", "Prices and revenue are in minor units of the currency.", ""]
    return "\n".join(lines)


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _millis(start: datetime | None, end: datetime | None) -> int | None:
    if start is None or end is None:
        return None
    return (end - start) // timedelta(milliseconds=1)
