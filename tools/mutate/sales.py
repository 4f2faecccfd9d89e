"""The properties of a FlashSale that end up in its gate and its phases."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from doorbuster.contracts.control import SaleState
from doorbuster.kit.clock import utc_now

from .stage import (
    POOL,
    PRICE,
    SALE,
    IgnoredError,
    Stage,
    fresh_name,
    right_after,
    stamp,
    until,
)
from .table import Verdict, mutates, refusal, swing

ARMED = {"leadSeconds": 86_400}
SOON_SECONDS = 3.0
Read = Callable[[SaleState], Any]


def _gate(stage: Stage, sale: Mapping[str, Any], read: Read) -> Callable[[], Any]:
    async def look() -> Any:
        gate = await stage.gate(sale)
        return None if gate is None else read(gate)

    return look


def _status(stage: Stage, kind: str, name: str, field: str) -> Callable[[], Any]:
    async def look() -> Any:
        return (await stage.status(kind, name)).get(field)

    return look


async def _swing_gate(
    stage: Stage,
    there: Mapping[str, Any],
    back: Mapping[str, Any],
    read: Read,
    values: tuple[Any, Any],
    **spec: Any,
) -> Verdict:
    """Change a sale that is armed there and back; its gate follows."""
    name, sale = await stage.sale(warmup=ARMED, **spec)
    return await swing(
        stage,
        SALE,
        name,
        there=there,
        back=back,
        look=_gate(stage, sale, read),
        values=values,
        seen_in="the gate",
    )


async def _before_armed(
    stage: Stage,
    change: Callable[[dict[str, Any]], Mapping[str, Any]],
    read: Read,
    *,
    spec: Callable[[str], Mapping[str, Any]] = lambda name: {},
) -> Verdict:
    """Change what is locked once the gate is armed: one sale is armed with it, one with it changed back.

    ``read`` takes a value of the gate, which differs between the two; the first is then locked.
    """
    seconds, seen = [], []
    for is_restored in (False, True):
        pool = await stage.pool()
        name, sale = await stage.sale(name=pool, **spec(pool))
        original = sale["spec"]
        changed = change(original)
        restored = {field: original.get(field) for field in changed}
        await until(
            _status(stage, SALE, name, "phase"), lambda phase: phase == "Scheduled", "the phase"
        )
        await stage.change(SALE, name, changed)
        if is_restored:
            await stage.change(SALE, name, restored)
        await stage.change(SALE, name, {"warmup": ARMED})
        look = _gate(stage, sale, read)
        seconds.append(await until(look, lambda gate: gate is not None, "the gate"))
        seen.append(await look())
        if not is_restored:
            armed = _status(stage, SALE, name, "timeline")
            await until(armed, lambda line: "armedTime" in (line or {}), "the armed time")
            await refusal(stage, SALE, name, restored, look)
    if seen[0] == seen[1]:
        raise IgnoredError(f"the gate has {seen[0]}, changed or not")
    return Verdict(
        seen_in="the gate, then locked", there_seconds=seconds[0], back_seconds=seconds[1]
    )


def _first_item(**fields: Any) -> Callable[[dict[str, Any]], Mapping[str, Any]]:
    return lambda spec: {"items": [spec["items"][0] | fields, *spec["items"][1:]]}


def _later(stamped: str) -> str:
    return stamp(datetime.fromisoformat(stamped) + timedelta(minutes=1))


# --- the gate -------------------------------------------------------------------------------------


@mutates("FlashSale.desiredState")
async def desired_state(stage: Stage) -> Verdict:
    there, back = {"desiredState": "Suspended"}, {"desiredState": "Active"}
    return await _swing_gate(stage, there, back, lambda gate: gate.state, ("Active", "Suspended"))


@mutates("FlashSale.closeTime")
async def close_time(stage: Stage) -> Verdict:
    closes = stamp(utc_now() + timedelta(hours=2))
    values = (datetime.fromisoformat(closes), datetime.fromisoformat(_later(closes)))
    there, back = {"closeTime": _later(closes)}, {"closeTime": closes}
    return await _swing_gate(
        stage, there, back, lambda gate: gate.close_time, values, closeTime=closes
    )


@mutates("FlashSale.reservationTimeoutSeconds")
async def reservation_timeout(stage: Stage) -> Verdict:
    there, back = {"reservationTimeoutSeconds": 60}, {"reservationTimeoutSeconds": 120}
    return await _swing_gate(
        stage, there, back, lambda gate: gate.reservation_timeout_seconds, (120, 60)
    )


@mutates("FlashSale.admission.mode")
async def admission_mode(stage: Stage) -> Verdict:
    room, direct = {"admission": {"mode": "WaitingRoom"}}, {"admission": {"mode": "Direct"}}
    return await _swing_gate(
        stage,
        room,
        direct,
        lambda gate: (gate.state, gate.admit_per_second),
        (("Active", None), ("Active", 7)),
        admission={"mode": "Direct", "ratePerSecond": 7},
    )


@mutates("FlashSale.admission.ratePerSecond")
async def admission_rate(stage: Stage) -> Verdict:
    there, back = {"admission": {"ratePerSecond": 9}}, {"admission": {"ratePerSecond": 7}}
    return await _swing_gate(
        stage,
        there,
        back,
        lambda gate: gate.admit_per_second,
        (7, 9),
        admission={"mode": "WaitingRoom", "ratePerSecond": 7},
    )


@mutates("FlashSale.openTime")
async def open_time(stage: Stage) -> Verdict:
    return await _before_armed(
        stage,
        lambda spec: {"openTime": _later(spec["openTime"])},
        lambda gate: (gate.close_time - gate.open_time).total_seconds(),
    )


@mutates("FlashSale.strategy")
async def strategy(stage: Stage) -> Verdict:
    return await _before_armed(stage, lambda _: {"strategy": "Lock"}, lambda gate: gate.strategy)


@mutates("FlashSale.items")
async def items(stage: Stage) -> Verdict:
    other = await stage.pool()
    item = {"sku": other, "poolName": other, "price": PRICE}
    return await _before_armed(
        stage, lambda spec: {"items": [*spec["items"], item]}, lambda gate: len(gate.items)
    )


@mutates("FlashSale.items[].quantity")
async def quantity(stage: Stage) -> Verdict:
    return await _before_armed(
        stage, _first_item(quantity=2), lambda gate: gate.items[0].allocated
    )


@mutates("FlashSale.items[].perUserLimit")
async def per_user_limit(stage: Stage) -> Verdict:
    return await _before_armed(
        stage, _first_item(perUserLimit=3), lambda gate: gate.items[0].per_user_limit
    )


@mutates("FlashSale.items[].price.amountMinor")
async def amount(stage: Stage) -> Verdict:
    price = PRICE | {"amountMinor": 12_300}
    return await _before_armed(
        stage, _first_item(price=price), lambda gate: gate.items[0].price_minor
    )


@mutates("FlashSale.items[].price.currency")
async def currency(stage: Stage) -> Verdict:
    return await _before_armed(
        stage, _first_item(price=PRICE | {"currency": "EUR"}), lambda gate: gate.items[0].currency
    )


@mutates("FlashSale.items[].sku")
async def item_sku(stage: Stage) -> Verdict:
    name, sale = await stage.sale()
    item = sale["spec"]["items"][0]

    async def look() -> str:
        return await stage.reason(SALE, name, "PoolsBound")

    return await swing(
        stage,
        SALE,
        name,
        there={"items": [item | {"sku": "another"}]},
        back={"items": [item]},
        look=look,
        values=("Bound", "SkuMismatch"),
        seen_in="the condition PoolsBound",
    )


@mutates("FlashSale.items[].poolName")
async def pool_name(stage: Stage) -> Verdict:
    name, sale = await stage.sale()
    other = await stage.pool()
    item = sale["spec"]["items"][0]

    async def look() -> tuple[int, int]:
        found = [(await stage.status(POOL, pool)).get("boundSales", []) for pool in (name, other)]
        return len(found[0]), len(found[1])

    return await swing(
        stage,
        SALE,
        name,
        there={"items": [item | {"poolName": other}]},
        back={"items": [item]},
        look=look,
        values=((1, 0), (0, 1)),
        seen_in="the sales that are bound to each pool",
    )


# --- times and phases -----------------------------------------------------------------------------


@mutates("FlashSale.warmup.leadSeconds")
async def lead(stage: Stage) -> Verdict:
    name, sale = await stage.sale()
    opens = datetime.fromisoformat(sale["spec"]["openTime"])
    verdict = await swing(
        stage,
        SALE,
        name,
        there={"warmup": {"leadSeconds": 700}},
        back={"warmup": {"leadSeconds": 600}},
        look=_status(stage, SALE, name, "nextTransitionTime"),
        values=(stamp(opens - timedelta(seconds=600)), stamp(opens - timedelta(seconds=700))),
        seen_in="the next transition, and when the gate is armed",
    )
    await stage.change(SALE, name, {"warmup": ARMED})
    await until(
        _gate(stage, sale, lambda gate: gate.armed), lambda armed: armed is True, "armed at once"
    )
    return verdict


@mutates("FlashSale.lateOpenPolicy")
async def late_open_policy(stage: Stage) -> Verdict:
    """Two sales whose pool comes after the opening: one with the policy changed, one with it changed back."""
    changed, _ = await stage.sale(name=fresh_name(), opens_in=6)
    restored, sale = await stage.sale(name=fresh_name(), opens_in=6)
    opens = datetime.fromisoformat(sale["spec"]["openTime"])
    for name in (changed, restored):
        await stage.change(SALE, name, {"lateOpenPolicy": "Reject"})
    await stage.change(SALE, restored, {"lateOpenPolicy": "OpenImmediately"})

    async def reason() -> str:
        return await stage.reason(SALE, changed, "Open")

    async def is_late() -> bool:
        return utc_now() > opens + timedelta(seconds=1)

    missed = await until(reason, lambda seen: seen == "MissedOpening", "the condition Open")
    await until(is_late, bool, "the opening")
    await stage.pool(restored)
    phase = _status(stage, SALE, restored, "phase")
    late = await until(phase, lambda seen: seen == "Open", "the phase of a late sale")
    return Verdict(seen_in="what a late sale does", there_seconds=missed, back_seconds=late)


async def _closed(stage: Stage, **spec: Any) -> tuple[str, dict[str, Any]]:
    """Make a sale that was open and is closed, and settles in an hour."""
    name, sale = await stage.sale(opens_in=SOON_SECONDS, settlement={"graceSeconds": 3600}, **spec)
    phase = _status(stage, SALE, name, "phase")
    await until(phase, lambda seen: seen == "Open", "the phase")
    await stage.change(SALE, name, {"closeTime": right_after(sale["spec"]["openTime"])})
    await until(phase, lambda seen: seen == "Closed", "the phase")
    return name, sale


@mutates("FlashSale.settlement.graceSeconds")
async def grace(stage: Stage) -> Verdict:
    name, _ = await _closed(stage)
    due = _status(stage, SALE, name, "nextTransitionTime")
    await until(due, lambda seen: seen is not None, "the settlement's time")
    settles = datetime.fromisoformat(await due())

    async def look() -> int:
        return round((datetime.fromisoformat(await due()) - settles).total_seconds())

    verdict = await swing(
        stage,
        SALE,
        name,
        there={"settlement": {"graceSeconds": 3660}},
        back={"settlement": {"graceSeconds": 3600}},
        look=look,
        values=(0, 60),
        seen_in="when the sale settles",
    )
    await stage.change(SALE, name, {"settlement": {"graceSeconds": 0}})
    phase = _status(stage, SALE, name, "phase")
    await until(phase, lambda seen: seen == "Settled", "settled at once")
    return verdict


@mutates("FlashSale.ttlSecondsAfterSettled")
async def ttl(stage: Stage) -> Verdict:
    """Two cancelled sales: one goes after a second, one with the change taken back stays and is read-only then."""
    (changed, _), (restored, _) = await stage.sale(), await stage.sale()
    for name in (changed, restored):
        await stage.change(SALE, name, {"ttlSecondsAfterSettled": 1})
    await stage.change(SALE, restored, {"ttlSecondsAfterSettled": None})
    for name in (restored, changed):
        await stage.change(SALE, name, {"desiredState": "Cancelled"})

    async def is_gone() -> bool:
        return await stage.kube.get(SALE, changed) is None

    gone = await until(is_gone, bool, "the sale shall be gone")
    phase = _status(stage, SALE, restored, "phase")
    stays = await until(phase, lambda seen: seen == "Cancelled", "the phase")
    found = await stage.kube.get(SALE, restored)
    if found is None or "deletionTimestamp" in found["metadata"]:
        raise IgnoredError("the sale without a time to live went all the same")
    await refusal(stage, SALE, restored, {"ttlSecondsAfterSettled": 1}, phase)
    return Verdict(seen_in="when the object goes", there_seconds=gone, back_seconds=stays)
