"""How many units of a product anybody could reserve now, cached in Redis; never asked by a reservation."""

from .cache import AvailabilityAwayError, AvailabilityCache, asking, open_cache

__all__ = ["AvailabilityAwayError", "AvailabilityCache", "asking", "open_cache"]
