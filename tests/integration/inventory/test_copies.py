"""Three copies of every worker step at once against one backlog: each case ends once, none waits in a circle."""

import asyncio
from collections import Counter

import pytest

from doorbuster.contracts import internal
from doorbuster.escrow import PermitRequest
from doorbuster.inventory.usecases.pay import PinSweep
from doorbuster.kit import ids
from doorbuster.testing.meters import repaired

ORDERS = 450
WITHIN_SECONDS = 60


async def all_step(steps, is_done, *, passes: int = 200) -> None:
    """Step all copies at the same time, again and again; any error of a step fails the test."""
    async with asyncio.timeout(WITHIN_SECONDS):
        for _ in range(passes):
            await asyncio.gather(*(step() for step in steps))
            if await is_done():
                return
    raise AssertionError(f"not done after {passes} passes")


async def count(shop, what: str, *arguments: object) -> int:
    row = await shop.row(f"SELECT count(*) AS n FROM {what}", *arguments)
    return row["n"]


@pytest.fixture
async def names(copies, sku):
    """Five products on sale, with units for all orders, in a ledger that holds nothing else."""
    await copies[0].row(
        "TRUNCATE inventory, sale, sale_item, user_sale_qty, reservation, reservation_line,"
        " permit_return, outbox"
    )
    found = [f"{sku}-{letter}" for letter in "abcde"]
    for name in found:
        await copies[0].pool(name, 2 * ORDERS)
        await copies[0].sale(name)
    return found


async def hold(shop, names, orders: int) -> list[str]:
    """Hold two products with each order, in both directions, without permits."""
    made = [f"{names[0]}-o{n}" for n in range(orders)]
    items = []
    for n, order in enumerate(made):
        two = [names[n % 5], names[(n + 1 + n // 5 % 3) % 5]]
        items.append(shop.item(order, *(shop.line(name) for name in two[:: (-1) ** n])))
    for start in range(0, orders, 150):
        outcomes = await shop.reserve(*items[start : start + 150])
        assert set(outcomes) == {"HELD"}
    return made


async def test_holds_are_released_once_and_their_permits_go_back_once(copies, names):
    shop = copies[0]
    await hold(shop, names, ORDERS)
    full = await shop.escrow.snapshot([ids.product_id(name) for name in names])
    await shop.row("UPDATE reservation SET expires_at = clock_timestamp() WHERE state = 'HELD'")
    before, before_returns = repaired("hold_reaper"), repaired("permit_return")

    async def none_held() -> bool:
        return await count(shop, "reservation WHERE state = 'HELD'") == 0

    await all_step([copy.holds.step for copy in copies], none_held)
    assert repaired("hold_reaper") - before == {"released": ORDERS}
    events = "outbox WHERE type = 'OrderExpired' AND event_key LIKE $1 || '%'"
    assert await count(shop, events, names[0]) == ORDERS
    assert await count(shop, "permit_return") == 2 * ORDERS
    for name in names:
        assert await shop.counters(name) == (2 * ORDERS, 0, 0)

    async def none_waits() -> bool:
        return await count(shop, "permit_return") == 0

    await all_step([copy.returns.step for copy in copies], none_waits)
    assert repaired("permit_return") - before_returns == {"brought": 2 * ORDERS}
    now = await shop.escrow.snapshot(list(full))
    came = {product: now[product].permits - full[product].permits for product in full}
    assert sum(came.values()) == 2 * ORDERS


async def test_a_return_whose_copy_died_after_the_claim_is_brought_by_another(copies, names):
    shop, other = copies[0], copies[1]
    await hold(shop, names, 5)
    await shop.row("UPDATE reservation SET expires_at = clock_timestamp() WHERE state = 'HELD'")
    await shop.holds.step()
    claimed = await shop.stock.claim_returns(lease_seconds=0.2, limit=100)
    assert len(claimed) == 10
    assert await other.stock.claim_returns(lease_seconds=0.2, limit=100) == []

    async def none_waits() -> bool:
        await asyncio.sleep(0.05)
        return await count(shop, "permit_return") == 0

    await all_step([other.returns.step], none_waits)


async def test_overdue_permits_are_settled_once(copies, names):
    shop = copies[0]
    orders = [f"{names[0]}-p{n}" for n in range(300)]
    product_id = ids.product_id(names[0])
    granted = await asyncio.gather(
        *(
            copies[n % 3].escrow.permit(
                PermitRequest(
                    order_id=order, user_id=f"user_{order}", product_id=product_id, quantity=1
                )
            )
            for n, order in enumerate(orders)
        )
    )
    # Every second one reserved, and its process died before it settled.
    for n in range(0, 300, 2):
        line = shop.line(names[0], epoch=granted[n].epoch)
        await shop.ledger.reserve([shop.item(orders[n], line)])
    before = repaired("permit_reaper")

    async def none_in_flight() -> bool:
        await asyncio.sleep(0.05)
        return (await shop.permits_left(names[0]))[1] == 0

    await all_step([copy.permits.step for copy in copies], none_in_flight)
    assert repaired("permit_reaper") - before == {"kept": 150, "given_back": 150}
    assert await shop.permits_left(names[0]) == (2 * ORDERS - 150, 0)
    assert await shop.counters(names[0]) == (2 * ORDERS - 150, 150, 0)


class Payment:
    """Says of every third attempt that it failed, else that it succeeded; notes what it was asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def verdicts(self, attempts):
        self.asked.update(attempt.order_id for attempt in attempts)
        await asyncio.sleep(0.02)
        return [
            internal.Verdict(
                order_id=attempt.order_id,
                attempt=attempt.attempt,
                verdict="SUCCEEDED" if int(attempt.order_id.rpartition("-o")[2]) % 3 else "FAILED",
            )
            for attempt in attempts
        ]


async def test_pins_are_asked_about_by_one_copy_at_a_time(copies, names):
    shop = copies[0]
    orders = await hold(shop, names, ORDERS)
    await asyncio.gather(*(shop.pin(order) for order in orders))
    await shop.row(
        "UPDATE reservation SET asked_at = asked_at - interval '10 minutes' WHERE state = 'PAYING'"
    )
    payment = Payment()
    sweeps = [
        PinSweep(copy.ledger, payment, copy.payments, older_than_seconds=60.0) for copy in copies
    ]
    before = repaired("pin_sweep")

    async def none_paying() -> bool:
        return await count(shop, "reservation WHERE state = 'PAYING'") == 0

    await all_step([sweep.step for sweep in sweeps], none_paying)
    assert repaired("pin_sweep") - before == {"sold": ORDERS * 2 // 3, "declined": ORDERS // 3}
    assert payment.asked == Counter(orders)
    sold = [await shop.counters(name) for name in names]
    assert sum(counters[2] for counters in sold) == 2 * (ORDERS * 2 // 3)


async def test_a_lost_redis_is_loaded_with_the_truth_whoever_comes_first(copies, names):
    shop = copies[0]
    await hold(shop, names, 30)
    products = [ids.product_id(name) for name in names]
    await shop.redis_client.flushdb()
    before = repaired("reconciler")
    for _ in range(4):
        await asyncio.gather(*(copy.reconciler.step() for copy in copies))
    loads = sum((repaired("reconciler") - before).values())
    assert len(products) <= loads <= len(products) * len(copies)
    held = await shop.escrow.snapshot(products)
    facts = {fact.product_id: fact for fact in await shop.stock.facts(products)}
    for product in products:
        assert (held[product].epoch, held[product].permits) == (
            facts[product].epoch,
            facts[product].sellable,
        )
    before = repaired("reconciler")
    await asyncio.gather(*(copy.reconciler.step() for copy in copies))
    assert repaired("reconciler") == before


async def test_permits_that_drifted_are_put_right_by_all_copies_together(copies, names):
    shop = copies[0]
    product = ids.product_id(names[0])
    await shop.redis_client.hincrby(f"{{{product}}}:st", "a", -7)
    for _ in range(4):
        await asyncio.gather(*(copy.reconciler.step() for copy in copies))
    assert await shop.permits_left(names[0]) == (2 * ORDERS, 0)
