"""One seed from its plan to its verdict: the sale, the crowd, the strikes beside it, the healing, the judge."""

import asyncio
import contextlib
import dataclasses
import pathlib
import shutil
import time
from collections.abc import Mapping, Sequence

from buyers import crowd, enrol, gates, play, shop, stores
from buyers.history import Recorder
from buyers.kubectl import KubectlError
from buyers.plan import Plan as BuyerPlan
from buyers.plan import draw_plans
from devstack.errors import StackError
from devstack.stack import Stack

from . import faults, plan, report, sale

ENROL_AGAIN_SECONDS = 480.0  # well within the 15 minutes of a token
PATIENCE_SECONDS = 75.0  # of a buyer, from the opening
SEED_SECONDS = 300.0
MARGIN_SECONDS = 10.0
SWEEPS_SECONDS = 5.0  # the slowest worker's turn, twice, and a relay's
LIVING_TOPICS = 3  # of the latest sales; the topics of older ones are gone for good, as those of settled sales are
LOG_BYTES = 4_000_000
TROUBLES = (
    *(StackError, KubectlError, ConnectionError, TimeoutError),
    *(enrol.EnrolmentError, gates.GateError, stores.StoreError),
    *(shop.UnexpectedAnswerError, shop.NoAnswerError),
)


def rest_bound_seconds(drawn: plan.Plan) -> float:
    """Return how long after the last buyer and the last healing something may still be in flight, at most.

    A hold, then a payment whose conversation nobody ended, then a pin that waits for payment's verdict.
    """
    leases = plan.LEASES
    return (
        drawn.hold_seconds
        + leases["DOORBUSTER_PAYMENT_RECOVER_SECONDS"]
        + leases["DOORBUSTER_PIN_SWEEP_SECONDS"]
        + SWEEPS_SECONDS
        + MARGIN_SECONDS
    )


class Killer:
    """Runs seed after seed on one stack with one crowd; ``folder`` keeps histories and what failed."""

    def __init__(self, stack: Stack, folder: pathlib.Path) -> None:
        self._stack = stack
        self._folder = folder
        self._book = enrol.CredentialBook()
        self._entrances: Mapping[str, enrol.Entrance] = {}
        self._enrolled_at = float("-inf")
        self._topics: list[str] = []

    async def run(self, drawn: plan.Plan) -> report.Outcome:
        """Play one seed; what goes wrong, of whatever kind, is a violation of the outcome."""
        began = time.monotonic()
        history = self._folder / f"seed-{drawn.seed}.jsonl"
        events: list[report.Event] = []
        outcome = report.Outcome(
            seed=drawn.seed,
            plan=str(drawn),
            faults=tuple(strike.fault.name for strike in drawn.strikes),
            events=(),
            violations=(),
            units=drawn.units,
        )
        try:
            async with asyncio.timeout(SEED_SECONDS):
                outcome = await self._play(drawn, history, events, outcome)
        except TROUBLES as error:
            outcome = _broken(outcome, f"the sale did not end: {type(error).__name__}: {error}")
        except ExceptionGroup as errors:
            said = "; ".join(f"{type(error).__name__}: {error}" for error in errors.exceptions)
            outcome = _broken(outcome, f"the sale did not end: {said}")
        for fallen in await self._mend(drawn):
            outcome = _broken(outcome, fallen)
        if outcome.is_passed:
            history.unlink(missing_ok=True)
        else:
            await asyncio.to_thread(self._keep_logs, drawn.seed)
        return dataclasses.replace(outcome, events=tuple(events), seconds=time.monotonic() - began)

    async def _play(
        self,
        drawn: plan.Plan,
        history: pathlib.Path,
        events: list[report.Event],
        outcome: report.Outcome,
    ) -> report.Outcome:
        environment = self._stack.env()
        addresses = stores.Addresses.from_environment(environment)
        plans = drawn.crowd()
        await self._enrol(environment["DOORBUSTER_PUBLIC_URL"])
        placed = await sale.place(self._stack, drawn)
        self._topics.append(placed.topic)
        people = crowd.Crowd(
            plans=plans,
            entrances=self._entrances,
            seed=drawn.seed,
            patience_seconds=PATIENCE_SECONDS,
        )
        game = play.Game(
            url=environment["DOORBUSTER_PUBLIC_URL"], sale=placed.path, units=drawn.units
        )
        with contextlib.closing(Recorder(history)) as recorder:
            async with asyncio.TaskGroup() as both:
                both.create_task(play.play(game, people, recorder, addresses))
                for strike in drawn.strikes:
                    both.create_task(self._strike(strike, placed, events))
        resting = time.monotonic()
        verdict = await play.judge(
            history, addresses, drawn.units, rest_seconds=rest_bound_seconds(drawn)
        )
        rest_seconds = time.monotonic() - resting
        wrong = list(verdict.violations)
        if drawn.channel == "operator":
            said = await sale.operator_says(
                self._stack, placed, units=drawn.units, sold=verdict.sold
            )
            wrong += [said] if said else []
        if not verdict.is_promise_held and not wrong:
            wrong.append(
                f"sold {verdict.sold}, oversold {verdict.oversold}, lost {verdict.lost_units}, "
                f"orders twice {verdict.double_orders}, charged twice {verdict.double_charges}"
            )
        return dataclasses.replace(
            outcome,
            violations=tuple(wrong),
            sold=verdict.sold,
            willing=verdict.willing,
            oversold=verdict.oversold,
            double_charges=verdict.double_charges,
            lost_units=max(0, verdict.lost_units),
            unanswered=verdict.unanswered,
            rest_seconds=rest_seconds,
        )

    async def _enrol(self, url: str) -> None:
        """Bring the largest crowd in; again only when the tokens grow old."""
        if time.monotonic() - self._enrolled_at < ENROL_AGAIN_SECONDS:
            return
        everybody: Sequence[BuyerPlan] = draw_plans(plan.MOST_BUYERS, seed=0)
        self._entrances = await enrol.enrol(url, everybody, self._book)
        self._enrolled_at = time.monotonic()

    async def _strike(
        self, strike: plan.Strike, placed: sale.Placed, events: list[report.Event]
    ) -> None:
        fault = strike.fault
        if isinstance(fault, faults.KafkaLoss):
            fault = faults.KafkaLoss(topics=tuple(self._topics[-LIVING_TOPICS:]))

        def note(what: str) -> None:
            after = time.time() - placed.opens_at
            events.append(report.Event(at_seconds=after, what=what))

        await asyncio.sleep(max(0.0, placed.opens_at + strike.at_seconds - time.time()))
        note(fault.name)
        await fault.strike(self._stack)
        await asyncio.sleep(strike.down_seconds)
        await fault.heal(self._stack)
        note(f"{fault.part} back")

    async def _mend(self, drawn: plan.Plan) -> list[str]:
        """Heal whatever is still struck, and name the parts that ended by themselves."""
        fallen: list[str] = []
        for strike in drawn.strikes:
            with contextlib.suppress(*TROUBLES):
                await strike.fault.heal(self._stack)
        for status in await asyncio.to_thread(self._stack.status):
            if status.state == "down":
                fallen.append(f"{status.name} ended by itself")
                await asyncio.to_thread(self._stack.start, status.name)
        return fallen

    def _keep_logs(self, seed: int) -> None:
        """Copy the ends of all logs beside the history."""
        kept = self._folder / f"seed-{seed}-logs"
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        for log in self._stack.layout.logs.glob("*.log*"):
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - LOG_BYTES))
                (kept / log.name).write_bytes(file.read())


def _broken(outcome: report.Outcome, sentence: str) -> report.Outcome:
    return dataclasses.replace(outcome, violations=(*outcome.violations, sentence))
