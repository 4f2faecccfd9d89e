"""Permits for all lines of an order, or for none; without Redis the order goes on without permits."""

from collections.abc import Mapping
from dataclasses import dataclass

from doorbuster import escrow
from doorbuster.checkout.domain.orders import PricedLine, PricedOrder
from doorbuster.checkout.ports import Permits
from doorbuster.kit import failpoints
from doorbuster.kit.coalescer import QueueFullError

from . import meters


@dataclass(frozen=True, kw_only=True)
class Permitted:
    """Epochs of the permits by product; ``is_direct`` when Redis did not answer for some line."""

    epochs: Mapping[str, int]
    is_direct: bool = False


@dataclass(frozen=True, kw_only=True)
class NoPermit:
    """The line that got none, and why; permits of earlier lines are given back."""

    line: PricedLine
    permit: escrow.Permit


def without_turn(line: PricedLine) -> NoPermit:
    """Return what an order is told for a line whose lock others kept: as if no unit were left just now."""
    return NoPermit(line=line, permit=escrow.Permit(outcome="OUT", epoch=line.epoch))


async def take_permits(permits: Permits, order: PricedOrder) -> Permitted | NoPermit:
    """Take a permit for each line whose sale keeps permits, in product order.

    While Redis is away the rest of the lines go without: PostgreSQL decides alone.
    """
    epochs: dict[str, int] = {}
    for line in order.lines:
        if not line.needs_permit:
            continue
        request = escrow.PermitRequest(
            order_id=order.order_id,
            user_id=order.user_id,
            product_id=line.product_id,
            quantity=line.quantity,
        )
        try:
            permit = await permits.permit(request)
            failpoints.lose_reply("checkout.permit")
        except (escrow.EscrowAwayError, failpoints.ReplyLostError):
            meters.DEGRADED.labels("redis").inc()
            return Permitted(epochs=epochs, is_direct=True)
        except QueueFullError:
            await untake(permits, order.order_id, epochs)
            raise
        meters.PERMITS.labels(permit.outcome).inc()
        if permit.outcome != "GRANTED":
            await untake(permits, order.order_id, epochs)
            return NoPermit(line=line, permit=permit)
        epochs[line.product_id] = permit.epoch
        failpoints.reach("checkout.permit.taken")
    return Permitted(epochs=epochs)


async def untake(permits: Permits, order_id: str, epochs: Mapping[str, int]) -> None:
    """Give permits back; one that cannot be given back now runs out by itself."""
    for product_id, epoch in epochs.items():
        try:
            await permits.untake(order_id, product_id, epoch)
        except escrow.EscrowAwayError:
            meters.DEGRADED.labels("untake").inc()
