"""Payments: one attempt after another for an order, never two at a time, never a charge without a unit."""
