"""What the order service does: take events in, answer people and payment, settle orders nobody spoke of."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from prometheus_client import Counter

from doorbuster.contracts import api, fulfilment, internal
from doorbuster.kit import clock, consumer, failpoints, telemetry, workers

from . import domain
from .domain import Order, State, UnknownOrderError
from .ports import Checkout, Inventory, OrderPage, OrderStore

SWEEP_BATCH = 50
LONGEST_QUESTION = 1000
WORKER = workers.Worker(
    "unpaid_order_sweep",
    outcomes=("expired", "confirmed", "cancelled"),
    reasons=("undecided", "inventory_away", "no_reservation"),
)
MONEY = workers.Worker("unrefunded_order_sweep", outcomes=("told_again",))
WITHOUT_ADDRESS = Counter(
    "doorbuster_order_without_address",
    "Orders shown without totals and address because checkout did not answer",
)


@dataclass(frozen=True, kw_only=True)
class Orders:
    """The use cases over one store.

    ``announce`` is told the ids of orders that may have changed, ``wake`` is called when there is something to send.
    What people do with an order may be repeated: it is done once, and answered with the order's status.
    """

    store: OrderStore
    checkout: Checkout
    inventory: Inventory
    now: clock.Clock = clock.utc_now
    announce: Callable[[list[str]], None] = lambda _order_ids: None
    wake: Callable[[], None] = lambda: None

    async def take_in(self, deliveries: list[consumer.Delivery]) -> None:
        """Join a batch of events into the orders."""
        now = self.now()
        views = [
            view
            for delivery in deliveries
            if (view := domain.observe(delivery.event, delivery.occurred_at or now)) is not None
        ]
        await self._merge(views)

    async def _merge(self, views: list[Order]) -> None:
        joined = domain.merge_all(views)
        if joined:
            await self.store.merge(joined, self.now())
            failpoints.reach("order.orders.merged")
            self.announce([order.order_id for order in joined])

    async def find(self, order_id: str, user_id: str | None) -> Order:
        """Return a buyer's order (None: anybody's), asking checkout for what has not arrived yet.

        Raises UnknownOrderError also for other people's orders; ConnectionError when only checkout could tell.
        """
        order = await self.store.find(order_id)
        if order is None or order.details is None:
            placed = await self.checkout.find_placed(order_id)
            if placed is not None:
                view = domain.placed(placed)
                order = view if order is None else domain.merge(order, view)
                if placed.pay_by + domain.SWEEP_MARGIN < self.now():
                    # Its event is lost: keep what checkout says, so that the sweep will settle it.
                    await self._merge([view])
        if order is None or user_id not in (order.user_id, None):
            raise UnknownOrderError("you have no such order")
        return order

    async def show(self, order_id: str, user_id: str) -> api.Order:
        """Return a buyer's order, with totals and address where checkout answers; raises as ``find``."""
        order = await self.find(order_id, user_id)
        if order.details is None:
            raise UnknownOrderError("you have no such order")
        return domain.show_order(order, order.details, await self._placed(order_id))

    async def show_to_admin(self, order_id: str) -> fulfilment.AdminOrder:
        """Return anybody's order; as ``show`` otherwise."""
        order = await self.find(order_id, None)
        if order.details is None:
            raise UnknownOrderError("there is no such order")
        return domain.show_to_admin(order, order.details, await self._placed(order_id))

    async def _placed(self, order_id: str) -> internal.PlacedOrder | None:
        try:
            return await self.checkout.find_placed(order_id)
        except (ConnectionError, TimeoutError):
            WITHOUT_ADDRESS.inc()
            return None

    async def show_status(self, order_id: str, user_id: str) -> api.OrderStatus:
        """Return the status of a buyer's order; raises as ``find``."""
        return domain.show_status(await self.find(order_id, user_id))

    async def page(self, user_id: str, *, offset: int, limit: int) -> OrderPage:
        """Return a page of a buyer's orders, newest first."""
        return await self.store.page(user_id, offset=offset, limit=limit)

    async def page_all(self, state: State | None, *, offset: int, limit: int) -> OrderPage:
        """Return a page of everybody's orders (in one state), newest first."""
        return await self.store.page_all(state, offset=offset, limit=limit)

    async def cancel(self, order_id: str, user_id: str | None, words: str) -> api.OrderStatus:
        """Cancel an order before it is shipped; raises NotCancellableError, and as ``find``."""
        return await self._change(order_id, user_id, partial(domain.cancel, words=words))

    async def ask_return(self, order_id: str, user_id: str, words: str) -> api.OrderStatus:
        """Ask to return what was delivered; raises NotReturnableError, and as ``find``."""
        return await self._change(order_id, user_id, partial(domain.ask_return, words=words))

    async def accept_return(self, order_id: str, words: str) -> api.OrderStatus:
        """Accept what came back; raises NotReturnableError, and as ``find``."""
        return await self._change(order_id, None, partial(domain.accept_return, words=words))

    async def ship(self, order_id: str, entered: fulfilment.Shipment) -> api.OrderStatus:
        """Enter or correct the parcel; raises NotShippableError, ImpossibleTimeError, and as ``find``."""
        shipment = domain.Shipment(
            shipped_at=self.now(),
            carrier=entered.carrier,
            tracking_number=entered.tracking_number,
            estimated_delivery=entered.estimated_delivery,
        )
        return await self._change(order_id, None, partial(domain.ship, entered=shipment))

    async def deliver(self, order_id: str, delivered: fulfilment.Delivered) -> api.OrderStatus:
        """Enter that it has arrived; raises NotShippedError, ImpossibleTimeError, and as ``find``."""
        return await self._change(
            order_id, None, partial(domain.deliver, at=delivered.delivered_at)
        )

    async def _change(
        self, order_id: str, user_id: str | None, decide: Callable[..., domain.Change | None]
    ) -> api.OrderStatus:
        known = await self.find(order_id, user_id)
        if known.details is None:
            raise UnknownOrderError("there is no such order")
        now = self.now()
        order = await self.store.change(known, partial(decide, now=now), now)
        self.wake()
        self.announce([order_id])
        return domain.show_status(order)

    async def tell_again(self) -> bool:
        """Ask payment again for money that has not come back; true when there may be more."""
        now = self.now()
        again_at = now + domain.SWEEP_AGAIN
        told = await self.store.tell_again(now, limit=SWEEP_BATCH, again_at=again_at)
        if told:
            MONEY.repaired("told_again", told)
            self.wake()
        return told == SWEEP_BATCH

    async def oldest_untold_seconds(self) -> float:
        """Return for how long the oldest money should have been back."""
        since = await self.store.untold_since()
        return 0.0 if since is None else (self.now() - since - domain.TELL_AGAIN).total_seconds()

    async def missing(self, order_ids: list[str]) -> list[str]:
        """Return those paid orders, by payment's word, whose PaymentSucceeded has not arrived here."""
        return await self.store.unconfirmed(order_ids)

    async def unreversed(self, order_ids: list[str]) -> list[str]:
        """Return those reversed orders, by payment's word, whose PaymentReversed has not arrived here."""
        return await self.store.unreversed(order_ids)

    async def sweep(self) -> bool:
        """Ask inventory about unpaid orders past their pay-by; true when there may be more.

        An order that cannot be settled now is asked about again later: its claim runs out by itself.
        """
        now = self.now()
        due = await self.store.claim_due(now, limit=SWEEP_BATCH, again_at=now + domain.SWEEP_AGAIN)
        settled: list[Order] = []
        asked = 0
        try:
            for order in due:
                reservation = await self.inventory.find_reservation(order.order_id)
                asked += 1
                verdict = None if reservation is None else domain.settle(order, reservation, now)
                if verdict is not None:
                    settled.append(verdict)
                elif reservation is not None:
                    WORKER.postponed("undecided")
                else:
                    WORKER.postponed("no_reservation")
                    telemetry.log().warning("order_without_reservation", order_id=order.order_id)
        finally:
            WORKER.postponed("inventory_away", len(due) - asked)
            await self._merge(settled)
            for verdict in settled:
                WORKER.repaired(verdict.state.lower())
        return len(due) == SWEEP_BATCH

    async def oldest_seconds(self) -> float:
        """Return for how long inventory should have been asked about the oldest unpaid order."""
        pay_by, unplaced = await self.store.waiting_since()
        return domain.overdue_seconds(self.now(), first_pay_by=pay_by, first_unplaced=unplaced)
