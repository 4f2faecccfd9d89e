"""``python -m explorer``: search the scenarios and print what was found, or the shortest trace of one."""

import argparse
import sys
from collections.abc import Sequence

from .scenarios import Scenario, scenarios
from .search import Found


def main(argv: Sequence[str] | None = None) -> None:
    """Search; exits 1 when a scenario does not end as it must."""
    parser = argparse.ArgumentParser(prog="explorer", description=__doc__)
    parser.add_argument("--deep", action="store_true", help="also the larger worlds (minutes)")
    parser.add_argument("--only", metavar="TEXT", default="", help="names that contain TEXT")
    parser.add_argument("--traces", action="store_true", help="print the shortest traces")
    chosen = parser.parse_args(argv)
    wanted = [
        scenario
        for scenario in scenarios()
        if chosen.only in scenario.name and (chosen.deep or chosen.only or not scenario.is_deep)
    ]
    if not wanted:
        parser.error(f"no scenario is called {chosen.only!r}")
    print(f"{'':2} {'kind':9} {'states':>9} {'steps':>9} {'CPU s':>6}  {'scenario':52} found")
    searched = [_show(scenario, with_trace=chosen.traces) for scenario in wanted]
    failures = sum(not is_good for is_good, _ in searched)
    states = sum(found.states for _, found in searched)
    seconds = sum(found.seconds for _, found in searched)
    print(
        f"{len(wanted)} scenarios, {states} states, {seconds:.1f} s of CPU, {failures} not as expected"
    )
    sys.exit(1 if failures else 0)


def _show(scenario: Scenario, *, with_trace: bool) -> tuple[bool, Found]:
    found = scenario.run()
    is_good = scenario.is_as_expected(found)
    said = "clean" if found.violation is None else f"{len(found.trace)} steps: {found.violation}"
    mark = "ok" if is_good else "!!"
    print(
        f"{mark} {scenario.kind:9} {found.states:>9} {found.steps:>9} {found.seconds:>6.1f}"
        f"  {scenario.name:52} {said}",
        flush=True,
    )
    if with_trace or not is_good:
        for number, label in enumerate(found.trace, 1):
            print(f"   {number:>4} {label}")
    return is_good, found


if __name__ == "__main__":
    main()
