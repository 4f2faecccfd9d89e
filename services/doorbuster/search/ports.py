"""What search needs of the world: the index, the catalogue, live stock and prices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from doorbuster.contracts import catalogue, internal


class IndexAwayError(ConnectionError):
    """Elasticsearch does not answer, or there is no index yet."""


class QueryRefusedError(Exception):
    """Elasticsearch cannot do what was asked."""


@dataclass(frozen=True, kw_only=True)
class Write:
    """A document to be written under its version unless the index has the same or a later one."""

    product_id: str
    version: int
    document: dict[str, Any]


class ProductIndex(Protocol):
    """The products in Elasticsearch; every call may raise IndexAwayError."""

    async def search(self, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
        """Return Elasticsearch's answers, one for each; raises QueryRefusedError."""

    async def ping(self) -> None:
        """Return when the index answers."""

    async def is_building(self) -> bool:
        """Tell whether a next index is being built."""

    async def write(self, alias: str, writes: Sequence[Write]) -> int:
        """Write to the index behind an alias; returns how many were new. Without such an index nothing happens."""

    async def versions(self, alias: str, product_ids: Sequence[str]) -> dict[str, int]:
        """Return the versions of those that are there."""

    async def living(self, *, after: str, limit: int) -> list[str]:
        """Return a page of the ids of all products that are not deleted, in order from after ``after``."""

    async def ensure(self) -> bool:
        """Make the first index unless there is one; tells whether it still has to be filled."""

    async def mark_filled(self, alias: str) -> None:
        """Remember that the index behind this alias holds the whole catalogue."""

    async def begin_next(self) -> str:
        """Drop what an unfinished build left and make the next index; returns its name."""

    async def swap(self, name: str) -> None:
        """Let the next index serve and drop the old one, at once."""


class Catalogue(Protocol):
    """The product service; every call may raise ConnectionError."""

    async def page(self, after: str | None, size: int) -> internal.CataloguePage:
        """Return the next products by id."""

    async def find(self, query: catalogue.SearchQuery) -> internal.CatalogueMatches:
        """Look for whole words."""

    async def sold(self, product_ids: Sequence[str]) -> set[str]:
        """Return those that are sold."""


class Stock(Protocol):
    """Live availability; may raise ConnectionError or TimeoutError."""

    async def read(self, product_ids: Sequence[str]) -> dict[str, internal.Availability]: ...


class Sales(Protocol):
    """Inventory's sales; may raise ConnectionError."""

    async def sales(self) -> internal.Sales: ...
