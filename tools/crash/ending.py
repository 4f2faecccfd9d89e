"""How a run ended: all that is left, in a form in which two runs can be compared, and the rules that must hold."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from doorbuster.contracts import control

from .observer import Observer
from .scenario import BASE_REPLICAS, POOLS, SALES, SCALERS, SOLD, WARM_REPLICAS, Play

Json = Mapping[str, Any]
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)?( UTC)?")
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PRODUCT = re.compile(r"prod_[0-9a-z]{26}")
# Numbers that only say how long something took.
_DURATION = re.compile(r"\b\d+(?:\.\d+)?(?= ?(?:ms|s|seconds|milliseconds)\b)")
_MILLIS = re.compile(r"(\w+Millis)\s+\d+")
# What counts lives, versions and moments: no part of what a run comes to.
_FLEETING = frozenset(
    {
        *("resourceVersion", "managedFields", "creationTimestamp", "deletionTimestamp", "uid"),
        *("deletionGracePeriodSeconds", "lastTransitionTime", "fence", "epoch", "revision"),
        *("serverTime", "lastAuditTime", "armedReason", "generation", "observedGeneration"),
    }
)
# The pool's counters in its status are renewed now and then; the books themselves are compared.
_COUNTERS = frozenset({"available", "reserved", "sold", "committed"})
RANKS = ("Pending", "Scheduled", "Warming", "Open", "SoldOut", "Closed", "Settled")


@dataclass(frozen=True)
class Ending:
    """What is left of a run; ``events`` are (reason, note, how often they are there)."""

    sale: Any
    pool: Any
    scaler: Any
    report: Any
    events: list[str]
    topics: list[str]
    gate: Any
    stock: Any


async def read(play: Play, topics: Collection[str]) -> Ending:
    """Read what is left of a run."""
    seen, namespace = play.seen, play.namespace
    maps = await play.admin.items(f"/api/v1/namespaces/{namespace}/configmaps")
    events = await play.admin.items(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events")
    gate, stock = await play.shopper.gate(play.uid), await play.shopper.stock(play.sku)
    sale = plain(seen.versions[SALES][-1], namespace)
    # How far the autoscaler is on its way back when the sale deletes itself is a matter of moments.
    sale["status"].pop("scaling", None)
    sale["status"]["conditions"] = [
        each for each in sale["status"]["conditions"] if each["type"] != "CapacityWarmed"
    ]
    pool = plain(seen.versions[POOLS][-1], namespace)
    for counter in _COUNTERS:
        pool.get("status", {}).pop(counter, None)
    return Ending(
        sale=sale,
        pool=pool,
        scaler=plain(seen.versions[SCALERS][-1]["spec"], namespace),
        report={each["metadata"]["name"]: plain(_data(each), namespace) for each in maps},
        events=sorted(plain(f"{each['reason']}: {each['note']}", namespace) for each in events),
        topics=[plain(name, namespace) for name in sorted(topics) if is_of(name, namespace)],
        gate=plain(msgspec.to_builtins(gate), namespace),
        stock=plain(msgspec.to_builtins(stock), namespace),
    )


def is_of(topic: str, namespace: str) -> bool:
    """Tell whether a topic belongs to a sale of this namespace."""
    return topic.startswith(f"sale.{namespace}.")


def plain(value: Any, namespace: str) -> Any:
    """Return a value without what differs from run to run."""
    if isinstance(value, Mapping):
        # Server-side apply leaves an empty list where one was, and none where there never was one.
        return {
            key: plain(each, namespace)
            for key, each in value.items()
            if key not in _FLEETING and not key.endswith("Millis") and each != []
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(each, namespace) for each in value]
    if isinstance(value, str):
        text = _TIME.sub("<time>", value.replace(namespace, "<namespace>"))
        text = _PRODUCT.sub("<product>", _UID.sub("<uid>", text))
        return _MILLIS.sub(r"\1 <n>", _DURATION.sub("<n>", text))
    return value


def differences(undisturbed: Ending, ending: Ending) -> list[str]:
    """Return a sentence for everything in which a run ended otherwise than the undisturbed one."""
    found: list[str] = []
    for field in Ending.__dataclass_fields__:
        _compare(field, getattr(undisturbed, field), getattr(ending, field), found)
    return found


def _compare(where: str, one: Any, other: Any, found: list[str]) -> None:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            _compare(f"{where}.{key}", one.get(key), other.get(key), found)
    elif isinstance(one, list) and isinstance(other, list) and one != other:
        lost = [each for each in one if each not in other]
        more = [each for each in other if each not in one]
        found.append(f"{where}: lacks {_short(lost)}, has {_short(more)}")
    elif one != other:
        found.append(f"{where}: {_short(other)} instead of {_short(one)}")


def _short(value: Any) -> str:
    return json.dumps(value, default=str)[:600]


def violations(
    play: Play, ending: Ending, gate: control.SaleState, fences: Sequence[int]
) -> list[str]:
    """Return a sentence for every rule of the domain that a run broke."""
    found = _of_the_books(play, ending, gate)
    if list(fences) != sorted(set(fences)):
        found.append(f"fences do not only grow: {list(fences)}")
    if ending.topics:
        found.append(f"topics are left: {ending.topics}")
    if ending.scaler.get("minReplicas") != BASE_REPLICAS:
        found.append(f"minReplicas is {ending.scaler.get('minReplicas')}, not restored")
    for event in sorted(set(ending.events)):
        if ending.events.count(event) > 1:
            found.append(f"told {ending.events.count(event)} times: {event}")
    return found + _of_the_history(play.seen)


def _of_the_books(play: Play, ending: Ending, gate: control.SaleState) -> list[str]:
    found = []
    if play.early:
        found.append(f"{play.early} units were held before openTime")
    first = gate.first_reservation_time
    if first is None or first < gate.open_time:
        found.append(f"the first hold is of {first}, the opening of {gate.open_time}")
    for item in gate.items:
        if item.available + item.reserved + item.sold != item.allocated or item.sold != SOLD:
            found.append(f"the sale's units do not add up: {item}")
    stock = ending.stock
    if stock and stock["available"] + stock["reserved"] + stock["sold"] != stock["capacity"]:
        found.append(f"the pool's units do not add up: {stock}")
    return found


def _of_the_history(seen: Observer) -> list[str]:
    """Look at every version of every object: nothing in it ever goes back."""
    found: list[str] = []
    fence, rank, armed = 0, 0, None
    for version in seen.versions[SALES]:
        status = version.get("status", {})
        new_fence = status.get("gate", {}).get("fence", fence)
        if new_fence < fence:
            found.append(f"the gate's fence fell from {fence} to {new_fence}")
        new_armed = status.get("timeline", {}).get("armedTime")
        if armed is not None and new_armed != armed:
            found.append(f"armedTime changed from {armed} to {new_armed}")
        fence, armed = new_fence, new_armed or armed
        phase = status.get("phase")
        if phase not in RANKS:
            continue
        new_rank = RANKS.index(phase)
        if new_rank < min(rank, RANKS.index("Open")):
            found.append(f"the phase went back to {phase}")
        rank = max(rank, new_rank)
    highest = max(each["spec"].get("minReplicas") or 0 for each in seen.versions[SCALERS])
    if highest != WARM_REPLICAS:
        found.append(f"minReplicas rose to {highest}, not to {WARM_REPLICAS}")
    return found


def _data(found: Json) -> Any:
    """Return a ConfigMap's data, JSON in it decoded."""
    data = {}
    for name, text in (found.get("data") or {}).items():
        try:
            data[name] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            data[name] = text
    return data
