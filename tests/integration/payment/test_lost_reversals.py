"""A reversal of which the broker lost every word: the service asks, tells again, and asks until all know."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from doorbuster.contracts import events

KAFKA = True
WITHIN_SECONDS = 60.0


async def _until(is_so: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not await is_so():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)


async def _counted(world: Any, name: str, label: str) -> float:
    """Return a counter of the reversal sweep from the service's metrics."""
    async with world.session.get(f"{world.payment.admin_url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    begin = f"doorbuster_worker_{name}_total{{"
    found = [line for line in lines if line.startswith(begin) and "reversal_sweep" in line]
    return sum(float(line.rpartition(" ")[2]) for line in found if f'"{label}"' in line)


async def test_a_lost_reversal_is_told_again_until_inventory_and_order_know(
    world: Any, broker: Any, buyer: str
) -> None:
    order_id = world.neighbours.place(buyer)
    world.neighbours.known.add(order_id)
    await world.pay(buyer, order_id)
    await world.until_states(order_id, "CAPTURED", within_seconds=WITHIN_SECONDS)
    world.neighbours.holding.add(order_id)  # SOLD there, whatever the broker brought
    world.neighbours.away.add("orders:unreversed")
    await broker.cancel(order_id, buyer)
    await world.until_states(order_id, "REFUNDED", within_seconds=WITHIN_SECONDS)

    async def told_again() -> bool:
        told = await broker.heard(order_id, "PaymentReversed")
        reversals = [event for event in told if isinstance(event, events.PaymentReversed)]
        assert {(event.attempt, event.reason) for event in reversals} == {(1, "changed my mind")}
        return len(reversals) >= 3

    await _until(told_again, "told again, though order is away")
    assert await _counted(world, "postponed", "order_away") > 0
    world.neighbours.holding.clear()  # the unit is RETURNED
    world.neighbours.away.clear()
    world.neighbours.confirmed.add(order_id)
    before = await _counted(world, "repaired", "published_again")

    async def told_for_order() -> bool:
        return await _counted(world, "repaired", "published_again") > before

    await _until(told_for_order, "told again for order")
    world.neighbours.confirmed.clear()

    async def is_over() -> bool:
        query = "SELECT ask_order_at FROM payment WHERE order_id = :id"
        [row] = await world.rows(query, id=order_id)
        return row["ask_order_at"] is None

    await _until(is_over, "nobody is asked any more")
