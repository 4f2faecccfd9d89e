"""Storms through the public door: twenty clicks on one button, forty buyers on five units twenty times, a queue."""

import asyncio
import dataclasses
import pathlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from buyers import enrol, facts, gates, history, manifest, plan, play, stores, verdict
from devstack.stack import Stack

CLICKS = 20
REPETITIONS = 20
BUYERS = 40
UNITS = 5
HOLD_SECONDS = 10
OPENS_IN_SECONDS = 2.5
QUEUES_AT_ONCE = 4
SEED = 77
# Everybody who wins pays, some by a cut line, so that each queue is short.
RUSH = plan.Mix(leaves=0, no_card=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Street:
    """The running shop, a keeper of its gates, and where histories go."""

    environment: Mapping[str, str]
    keeper: gates.GateKeeper
    folder: pathlib.Path

    async def enrol(self, plans: Sequence[plan.Plan]) -> dict[str, enrol.Entrance]:
        return await enrol.enrol(
            self.environment["DOORBUSTER_PUBLIC_URL"], plans, enrol.CredentialBook()
        )

    async def fight(self, sale: manifest.Sale, cast: play.Cast) -> pathlib.Path:
        """Let the cast fight over the sale; returns the history."""
        path = self.folder / f"{sale.name}.jsonl"
        await play.fight_over(self.environment, sale, cast, path)
        return path

    async def judge(self, path: pathlib.Path) -> verdict.Verdict:
        return await play.judge(path, stores.Addresses.from_environment(self.environment))


@pytest.fixture
async def street(open_stack: Stack, tmp_path: pathlib.Path) -> AsyncIterator[Street]:
    environment = open_stack.env()
    key = open_stack.layout.keys / "operator.pem"
    async with gates.gate_keeper(environment, key) as keeper:
        yield Street(environment=environment, keeper=keeper, folder=tmp_path)


def wish(units: int, admit_per_second: int | None = None) -> gates.Wish:
    return gates.Wish(
        name=f"storm-{secrets.token_hex(4)}",
        units=units,
        opens_in=OPENS_IN_SECONDS,
        hold_seconds=HOLD_SECONDS,
        admit_per_second=admit_per_second,
    )


async def test_twenty_clicks_are_one_order_and_one_charge_with_one_answer(street: Street) -> None:
    clicker = dataclasses.replace(
        plan.draw_plans(1, SEED)[0],
        press_after_millis=0,
        presses=CLICKS,
        cut_press_after_millis=None,
        leaves=False,
        cards=(plan.GOOD_CARD,),
        pay_clicks=CLICKS,
        cut_pay_after_millis=None,
    )
    plans = [dataclasses.replace(clicker, name=f"b{number}") for number in range(4)]
    cast = play.Cast(plans=plans, entrances=await street.enrol(plans), seed=SEED)
    sale = await street.keeper.open_sale(wish(len(plans)))
    path = await street.fight(sale, cast)
    result, seen = await street.judge(path), facts.index(history.read_history(path))
    assert result.violations == []
    assert (result.sold, result.double_orders, result.double_charges) == (len(plans), 0, 0)
    assert len(seen.by_key) == 2 * len(plans)  # nobody needed a second key
    for (op, _), calls in seen.by_key.items():
        told = {
            (call.code, call.answer.order, call.answer.transaction)
            for call in calls
            if call.answer
        }
        assert len(calls) >= CLICKS
        assert {code for code, _, _ in told} == {"HELD" if op == "checkout" else "PAID"}
        assert len(told) == 1


async def test_forty_buyers_on_five_units_buy_five_every_time(street: Street) -> None:
    crowds = [plan.draw_plans(BUYERS, SEED + number, RUSH) for number in range(REPETITIONS)]
    entrances = await street.enrol(crowds[0])  # the same forty people stand in every queue
    at_once = asyncio.Semaphore(QUEUES_AT_ONCE)

    async def hold(number: int) -> verdict.Verdict:
        cast = play.Cast(plans=crowds[number], entrances=entrances, seed=SEED + number)
        async with at_once:
            sale = await street.keeper.open_sale(wish(UNITS))
            path = await street.fight(sale, cast)
        return await street.judge(path)

    async with asyncio.TaskGroup() as queues:
        held = [queues.create_task(hold(number)) for number in range(REPETITIONS)]
    for queue in held:
        result = queue.result()
        assert result.violations == []
        assert result.unjudged == {}
        assert (result.sold, result.oversold, result.lost_units) == (UNITS, 0, 0)
        assert (result.double_orders, result.double_charges) == (0, 0)


async def test_a_crowd_in_a_waiting_room_buys_every_unit(street: Street) -> None:
    plans = plan.draw_plans(BUYERS // 2, SEED, RUSH)
    cast = play.Cast(plans=plans, entrances=await street.enrol(plans), seed=SEED)
    sale = await street.keeper.open_sale(wish(UNITS, admit_per_second=5))
    result = await street.judge(await street.fight(sale, cast))
    assert result.violations == []
    assert (result.sold, result.oversold, result.lost_units) == (UNITS, 0, 0)
    assert result.unanswered == 0
    assert result.calls["WAITING_ROOM"] > 0
