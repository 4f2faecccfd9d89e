"""The properties of a FlashSale about capacity; seen in autoscalers, in the gate and in the status."""

from collections.abc import Mapping
from typing import Any

from .stage import SALE, Stage, right_after, until
from .table import Verdict, mutates, swing

ARMED = {"leadSeconds": 86_400}


def _target(scaler: str, **fields: Any) -> dict[str, Any]:
    target = {"name": "main", "hpaName": scaler, "warmReplicas": 4, "cooldownSeconds": 3600}
    return {"scaling": {"targets": [target | fields]}}


async def _warming(
    stage: Stage, *, ready: int = 4, warmup: Mapping[str, Any] | None = None
) -> tuple[str, dict[str, Any], str]:
    """Make a sale whose warm-up has begun, with one target."""
    scaler = await stage.autoscaler(ready=ready)
    name, sale = await stage.sale(warmup=ARMED | dict(warmup or {}), **_target(scaler))
    return name, sale, scaler


@mutates("FlashSale.warmup.minReadyPercent")
async def min_ready_percent(stage: Stage) -> Verdict:
    name, _, _ = await _warming(stage, ready=2)

    async def look() -> str:
        return await stage.reason(SALE, name, "CapacityWarmed")

    return await swing(
        stage,
        SALE,
        name,
        there={"warmup": {"minReadyPercent": 50}},
        back={"warmup": {"minReadyPercent": 90}},
        look=look,
        values=("NotReady", "Warmed"),
        seen_in="the condition CapacityWarmed",
    )


@mutates("FlashSale.warmup.onNotReady")
async def on_not_ready(stage: Stage) -> Verdict:
    name, sale, _ = await _warming(stage, ready=0)

    async def look() -> str | None:
        gate = await stage.gate(sale)
        return None if gate is None else gate.state

    return await swing(
        stage,
        SALE,
        name,
        there={"warmup": {"onNotReady": "Hold"}},
        back={"warmup": {"onNotReady": "OpenAnyway"}},
        look=look,
        values=("Active", "Suspended"),
        seen_in="the gate",
    )


@mutates("FlashSale.scaling.targets")
async def targets(stage: Stage) -> Verdict:
    scaler = await stage.autoscaler(ready=4)
    name, _ = await stage.sale(warmup=ARMED)
    return await swing(
        stage,
        SALE,
        name,
        there=_target(scaler),
        back={"scaling": {"targets": []}},
        look=lambda: stage.min_replicas(scaler),
        values=(1, 4),
        seen_in="the autoscaler's minReplicas",
    )


@mutates("FlashSale.scaling.targets[].name")
async def target_name(stage: Stage) -> Verdict:
    name, _, scaler = await _warming(stage)

    async def look() -> list[str]:
        return [each["name"] for each in (await stage.status(SALE, name)).get("scaling", [])]

    return await swing(
        stage,
        SALE,
        name,
        there=_target(scaler, name="other"),
        back=_target(scaler),
        look=look,
        values=(["main"], ["other"]),
        seen_in="the targets in the status",
    )


@mutates("FlashSale.scaling.targets[].hpaName")
async def hpa_name(stage: Stage) -> Verdict:
    name, _, scaler = await _warming(stage)
    other = await stage.autoscaler(ready=4)

    async def look() -> tuple[int, int]:
        return await stage.min_replicas(scaler), await stage.min_replicas(other)

    return await swing(
        stage,
        SALE,
        name,
        there=_target(other),
        back=_target(scaler),
        look=look,
        values=((4, 1), (1, 4)),
        seen_in="minReplicas of both autoscalers",
    )


@mutates("FlashSale.scaling.targets[].warmReplicas")
async def warm_replicas(stage: Stage) -> Verdict:
    name, _, scaler = await _warming(stage)
    return await swing(
        stage,
        SALE,
        name,
        there=_target(scaler, warmReplicas=6),
        back=_target(scaler),
        look=lambda: stage.min_replicas(scaler),
        values=(4, 6),
        seen_in="the autoscaler's minReplicas",
    )


@mutates("FlashSale.scaling.targets[].cooldownSeconds")
async def cooldown(stage: Stage) -> Verdict:
    """A sale that has closed keeps its replicas as long as it says."""
    scaler = await stage.autoscaler(ready=4)
    name, sale = await stage.sale(opens_in=3, settlement={"graceSeconds": 3600}, **_target(scaler))

    async def phase() -> Any:
        return (await stage.status(SALE, name)).get("phase")

    await until(phase, lambda seen: seen == "Open", "the phase")
    await stage.change(SALE, name, {"closeTime": right_after(sale["spec"]["openTime"])})
    await until(phase, lambda seen: seen == "Closed", "the phase")
    return await swing(
        stage,
        SALE,
        name,
        there=_target(scaler, cooldownSeconds=0),
        back=_target(scaler),
        look=lambda: stage.min_replicas(scaler),
        values=(4, 1),
        seen_in="the autoscaler's minReplicas after the close",
    )
