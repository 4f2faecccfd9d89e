"""Kubernetes objects that both resources need: status patches, finalizers, Events (pure)."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from .conditions import Condition, Notice, rfc3339, whole_second

MANAGER = "doorbuster-operator"


def conditions_json(conditions: Iterable[Condition]) -> list[dict[str, Any]]:
    """Return conditions as the API server stores them."""
    listed = []
    for each in conditions:
        entry: dict[str, Any] = {
            "type": each.type,
            "status": each.status,
            "reason": each.reason,
            "message": each.message,
        }
        if each.observed_generation is not None:
            entry["observedGeneration"] = each.observed_generation
        if each.last_transition_time is not None:
            entry["lastTransitionTime"] = rfc3339(whole_second(each.last_transition_time))
        listed.append(entry)
    return listed


def identity(
    kind: str, *, api_version: str, namespace: str, name: str, uid: str
) -> dict[str, Any]:
    """Return an object of its identity alone; the uid keeps an apply from making a deleted object anew."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name, "uid": uid},
    }


def event(
    notice: Notice, about: Mapping[str, Any], *, now: datetime, instance: str
) -> dict[str, Any]:
    """Return a Kubernetes Event whose name says what it tells, so that telling it twice makes one.

    ``about`` is an identity as :func:`identity` returns it. The times of the older shape are set as well: by them
    ``kubectl describe`` puts Events into order.
    """
    metadata = about["metadata"]
    digest = hashlib.sha256(f"{metadata['uid']}/{notice.key}/{notice.reason}".encode()).hexdigest()
    moment = rfc3339(whole_second(now))
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": metadata["namespace"],
            "name": f"{metadata['name']}.{digest[:16]}",
        },
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "type": "Warning" if notice.is_warning else "Normal",
        "reason": notice.reason,
        "message": notice.message,
        "action": "Reconcile",
        "source": {"component": MANAGER},
        "reportingComponent": f"doorbuster.dev/{MANAGER}",
        "reportingInstance": instance[:128],
    }
