"""What the door needs from the world."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from .domain import Admission, Charge


@dataclass(frozen=True, kw_only=True)
class Forwarded:
    """A request as it goes to a service; ``target`` is path and query, ``repeatable`` as ``may_repeat`` says."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    repeatable: bool


class Upstreams(Protocol):
    """The services behind the door."""

    def knows(self, owner: str) -> bool:
        """Tell whether there is such a service here."""

    async def send(self, owner: str, forwarded: Forwarded) -> aiohttp.ClientResponse:
        """Return the head of the answer, its body unread; the caller releases it.

        Raises client.UnavailableError when no copy answered in time.
        """


class Buckets(Protocol):
    """Token buckets that all copies of the gateway share."""

    async def take(self, charges: Sequence[Charge]) -> Admission | None:
        """Take one token from each bucket, or none from any; None when the buckets cannot be asked."""
