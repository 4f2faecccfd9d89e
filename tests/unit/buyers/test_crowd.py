"""The crowd against the fake shop: its behaviours, its retries, and that its verdict is the truth."""

import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from buyers import checker, crowd, enrol, facts, history, plan, verdict

OpenShop = Callable[..., Awaitable[Any]]
SALE = "default.iphone-drop"
PLAIN = plan.Mix(
    early=0,
    double_press=0,
    cut_press=0,
    leaves=0,
    another_card=0,
    no_card=0,
    double_pay=0,
    cut_pay=0,
)


async def play(
    shop: Any, tmp_path: pathlib.Path, *, buyers: int, mix: plan.Mix | None = None, seed: int = 7
) -> tuple[verdict.Verdict, facts.Facts]:
    """Let a crowd fight over the fake shop's units and judge it."""
    plans = plan.draw_plans(buyers, seed, mix)
    entrances = await enrol.enrol(shop.url, plans, enrol.CredentialBook())
    path = tmp_path / "history.jsonl"
    recorder = history.Recorder(path)
    people = crowd.Crowd(
        plans=plans, entrances=entrances, seed=seed, patience_seconds=20, clock_looks=1
    )
    try:
        await crowd.fight(shop.url, SALE, people, recorder, units=shop.units)
    finally:
        recorder.close()
    result = checker.check(history.read_history(path), shop.snapshot())
    return result, facts.index(history.read_history(path))


async def test_crowd_of_all_kinds_sells_out_an_honest_shop(
    open_shop: OpenShop, tmp_path: pathlib.Path
) -> None:
    shop = await open_shop(units=4, opens_in=1.8)
    result, seen = await play(shop, tmp_path, buyers=60)
    assert result.violations == []
    assert (result.sold, result.lost_units, result.unanswered) == (4, 0, 0)
    assert result.is_promise_held
    assert result.refused + result.left + result.endings["paid"] + result.endings.get(
        "no_card", 0
    ) == len(seen.buyers)
    assert result.open_delay_millis is not None
    assert result.open_delay_millis >= 0


async def test_lost_replies_and_errors_are_retried_with_the_same_key(
    open_shop: OpenShop, tmp_path: pathlib.Path
) -> None:
    shop = await open_shop(units=5, opens_in=0.4)
    shop.faults |= {"flaky", "busy"}
    result, seen = await play(shop, tmp_path, buyers=40, mix=PLAIN)
    assert result.is_promise_held, result.violations
    assert result.calls["unknown"] > 0
    unknown = [calls for calls in seen.by_key.values() if any(call.is_unknown for call in calls)]
    assert all(len(calls) > 1 for calls in unknown)


async def test_buyers_wait_their_turn_in_a_waiting_room_and_buy_everything(
    open_shop: OpenShop, tmp_path: pathlib.Path
) -> None:
    shop = await open_shop(units=6, opens_in=0.4)
    shop.admit_per_second = 8
    result, seen = await play(shop, tmp_path, buyers=16, mix=PLAIN)
    assert result.is_promise_held, result.violations
    assert (result.sold, result.unanswered) == (6, 0)
    assert result.calls["WAITING_ROOM"] > 0
    told = [
        [call.code for call in calls if call.invoke.op == "checkout"]
        for calls in seen.by_buyer.values()
    ]
    assert any(codes[0] == "WAITING_ROOM" and codes[-1] == "HELD" for codes in told)
    assert all(codes[-1] != "WAITING_ROOM" for codes in told)


async def test_left_unit_goes_to_a_waiting_buyer(
    open_shop: OpenShop, tmp_path: pathlib.Path
) -> None:
    shop = await open_shop(units=2, opens_in=0.4)
    mix = plan.Mix(**{**vars(PLAIN), "leaves": 0.6})
    result, _ = await play(shop, tmp_path, buyers=12, mix=mix)
    assert result.is_promise_held, result.violations
    assert result.holds >= result.sold == 2


async def test_early_presses_are_refused_and_come_again(
    open_shop: OpenShop, tmp_path: pathlib.Path
) -> None:
    shop = await open_shop(units=3, opens_in=1.8)
    mix = plan.Mix(**{**vars(PLAIN), "early": 1.0})
    result, _ = await play(shop, tmp_path, buyers=10, mix=mix)
    assert result.calls["SALE_NOT_OPEN"] >= 10
    assert result.is_promise_held, result.violations


async def test_shop_that_opens_early_is_caught(
    open_shop: OpenShop, tmp_path: pathlib.Path
) -> None:
    shop = await open_shop(units=3, opens_in=1.8)
    shop.faults.add("opens_early")
    mix = plan.Mix(**{**vars(PLAIN), "early": 1.0})
    result, _ = await play(shop, tmp_path, buyers=10, mix=mix)
    assert any("before the opening" in sentence for sentence in result.violations)


@pytest.mark.parametrize(
    ("fault", "field"), [("oversells", "oversold"), ("charges_twice", "double_charges")]
)
async def test_shop_that_breaks_the_promise_is_caught(
    open_shop: OpenShop, tmp_path: pathlib.Path, fault: str, field: str
) -> None:
    shop = await open_shop(units=2, opens_in=0.4)
    shop.faults.add(fault)
    mix = plan.Mix(**{**vars(PLAIN), "double_pay": 1.0})
    result, _ = await play(shop, tmp_path, buyers=12, mix=mix)
    assert getattr(result, field) > 0
    assert not result.is_promise_held


async def test_shop_that_says_sold_out_while_units_are_only_held_is_caught(
    open_shop: OpenShop, tmp_path: pathlib.Path
) -> None:
    shop = await open_shop(units=2, opens_in=0.4)
    shop.faults.add("impatient")
    mix = plan.Mix(**{**vars(PLAIN), "leaves": 0.5})
    result, _ = await play(shop, tmp_path, buyers=12, mix=mix, seed=3)
    assert result.lost_units > 0
    assert any(sentence.startswith("I6") for sentence in result.violations)


async def test_second_enrolment_signs_nobody_up_and_needs_no_password(
    open_shop: OpenShop, tmp_path: pathlib.Path
) -> None:
    shop = await open_shop(units=1, opens_in=60)
    plans = plan.draw_plans(30, 1)
    book = enrol.CredentialBook()
    first = await enrol.enrol(shop.url, plans, book)
    assert (shop.counts["sign_up"], shop.counts["log_in"]) == (30, 30)
    path = tmp_path / "book.json"
    enrol.write_book(path, book)
    assert path.stat().st_mode & 0o777 == 0o600
    again = await enrol.enrol(shop.url, plans, enrol.read_book(path))
    assert shop.counts == {"sign_up": 30, "log_in": 30, "refresh": 30}
    assert {name: entrance.user_id for name, entrance in again.items()} == {
        name: entrance.user_id for name, entrance in first.items()
    }
    assert len(shop.addresses) == 30


async def test_book_of_a_shop_that_forgot_everybody_signs_up_again(open_shop: OpenShop) -> None:
    plans = plan.draw_plans(3, 1)
    book = enrol.CredentialBook()
    await enrol.enrol((await open_shop(units=1, opens_in=60)).url, plans, book)
    fresh = await open_shop(units=1, opens_in=60)
    entrances = await enrol.enrol(fresh.url, plans, book)
    assert len(entrances) == len(fresh.users) == 3
