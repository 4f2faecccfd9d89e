"""The properties of an InventoryPool; seen in inventory's stock and, where that cannot tell, in the status."""

import asyncio
from typing import Any

from .stage import POOL, RARELY_SECONDS, IgnoredError, Stage, until
from .table import Verdict, mutates, refusal, swing

QUICK_SECONDS = 5
QUIET_SECONDS = 8.0
QUIET_ATTEMPTS = 2


async def _swing_stock(
    stage: Stage, field: str, attribute: str, values: tuple[int, int]
) -> Verdict:
    name = await stage.pool()

    async def look() -> Any:
        return getattr(await stage.stock(name), attribute, None)

    return await swing(
        stage,
        POOL,
        name,
        there={field: values[1]},
        back={field: values[0]},
        look=look,
        values=values,
        seen_in=f"inventory's {attribute}",
    )


@mutates("InventoryPool.sku")
async def sku(stage: Stage) -> Verdict:
    name = await stage.pool()

    async def look() -> Any:
        stock = await stage.stock(name)
        return None if stock is None else (stock.capacity, stock.owner_uid)

    await until(look, lambda seen: seen is not None, "the stock")
    return Verdict(words=await refusal(stage, POOL, name, {"sku": "another"}, look))


@mutates("InventoryPool.capacity")
async def capacity(stage: Stage) -> Verdict:
    return await _swing_stock(stage, "capacity", "capacity", (5, 8))


@mutates("InventoryPool.safetyStock")
async def safety_stock(stage: Stage) -> Verdict:
    return await _swing_stock(stage, "safetyStock", "safety_stock", (0, 2))


@mutates("InventoryPool.auditIntervalSeconds")
async def audit_interval(stage: Stage) -> Verdict:
    """Units that are held behind the operator's back are in the status as soon as the counters are read."""
    name, sale = await stage.sale(opens_in=3, reservationTimeoutSeconds=10)

    async def look() -> Any:
        return (await stage.status(POOL, name)).get("reserved")

    async def phase() -> Any:
        return (await stage.status("FlashSale", name)).get("phase")

    await until(phase, lambda seen: seen == "Open", "the sale's phase")
    await stage.hold(sale)
    await stage.change(POOL, name, {"auditIntervalSeconds": QUICK_SECONDS})
    went = await until(look, lambda seen: seen == 1, "the reserved units in the status")
    await stage.change(POOL, name, {"auditIntervalSeconds": RARELY_SECONDS})
    asked = (await stage.kube.get(POOL, name))["metadata"]["generation"]

    async def generation() -> Any:
        return (await stage.status(POOL, name)).get("observedGeneration")

    await until(generation, lambda seen: seen == asked, "the generation in the status")
    # Nothing may happen for longer than the short interval; once it may, by another pool that asks every 30 s.
    for _ in range(QUIET_ATTEMPTS):
        before = await look()
        await stage.hold(sale)
        await asyncio.sleep(QUIET_SECONDS)
        if await look() == before:
            how = "how soon status.reserved follows"
            return Verdict(seen_in=how, there_seconds=went, back_seconds=QUIET_SECONDS)
    raise IgnoredError("the counters are still read every few seconds")


@mutates("InventoryPool.reclaimPolicy")
async def reclaim_policy(stage: Stage) -> Verdict:
    """It matters when the pool goes: one goes with the policy changed, one with the policy changed back."""
    changed, restored = await stage.pool(), await stage.pool()
    seconds = []
    for name, left in ((changed, 0), (restored, 5)):

        async def look(sku: str = name) -> Any:
            return getattr(await stage.stock(sku), "capacity", None)

        await until(look, lambda seen: seen == 5, "the stock")
        await stage.change(POOL, name, {"reclaimPolicy": "Delete"})
        if name is restored:
            await stage.change(POOL, name, {"reclaimPolicy": "Retain"})
        await stage.delete(POOL, name)
        seconds.append(await until(look, left.__eq__, "the stock left"))
    return Verdict(
        seen_in="inventory's stock after the pool",
        there_seconds=seconds[0],
        back_seconds=seconds[1],
    )
