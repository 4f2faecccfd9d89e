"""Three copies of the order sweep at once on one store: each unpaid order is asked about by one, and settled."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from prometheus_client import REGISTRY

from doorbuster.contracts import internal
from doorbuster.kit import database, migrations
from doorbuster.order import domain, storage
from doorbuster.order.domain import State
from doorbuster.order.usecases import Orders
from doorbuster.testing import stories
from doorbuster.testing.orders import FakeCheckout

ORDERS = 160
DUE = stories.at(121) + domain.SWEEP_MARGIN
FATES = {0: "RELEASED", 1: "SOLD", 2: "TOMB", 3: "PAYING"}


@dataclass
class Inventory:
    """Answers by the order's number, a while later; notes what it was asked."""

    asked: Counter[str] = field(default_factory=Counter)
    is_away: bool = False

    async def find_reservation(self, order_id: str) -> internal.ReservationState | None:
        self.asked[order_id] += 1
        await asyncio.sleep(0.001)
        if self.is_away:
            raise ConnectionError("inventory does not answer")
        number = next(n for n in range(ORDERS) if stories.order_id(n) == order_id)
        return internal.ReservationState(
            order_id=order_id,
            state=FATES[number % 4],  # type: ignore[arg-type]
            attempt=1,
            expires_at=None,
        )


def counted(metric: str, label: str) -> Counter[str]:
    return Counter(
        {
            sample.labels[label]: int(sample.value)
            for found in REGISTRY.collect()
            for sample in found.samples
            if sample.name == f"doorbuster_worker_{metric}_total"
            and sample.labels["worker"] == "unpaid_order_sweep"
        }
    )


async def test_each_unpaid_order_is_settled_once_by_one_of_three_copies(fresh_mysql: str) -> None:
    await migrations.upgrade("doorbuster.order", fresh_mysql)
    inventory = Inventory()
    now: datetime = DUE
    async with AsyncExitStack() as opened:
        copies = [
            Orders(
                store=storage.MysqlOrderStore(
                    await opened.enter_async_context(database.open_engine(fresh_mysql))
                ),
                checkout=FakeCheckout(),
                inventory=inventory,
                now=lambda: now,
            )
            for _ in range(3)
        ]
        views = [domain.placed(stories.placed(number)) for number in range(ORDERS)]
        await copies[0].store.merge(domain.merge_all(views), stories.at(1))
        assert await copies[0].oldest_seconds() == 0

        # Without inventory nothing moves, it is counted, and the orders come up again.
        inventory.is_away = True
        now += timedelta(seconds=5)
        await asyncio.gather(*(copy.sweep() for copy in copies), return_exceptions=True)
        assert counted("postponed", "reason")["inventory_away"] == 150
        now += domain.SWEEP_AGAIN
        assert await copies[0].oldest_seconds() == 5 + domain.SWEEP_AGAIN.total_seconds()

        inventory.is_away = False
        inventory.asked.clear()
        before = counted("repaired", "outcome")
        for _ in range(4):
            await asyncio.gather(*(copy.sweep() for copy in copies))
        assert inventory.asked == Counter(stories.order_id(number) for number in range(ORDERS))
        ended = counted("repaired", "outcome") - before
        assert ended == {"expired": ORDERS // 2, "confirmed": ORDERS // 4}
        assert counted("postponed", "reason")["undecided"] == ORDERS // 4
        states = Counter()
        for number in range(ORDERS):
            order = await copies[0].store.find(stories.order_id(number))
            assert order is not None
            states[order.state] += 1
        assert states == {
            State.EXPIRED: ORDERS // 2,
            State.CONFIRMED: ORDERS // 4,
            State.PENDING: ORDERS // 4,
        }
