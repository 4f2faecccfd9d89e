"""The products in Elasticsearch: a versioned index behind an alias, written with the documents' own versions."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import elasticsearch
from elasticsearch import AsyncElasticsearch

from doorbuster.kit import telemetry

from .domain import documents
from .ports import IndexAwayError, QueryRefusedError, Write

SEARCH_SECONDS = 2.0
WRITE_SECONDS = 60.0  # making an index takes long on a busy machine
PATTERN = "products-*"
FIRST = "products-1"
CONNECTIONS = 64
CONFLICT, MISSING = 409, 404


class ElasticsearchIndex:
    """One cluster's index of products; ``replicas`` are copies of each shard, ``search_seconds`` bounds a search."""

    def __init__(
        self, client: AsyncElasticsearch, *, replicas: int, search_seconds: float
    ) -> None:
        self._client = client.options(request_timeout=WRITE_SECONDS)
        self._searching = client.options(request_timeout=search_seconds)
        self._replicas = replicas

    async def search(self, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
        """Return Elasticsearch's answers, one for each; raises IndexAwayError or QueryRefusedError."""
        searches: list[Mapping[str, Any]] = []
        for body in bodies:
            searches += [{"preference": "_local"}, body]
        with _translated():
            answer = await self._searching.msearch(index=documents.ALIAS, searches=searches)
        for one in answer["responses"]:
            _require_answered(one)
        return list(answer["responses"])

    async def ping(self) -> None:
        """Return when the index answers; raises IndexAwayError."""
        with _translated():
            await self._searching.search(
                index=documents.ALIAS, size=0, track_total_hits=False, terminate_after=1
            )

    async def is_building(self) -> bool:
        """Tell whether a next index is being built; raises IndexAwayError."""
        with _translated():
            return bool(await self._client.indices.exists_alias(name=documents.NEXT_ALIAS))

    async def write(self, alias: str, writes: Sequence[Write]) -> int:
        """Write to the index behind an alias; returns how many were new. Raises IndexAwayError."""
        operations: list[Mapping[str, Any]] = []
        for write in writes:
            target = {
                "_index": alias,
                "_id": write.product_id,
                "version": write.version,
                "version_type": "external",
                "require_alias": True,
            }
            operations += [{"index": target}, write.document]
        if not operations:
            return 0
        with _translated():
            answer = await self._client.bulk(operations=operations, filter_path="items.index")
        if alias == documents.ALIAS and any(
            i["index"]["status"] == MISSING for i in answer["items"]
        ):
            raise _NoIndexError("there is no index")
        return sum(_is_written(item["index"]) for item in answer["items"])

    async def versions(self, alias: str, product_ids: Sequence[str]) -> dict[str, int]:
        """Return the versions of those that are there; raises IndexAwayError."""
        try:
            with _translated():
                answer = await self._client.mget(index=alias, ids=list(product_ids), source=False)
        except _NoIndexError:
            return {}
        return {doc["_id"]: doc["_version"] for doc in answer["docs"] if doc.get("found")}

    async def living(self, *, after: str, limit: int) -> list[str]:
        """Return a page of the ids of all products that are not deleted; raises IndexAwayError."""
        with _translated():
            answer = await self._client.search(
                index=documents.ALIAS,
                query={"bool": {"filter": [{"term": {"gone": False}}]}},
                sort=[{"product_id": "asc"}],
                search_after=[after],
                size=limit,
                source=False,
                track_total_hits=False,
            )
        return [hit["_id"] for hit in answer["hits"]["hits"]]

    async def ensure(self) -> bool:
        """Make the first index unless there is one; tells whether it still has to be filled."""
        with _translated():
            if not await self._client.indices.exists_alias(name=documents.ALIAS):
                # A fixed name: of two that start at once, one makes it and the other finds it.
                await self._create(FIRST, documents.ALIAS)
            found = await self._client.indices.get_mapping(index=documents.ALIAS)
        [mapping] = found.body.values()
        return not mapping["mappings"].get("_meta", {}).get("filled", False)

    async def mark_filled(self, alias: str) -> None:
        """Remember that the index behind this alias holds the whole catalogue."""
        with _translated():
            await self._client.indices.put_mapping(index=alias, meta={"filled": True})
            await self._client.indices.refresh(index=alias)

    async def begin_next(self) -> str:
        """Drop what an unfinished build left and make the next index; returns its name."""
        with _translated():
            serving = await self._serving()
            for name in await self._names():
                if name not in serving:
                    await self._client.indices.delete(index=name, ignore_unavailable=True)
            numbers = [int(name.rpartition("-")[2]) for name in await self._names()]
            return await self._create(
                f"products-{max(numbers, default=0) + 1}", documents.NEXT_ALIAS
            )

    async def swap(self, name: str) -> None:
        """Let the next index serve and drop the old one, at once."""
        with _translated():
            actions: list[Mapping[str, Any]] = [
                {"remove": {"index": name, "alias": documents.NEXT_ALIAS, "must_exist": True}},
                {"add": {"index": name, "alias": documents.ALIAS}},
                *({"remove_index": {"index": old}} for old in await self._serving()),
            ]
            await self._client.indices.update_aliases(actions=actions)

    async def _serving(self) -> list[str]:
        if not await self._client.indices.exists_alias(name=documents.ALIAS):
            return []
        return list((await self._client.indices.get_alias(name=documents.ALIAS)).body)

    async def _names(self) -> list[str]:
        return list((await self._client.indices.get(index=PATTERN, features="aliases")).body)

    async def _create(self, name: str, alias: str) -> str:
        try:
            await self._client.indices.create(
                index=name,
                settings={**documents.SETTINGS, "number_of_replicas": self._replicas},
                mappings={**documents.MAPPING, "_meta": {"filled": False}},
                aliases={alias: {}},
            )
        except elasticsearch.BadRequestError as error:
            if error.error != "resource_already_exists_exception":
                raise
        else:
            telemetry.log().info("index_created", index=name)
        return name


class _NoIndexError(IndexAwayError):
    """There is no index behind the alias."""


def _require_answered(answer: Mapping[str, Any]) -> None:
    """Raise what one of several searches failed with."""
    status = answer["status"]
    if status == MISSING:
        raise _NoIndexError("there is no index")
    if status >= 500 or status == 429:
        raise IndexAwayError(f"Elasticsearch answered {status}")
    if status >= 400:
        raise QueryRefusedError(str(answer["error"].get("type")))


def _is_written(item: Mapping[str, Any]) -> bool:
    """Tell whether a document was taken; raises IndexAwayError when it has to be tried again."""
    status = item["status"]
    if status in {CONFLICT, MISSING}:  # the index has it already; or nothing is being built
        return False
    if status == 429 or status >= 500:
        raise IndexAwayError(f"Elasticsearch answered {status}")
    if status >= 400:
        raise QueryRefusedError(str(item.get("error", {}).get("type")))
    return True


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except elasticsearch.NotFoundError as error:
        raise _NoIndexError("there is no index") from error
    except elasticsearch.BadRequestError as error:
        raise QueryRefusedError(error.error) from error
    except (elasticsearch.TransportError, elasticsearch.ApiError) as error:
        raise IndexAwayError(f"Elasticsearch failed ({type(error).__name__})") from error


@asynccontextmanager
async def open_index(
    url: str, *, replicas: int = 0, search_seconds: float = SEARCH_SECONDS
) -> AsyncIterator[ElasticsearchIndex]:
    """Open the index; it connects when first used and repeats nothing by itself."""
    client = AsyncElasticsearch(
        url, max_retries=0, retry_on_timeout=False, connections_per_node=CONNECTIONS
    )
    try:
        yield ElasticsearchIndex(client, replicas=replicas, search_seconds=search_seconds)
    finally:
        await client.close()
