"""What a sale brought: the operator's final report, or while the sale lives what its status tells (pure)."""

import json
from collections.abc import Mapping
from typing import Any

from .errors import ClusterError
from .model import GROUP, FlashSale
from .table import aligned
from .times import stamp

SALE_LABEL = f"{GROUP}/flashsale"
JSON_KEY = "report.json"
TEXT_KEY = "report.txt"


def config_map_name(name: str) -> str:
    """Return the name of the ConfigMap that holds a sale's final report."""
    return f"{name}-report"


def final(config_map: Any, name: str) -> Mapping[str, str]:
    """Return the data of a final report. Raises ClusterError when the ConfigMap is none of a sale of this name."""
    labels, data = config_map.metadata.labels or {}, config_map.data or {}
    if labels.get(SALE_LABEL) != name or not {JSON_KEY, TEXT_KEY} <= data.keys():
        raise ClusterError(
            f'error: ConfigMap "{config_map_name(name)}" is no report of FlashSale "{name}"'
        )
    found: Mapping[str, str] = data
    return found


def is_about(data: Mapping[str, str], sale: FlashSale) -> bool:
    """Tell whether a final report is of this very sale, and not of an earlier one of the same name."""
    try:
        uid = json.loads(data[JSON_KEY])["uid"]
    except (ValueError, KeyError, TypeError):
        return False
    return bool(uid == sale.metadata.uid)


def interim(sale: FlashSale) -> dict[str, Any]:
    """Return what the status of a living sale tells, named as in the final report."""
    line, counted = sale.status.timeline, sale.status.inventory
    moments = {
        "announcedOpenTime": sale.spec.open_time,
        "armedTime": line.armed_time,
        "openTime": line.open_time,
        "firstReservationTime": line.first_reservation_time,
        "soldOutTime": line.sold_out_time,
        "closeTime": line.close_time,
    }
    return {
        "isFinal": False,
        "namespace": sale.metadata.namespace,
        "name": sale.metadata.name,
        "uid": sale.metadata.uid,
        "generation": sale.metadata.generation,
        "phase": sale.status.phase,
        "times": {key: None if when is None else stamp(when) for key, when in moments.items()},
        "firstReservationDelayMillis": line.open_latency_millis,
        "items": [
            {
                "sku": item.sku,
                "currency": item.price.currency,
                "priceMinor": item.price.amount_minor,
            }
            for item in sale.spec.items
        ],
        "totals": {
            "capacity": None if counted is None else counted.capacity,
            "sold": None if counted is None else counted.sold,
        },
    }


def text(figures: Mapping[str, Any]) -> str:
    """Return an interim report for people."""
    phase = figures["phase"] or "Not seen by the operator yet"
    rows = [
        *figures["times"].items(),
        ("firstReservationDelayMillis", figures["firstReservationDelayMillis"]),
        *figures["totals"].items(),
    ]
    return "\n".join(
        [
            f"FlashSale {figures['namespace']}/{figures['name']}",
            f"{phase}. The final report is written when the sale has settled.",
            "",
            *aligned([(key, "-" if value is None else str(value)) for key, value in rows]),
        ]
    )
