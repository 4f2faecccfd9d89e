"""The committed sample sale, made into one that opens soon and that no earlier run has touched."""

import dataclasses
import datetime
import pathlib
import time
from typing import Any

import yaml

SAMPLE = pathlib.Path(__file__).resolve().parents[2] / "manifests" / "samples" / "iphone-drop.yaml"
NAMESPACE = "default"
OPEN_SECONDS = 600.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sale:
    """A rendered sale: its names, its opening (Unix seconds) and the YAML for ``kubectl apply``."""

    name: str
    pool: str
    opens_at: float
    hold_seconds: int
    text: str

    @property
    def path(self) -> str:
        """The sale as the public API names it."""
        return f"{NAMESPACE}.{self.name}"


def render(
    *, opens_in: float, units: int, suffix: str = "", hold_seconds: int | None = None
) -> Sale:
    """Render the sample with its own names, ``opens_in`` seconds from now, for ``units`` units."""
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(SAMPLE.read_text(encoding="utf-8")))
    (pool,) = [document for document in documents if document["kind"] == "InventoryPool"]
    (sale,) = [document for document in documents if document["kind"] == "FlashSale"]
    for document in (pool, sale):
        document["metadata"]["name"] += suffix
    pool["spec"]["sku"] += suffix
    pool["spec"]["capacity"] = units
    opening = round(time.time() + opens_in)
    sale["spec"]["openTime"] = _rfc3339(opening)
    sale["spec"]["closeTime"] = _rfc3339(opening + OPEN_SECONDS)
    for item in sale["spec"]["items"]:
        item["sku"] += suffix
        item["poolName"] += suffix
    if hold_seconds is not None:
        sale["spec"]["reservationTimeoutSeconds"] = hold_seconds
    return Sale(
        name=sale["metadata"]["name"],
        pool=pool["metadata"]["name"],
        opens_at=opening,
        hold_seconds=sale["spec"]["reservationTimeoutSeconds"],
        text=yaml.safe_dump_all(documents, sort_keys=False),
    )


def _rfc3339(unix: float) -> str:
    moment = datetime.datetime.fromtimestamp(unix, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
