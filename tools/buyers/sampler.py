"""Looks at a product's counters and ledger all through a run; how densely it could is for the checker to show."""

import asyncio
import contextlib

import asyncpg

from . import stores
from .history import Recorder, Sample, now_ms

SAMPLE_SECONDS = 0.1
SAMPLE_RETRY_SECONDS = 0.5
SAMPLE = """
SELECT i.available_qty, i.reserved_qty, i.sold_qty, i.total_qty,
       coalesce(sum(l.qty) FILTER (WHERE r.state IN ('HELD', 'PAYING')), 0) AS ledger_reserved,
       coalesce(sum(l.qty) FILTER (WHERE r.state = 'SOLD'), 0) AS ledger_sold,
       coalesce(sum(l.qty) FILTER (WHERE r.state = 'RETURNED'), 0) AS ledger_returned
FROM inventory i
LEFT JOIN reservation_line l ON l.product_id = i.product_id
LEFT JOIN reservation r ON r.order_id = l.order_id
WHERE i.product_id = $1
GROUP BY i.product_id
"""


async def sample_until(
    stop: asyncio.Event, addresses: stores.Addresses, product: str, recorder: Recorder
) -> None:
    """Record the product's counters some ten times a second until ``stop``; a store that is away is waited for."""
    while not stop.is_set():
        try:
            async with stores.postgres(addresses.inventory_dsn) as connection:
                while not stop.is_set():
                    at, wall = now_ms()
                    row = await connection.fetchrow(SAMPLE, product)
                    if row is not None:
                        recorder.sampled(_sample(row, at, wall))
                    await _pause(stop, SAMPLE_SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await _pause(stop, SAMPLE_RETRY_SECONDS)


def _sample(row: asyncpg.Record, at: float, wall: float) -> Sample:
    return Sample(
        at=at,
        wall=wall,
        available=row["available_qty"],
        reserved=row["reserved_qty"],
        sold=row["sold_qty"],
        total=row["total_qty"],
        ledger_reserved=int(row["ledger_reserved"]),
        ledger_sold=int(row["ledger_sold"]),
        ledger_returned=int(row["ledger_returned"]),
    )


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
