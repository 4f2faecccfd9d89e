"""Reserve, judge and pin: single calls of many checkouts share one transaction (group commit)."""

import asyncio
import collections
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram

from doorbuster.contracts import internal
from doorbuster.escrow import Escrow, EscrowAwayError, Settlement
from doorbuster.inventory.domain import PermitUsed, settlements
from doorbuster.inventory.storage.ledger import Ledger, Reserved
from doorbuster.inventory.storage.pool import StoreAwayError
from doorbuster.kit import failpoints, telemetry
from doorbuster.kit.coalescer import Coalescer

from .warm import Warmer

MAX_ORDERS_PER_TRANSACTION = 512
MAX_CALLS_PER_BATCH = 16
MAX_OWNERS = 1_000
MAX_CALLS_WAITING = 2_000
MAX_SETTLEMENTS_WAITING = 1_000
OUTCOMES = Counter("doorbuster_inventory_reservations", "Answers to reserve", ["outcome"])
JUDGEMENTS = Counter("doorbuster_inventory_judgements", "Answers to judge", ["outcome"])
PINS = Counter("doorbuster_inventory_pins", "Answers to pin", ["outcome"])
BATCH = Histogram(
    "doorbuster_inventory_batch_orders",
    "Orders of one transaction",
    ["kind"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)


class Traced(Protocol):
    """An item of a batch that belongs to a trace of its own."""

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context of its caller."""
        ...


Item = TypeVar("Item", bound=Traced)
Answer = TypeVar("Answer")


@contextmanager
def _spans(name: str, items: Sequence[Traced]) -> Iterator[None]:
    spans = [
        telemetry.start_span(name, SpanKind.SERVER, {"traceparent": item.traceparent})
        for item in items
        if item.traceparent
    ]
    try:
        yield
    finally:
        for span in spans:
            span.end()


def rounds(items: Sequence[Any], key: Callable[[Any], str]) -> list[dict[str, list[int]]]:
    """Split a batch so that no order id comes twice in one transaction.

    Each round maps an order id to the positions that ask for the very same thing, which share an answer.
    """
    found: list[dict[str, list[int]]] = []
    for position, item in enumerate(items):
        name = key(item)
        for group in found:
            known = group.get(name)
            if known is None:
                if len(group) >= MAX_ORDERS_PER_TRANSACTION:
                    continue
                group[name] = [position]
                break
            if items[known[0]] == item:
                known.append(position)
                break
        else:
            found.append({name: [position]})
    return found


class Reserver:
    """Group-commits reservations and settles their permits after the commit."""

    def __init__(self, ledger: Ledger, escrow: Escrow, warmer: Warmer) -> None:
        self._ledger = ledger
        self._escrow = escrow
        self._warmer = warmer
        self._settling: set[asyncio.Task[None]] = set()
        self._reserve: Coalescer[list[internal.ReserveItem], list[internal.ReserveResult]] = (
            Coalescer(
                self._reserve_calls,
                max_batch=MAX_CALLS_PER_BATCH,
                max_queue=MAX_CALLS_WAITING,
            )
        )
        self._judge: Coalescer[list[internal.JudgeItem], list[internal.ReserveResult]] = Coalescer(
            self._judge_calls, max_batch=MAX_CALLS_PER_BATCH, max_queue=MAX_CALLS_WAITING
        )
        self._pin: Coalescer[list[internal.PinItem], list[internal.PinResult]] = Coalescer(
            self._pin_calls, max_batch=MAX_CALLS_PER_BATCH, max_queue=MAX_CALLS_WAITING
        )

    async def reserve(self, items: list[internal.ReserveItem]) -> list[internal.ReserveResult]:
        """Reserve; answers in the order of the items. Raises StoreAwayError, QueueFullError."""
        with _spans("reserve", items):
            return await self._reserve.submit(items)

    async def judge(self, items: list[internal.JudgeItem]) -> list[internal.ReserveResult]:
        """Judge; answers in the order of the items. Raises StoreAwayError, QueueFullError.

        Refusals are what a rush is made of, so they get no span of their own (35 us each, five times the
        judgement itself); checkout's span has the answer.
        """
        return await self._judge.submit(items)

    async def owners(self, results: Sequence[internal.ReserveResult]) -> dict[str, list[str]]:
        """Return who owns units of each product that was just called SOLD_OUT, where few enough do.

        Asked after the verdicts: from then on nobody new can own one without a restock. Best effort, because
        checkout only saves work by it.
        """
        names = {result.product_id for result in results if result.outcome == "SOLD_OUT"}
        wanted = sorted(name for name in names if name is not None)
        if not wanted:
            return {}
        try:
            return await self._ledger.owners(wanted, limit=MAX_OWNERS)
        except StoreAwayError:
            return {}

    async def pin(self, items: list[internal.PinItem]) -> list[internal.PinResult]:
        """Pin; answers in the order of the items. Raises StoreAwayError, QueueFullError."""
        with _spans("pin", items):
            return await self._pin.submit(items)

    async def close(self) -> None:
        """Finish what is under way."""
        for coalescer in (self._reserve, self._judge, self._pin):
            await coalescer.close()
        if self._settling:
            await asyncio.wait(self._settling, timeout=2.0)

    async def _reserve_calls(
        self, calls: list[list[internal.ReserveItem]]
    ) -> list[list[internal.ReserveResult] | Exception]:
        items = [item for call in calls for item in call]
        results: list[internal.ReserveResult | None] = [None] * len(items)
        for group in rounds(items, lambda item: item.order_id):
            firsts = [items[positions[0]] for positions in group.values()]
            BATCH.labels("reserve").observe(len(firsts))
            failpoints.reach("inventory.reserve.begun")
            stored = await self._ledger.reserve(firsts)
            failpoints.reach("inventory.reserve.committed")
            self._after_commit(firsts, stored)
            for positions, item, one in zip(group.values(), firsts, stored, strict=True):
                OUTCOMES.labels(one.outcome).inc(len(positions))
                for position in positions:
                    results[position] = internal.ReserveResult(
                        order_id=item.order_id,
                        outcome=one.outcome,
                        pay_by=one.pay_by,
                        product_id=one.failed_product,
                    )
        return _by_call(calls, results)

    def _after_commit(
        self, items: Sequence[internal.ReserveItem], stored: Sequence[Reserved]
    ) -> None:
        ended: list[Settlement] = []
        stale: set[str] = set()
        for item, one in zip(items, stored, strict=True):
            if one.outcome == "STALE_EPOCH" and one.failed_product is not None:
                stale.add(one.failed_product)
            ended += settlements(
                [
                    PermitUsed(
                        order_id=item.order_id, product_id=line.product_id, epoch=line.epoch
                    )
                    for line in item.lines
                    if line.epoch is not None
                ],
                outcome=one.outcome,
                failed_product=one.failed_product,
                stored_state=one.stored_state,
                stored_epochs=one.stored_epochs,
            )
        if stale:
            self._warmer.suspect(stale)
        # What is not settled now is found by the permit reaper.
        if ended and len(self._settling) < MAX_SETTLEMENTS_WAITING:
            task = asyncio.create_task(self._settle(ended))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def _settle(self, ended: Sequence[Settlement]) -> None:
        try:
            await self._escrow.settle(ended)
            failpoints.reach("inventory.reserve.settled")
        except EscrowAwayError as error:
            telemetry.log().debug("settlement_skipped", error=str(error))

    async def _judge_calls(
        self, calls: list[list[internal.JudgeItem]]
    ) -> list[list[internal.ReserveResult] | Exception]:
        items = [item for call in calls for item in call]
        results: list[internal.ReserveResult] = []
        for start in range(0, len(items), MAX_ORDERS_PER_TRANSACTION):
            part = items[start : start + MAX_ORDERS_PER_TRANSACTION]
            BATCH.labels("judge").observe(len(part))
            results += await self._ledger.judge(part)
        stale: set[str] = set()
        for outcome, count in collections.Counter(result.outcome for result in results).items():
            JUDGEMENTS.labels(outcome).inc(count)
        for item, result in zip(items, results, strict=True):
            if result.outcome == "STALE_EPOCH":
                stale.add(item.product_id)
        if stale:
            self._warmer.suspect(stale)
        return _by_call(calls, results)

    async def _pin_calls(
        self, calls: list[list[internal.PinItem]]
    ) -> list[list[internal.PinResult] | Exception]:
        items = [item for call in calls for item in call]
        results: list[internal.PinResult | None] = [None] * len(items)
        for group in rounds(items, lambda item: item.order_id):
            firsts = [items[positions[0]] for positions in group.values()]
            BATCH.labels("pin").observe(len(firsts))
            answers = await self._ledger.pin(firsts)
            failpoints.reach("inventory.pin.committed")
            for positions, answer in zip(group.values(), answers, strict=True):
                PINS.labels(answer.outcome).inc(len(positions))
                for position in positions:
                    results[position] = answer
        return _by_call(calls, results)


def _by_call(
    calls: Sequence[Sequence[Any]], results: Sequence[Answer | None]
) -> list[list[Answer] | Exception]:
    answers = iter(results)
    split: list[list[Answer] | Exception] = []
    for call in calls:
        mine = [next(answers) for _ in call]
        split.append([answer for answer in mine if answer is not None])
    return split
