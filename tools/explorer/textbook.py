"""The textbook recipe: a lock on the product, check the stock, pay, publish, unlock; a consumer decrements."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

UNITS = 1
_DOES = (
    "takes the lock",
    "reads the stock under the lock: it is 1",
    "is charged",
    "publishes OrderPaid for the consumer that decrements",
    "frees the lock, as the recipe says",
)
_START, _READ, _CHARGED, _FREE, _REFUSED = 0, 2, 3, 5, 6
_NAMES = ("A", "B", "C")


class State(NamedTuple):
    """``at`` is how far each buyer is; ``holder`` the buyer with the lock, or -1."""

    stock: int
    holder: int
    events: int
    at: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Textbook:
    """Nothing fails here: no crash, no lost message, no lock that runs out.

    ``decrements_under_lock`` is the cure: the stock falls with the sale, before the lock is free.
    """

    buyers: int = 2
    decrements_under_lock: bool = False

    def initial(self) -> State:
        """Return one unit and buyers that have not begun."""
        return State(stock=UNITS, holder=-1, events=0, at=(_START,) * self.buyers)

    def steps(self, state: State) -> Iterator[tuple[str, State, bool]]:
        """Return what may happen next; all of it is fair."""
        if state.events:
            after = state._replace(events=state.events - 1, stock=state.stock - 1)
            yield "the consumer takes an event and decrements the stock", after, True
        for buyer, at in enumerate(state.at):
            if at < _FREE:
                yield from self._buyer(state, buyer, at)

    def _buyer(self, state: State, buyer: int, at: int) -> Iterator[tuple[str, State, bool]]:
        if at == _START and state.holder != -1:
            return
        label = f"{_NAMES[buyer]} {_DOES[at]}"
        after = state._replace(at=_with(state.at, buyer, at + 1))
        if at == _START:
            after = after._replace(holder=buyer)
        elif at == _READ - 1 and state.stock < 1:
            label = f"{_NAMES[buyer]} reads the stock under the lock: it is 0, and goes"
            after = state._replace(at=_with(state.at, buyer, _REFUSED), holder=-1)
        elif at == _READ + 1:
            if self.decrements_under_lock:
                after = after._replace(stock=state.stock - 1)
            else:
                after = after._replace(events=state.events + 1)
        elif at == _FREE - 1:
            after = after._replace(holder=-1)
        yield label, after, True

    def canonical(self, state: State) -> State:
        """Return the state itself: it is small."""
        return state

    def broken(self, state: State) -> str | None:
        """Say that more buyers were charged than there are units."""
        charged = sum(_CHARGED <= at <= _FREE for at in state.at)
        return f"{charged} buyers are charged for {UNITS} unit" if charged > UNITS else None

    def broken_at_rest(self, state: State) -> str | None:
        """Say that the last unit was not sold although somebody wanted it."""
        return "the unit was not sold" if state.stock == UNITS else None


def _with(values: tuple[int, ...], place: int, value: int) -> tuple[int, ...]:
    return (*values[:place], value, *values[place + 1 :])
