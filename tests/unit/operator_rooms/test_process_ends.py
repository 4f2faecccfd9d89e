"""What an end leaves behind: an election that failed is not won, and a keeper that ended waits for no pass."""

import asyncio
from types import SimpleNamespace

import pytest

from doorbuster_operator import app, metrics
from doorbuster_operator.cluster import ClusterError
from doorbuster_operator.keeper import Keeper
from doorbuster_operator.sale import model
from doorbuster_operator.sale.lifecycle import decide
from doorbuster_operator.sale_keeper import SaleSubject
from doorbuster_operator.testing.builders import OPEN, after, build_gate, build_sale, build_seen


class BrokenElection:
    """An election whose candidate dies of what nobody foresaw."""

    async def acquire(self):
        raise ValueError("a lease that cannot be read")


async def test_an_election_that_failed_is_not_won():
    with pytest.raises(ValueError, match="cannot be read"):
        await app._until_elected(BrokenElection(), asyncio.Event())


class Idle:
    """A subject that sleeps after its first pass."""

    kind = "idle"
    name = "one"

    async def run_pass(self):
        return None


def depth():
    return metrics.QUEUE_DEPTH.labels("idle")._value.get()


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_keeper_that_ends_while_a_pass_is_due_leaves_the_queue(has_begun):
    keeper = Keeper(Idle(), now=lambda: OPEN, on_fenced=lambda error: None)
    if has_begun:
        await asyncio.sleep(0)
    keeper.wake()
    assert depth() == 1
    await keeper.stop()
    assert depth() == 0
    keeper.wake()
    assert depth() == 0, "nobody will come for it"


class Statuses:
    """An API server that refuses the first status."""

    def __init__(self):
        self.refusals = 1

    async def apply_status(self, about, plural, status):
        if self.refusals:
            self.refusals -= 1
            raise ClusterError("away")
        price = {"currency": "USD", "amountMinor": 1}
        return {
            "metadata": {**about["metadata"], "generation": 1},
            "spec": {
                "openTime": "2026-11-27T12:00:00Z",
                "closeTime": "2026-11-27T12:10:00Z",
                "items": [{"sku": "s", "poolName": "p", "price": price}],
            },
            "status": status,
        }


async def test_the_delay_of_an_opening_is_observed_once_however_often_its_status_is_written():
    world = SimpleNamespace(cluster=Statuses(), monotonic=lambda: 0.0, keep_sale=lambda sale: True)
    subject = SaleSubject(world, "drop", "sale-uid", lambda name: None)
    sale = build_sale(status=model.Status(phase=model.Phase.OPEN))
    seen = build_seen(gate=build_gate(first_reservation_time=after(0.25)))
    decision = decide(sale, seen, after(1))
    before = metrics.OPEN_DELAY._sum.get()
    arguments = (sale, seen, decision, {}, after(1))
    with pytest.raises(ClusterError):
        await subject._write(*arguments)
    assert metrics.OPEN_DELAY._sum.get() == before
    await subject._write(*arguments)
    assert metrics.OPEN_DELAY._sum.get() - before == pytest.approx(0.25)
