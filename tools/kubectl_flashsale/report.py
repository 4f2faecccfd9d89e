"""What a sale brought: the operator's final report, or while the sale lives what its status tells (pure)."""

import json
from typing import Any

from .errors import ClusterError
from .model import GROUP, FlashSale
from .table import aligned

SALE_LABEL = f"{GROUP}/flashsale"
JSON_KEY = "report.json"
TEXT_KEY = "report.txt"


def config_map_name(name: str) -> str:
    """Return the name of the ConfigMap that holds a sale's final report."""
    return f"{name}-report"


def final(config_map: Any, name: str, output: str) -> str:
    """Return the final report as text or JSON. Raises ClusterError when the ConfigMap is no report of this sale."""
    labels, data = config_map.metadata.labels or {}, config_map.data or {}
    key = JSON_KEY if output == "json" else TEXT_KEY
    if labels.get(SALE_LABEL) != name or key not in data:
        raise ClusterError(
            f'error: ConfigMap "{config_map_name(name)}" is no report of FlashSale "{name}"'
        )
    return str(data[key]).rstrip("\n")


def interim(sale: FlashSale, body: dict[str, Any], output: str) -> str:
    """Return what the status of a living sale tells; ``body`` is the sale as the API server has it."""
    status = body.get("status", {})
    told = {
        "namespace": sale.metadata.namespace,
        "name": sale.metadata.name,
        "isFinal": False,
        "phase": sale.status.phase,
        "summary": sale.status.summary,
        "timeline": status.get("timeline", {}),
        "inventory": status.get("inventory", {}),
        "items": body["spec"]["items"],
    }
    if output == "json":
        return json.dumps(told, indent=2)
    rows = [
        ("Sale", f"{sale.metadata.namespace}/{sale.metadata.name}"),
        ("Phase", f"{sale.status.phase or '-'}; the final report comes when the sale has settled"),
        *((name, str(value)) for name, value in told["timeline"].items()),
        *((f"units {name}", str(value)) for name, value in told["inventory"].items()),
    ]
    return "\n".join(aligned(rows))
