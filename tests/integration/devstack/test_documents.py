"""MongoDB and Elasticsearch keep what they took over a kill, and let nobody do what is not his."""

import asyncio
from typing import Any

import aiohttp
import asyncpg
import pymongo
import pytest
from pymongo.errors import OperationFailure

from devstack.stack import Stack


def test_mongo_keeps_a_transaction_over_a_kill(stack: Stack, servers):
    url = servers("mongo")["DOORBUSTER_MONGO_URL"]
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        kept = client["product"]["devstack"]
        with client.start_session() as session, session.start_transaction():
            kept.insert_one({"_id": 1}, session=session)
            kept.insert_one({"_id": 2}, session=session)
    stack.kill("mongo")
    stack.restart("mongo")
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        kept = client["product"]["devstack"]
        assert kept.count_documents({}) == 2
        kept.drop()


def test_debezium_reads_what_it_captures_and_writes_nothing(servers):
    with pymongo.MongoClient[dict[str, Any]](
        servers("mongo")["DOORBUSTER_CDC_MONGO_URL"]
    ) as client:
        client["product"]["products"].count_documents({})
        with pytest.raises(OperationFailure, match="not authorized"):
            client["product"]["products"].insert_one({})


async def test_debezium_may_look_at_the_stock_and_not_change_it(servers):
    dsn = servers("postgres-schemas")["DOORBUSTER_CDC_POSTGRES_DSN"]
    connection = await asyncpg.connect(dsn)
    try:
        assert await connection.fetchval("SELECT count(*) FROM inventory") is not None
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM inventory")
    finally:
        await connection.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(f"{dsn.rpartition('/')[0]}/payment")


async def test_elasticsearch_keeps_its_index_over_a_kill_and_makes_none_by_accident(
    stack: Stack, servers
):
    url = servers("elasticsearch")["DOORBUSTER_ELASTICSEARCH_URL"]
    async with aiohttp.ClientSession() as client:
        async with client.put(f"{url}/stray/_doc/1", json={}) as refused:
            assert refused.status == 404
        async with client.put(f"{url}/kept") as made:
            assert made.status == 200
        async with client.put(f"{url}/kept/_doc/1", json={"title": "kept"}) as written:
            assert written.status == 201
        stack.kill("elasticsearch")
        await asyncio.to_thread(stack.restart, "elasticsearch")
        async with client.get(f"{url}/kept/_doc/1") as found:
            assert (await found.json())["_source"] == {"title": "kept"}
        await client.delete(f"{url}/kept")
