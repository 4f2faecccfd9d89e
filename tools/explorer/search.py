"""Searches a model breadth first: every state is judged, rest states also for what must have happened by then.

A model is a set of small steps over immutable states. A step is *fair* when it happens sooner or later by itself (a
worker's pass, a message's arrival, the passing of time); crashes, losses and refusals are not. A state is at rest when
no fair step changes it. Three things are proved of a model whose states are all visited: no state breaks a safety
rule, no rest state breaks a rule of rest, and from every state fair steps lead to rest.
"""

import gc
import time
from array import array
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

State = TypeVar("State", bound=Hashable)
MOST_STATES = 2_000_000


class Model(Protocol[State]):
    """What can be searched; labels name steps for people."""

    def initial(self) -> State:
        """Return where everything begins."""
        ...

    def steps(self, state: State) -> Iterable[tuple[str, State, bool]]:
        """Return (label, next state, is fair) of everything that may happen in ``state``."""
        ...

    def canonical(self, state: State) -> State:
        """Return one of the states that differ from this only in the names of buyers."""
        ...

    def broken(self, state: State) -> str | None:
        """Say which rule that holds always is broken."""
        ...

    def broken_at_rest(self, state: State) -> str | None:
        """Say which rule that holds at rest is broken."""
        ...


class TooManyStatesError(Exception):
    """The model is larger than the search was allowed to be: nothing is proved."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """How a search ended: ``violation`` is None when every state was visited and none is wrong.

    ``trace`` is a shortest way to the violation, ``depth`` the steps to the farthest state; ``seconds`` are of CPU.
    """

    states: int
    steps: int
    rest_states: int
    depth: int
    seconds: float
    violation: str | None = None
    trace: tuple[str, ...] = ()


class Search(Generic[State]):
    """One search; ``seen`` maps each state to its number, numbers count in the order of discovery."""

    def __init__(self, model: Model[State], *, most_states: int = MOST_STATES) -> None:
        self._model = model
        self._most_states = most_states
        self._seen: dict[State, int] = {}
        self._parents = array("l")
        self._from = array("l")
        self._to = array("l")
        self._rest: list[int] = []
        self._steps = 0

    def run(self) -> Found:
        """Visit every state, or stop at the first that breaks a rule; raises TooManyStatesError."""
        # States are tuples without cycles: looking for some would take half of the time.
        was_collecting = gc.isenabled()
        gc.disable()
        try:
            return self._run()
        finally:
            if was_collecting:
                gc.enable()

    def _run(self) -> Found:
        began = time.process_time()
        start = self._model.canonical(self._model.initial())
        self._seen[start] = 0
        self._parents.append(-1)
        level, depth = [start], 0
        wrong = self._model.broken(start)
        culprit = start
        while level and wrong is None:
            following: list[State] = []
            for state in level:
                wrong, culprit = self._expand(state, following)
                if wrong is not None:
                    break
            level = following
            depth += bool(level)
        if wrong is None:
            wrong, culprit = self._restless() or (None, start)
        return Found(
            states=len(self._seen),
            steps=self._steps,
            rest_states=len(self._rest),
            depth=depth,
            seconds=time.process_time() - began,
            violation=wrong,
            trace=() if wrong is None else self._trace(culprit),
        )

    def _expand(self, state: State, following: list[State]) -> tuple[str | None, State]:
        model, seen = self._model, self._seen
        here = seen[state]
        is_rest = True
        for _, raw, is_fair in model.steps(state):
            after = model.canonical(raw)
            self._steps += 1
            number = seen.get(after)
            if number is None:
                number = len(seen)
                if number >= self._most_states:
                    raise TooManyStatesError(f"more than {self._most_states} states")
                seen[after] = number
                self._parents.append(here)
                following.append(after)
                wrong = model.broken(after)
                if wrong is not None:
                    return wrong, after
            if is_fair and number != here:
                is_rest = False
                self._from.append(here)
                self._to.append(number)
        if not is_rest:
            return None, state
        self._rest.append(here)
        return model.broken_at_rest(state), state

    def _restless(self) -> tuple[str, State] | None:
        """Find a state from which no fair steps lead to rest, walking backwards from the rest states."""
        count = len(self._seen)
        starts = array("l", bytes(array("l").itemsize * (count + 1)))
        for number in self._to:
            starts[number + 1] += 1
        for number in range(count):
            starts[number + 1] += starts[number]
        places = array("l", starts)
        before = array("l", bytes(array("l").itemsize * len(self._from)))
        for origin, number in zip(self._from, self._to, strict=True):
            before[places[number]] = origin
            places[number] += 1
        reached = bytearray(count)
        waiting = list(self._rest)
        for number in waiting:
            reached[number] = 1
        while waiting:
            number = waiting.pop()
            for origin in before[starts[number] : starts[number + 1]]:
                if not reached[origin]:
                    reached[origin] = 1
                    waiting.append(origin)
        lost = reached.find(0)
        if lost < 0:
            return None
        return "work goes on for ever", self._state(lost)

    def _state(self, number: int) -> State:
        return next(state for state, at in self._seen.items() if at == number)

    def _trace(self, culprit: State) -> tuple[str, ...]:
        """Walk the way again with unchanged names, so that a label means the same buyer everywhere."""
        numbers = {number: state for state, number in self._seen.items()}
        way: list[State] = []
        at = self._seen[culprit]
        while at > 0:
            way.append(numbers[at])
            at = self._parents[at]
        state = self._model.initial()
        labels: list[str] = []
        for wanted in reversed(way):
            for label, raw, _ in self._model.steps(state):
                if self._model.canonical(raw) == wanted:
                    labels.append(label)
                    state = raw
                    break
        return tuple(labels)


def search(model: Model[State], *, most_states: int = MOST_STATES) -> Found:
    """Search a model; see :class:`Found`. Raises TooManyStatesError."""
    return Search(model, most_states=most_states).run()
