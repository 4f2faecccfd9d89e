"""The table of ``list``: the columns of ``kubectl get fsale``, aligned the same way (pure)."""

from collections.abc import Sequence
from datetime import datetime

from .model import FlashSale
from .times import span, stamp

GAP = 3
COLUMNS = ("NAME", "PHASE", "OPENS", "CLOSES", "SOLD", "AVAILABLE", "READY", "AGE")
WIDE_COLUMNS = ("NEXT", "RESERVED", "EPOCH", "SKEW", "MESSAGE")


def lines(
    sales: Sequence[FlashSale], now: datetime, *, is_wide: bool, has_namespaces: bool
) -> list[str]:
    """Return the heading and one line per sale."""
    heading = ("NAMESPACE",) * has_namespaces + COLUMNS + WIDE_COLUMNS * is_wide
    rows = [heading]
    for sale in sales:
        cells = (sale.metadata.namespace,) * has_namespaces + _cells(sale, now)
        rows.append(cells + _wide_cells(sale) * is_wide)
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines whose columns begin at the same place."""
    widths = [max(map(len, column)) + GAP for column in zip(*rows, strict=True)]
    return [
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _cells(sale: FlashSale, now: datetime) -> tuple[str, ...]:
    status, made = sale.status, sale.metadata.creation_timestamp
    ready = status.condition("Ready")
    counted = status.inventory
    return (
        sale.metadata.name,
        status.phase,
        stamp(sale.spec.open_time),
        stamp(sale.spec.close_time),
        "" if counted is None else str(counted.sold),
        "" if counted is None else str(counted.available),
        "" if ready is None else ready.status,
        "<unknown>" if made is None else span(now - made),
    )


def _wide_cells(sale: FlashSale) -> tuple[str, ...]:
    status = sale.status
    numbers = (
        None if status.inventory is None else status.inventory.reserved,
        status.epoch,
        status.clock.offset_millis,
    )
    return (
        status.next_phase,
        *("" if number is None else str(number) for number in numbers),
        status.summary,
    )
