"""The waiting rooms in front of an order's sales; without Redis everybody goes on."""

import asyncio
import math
from dataclasses import dataclass

from doorbuster import escrow
from doorbuster.checkout.domain.orders import PricedLine, PricedOrder
from doorbuster.checkout.domain.refusals import WaitingRoomError
from doorbuster.checkout.domain.sales import Offer
from doorbuster.checkout.ports import WaitingRooms

from . import meters

# Who is far behind looks again meanwhile: the rate may rise, or the last unit be sold.
MOST_RETRY_SECONDS = 60
_INSIDE = escrow.Place(position=0, wait_seconds=0.0)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """The line of an order whose turn comes last, and the buyer's place in the queue of its sale."""

    line: PricedLine
    place: escrow.Place

    def refusal(self) -> WaitingRoomError:
        """Return how the buyer is told."""
        seconds = min(MOST_RETRY_SECONDS, max(1, math.ceil(self.place.wait_seconds)))
        return WaitingRoomError(
            product_id=self.line.product_id, position=self.place.position, retry_after=seconds
        )


async def find_waiting(rooms: WaitingRooms, order: PricedOrder) -> Waiting | None:
    """Take a place in the queue of each sale of the order; None when all of them let the buyer in."""
    lines = {line.sale_uid: line for line in order.lines}.values()
    places = await asyncio.gather(*(_ask(rooms, order.user_id, line.offer) for line in lines))
    waiting = [
        Waiting(line=line, place=place)
        for line, place in zip(lines, places, strict=True)
        if not place.is_inside
    ]
    return max(waiting, key=lambda one: one.place.wait_seconds, default=None)


async def _ask(rooms: WaitingRooms, user_id: str, offer: Offer | None) -> escrow.Place:
    if offer is None or offer.sale.admit_per_second is None:
        return _INSIDE
    arrival = escrow.Arrival(
        sale_uid=offer.sale.uid,
        user_id=user_id,
        admit_per_second=offer.sale.admit_per_second,
        open_time=offer.sale.open_time,
        close_time=offer.sale.close_time,
    )
    try:
        return await rooms.ask(arrival)
    except escrow.EscrowAwayError:
        meters.DEGRADED.labels("waiting_room").inc()
        return _INSIDE
