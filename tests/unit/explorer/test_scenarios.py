"""The protocol's models: clean as the rules are, and seen to fail with any one of them taken away."""

from collections.abc import Callable

import pytest

from explorer.__main__ import main
from explorer.scenarios import Scenario, scenarios

SCENARIOS = list(scenarios())
# Shortest ways that an independent model of the same rules found are between 2 and 20 steps.
LONGEST_TRACE = 25


def of_kind(*kinds: str) -> list[object]:
    return [
        pytest.param(scenario, id=scenario.name)
        for scenario in SCENARIOS
        if scenario.kind in kinds and not scenario.is_deep
    ]


@pytest.mark.parametrize("scenario", of_kind("rules", "control"))
def test_no_state_breaks_a_rule(
    scenario: Scenario, record_property: Callable[[str, object], None]
) -> None:
    found = scenario.run()
    record_property("states", found.states)
    assert found.violation is None, "\n".join((found.violation, *found.trace))
    assert found.rest_states > 0


@pytest.mark.parametrize("scenario", of_kind("ablation"))
def test_a_rule_taken_away_is_missed(
    scenario: Scenario, record_property: Callable[[str, object], None]
) -> None:
    found = scenario.run()
    record_property("trace", found.trace)
    assert found.violation is not None
    assert scenario.must_break
    assert scenario.must_break in found.violation
    assert 0 < len(found.trace) <= LONGEST_TRACE


def test_scenarios_have_names_of_their_own() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)


def test_the_command_shows_the_trace_of_the_textbook_lock(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--only", "the textbook lock", "--traces"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "2 buyers are charged for 1 unit" in said
    assert "B reads the stock under the lock: it is 1" in said
