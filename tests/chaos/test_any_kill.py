"""After any single kill -9 the platform sells again within ten seconds of the process being back, and loses nothing."""

import asyncio
import time

import pytest

from chaos.scene import until

SELLS_WITHIN_SECONDS = 10.0
HOLD_SECONDS = 5
PAYING_SECONDS = 6.0 + 1.0 + 5.0 + 2.0  # recovery and the pin sweep of conftest, with their rounds
GRACE_SECONDS = 10.0
PARTS = ("inventory", "checkout-0", "payment", "redis", "postgres", "mariadb", "kafka")
OTHERS = ("order", "notification", "user", "gateway-0", "nginx", "psp", "operator")


@pytest.mark.parametrize(
    "part", [*PARTS, *(pytest.param(part, marks=pytest.mark.variant) for part in OTHERS)]
)
async def test_the_platform_sells_again_and_nothing_stays_held(
    stage, servers, tmp_path, request, part
):
    if part == "operator":
        await asyncio.to_thread(servers, part)
    async with stage.sale(tmp_path, units=4, hold_seconds=HOLD_SECONDS) as scene:
        left, paying, pressing, fresh = scene.buyers[:4]
        await left.hold()
        await paying.hold()
        await stage.stores.behave(delayMillis=200)
        calls = [asyncio.create_task(paying.pay()), asyncio.create_task(pressing.press())]
        await asyncio.sleep(0.3)  # somewhere in the middle of both
        await stage.kill(part)
        await asyncio.wait(calls, timeout=20.0)
        await stage.start(part)
        back = time.monotonic()
        if part != "psp":
            await stage.stores.behave()
        assert await fresh.press_on(deadline=back + SELLS_WITHIN_SECONDS) == "HELD"
        assert await fresh.pay_on(deadline=back + SELLS_WITHIN_SECONDS) == "PAID"
        sold_after = time.monotonic() - back
        assert sold_after <= SELLS_WITHIN_SECONDS
        request.node.add_report_section("call", "sells again", f"{part}: after {sold_after:.2f} s")
        held = "SELECT order_id, state FROM reservation JOIN reservation_line USING (order_id) "
        await until(
            "nothing HELD or PAYING, although nobody came back",
            lambda: stage.stores.fetch(
                "inventory",
                f"{held} WHERE product_id = $1 AND state IN ('HELD', 'PAYING')",
                scene.product,
            ),
            lambda rows: rows == [],
            within_seconds=max(HOLD_SECONDS, PAYING_SECONDS) + GRACE_SECONDS,
        )
        assert await paying.pay_on() in ("PAID", "DECLINED", "HOLD_EXPIRED")
        await scene.judge()
