"""Made-up goods for an empty shop: the same seed gives the same products on every machine."""
