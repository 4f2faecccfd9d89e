"""A payment service made of fakes."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from doorbuster.payment.domain import Attempt, Limits, Purchase, State
from doorbuster.payment.usecases import (
    Capture,
    OrderSweep,
    Pay,
    PayCommand,
    Recovery,
    Reversal,
    Settlement,
    Verdicts,
    reversals,
    sales,
)
from doorbuster.testing import payments

LIMITS = Limits(
    answer_within=timedelta(milliseconds=250), ask_again_after=timedelta(milliseconds=1)
)


@dataclass
class Shop:
    """All use cases over fakes; time stands still unless it is moved."""

    limits: Limits = LIMITS
    clock: payments.FakeClock = field(default_factory=payments.FakeClock)
    provider: payments.FakeProvider = field(default_factory=payments.FakeProvider)
    others: payments.FakeNeighbours = field(default_factory=payments.FakeNeighbours)
    announced: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = payments.FakePaymentStore(limits=self.limits)
        parts: dict[str, Any] = {"store": self.store, "clock": self.clock}
        told = {"announce": lambda: self.announced.append(True)}
        timed = {"limits": self.limits, "provider": self.provider}
        self.settlement = Settlement(
            **parts, **told, provider=self.provider, inventory=self.others
        )
        numbers = iter(range(1, 1000))
        self.payer = Pay(
            **parts,
            **timed,
            checkout=self.others,
            settlement=self.settlement,
            new_id=lambda: f"txn_{next(numbers)}",
            secret="s",
        )
        self.recovery = Recovery(**parts, **timed, settlement=self.settlement)
        self.capture = Capture(**parts, **timed, **told)
        self.reversal = Reversal(**parts, **timed, **told)
        told_again: dict[str, Any] = {**parts, **told, "limits": self.limits}
        self.sweep = OrderSweep(**told_again, news=sales(self.others))
        self.reversal_sweep = OrderSweep(**told_again, news=reversals(self.others, self.others))
        self.verdicts = Verdicts(store=self.store)

    async def pay(
        self, bought: Purchase, method: Any = payments.GOOD_CARD, **more: Any
    ) -> Attempt:
        """Pay an order as its buyer."""
        command = PayCommand(
            order_id=bought.order_id, method=method, **{"user_id": bought.user_id} | more
        )
        return await self.payer.pay(command)

    def state(self, bought: Purchase, attempt: int = 1) -> State:
        return self.store.attempts[(bought.order_id, attempt)].state

    def told(self) -> list[str]:
        """Return the types of all events so far."""
        return [event.type for _, event in self.store.told]


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def bought(shop: Shop) -> Purchase:
    """An order that waits for its payment."""
    made = payments.purchase(topic="sale.a.b.orders")
    shop.others.place(made)
    return made
