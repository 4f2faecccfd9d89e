"""What befalls the model of permits from outside: Redis loses everything or comes back older, the stock is changed."""

from collections.abc import Iterator

from .permit_state import (
    COLD,
    NO_ENTRY,
    UNREAD,
    State,
    Step,
    add,
    spend,
)


def losses(state: State) -> Iterator[Step]:
    """Return what may happen to Redis as a whole, and a change of the stock."""
    left = state.left
    cold = tuple(o._replace(entry=NO_ENTRY) for o in state.orders)
    if left.flushes and state.redis_epoch != COLD:
        lost = spend(state, flushes=1)._replace(redis_epoch=COLD, permits=0, orders=cold)
        yield "Redis loses everything", lost, False
    if left.rollbacks and state.saved_epoch < 0:
        copied = tuple(o._replace(saved_entry=o.entry) for o in state.orders)
        yield (
            "Redis writes a copy to disk",
            state._replace(
                saved_epoch=state.redis_epoch, saved_permits=state.permits, orders=copied
            ),
            False,
        )
    elif left.rollbacks:
        older = tuple(o._replace(entry=o.saved_entry, saved_entry=NO_ENTRY) for o in state.orders)
        yield (
            "Redis restarts from its older copy",
            spend(state, rollbacks=1)._replace(
                redis_epoch=state.saved_epoch,
                permits=state.saved_permits,
                saved_epoch=-1,
                saved_permits=0,
                is_new_run=True,
                orders=older,
            ),
            False,
        )
    if left.restocks:
        for change in (1, -1):
            if state.available + change < 0:
                continue
            yield (
                f"the stock is changed by {change}",
                spend(state, restocks=1)._replace(
                    available=state.available + change,
                    total=state.total + change,
                    epoch=state.epoch + 1,
                    loads=add(state.loads, UNREAD),
                    is_final=state.is_final and change < 0,
                ),
                False,
            )
