"""The seeded random killer: small sales on the whole real stack, disturbed on purpose, and judged."""
