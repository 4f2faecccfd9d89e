"""Checkout's PostgreSQL: placed orders with their outbox, discounts with their uses."""

from .discounts import PostgresDiscounts
from .orders import PostgresOrders, open_orders
from .tables import METADATA, OUTBOX, PLACED_ORDER

__all__ = [
    "METADATA",
    "OUTBOX",
    "PLACED_ORDER",
    "PostgresDiscounts",
    "PostgresOrders",
    "open_orders",
]
