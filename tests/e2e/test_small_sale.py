"""A small sale on the whole real stack, undisturbed and with kill -9 of a part in its middle: the same verdict."""

import asyncio
import dataclasses
import os
import pathlib
import random
import secrets
import time
from collections.abc import Mapping

import pytest

from buyers import enrol, manifest, plan, play, verdict
from devstack.catalogue import SALE_PARTS
from devstack.errors import StackError
from devstack.stack import Stack

BUYERS = 60
UNITS = 5
OPENS_IN_SECONDS = 7.0
HOLD_SECONDS = 10
SEED = int(os.environ.get("DOORBUSTER_E2E_SEED", "2026"))
SERVICES = (
    "inventory",
    "checkout-0",
    "checkout-1",
    "payment",
    "order",
    "notification",
    "user",
    "gateway-0",
    "gateway-1",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shop:
    """The running stack and the accounts of the crowd."""

    stack: Stack
    environment: Mapping[str, str]
    book: enrol.CredentialBook


@pytest.fixture(scope="module")
def shop(stack: Stack) -> Shop:
    """The stack that sells; shared by the cases, each of which sells another product."""
    try:
        stack.up(only=SALE_PARTS)
    except StackError as error:
        pytest.fail(str(error), pytrace=False)
    return Shop(stack=stack, environment=stack.env(), book=enrol.CredentialBook())


async def hold_sale(
    shop: Shop, tmp_path: pathlib.Path, seed: int, victim: str | None = None
) -> verdict.Verdict:
    """One fresh sale; ``victim`` is killed in the first second after the opening and started again."""
    plans = plan.draw_plans(BUYERS, seed)
    entrances = await enrol.enrol(shop.environment["DOORBUSTER_PUBLIC_URL"], plans, shop.book)
    sale = manifest.render(
        opens_in=OPENS_IN_SECONDS,
        units=UNITS,
        suffix=f"-{secrets.token_hex(3)}",
        hold_seconds=HOLD_SECONDS,
    )
    cast = play.Cast(plans=plans, entrances=entrances, seed=seed)
    history = tmp_path / "history.jsonl"
    async with asyncio.TaskGroup() as both:
        held = both.create_task(play.hold_sale(shop.environment, sale, cast, history, units=UNITS))
        if victim is not None:
            both.create_task(kill_in_the_middle(shop.stack, sale, victim, seed))
    return held.result()


async def kill_in_the_middle(stack: Stack, sale: manifest.Sale, victim: str, seed: int) -> None:
    """Kill -9 at a seeded moment of the rush, start again a seeded moment later."""
    chance = random.Random(f"{seed}/{victim}")
    await asyncio.sleep(max(0.0, sale.opens_at + chance.uniform(0.05, 1.0) - time.time()))
    await asyncio.to_thread(stack.kill, victim)
    await asyncio.sleep(chance.uniform(0.2, 2.0))
    await asyncio.to_thread(stack.restart, victim)


def assert_promise_held(result: verdict.Verdict) -> None:
    assert result.violations == []
    assert (result.sold, result.oversold, result.lost_units) == (UNITS, 0, 0)
    assert (result.double_orders, result.double_charges) == (0, 0)
    assert result.unanswered == 0
    assert result.open_delay_millis is not None
    assert result.open_delay_millis >= 0
    assert result.is_promise_held


async def test_small_sale_sells_every_unit_once(shop: Shop, tmp_path: pathlib.Path) -> None:
    result = await hold_sale(shop, tmp_path, SEED)
    assert_promise_held(result)
    assert result.refused > 0
    assert "unknown" in result.calls  # the cut connections


@pytest.mark.parametrize(
    "victim",
    ["kafka", "redis", "operator", random.Random(SEED).choice(SERVICES)],
    ids=["kafka", "redis", "operator", "service"],
)
async def test_kill_of_a_part_in_the_middle_changes_nothing(
    shop: Shop, tmp_path: pathlib.Path, victim: str
) -> None:
    assert_promise_held(await hold_sale(shop, tmp_path, SEED + 1, victim))
