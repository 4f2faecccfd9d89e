"""Remembers which products transactions moved until somebody takes them; of orders, whose products nobody looked up."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import Counter

MAX_CHANGES = 10_000
FORGOTTEN = Counter(
    "doorbuster_availability_changes_forgotten", "Changes that found too many waiting already"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Names of what changed, and the monotonic time of the oldest change among them."""

    products: list[str]
    orders: list[str]
    since: float


class Changes:
    """What changed, each name once; ``wake`` is set when there is something."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self._products: dict[str, float] = {}
        self._orders: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._products) + len(self._orders)

    def of_products(self, product_ids: Iterable[str]) -> None:
        """Note that a transaction moved units of these products."""
        self._note(self._products, product_ids)

    def of_orders(self, order_ids: Iterable[str]) -> None:
        """Note that a transaction moved units of these orders' products."""
        self._note(self._orders, order_ids)

    def take(self, at_most: int) -> Batch:
        """Return the oldest changes and forget them: at most so many products and so many orders."""
        products, orders = list(self._products)[:at_most], list(self._orders)[:at_most]
        times = [self._products.pop(name) for name in products]
        times += [self._orders.pop(name) for name in orders]
        return Batch(products=products, orders=orders, since=min(times, default=0.0))

    def _note(self, known: dict[str, float], names: Iterable[str]) -> None:
        now = time.monotonic()
        for name in names:
            if name not in known and len(known) >= MAX_CHANGES:
                FORGOTTEN.inc()
                continue
            known.setdefault(name, now)
        if known:
            self.wake.set()
