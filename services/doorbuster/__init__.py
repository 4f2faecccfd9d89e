"""Doorbuster: an e-commerce platform for flash sales; one wheel, many services."""
