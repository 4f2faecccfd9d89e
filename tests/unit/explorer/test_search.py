"""The search itself: it finds what is there, by a shortest way, and says when it has not seen everything."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from explorer.search import TooManyStatesError, search


@dataclass(frozen=True)
class Counter:
    """Counts up to ``top`` by ones and twos; at the top it rests, or goes round for ever."""

    top: int
    forbidden: int = -1
    forbidden_rest: int = -1
    goes_round: bool = False

    def initial(self) -> int:
        return 0

    def steps(self, state: int) -> Iterator[tuple[str, int, bool]]:
        for by in (1, 2):
            if state + by <= self.top:
                yield f"plus {by}", state + by, True
        if state == self.top and self.goes_round:
            yield "again", self.top - 1, True
        yield "an idle look", state, True

    def canonical(self, state: int) -> int:
        return state

    def broken(self, state: int) -> str | None:
        return "forbidden" if state == self.forbidden else None

    def broken_at_rest(self, state: int) -> str | None:
        return "must not rest here" if state == self.forbidden_rest else None


def test_every_state_is_visited_and_rest_is_where_nothing_changes():
    found = search(Counter(top=9))
    assert (found.states, found.rest_states, found.violation) == (10, 1, None)
    assert found.depth == 5


def test_a_violation_comes_with_a_shortest_way_to_it():
    found = search(Counter(top=9, forbidden=5))
    assert found.violation == "forbidden"
    assert len(found.trace) == 3
    assert sum(int(label[-1]) for label in found.trace) == 5


def test_a_rest_state_is_judged_by_the_rules_of_rest():
    assert search(Counter(top=4, forbidden_rest=4)).violation == "must not rest here"
    assert search(Counter(top=4, forbidden_rest=3)).violation is None


def test_work_that_never_rests_is_found():
    assert search(Counter(top=4, goes_round=True)).violation == "work goes on for ever"


def test_a_world_that_is_too_large_proves_nothing():
    with pytest.raises(TooManyStatesError):
        search(Counter(top=100), most_states=50)
