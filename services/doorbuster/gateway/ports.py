"""What the door needs from the world."""

from collections.abc import Sequence
from typing import Protocol

from .domain import Admission, Charge


class Buckets(Protocol):
    """Token buckets that all copies of the gateway share."""

    async def take(self, charges: Sequence[Charge]) -> Admission | None:
        """Take one token from each bucket, or none from any; None when the buckets cannot be asked."""
