"""What a write to the API server is called, and whether it changed anything (pure)."""

import re
from collections.abc import Mapping
from typing import Any

_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/[^/]+/namespaces/[^/]+/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<part>[^/]+))?"
)
_SHORT = {"horizontalpodautoscalers": "hpa", "configmaps": "configmap", "flashsales": "flashsale"}
Json = Mapping[str, Any]


def name_of(method: str, path: str, sent: Json, stored: Json, before: Json | None) -> str:
    """Return the name of a write: the same in every run, whatever objects, times and uids it is about."""
    found = _PATH.fullmatch(path)
    if found is None:
        return f"{method} {path}"
    plural, part = found["plural"], found["part"]
    if plural == "leases":
        return _lease(method, sent, before)
    if plural == "events":
        return f"CREATE event {sent.get('reason')}"
    if part == "status":
        return f"{method} {plural}/status {_standing(stored)}"
    short = _SHORT.get(plural, plural)
    if method == "DELETE":
        return f"DELETE {short}"
    if plural == "horizontalpodautoscalers":
        return f"{method} hpa minReplicas {stored.get('spec', {}).get('minReplicas')}"
    if "finalizers" in sent.get("metadata", {}):
        return f"{method} {plural}/finalizers {'+' if sent['metadata']['finalizers'] else '-'}"
    return f"{method} {short}"


def object_path(path: str) -> str | None:
    """Return where the object of a write can be read; None for one that is to be created."""
    found = _PATH.fullmatch(path)
    if found is None or found["name"] is None:
        return None
    return path.removesuffix(f"/{found['part']}") if found["part"] else path


def has_changed(before: Json | None, stored: Json) -> bool:
    """Tell whether a successful write left another object than there was."""
    if before is None:
        return True
    old, new = before["metadata"], stored.get("metadata", {})
    if old.get("resourceVersion") != new.get("resourceVersion"):
        return True
    # The answer to the patch that drops the last finalizer shows the object as it went.
    return bool(old.get("finalizers", []) != new.get("finalizers", []))


def _lease(method: str, sent: Json, before: Json | None) -> str:
    if method == "POST":
        return "CREATE lease"
    holder = sent.get("spec", {}).get("holderIdentity")
    known = (before or {}).get("spec", {}).get("holderIdentity")
    if not holder:
        return "PUT lease released"
    return "PUT lease renewed" if holder == known else "PUT lease taken"


def _standing(stored: Json) -> str:
    """Return where an object stands by the reasons of what it tells, so that two statuses are two names."""
    status = stored.get("status", {})
    reasons = {each["type"]: each["reason"] for each in status.get("conditions", [])}
    told = [status.get("phase")]
    told += [reasons.get(kind) for kind in ("Open", "Armed", "CapacityApplied", "Bound")]
    return " ".join(each for each in told if each)
