"""The words of the model of permits: what a state is made of, and small changes to one."""

from typing import NamedTuple

# Where a buyer is.
ASKING, WAITING, HOLDING, DONE, TOLD_OUT = range(5)
# The row of an order id in PostgreSQL.
NONE, TOMB, HELD, PAYING, SOLD, RELEASED, RETURNED = range(7)
# The entry of an order in Redis; RETURNED_BIT is a bit of its own beside the three.
NO_ENTRY, NEITHER, IN_FLIGHT, SETTLED = range(4)
RETURNED_BIT = 4
# How a permit ends (escrow.Fate).
KEEP, RETURN, PHANTOM, DROP = range(4)
COLD = 0  # the epoch of a Redis that holds nothing
NO_PERMIT = -1  # the epoch that a direct reserve names
UNREAD = (-1, 0)  # a load whose facts are yet to be read
MOST_MESSAGES = 2  # of one kind and order, in the network at once


class Order(NamedTuple):
    """One buyer's order: where he is, what is under way for him, his entry in Redis, his row in PostgreSQL."""

    phase: int = ASKING
    reserves: tuple[int, ...] = ()  # epochs of reserve calls under way
    settles: tuple[tuple[int, int], ...] = ()  # (epoch, fate) of settlements under way
    entry: int = NO_ENTRY
    saved_entry: int = NO_ENTRY
    row: int = NONE
    row_epoch: int = 0
    back: int = 0  # epoch of the permit_return row, 0: none


class Left(NamedTuple):
    """How often what is not fair may still happen; with ``eager`` a worker comes at the worst moment."""

    crashes: int = 0
    flushes: int = 0
    rollbacks: int = 0
    outages: int = 0
    declines: int = 0
    reversals: int = 0
    restocks: int = 0
    forgets: int = 0
    leaves: int = 0
    eager: int = 0


NOTHING = Left()


class State(NamedTuple):
    """Redis, PostgreSQL, the loads under way, and the orders."""

    redis_epoch: int
    permits: int
    saved_epoch: int  # -1: no copy was taken
    saved_permits: int
    is_new_run: bool
    epoch: int
    available: int
    total: int
    loads: tuple[tuple[int, int], ...]
    is_final: bool  # somebody was told SOLD_OUT and no unit was added since
    left: Left
    orders: tuple[Order, ...]


Step = tuple[str, State, bool]


BUYERS = ("A", "B", "C", "D")
ROWS = ("no row", "TOMB", "HELD", "PAYING", "SOLD", "RELEASED", "RETURNED")
FATES = ("kept", "goes back", "phantom dropped", "dropped, its return comes")


def kind_of(entry: int) -> int:
    """Return the entry without its bit."""
    return entry & ~RETURNED_BIT


def reserved(state: State) -> int:
    """Return how many units HELD and PAYING rows hold."""
    return sum(HELD <= order.row <= PAYING for order in state.orders)


def returning(state: State) -> int:
    """Return how many permits of this epoch are on their way back."""
    return sum(order.back == state.epoch for order in state.orders)


def drift(state: State) -> int:
    """Return permits, free or in flight or on their way back, minus what is available."""
    in_flight = sum(kind_of(order.entry) == IN_FLIGHT for order in state.orders)
    return state.permits + in_flight + returning(state) - state.available


def fate_of(order: Order, epoch: int) -> int:
    """Tell as domain.fate_of_stored does."""
    if order.row == TOMB or order.row_epoch != epoch:
        return RETURN
    return KEEP if order.row in (HELD, PAYING, SOLD) else DROP


def phase_of(row: int) -> int:
    """Return where a buyer is whose order id has this row."""
    return HOLDING if row == HELD else DONE


def put(state: State, at: int, order: Order) -> State:
    """Return the state with another order at this place."""
    return state._replace(orders=(*state.orders[:at], order, *state.orders[at + 1 :]))


def spend(state: State, **spent: int) -> State:
    """Return the state with these chances spent."""
    left = state.left
    fewer = {name: getattr(left, name) - count for name, count in spent.items()}
    return state._replace(left=left._replace(**fewer))


def also(items: tuple, item: object) -> tuple:  # type: ignore[type-arg]
    return items if item in items else tuple(sorted((*items, item)))


def without(items: tuple, item: object) -> tuple:  # type: ignore[type-arg]
    at = items.index(item)
    return (*items[:at], *items[at + 1 :])


def add(items: tuple, item: object) -> tuple:  # type: ignore[type-arg]
    return tuple(sorted((*items, item)))
