"""What is searched: the rules in bounded worlds, and each rule taken away once, which must be seen to fail."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from . import payment_state, permit_state
from .payments import Payments
from .permits import Permits
from .search import Found, Model, search
from .textbook import Textbook

Kind = Literal["rules", "control", "ablation"]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """``must_break`` is part of the violation that must be found; None: there must be none.

    A control is clean with a worker switched off that would otherwise hide what an ablation breaks. ``is_deep``
    leaves a scenario to ``make explore``.
    """

    name: str
    kind: Kind
    model: Model[Any]
    must_break: str | None = None
    is_deep: bool = False

    def run(self) -> Found:
        """Search it."""
        return search(self.model)

    def is_as_expected(self, found: Found) -> bool:
        """Tell whether the search ended as it must."""
        if self.must_break is None:
            return found.violation is None
        return found.violation is not None and self.must_break in found.violation


def scenarios() -> Iterator[Scenario]:
    """Return all of them, the quick ones of each kind first."""
    yield from _rules()
    yield from _deep_rules()
    yield from _controls()
    yield from _ablations_of_permits()
    yield from _ablations_of_payments()


def _permits(
    buyers: int, units: int, without: str = "", *, forgives_phantoms: bool = False, **left: int
) -> Permits:
    return Permits(
        buyers=buyers,
        units=units,
        left=permit_state.Left(**left),
        without=frozenset(without.split()),
        forgives_phantoms=forgives_phantoms,
    )


def _payments(attempts: int, without: str = "", **left: int) -> Payments:
    return Payments(
        attempts=attempts, left=payment_state.Left(**left), without=frozenset(without.split())
    )


def _rules() -> Iterator[Scenario]:
    for name, model in (
        ("3 buyers, 2 units, a crash", _permits(3, 2, crashes=1)),
        ("3 buyers, 1 unit, Redis lost", _permits(3, 1, flushes=1)),
        ("a crash and Redis lost", _permits(2, 1, crashes=1, flushes=1)),
        ("a crash and Redis rolled back", _permits(2, 1, crashes=1, rollbacks=1)),
        ("Redis rolled back and lost", _permits(2, 1, rollbacks=1, flushes=1)),
        (
            "an outage, a decline, a buyer leaves, Redis forgets",
            _permits(2, 1, outages=1, declines=1, leaves=1, forgets=1),
        ),
        ("a stock change and a crash", _permits(2, 1, restocks=1, crashes=1)),
        ("a reversal, a stock change", _permits(2, 1, reversals=1, restocks=1)),
        ("two warm at once, a crash", _permits(2, 1, eager=1, crashes=1)),
        (
            "1 attempt, everything once but the broker",
            _payments(1, crashes=1, duplicates=1, cancels=1, lapses=1, takeovers=1),
        ),
        ("2 attempts, a crash", _payments(2, crashes=1)),
        ("2 attempts, a duplicate, the broker lost", _payments(2, duplicates=1, broker_losses=1)),
    ):
        yield Scenario(name=name, kind="rules", model=model)
    cured = Textbook(buyers=3, decrements_under_lock=True)
    yield Scenario(name="the lock, with the decrement under it", kind="rules", model=cured)


def _deep_rules() -> Iterator[Scenario]:
    for name, model in (
        ("3 buyers, 2 units, Redis rolled back", _permits(3, 2, rollbacks=1)),
        ("3 buyers, 1 unit, a crash and Redis lost", _permits(3, 1, crashes=1, flushes=1)),
        (
            "2 buyers, a crash, Redis lost, an outage, a decline",
            _permits(2, 1, crashes=1, flushes=1, outages=1, declines=1, forgets=1),
        ),
        (
            "1 attempt, everything once but the broker, 2 crashes",
            _payments(1, crashes=2, duplicates=1, cancels=1, lapses=1, takeovers=1),
        ),
        (
            "reversals told until heard: the broker lost, a cancel, a lapse",
            dataclasses.replace(
                _payments(1, crashes=1, broker_losses=1, cancels=1, lapses=1),
                has_reversal_sweep=True,
            ),
        ),
        ("2 attempts, a takeover", _payments(2, takeovers=1)),
        ("2 attempts, a cancel and a lapse", _payments(2, cancels=1, lapses=1)),
        ("2 attempts, a crash and a duplicate", _payments(2, crashes=1, duplicates=1)),
    ):
        yield Scenario(name=name, kind="rules", model=model, is_deep=True)


def _controls() -> Iterator[Scenario]:
    for name, model in (
        ("no reconciler, nothing is lost", _permits(3, 2, "reconciler")),
        (
            "no drift watch, a stock change and a crash",
            _permits(1, 1, "drift_watch", forgives_phantoms=True, restocks=1, crashes=1),
        ),
        ("no sweeps, the outbox loses nothing", _payments(1, "pin_sweep order_sweep", crashes=2)),
    ):
        yield Scenario(name=name, kind="control", model=model)


def _ablations_of_permits() -> Iterator[Scenario]:
    for name, must_break, model in (
        ("no guard in PostgreSQL", "oversold", _permits(2, 1, "guard", outages=1)),
        ("a missing permit is final", "can still be had", _permits(2, 1, "judgement")),
        (
            "no reconciler, Redis rolled back",
            "asks for ever",
            _permits(2, 1, "reconciler", rollbacks=1),
        ),
        (
            "no drift watch, a permit forgets its release",
            "hides a unit",
            _permits(2, 2, "drift_watch drop_settles", forgives_phantoms=True, crashes=1),
        ),
        (
            "no drift watch, a dead order id returns after a minute",
            "hides a unit",
            _permits(2, 2, "drift_watch", forgives_phantoms=True, forgets=1, crashes=1),
        ),
        (
            "no drift watch, an outage",
            "hides a unit",
            _permits(2, 1, "drift_watch", forgives_phantoms=True, outages=1),
        ),
        ("settle and give_back both add", "too many", _permits(3, 2, "reconciler one_adds")),
        (
            "one flag for settled and returned",
            "hides a unit",
            _permits(1, 1, "drift_watch two_flags", forgives_phantoms=True, restocks=1, crashes=1),
        ),
        (
            "no permit reaper",
            "asks for ever",
            _permits(2, 1, "permit_reaper", crashes=1, leaves=1),
        ),
    ):
        yield Scenario(name=name, kind="ablation", must_break=must_break, model=model)
    yield Scenario(
        name="the textbook lock",
        kind="ablation",
        must_break="2 buyers are charged for 1 unit",
        model=Textbook(),
    )


def _ablations_of_payments() -> Iterator[Scenario]:
    no_sweeps = "pin_sweep order_sweep"
    for name, must_break, model in (
        ("no pin", "holds no unit", _payments(1, "pin")),
        ("no outbox", "PAYING at rest", _payments(1, f"outbox {no_sweeps}", crashes=1)),
        ("no dedupe in inventory", "counters", _payments(1, "dedupe", duplicates=1)),
        ("no dedupe in order", "two orders", _payments(1, "order_dedupe", duplicates=1)),
        ("no CANCELLING before the cancel", "cancelled auth", _payments(1, "cancelling")),
        ("no attempt on PaymentFailed", "holds no unit", _payments(2, "attempt_of_failure")),
        ("provider's key per order", "cancelled auth", _payments(2, "key_per_attempt")),
        ("no single live row", "is told that", _payments(2, "single_live_row")),
        ("no pin sweep, no fault", "PAYING at rest", _payments(2, "pin_sweep")),
        (
            "no pin sweep, broker lost",
            "PAYING at rest",
            _payments(1, "pin_sweep", broker_losses=1),
        ),
        ("no order sweep", "no order", _payments(1, "order_sweep", broker_losses=1)),
        (
            "a reversed payment counts as failed, a held order can be sold",
            "0 payments kept",
            _payments(1, "own_verdict paying_only", cancels=1),
        ),
        (
            "a reversal is told only once, broker lost",
            "0 payments kept",
            _payments(1, cancels=1, broker_losses=1),
        ),
    ):
        yield Scenario(name=name, kind="ablation", must_break=must_break, model=model)
