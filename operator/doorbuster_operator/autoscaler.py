"""A HorizontalPodAutoscaler as the operator reads it, and the minReplicas that it shall have (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BASE = "doorbuster.dev/base-min-replicas"


@dataclass(frozen=True, kw_only=True)
class Autoscaler:
    """One autoscaler.

    ``base`` is its minReplicas while no sale is live, None unless its owner marked it with a whole number;
    ``deployment`` is what it scales, None for anything but a Deployment.
    """

    name: str
    uid: str
    minimum: int
    maximum: int
    base: int | None
    deployment: str | None

    def wanted(self, demand: int) -> int | None:
        """Return the minReplicas for the highest demand of all live sales; None for one that is not marked."""
        if self.base is None:
            return None
        return min(max(self.base, demand), self.maximum)


def parse(body: Mapping[str, Any]) -> Autoscaler:
    """Read an object of autoscaling/v2."""
    metadata, spec = body["metadata"], body["spec"]
    target = spec["scaleTargetRef"]
    return Autoscaler(
        name=metadata["name"],
        uid=metadata["uid"],
        minimum=spec.get("minReplicas", 1),
        maximum=spec["maxReplicas"],
        base=_base(metadata.get("annotations") or {}),
        deployment=target["name"] if target["kind"] == "Deployment" else None,
    )


def _base(annotations: Mapping[str, str]) -> int | None:
    text = annotations.get(BASE, "")
    is_number = text.isascii() and text.isdigit() and len(text) <= 5
    return int(text) if is_number and int(text) >= 1 else None
