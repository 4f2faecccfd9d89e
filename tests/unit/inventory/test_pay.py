"""Payment's events, whatever their order and however often they come, against reservations in memory."""

import itertools
from datetime import UTC, datetime

import pytest

from doorbuster.contracts import events, internal
from doorbuster.inventory.consumers import PaymentEvents
from doorbuster.inventory.usecases.pay import Payments, PinSweep
from doorbuster.kit import client
from doorbuster.kit.consumer import Delivery


class Pins:
    """One reservation with the transitions of the ledger."""

    def __init__(self, state: str = "PAYING", attempt: int = 2) -> None:
        self.state = state
        self.attempt = attempt
        self.stock = 0

    async def stale_pins(self, older_than_seconds, *, again_seconds, limit):
        if self.state != "PAYING":
            return []
        return [internal.Attempt(order_id="o", attempt=self.attempt)]

    async def decline(self, attempts):
        hit = self.state == "PAYING" and any(a.attempt == self.attempt for a in attempts)
        if hit:
            self.state = "HELD"
        return int(hit)

    async def confirm(self, attempts):
        if self.state == "PAYING" and any(a.attempt == self.attempt for a in attempts):
            self.state = "SOLD"
        return {"o": (self.state, self.attempt)}

    async def take_back(self, attempts):
        if self.state not in ("SOLD", "PAYING") or all(
            a.attempt != self.attempt for a in attempts
        ):
            return []
        self.state = "RETURNED"
        self.stock += 1
        return ["p"]


class Warmer:
    def __init__(self) -> None:
        self.loaded: list[list[str]] = []

    async def load_new(self, products):
        self.loaded.append(products)
        return True


def failed(attempt: int) -> events.PaymentFailed:
    return events.PaymentFailed(
        order_id="o", user_id="u", payment_id="t", attempt=attempt, reason="declined", topic="x"
    )


def reversed_(attempt: int) -> events.PaymentReversed:
    return events.PaymentReversed(
        order_id="o", user_id="u", payment_id="t", attempt=attempt, reason="refund"
    )


def succeeded(attempt: int) -> events.PaymentSucceeded:
    return events.PaymentSucceeded(
        order_id="o",
        user_id="u",
        payment_id="t",
        attempt=attempt,
        lines=[],
        amount_minor=1,
        currency="EUR",
        topic="x",
        paid_at=datetime(2026, 11, 27, tzinfo=UTC),
    )


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize(
    "order", list(itertools.permutations([failed(1), succeeded(2), reversed_(2), failed(1)]))
)
async def test_a_paid_and_reversed_order_is_returned_once_in_every_order(order, size):
    pins, warmer = Pins(), Warmer()
    consumer = PaymentEvents(Payments(pins, warmer))
    deliveries = [Delivery(event=event, topic="orders", carrier={}) for event in order * 2]
    for start in range(0, len(deliveries), size):
        await consumer.handle(deliveries[start : start + size])
    assert (pins.state, pins.stock) == ("RETURNED", 1)
    assert warmer.loaded == [["p"]]


class Verdicts:
    def __init__(self, verdict: str, *, attempt: int = 2, order: str = "o") -> None:
        self.answer = internal.Verdict(order_id=order, attempt=attempt, verdict=verdict)

    async def verdicts(self, attempts):
        return [self.answer]


@pytest.mark.parametrize(
    ("verdicts", "state"),
    [
        (Verdicts("SUCCEEDED"), "SOLD"),
        (Verdicts("FAILED"), "HELD"),
        (Verdicts("PENDING"), "PAYING"),
        (Verdicts("UNKNOWN"), "PAYING"),
        (Verdicts("FAILED", attempt=1), "PAYING"),
        (Verdicts("SUCCEEDED", order="another"), "PAYING"),
    ],
)
async def test_the_sweep_applies_a_verdict_to_the_attempt_it_asked_about(verdicts, state):
    pins = Pins()
    sweep = PinSweep(pins, verdicts, Payments(pins, Warmer()), older_than_seconds=1)
    assert await sweep.step() is False
    assert pins.state == state


async def test_the_sweep_waits_while_payment_is_away():
    class Away:
        async def verdicts(self, attempts):
            raise client.UnavailableError("away")

    pins = Pins()
    assert (
        await PinSweep(pins, Away(), Payments(pins, Warmer()), older_than_seconds=1).step()
        is False
    )
    assert pins.state == "PAYING"
