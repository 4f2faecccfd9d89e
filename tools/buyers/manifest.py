"""The committed sample sale, made into one that opens soon and that no earlier run has touched."""

import dataclasses
import datetime
import time

import yaml

from devstack import sample
from devstack.layout import PROJECT

SAMPLE = PROJECT / "manifests" / "samples" / "iphone-drop.yaml"
NAMESPACE = "default"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sale:
    """A rendered sale: its name, its opening (Unix seconds), its hold time and the YAML for kubectl."""

    name: str
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
    text = sample.render(
        SAMPLE,
        now=datetime.datetime.fromtimestamp(time.time(), datetime.UTC),
        opens_in=datetime.timedelta(seconds=opens_in),
        units=units,
        hold_seconds=hold_seconds,
        suffix=suffix,
    )
    (sale,) = [one for one in yaml.safe_load_all(text) if one["kind"] == "FlashSale"]
    return Sale(
        name=sale["metadata"]["name"],
        opens_at=datetime.datetime.fromisoformat(sale["spec"]["openTime"]).timestamp(),
        hold_seconds=sale["spec"]["reservationTimeoutSeconds"],
        text=text,
    )
