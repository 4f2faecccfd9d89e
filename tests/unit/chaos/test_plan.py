"""A seed is one plan, within its bounds."""

from chaos import faults, plan

SEEDS = range(1, 400)


def test_the_same_seed_is_the_same_plan() -> None:
    assert [plan.draw(seed) for seed in SEEDS] == [plan.draw(seed) for seed in SEEDS]
    assert plan.draw(1) != plan.draw(2)
    assert plan.draw(7).crowd() == plan.draw(7).crowd()


def test_an_undisturbed_seed_is_the_same_sale_without_faults() -> None:
    drawn, calm = plan.draw(3), plan.draw(3, disturbed=False)
    assert drawn.strikes
    assert calm.strikes == ()
    assert calm.crowd() == drawn.crowd()


def test_every_draw_lies_within_its_bounds() -> None:
    for seed in SEEDS:
        assert_within_bounds(plan.draw(seed))


def assert_within_bounds(drawn: plan.Plan) -> None:
    assert plan.FEWEST_BUYERS <= drawn.buyers <= plan.MOST_BUYERS
    assert plan.FEWEST_UNITS <= drawn.units <= plan.MOST_UNITS
    assert 1 <= len(drawn.strikes) <= plan.MOST_FAULTS
    parts = [strike.fault.part for strike in drawn.strikes]
    assert len(parts) == len(set(parts)), "a part is struck once"
    for strike in drawn.strikes:
        assert plan.EARLIEST_SECONDS <= strike.at_seconds <= plan.LATEST_SECONDS
        if not isinstance(strike.fault, faults.Freeze):
            assert strike.down_seconds <= plan.LONGEST_DOWN_SECONDS


def test_a_frozen_part_sleeps_longer_than_every_lease() -> None:
    assert plan.FREEZE_SECONDS[0] > max(plan.LEASES.values())
    frozen = [
        strike
        for seed in SEEDS
        for strike in plan.draw(seed).strikes
        if isinstance(strike.fault, faults.Freeze)
    ]
    assert frozen
    assert all(strike.down_seconds >= plan.FREEZE_SECONDS[0] for strike in frozen)


def test_nobody_thinks_longer_than_his_hold_lasts() -> None:
    for seed in SEEDS:
        drawn = plan.draw(seed)
        longest = max(2 * buyer.think_millis for buyer in drawn.crowd())  # two cards
        assert longest < drawn.hold_seconds * 1000


def test_the_operator_is_struck_only_where_it_arms_the_sale() -> None:
    channels = {plan.draw(seed).channel for seed in SEEDS}
    assert channels == {"control", "operator"}
    for seed in SEEDS:
        drawn = plan.draw(seed)
        if drawn.channel == "control":
            assert all(strike.fault.part != "operator" for strike in drawn.strikes)
        else:
            assert drawn.hold_seconds == plan.OPERATOR_HOLD_SECONDS


def test_every_fault_is_drawn_sooner_or_later() -> None:
    names = {strike.fault.name for seed in SEEDS for strike in plan.draw(seed).strikes}
    wanted = {"flush:redis", "kill:redis", "rollback:redis", "stop:kafka", "loss:kafka"}
    wanted |= {"crash:postgres", "kill:mariadb", "kill:operator", "freeze:operator"}
    wanted |= {f"{conduct}:psp" for conduct in faults.CONDUCTS}
    wanted |= {f"{verb}:{service}" for verb in ("kill", "freeze") for service in plan.SERVICES}
    assert wanted <= names


def test_a_line_tells_what_is_played() -> None:
    drawn = plan.draw(1)
    assert f"{drawn.buyers} buyers {drawn.units} units" in str(drawn)
    assert str(plan.Strike(fault=faults.Kill("order"), at_seconds=-0.1, down_seconds=2)) == (
        "kill:order@-0.10s/2.0s"
    )
