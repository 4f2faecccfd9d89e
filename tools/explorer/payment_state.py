"""The words of the model of payments: what a state is made of, and small changes to one."""

from typing import NamedTuple

# The reservation.
HELD, PAYING, SOLD, RELEASED, RETURNED = range(5)
# An attempt's row.
ABSENT, NEW, CONFIRMING, CANCELLING, AUTHORISED, CAPTURING, CAPTURED = range(7)
DECLINED, ABANDONED, VOIDING, VOIDED, REFUNDING, REFUNDED, CAPTURE_FAILED = range(7, 14)
CAPTURING_FLAGGED = 14  # CAPTURING, and the order was cancelled meanwhile
UNDECIDED = frozenset({NEW, CONFIRMING, CANCELLING})
SELLS = frozenset({AUTHORISED, CAPTURING, CAPTURING_FLAGGED, CAPTURED})
REVERSING = frozenset({VOIDING, REFUNDING})
REVERSED = frozenset({VOIDED, REFUNDED, CAPTURE_FAILED})
FAILED = frozenset({DECLINED, ABANDONED})
LIVE = UNDECIDED | SELLS | REVERSING
# The provider's intent.
NO_INTENT, OPEN, PSP_AUTHORISED, PSP_DECLINED, PSP_CANCELLED, PSP_CAPTURED, PSP_REFUNDED = range(7)
# What a driver is about to do.
PIN, PINNING, CREATE, BEGIN, CONFIRM, CONFIRMING_THERE, DECIDE, CANCEL, CANCEL_DONE = range(9)
GIVE_UP, PUBLISH = 9, 10
# Events.
SUCCEEDED, FAILED_EVENT, REVERSED_EVENT = range(3)
MOST_DRIVERS = 2

Driver = tuple[
    int, int, int
]  # (about to, attempt, what the provider said or the event to publish)


class Left(NamedTuple):
    """How often what is not fair may still happen."""

    crashes: int = 0
    duplicates: int = 0
    broker_losses: int = 0
    cancels: int = 0
    lapses: int = 0
    takeovers: int = 0


NOTHING = Left()


class State(NamedTuple):
    """Everything about one order; tuples by attempt, or by the provider's key."""

    row: int
    row_attempt: int
    is_expired: bool
    reserved: int
    sold: int
    attempts: tuple[int, ...]
    intents: tuple[int, ...]
    said: tuple[int, ...]  # the provider's stored answer to a confirm, NO_INTENT: none
    pins: tuple[bool, ...]  # pin requests under way
    confirms: tuple[bool, ...]  # confirm requests under way
    drivers: tuple[Driver, ...]
    to_inventory: frozenset[tuple[int, int]]  # (event, attempt) not delivered yet
    to_order: frozenset[tuple[int, int]]
    orders: int  # paid orders that the order service made
    swept: tuple[int, int] | None  # (event, attempt) that the pin sweep is about to apply
    has_lapsed: bool
    is_misled: bool  # a buyer who had paid was told that his units are gone
    left: Left


Step = tuple[str, State, bool]

ROWS = ("HELD", "PAYING", "SOLD", "RELEASED", "RETURNED")
STATES = (
    *("ABSENT", "NEW", "CONFIRMING", "CANCELLING", "AUTHORISED", "CAPTURING", "CAPTURED"),
    *("DECLINED", "ABANDONED", "VOIDING", "VOIDED", "REFUNDING", "REFUNDED", "CAPTURE_FAILED"),
    "CAPTURING (flagged)",
)
INTENTS = ("none", "open", "authorised", "declined", "cancelled", "captured", "refunded")
EVENTS = ("PaymentSucceeded", "PaymentFailed", "PaymentReversed")
SELLABLE = {False: (PAYING,), True: (PAYING, HELD)}


def sell(state: State) -> State:
    """Return the state with the unit sold."""
    return state._replace(row=SOLD, reserved=state.reserved - 1, sold=state.sold + 1)


def release(state: State) -> State:
    """Return the state with the unit released."""
    return state._replace(row=RELEASED, reserved=state.reserved - 1)


def take_back(state: State) -> State:
    """Return the state with the unit for sale again."""
    sold = int(state.row == SOLD)
    return state._replace(
        row=RETURNED, sold=state.sold - sold, reserved=state.reserved - (1 - sold)
    )


def publish(state: State, event: int, attempt: int) -> State:
    """Return the state with an event on its way to both consumers."""
    told = frozenset({(event, attempt)})
    return state._replace(to_inventory=state.to_inventory | told, to_order=state.to_order | told)


def has_room(state: State, driver: Driver) -> bool:
    """Tell whether one more driver fits, and is not there already."""
    return len(state.drivers) < MOST_DRIVERS and driver not in state.drivers


def add(state: State, driver: Driver) -> State:
    """Return the state with one more driver."""
    if driver in state.drivers:
        return state
    return state._replace(drivers=tuple(sorted((*state.drivers, driver))))


def end(state: State, driver: Driver) -> State:
    """Return the state without this driver."""
    at = state.drivers.index(driver)
    return state._replace(drivers=(*state.drivers[:at], *state.drivers[at + 1 :]))


def put(values: tuple, attempt: int, value: object) -> tuple:  # type: ignore[type-arg]
    return (*values[: attempt - 1], value, *values[attempt:])


def spend(state: State, **spent: int) -> State:
    """Return the state with these chances spent."""
    left = state.left
    fewer = {name: getattr(left, name) - count for name, count in spent.items()}
    return state._replace(left=left._replace(**fewer))


def refused(after: State, before: State) -> str:
    """Return what a label says of a compare-and-set that changed nothing."""
    return "" if after is not before else " is refused"
