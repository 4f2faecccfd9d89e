"""Payment's neighbours: other services over HTTP, and the payment service provider."""

from .services import HttpCheckout, HttpInventory, HttpOrders
from .stripe_provider import StripeProvider, is_signed, open_provider

__all__ = [
    "HttpCheckout",
    "HttpInventory",
    "HttpOrders",
    "StripeProvider",
    "is_signed",
    "open_provider",
]
