"""Checkout: turns a wish into units that are held and an order that can be paid."""
