"""Builds without one of their guards are caught by the checker, by the rule that the guard is there for.

Each guard is taken away on the real stack, in real code or SQL; the same sale is held with and without it.
"""

import dataclasses

from buyers import verdict

from .conftest import STEADY, Build, Scenario, Shop

# Without permits nothing but PostgreSQL stands between a crowd and the stock.
RUSH = Scenario(buyers=20, units=3, hold_seconds=20, strategy="Direct")
# The PSP takes longer than a hold lasts: three calls of a second, two of them after the pin.
SLOW_PSP = Scenario(buyers=8, units=2, hold_seconds=3, behaviour={"delayMillis": 1200})
TWICE = Scenario(buyers=10, units=4, hold_seconds=20)
LOST_REPLIES = Scenario(
    buyers=6, units=3, hold_seconds=20, behaviour={"dropReplyNext": {"count": 2, "on": "create"}}
)
# Whoever wins in the first seconds leaves: the units come back to those who wait.
LEAVERS = Scenario(buyers=12, units=2, hold_seconds=3, mix=dataclasses.replace(STEADY, leaves=1.0))
SEND = "                await self._bus.send([_message(row) for row in group])\n"
LATER = "                await asyncio.sleep(0.5)\n"
BROKEN_REST_SECONDS = 10.0  # a broken build may never come to rest


def assert_held(result: verdict.Verdict, scenario: Scenario) -> None:
    assert result.violations == []
    assert result.unjudged == {}
    assert result.sold == scenario.units
    assert result.is_promise_held


def assert_caught(result: verdict.Verdict, rule: str) -> None:
    assert not result.is_promise_held
    assert any(sentence.startswith(f"{rule}:") for sentence in result.violations), (
        result.violations
    )


# --- the guard in PostgreSQL --------------------------------------------------------------------


async def test_rush_without_permits_is_sold_right(shop: Shop) -> None:
    assert_held(await shop.hold(RUSH), RUSH)


async def test_no_guard_in_postgresql_is_caught_by_i1(shop: Shop) -> None:
    async with (
        shop.without_checks("inventory", "sale_item"),
        shop.function("reserve_batch", ("THEN 7", "THEN 10"), ("THEN 9", "THEN 10")),
    ):
        result = await shop.hold(RUSH, rest_seconds=BROKEN_REST_SECONDS)
    assert_caught(result, "I1")
    assert result.oversold == RUSH.buyers - RUSH.units


# --- the pin ------------------------------------------------------------------------------------


async def test_payment_longer_than_its_hold_is_sold_right(shop: Shop) -> None:
    assert_held(await shop.hold(SLOW_PSP), SLOW_PSP)


async def test_pin_that_does_not_stop_the_clock_is_caught_by_i3(shop: Shop) -> None:
    pin = ("SET state = 'PAYING', attempt = asked.attempt", "SET attempt = asked.attempt")
    async with shop.function("pin_batch", pin):
        result = await shop.hold(SLOW_PSP, rest_seconds=BROKEN_REST_SECONDS)
    assert_caught(result, "I3")
    assert result.oversold > 0


# --- events that come twice ---------------------------------------------------------------------


def relaying_twice(build: Build) -> Build:
    """A relay that dies between sending a batch and deleting it, each time."""
    return build.change("kit/outbox.py", SEND, SEND + LATER + SEND)


async def test_events_that_come_twice_are_counted_once(shop: Shop, build: Build) -> None:
    async with shop.running(relaying_twice(build), ["payment"]):
        assert_held(await shop.hold(TWICE), TWICE)


async def test_no_dedupe_in_inventory_is_caught_by_i2(shop: Shop, build: Build) -> None:
    guard = "r.attempt = a.attempt AND r.state = 'PAYING'"
    async with (
        shop.without_checks("inventory", "sale_item"),
        shop.function(
            "confirm_sold", (guard, guard.replace("= 'PAYING'", "IN ('PAYING', 'SOLD')"))
        ),
        shop.running(relaying_twice(build), ["payment"]),
    ):
        result = await shop.hold(TWICE, rest_seconds=BROKEN_REST_SECONDS)
    assert_caught(result, "I2")


# --- keys at the PSP ----------------------------------------------------------------------------


def charging_at_once(build: Build) -> Build:
    """A build that charges with the call that makes the intent, as a short tutorial would."""
    build.change(
        "payment/usecases/pay.py",
        "self.provider.create(attempt)",
        'self.provider.create(__import__("dataclasses").replace(attempt, token=token))',
    )
    return build.change(
        "payment/clients/stripe_provider.py",
        '"capture_method": "manual",',
        '"capture_method": "manual", "confirm": True, "payment_method": attempt.token or "",',
    )


async def test_lost_replies_of_the_psp_charge_nobody_twice(shop: Shop, build: Build) -> None:
    async with shop.running(charging_at_once(build), ["payment"]):
        assert_held(await shop.hold(LOST_REPLIES), LOST_REPLIES)


async def test_fresh_key_for_every_call_to_the_psp_is_caught_by_i3(
    shop: Shop, build: Build
) -> None:
    charging_at_once(build).change(
        "payment/clients/stripe_provider.py",
        '{"idempotency_key": attempt.provider_key()}',
        '{"idempotency_key": __import__("secrets").token_hex(16)}',
    )
    async with shop.running(build, ["payment"]):
        result = await shop.hold(LOST_REPLIES, rest_seconds=BROKEN_REST_SECONDS)
    assert_caught(result, "I3")
    assert result.double_charges > 0


# --- what is final ------------------------------------------------------------------------------


async def test_units_of_those_who_leave_are_sold_to_those_who_wait(shop: Shop) -> None:
    assert_held(await shop.hold(LEAVERS), LEAVERS)


async def test_sold_out_told_while_units_are_held_is_caught_by_i6(
    shop: Shop, build: Build
) -> None:
    build.change("inventory/storage/sql/judge.sql", "ELSE 'WAITING'", "ELSE 'SOLD_OUT'")
    async with shop.running(build, ["inventory"]):
        result = await shop.hold(LEAVERS, rest_seconds=BROKEN_REST_SECONDS)
    assert_caught(result, "I6")
    assert result.lost_units == LEAVERS.units
