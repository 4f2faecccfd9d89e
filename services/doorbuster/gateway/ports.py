"""What the door needs from the world."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .domain import Admission, Charge


class Buckets(Protocol):
    """Token buckets that all copies of the gateway share."""

    async def take(self, charges: Sequence[Charge]) -> Admission | None:
        """Take one token from each bucket, or none from any; None when the buckets cannot be asked."""


@dataclass(frozen=True, kw_only=True)
class Forwarded:
    """A request as it goes to a service; ``target`` is path and query, ``repeatable`` as ``may_repeat`` says."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    repeatable: bool


class Answer(Protocol):
    """A service's answer whose body is still to be read; whoever got it closes it."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All headers as they came."""

    @property
    def length(self) -> int | None:
        """Bytes of the body; None when it comes as it is made."""

    async def piece(self) -> bytes:
        """Return the next piece of the body, b"" after the last one; raises ConnectionError."""

    def close(self) -> None:
        """Free the connection, for another request when this answer was read to its end."""


class Upstreams(Protocol):
    """The services behind the door."""

    def knows(self, owner: str) -> bool:
        """Tell whether there is such a service here."""

    async def send(self, owner: str, forwarded: Forwarded) -> Answer:
        """Return the head of the answer; raises client.UnavailableError when no copy answered in time."""
