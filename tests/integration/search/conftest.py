"""An Elasticsearch without any index of ours."""

from collections.abc import Callable

import pytest
from elasticsearch import AsyncElasticsearch


@pytest.fixture
async def elasticsearch_url(servers: Callable[..., dict[str, str]]) -> str:
    """The URL of an emptied Elasticsearch."""
    url = servers("elasticsearch")["DOORBUSTER_ELASTICSEARCH_URL"]
    async with AsyncElasticsearch(url, request_timeout=60) as client:
        found = await client.indices.get(index="products-*", features="aliases")
        for name in found.body:  # the server takes no pattern for a deletion
            await client.indices.delete(index=name)
    return url
