"""The workers of inventory while what they need is dead, and after it is back: they wait, they count, they go on."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import REGISTRY

from devstack.stack import Stack
from doorbuster.contracts import internal
from doorbuster.inventory.storage import StoreAwayError
from doorbuster.inventory.usecases.pay import PinSweep
from doorbuster.kit import client, ids, workers

WITHIN_SECONDS = 60.0


def postponed(worker: str, reason: str) -> float:
    labels = {"worker": worker, "reason": reason}
    return REGISTRY.get_sample_value("doorbuster_worker_postponed_total", labels) or 0.0


def oldest(worker: str) -> float:
    labels = {"worker": worker}
    return REGISTRY.get_sample_value("doorbuster_worker_oldest_open_seconds", labels) or 0.0


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not await condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {WITHIN_SECONDS} s: {what}")
        await asyncio.sleep(0.1)


def watch(shop) -> workers.Watch:
    return workers.Watch(
        {
            "hold_reaper": shop.holds.oldest_seconds,
            "permit_reaper": shop.permits.oldest_seconds,
            "permit_return": shop.returns.oldest_seconds,
            "reconciler": shop.reconciler.oldest_seconds,
            "warmer": shop.warmer.oldest_seconds,
        }
    )


async def test_without_redis_units_are_released_and_their_permits_wait(shop, sku, stack: Stack):
    await shop.pool(sku, 3)
    await shop.sale(sku)
    await shop.buy(sku, f"{sku}-a")
    await shop.permit(sku, f"{sku}-in-flight")
    await shop.reserver.close()
    eyes = watch(shop)
    stack.kill("redis")
    try:
        before = postponed("permit_return", "redis_away")
        await shop.expire(f"{sku}-a")
        assert await shop.counters(sku) == (3, 0, 0)
        assert postponed("permit_return", "redis_away") == before + 1
        assert await shop.permits.step() is False
        before = postponed("reconciler", "redis_away")
        await shop.reconciler.step()
        assert postponed("reconciler", "redis_away") > before
        shop.warmer.suspect([ids.product_id(sku)])
        with pytest.raises(ConnectionError):
            await shop.warmer.step()
        await asyncio.sleep(0.2)
        with pytest.raises(ConnectionError):  # the permit reaper cannot see
            await eyes.step()
        for worker in ("permit_reaper", "permit_return", "reconciler", "warmer"):
            assert oldest(worker) >= 0.2, worker
        assert (await shop.direct(sku, f"{sku}-b")).outcome == "HELD"
    finally:
        await asyncio.to_thread(stack.restart, "redis")

    async def all_home() -> bool:
        await shop.reconciler.step()
        await shop.permits.step()
        await shop.returns.step()
        await shop.warmer.step()
        await eyes.step()
        return await shop.permits_left(sku) == (2, 0) and oldest("permit_return") == 0

    await until(all_home, "every permit is home")
    await shop.reconciler.step()
    await eyes.step()
    assert [oldest(name) for name in ("permit_reaper", "reconciler", "warmer")] == [0, 0, 0]
    assert await shop.counters(sku) == (2, 1, 0)


async def test_without_postgresql_every_worker_fails_loudly_and_goes_on_after_it(
    shop, sku, stack: Stack
):
    await shop.pool(sku, 3)
    await shop.sale(sku)
    await shop.buy(sku, f"{sku}-a")
    await shop.reserver.close()
    await shop.row(
        "UPDATE reservation SET expires_at = clock_timestamp() WHERE order_id = $1", f"{sku}-a"
    )
    eyes = watch(shop)
    await eyes.step()
    stack.kill("postgres")
    try:
        for worker in (shop.holds, shop.permits, shop.returns, shop.reconciler):
            with pytest.raises(StoreAwayError):
                await worker.step()
        await asyncio.sleep(0.3)
        with pytest.raises(StoreAwayError):
            await eyes.step()
        for name in ("hold_reaper", "permit_reaper", "permit_return", "reconciler"):
            assert oldest(name) >= 0.3, name
    finally:
        await asyncio.to_thread(stack.restart, "postgres")

    async def all_done() -> bool:
        try:
            await shop.holds.step()
            await shop.returns.step()
            await shop.permits.step()
            await shop.reconciler.step()
            await eyes.step()
        except StoreAwayError:  # connections of before the crash
            return False
        return oldest("hold_reaper") == 0 and oldest("permit_return") == 0

    await until(all_done, "the hold is released and its permit home")
    assert await shop.state(f"{sku}-a") == "RELEASED"
    assert await shop.counters(sku) == (3, 0, 0)


class Silence:
    """Payment that does not answer."""

    async def verdicts(self, attempts):
        raise client.UnavailableError("payment does not answer")


async def test_without_payment_pins_stay_are_counted_and_are_asked_about_soon_again(shop, sku):
    await shop.pool(sku, 1)
    await shop.sale(sku)
    await shop.buy(sku, f"{sku}-a")
    await shop.pin(f"{sku}-a")
    await shop.row(
        "UPDATE reservation SET asked_at = asked_at - interval '1 minute',"
        " pinned_at = pinned_at - interval '1 minute' WHERE order_id = $1",
        f"{sku}-a",
    )
    sweep = PinSweep(shop.ledger, Silence(), shop.payments, older_than_seconds=10.0)
    before = postponed("pin_sweep", "payment_away")
    assert await sweep.step() is False
    assert postponed("pin_sweep", "payment_away") == before + 1
    assert await shop.state(f"{sku}-a") == "PAYING"
    # Nobody else asks just now, but within seconds, long before the pin is ten seconds older.
    assert await shop.ledger.stale_pins(10.0, again_seconds=2.0, limit=10) == []
    again: list[internal.Attempt] = []

    async def is_due() -> bool:
        again.extend(await shop.ledger.stale_pins(10.0, again_seconds=2.0, limit=10))
        return bool(again)

    began = time.monotonic()
    await until(is_due, "the pin is due again")
    assert 1.0 < time.monotonic() - began < 8.0
    assert again == [internal.Attempt(order_id=f"{sku}-a", attempt=1)]
    assert 50 <= await sweep.oldest_seconds() <= 110
