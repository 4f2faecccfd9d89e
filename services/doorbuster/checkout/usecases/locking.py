"""The locks of an order's lines whose sales want one order at a time; without Redis the order goes on without them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from doorbuster import escrow
from doorbuster.checkout.domain.orders import PricedLine, PricedOrder
from doorbuster.checkout.ports import Locks

from . import meters


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Whether it is the order's turn: ``kept`` is the line whose lock others kept until the time was up.

    ``is_direct`` when Redis did not answer for some line: PostgreSQL decides alone, as it does anyway.
    """

    kept: PricedLine | None = None
    is_direct: bool = False


@asynccontextmanager
async def take_turn(
    locks: Locks, order: PricedOrder, seconds_left: Callable[[], float]
) -> AsyncIterator[Turn]:
    """Hold the locks of all lines that need one, taken in product order, while the context is open."""
    async with AsyncExitStack() as held:
        turn = Turn()
        for line in order.lines:
            if not line.needs_lock:
                continue
            try:
                is_held = await held.enter_async_context(
                    locks.hold(line.product_id, within_seconds=max(0.0, seconds_left()))
                )
            except escrow.EscrowAwayError:
                meters.DEGRADED.labels("lock").inc()
                turn = Turn(is_direct=True)
                break
            if not is_held:
                turn = Turn(kept=line)
                break
        yield turn
