"""How an order looks to its buyer and to those who ship it."""

from doorbuster.contracts import api, fulfilment, internal
from doorbuster.kit import money

from .order import Details, Order, State

# Not in the history of an order that went further: a late payment beats the expiry, a return is told as one.
_OVERRULED = frozenset({State.EXPIRED, State.CANCELLED})
_SHOWN: dict[State, api.ORDER_STATUSES] = {
    State.PENDING: "pending",
    State.EXPIRED: "expired",
    State.CONFIRMED: "confirmed",
    State.SHIPPED: "shipped",
    State.DELIVERED: "delivered",
    State.CANCELLED: "cancelled",
    State.RETURNED: "returned",
}


def show_status(order: Order) -> api.OrderStatus:
    """Return the order's status as its buyer sees it."""
    pending = order.state is State.PENDING
    return api.OrderStatus(
        order_id=order.order_id,
        status=_SHOWN[order.state],
        last_payment="declined" if pending and order.declined_attempt else None,
        pay_by=order.pay_by if pending else None,
        tracking_number=order.shipment.tracking_number if order.shipment else None,
        estimated_delivery=order.shipment.estimated_delivery if order.shipment else None,
        return_requested_at=order.return_requested_at,
        history=[
            api.StatusChange(status=_SHOWN[state], at=order.steps[state])
            for state in State
            if state in order.steps and (state not in _OVERRULED or order.state is state)
        ],
    )


def show_order(
    order: Order, details: Details, placed: internal.PlacedOrder | None = None
) -> api.Order:
    """Return the order as its buyer sees it, with totals and address where checkout's word is given."""
    return api.Order(
        order_id=order.order_id,
        status=_SHOWN[order.state],
        amount=money.from_minor(details.amount_minor, details.currency),
        currency=details.currency,
        products=[
            api.OrderLine(
                product_id=line.product_id,
                quantity=line.quantity,
                price=money.from_minor(line.price_minor, details.currency),
            )
            for line in details.lines
        ],
        placed_at=order.placed_at,
        totals=_show_totals(placed.totals, details.currency) if placed and placed.totals else None,
        address=placed.address if placed else None,
    )


def show_to_admin(
    order: Order, details: Details, placed: internal.PlacedOrder | None = None
) -> fulfilment.AdminOrder:
    """Return the order as those see it who ship it."""
    return fulfilment.AdminOrder(
        order=show_order(order, details, placed),
        status=show_status(order),
        user_id=order.user_id,
        carrier=order.shipment.carrier if order.shipment else None,
        reason=order.words,
    )


def _show_totals(totals: internal.TotalsMinor, currency: str) -> api.Totals:
    return api.Totals(
        subtotal=money.from_minor(totals.subtotal_minor, currency),
        discount=money.from_minor(totals.discount_minor, currency),
        shipping=money.from_minor(totals.shipping_minor, currency),
        tax=money.from_minor(totals.tax_minor, currency),
    )
