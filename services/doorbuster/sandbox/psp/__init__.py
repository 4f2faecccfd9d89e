"""A payment service provider with the PaymentIntents part of Stripe's API, durable, with faults to switch on."""

from .app import build

__all__ = ["build"]
