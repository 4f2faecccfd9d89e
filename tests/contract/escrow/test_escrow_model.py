"""Random histories of the permits on a real Redis, compared step by step with a model of a few lines."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from doorbuster import escrow
from doorbuster.escrow import Fate
from doorbuster.kit import redis

PRODUCT = "prod_model"
LIMIT = 3
ORDERS = st.sampled_from(["a", "b", "c", "d"])
USERS = {"a": "u", "b": "u", "c": "v", "d": "w"}
AGES = st.sampled_from([-1, 0, 0, 0, 1])


@dataclass
class Entry:
    quantity: int
    state: str = "I"
    is_returned: bool = False
    is_counted: bool = True


@dataclass
class Model:
    """What Redis must hold: permits and entries of one epoch."""

    epoch: int = 0
    permits: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)
    is_cold: bool = True

    @property
    def unsettled(self) -> int:
        return sum(entry.quantity for entry in self.entries.values() if entry.state == "I")

    def units_of(self, user: str) -> int:
        return sum(
            entry.quantity
            for order, entry in self.entries.items()
            if USERS[order] == user and entry.is_counted
        )

    def permit(self, order: str, quantity: int) -> str:
        if self.is_cold:
            return "COLD"
        entry = self.entries.get(order)
        if entry and (entry.state != "N" or entry.is_returned):
            return "GRANTED"
        if self.units_of(USERS[order]) + quantity > LIMIT:
            return "USER_LIMIT"
        if quantity > self.permits:
            return "OUT"
        self.permits -= quantity
        self.entries[order] = Entry(quantity)
        return "GRANTED"

    def settle(self, order: str, epoch: int, fate: Fate) -> int:
        entry = self.entries.get(order)
        if self.is_cold or epoch != self.epoch or entry is None or entry.state != "I":
            return 0
        entry.state = "S" if fate in (Fate.KEEP, Fate.RELEASED) else "N"
        if fate is Fate.RETURN:
            self.permits += entry.quantity
        if fate in (Fate.RETURN, Fate.PHANTOM):
            entry.is_counted = False
        return 1

    def give_back(self, order: str, epoch: int, quantity: int) -> bool:
        if self.is_cold or epoch > self.epoch:
            return False
        if epoch < self.epoch:
            return True
        entry = self.entries.setdefault(order, Entry(quantity, state="N", is_counted=False))
        if not entry.is_returned:
            entry.is_returned = True
            entry.is_counted = False
            self.permits += quantity
        return True

    def load(self, epoch: int, permits: int) -> bool:
        if not self.is_cold and epoch <= self.epoch:
            return False
        self.epoch, self.permits, self.entries, self.is_cold = epoch, permits, {}, False
        return True


class Machine(RuleBasedStateMachine):
    """One history; the model answers first, Redis must agree."""

    url = ""

    @staticmethod
    def empty() -> None:
        """Empty the Redis of ``url``."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.empty()
        self.model = Model()
        self.runner = asyncio.Runner()
        self.opened = redis.open_servers(self.url)
        self.desk = escrow.Escrow(self.runner.run(self.opened.__aenter__()), permit_seconds=600)

    def teardown(self) -> None:
        self.runner.run(self.opened.__aexit__(None, None, None))
        self.runner.close()

    @rule(order=ORDERS, quantity=st.integers(1, 2))
    def permit(self, order: str, quantity: int) -> None:
        request = escrow.PermitRequest(
            order_id=order, user_id=USERS[order], product_id=PRODUCT, quantity=quantity
        )
        answer = self.runner.run(self.desk.permit(request))
        assert answer.outcome == self.model.permit(order, quantity)
        assert answer.epoch == (0 if self.model.is_cold else self.model.epoch)

    @rule(order=ORDERS, age=AGES, fate=st.sampled_from(list(Fate)))
    def settle(self, order: str, age: int, fate: Fate) -> None:
        epoch = self.model.epoch + age
        item = escrow.Settlement(order_id=order, product_id=PRODUCT, epoch=epoch, fate=fate)
        assert self.runner.run(self.desk.settle([item])) == self.model.settle(order, epoch, fate)

    @rule(order=ORDERS, age=AGES, quantity=st.integers(1, 2))
    def give_back(self, order: str, age: int, quantity: int) -> None:
        epoch = self.model.epoch + age
        known = self.model.entries.get(order)
        if known is not None:
            quantity = known.quantity
        item = escrow.Return(order_id=order, product_id=PRODUCT, epoch=epoch, quantity=quantity)
        (done,) = self.runner.run(self.desk.give_back([item]))
        assert done == self.model.give_back(order, epoch, quantity)

    @rule(age=st.sampled_from([0, 1, 2]), permits=st.integers(0, 5))
    def load(self, age: int, permits: int) -> None:
        now = int(time.time() * 1000)
        gate = escrow.Gate(
            sale_uid="sale",
            open_at_millis=now - 1000,
            close_at_millis=now + 3_600_000,
            state="Active",
            per_user_limit=LIMIT,
        )
        epoch = self.model.epoch + age
        loaded = self.runner.run(self.desk.load(PRODUCT, epoch=epoch, permits=permits, gate=gate))
        assert loaded == self.model.load(epoch, permits)

    @rule()
    def flush(self) -> None:
        self.empty()
        self.model.is_cold = True
        self.model.entries = {}

    @invariant()
    def numbers_agree(self) -> None:
        held = self.runner.run(self.desk.snapshot([PRODUCT]))
        if self.model.is_cold:
            assert held == {}
        else:
            found = held[PRODUCT]
            assert (found.epoch, found.permits, found.unsettled) == (
                self.model.epoch,
                self.model.permits,
                self.model.unsettled,
            )


def test_redis_agrees_with_the_model(redis_url: str, flush: Callable[[str], None]) -> None:
    class Here(Machine):
        url = redis_url

        @staticmethod
        def empty() -> None:
            flush(redis_url)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
