"""The fixtures that every integration test relies on: real servers, empty databases."""

import asyncio

import asyncmy
import asyncpg
import redis.asyncio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic


async def test_fresh_postgres_is_empty_and_real(fresh_postgres):
    connection = await asyncpg.connect(fresh_postgres)
    try:
        assert (
            await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname='public'")
            == 0
        )
        assert await connection.fetchval("SHOW wal_level") == "logical"
        assert await connection.fetchval("SHOW synchronous_commit") == "on"
    finally:
        await connection.close()


async def test_a_service_role_cannot_open_another_services_database(servers):
    env = servers("postgres")
    own = env["DOORBUSTER_INVENTORY_DSN"]
    connection = await asyncpg.connect(own)
    await connection.close()
    other = own.rpartition("/")[0] + "/payment"
    try:
        stranger = await asyncpg.connect(other)
    except asyncpg.InsufficientPrivilegeError:
        return
    await stranger.close()
    raise AssertionError("inventory may connect to payment's database")


async def test_fresh_mysql_is_empty_and_real(fresh_mysql):
    account, _, rest = fresh_mysql.removeprefix("mysql://").partition("@")
    user, _, password = account.partition(":")
    address, _, database = rest.partition("/")
    host, _, port = address.partition(":")
    connection = await asyncmy.connect(
        host=host, port=int(port), user=user, password=password, database=database
    )
    try:
        async with connection.cursor() as cursor:
            await cursor.execute("SHOW TABLES")
            assert not await cursor.fetchall()
    finally:
        await connection.ensure_closed()


async def test_fresh_redis_is_empty_and_wants_a_password(fresh_redis):
    async with redis.asyncio.from_url(fresh_redis) as client:
        assert await client.dbsize() == 0
        await client.set("key", "value")
    stranger = redis.asyncio.from_url("redis://" + fresh_redis.partition("@")[2])
    try:
        await stranger.ping()
    except redis.exceptions.AuthenticationError:
        return
    finally:
        await stranger.aclose()
    raise AssertionError("Redis answers without a password")


async def test_kafka_makes_topics_only_when_asked(servers, topic_prefix):
    env = servers("kafka")
    admin = AIOKafkaAdminClient(bootstrap_servers=env["DOORBUSTER_KAFKA_BOOTSTRAP"])
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic_prefix + "a", 1, 1)])
        for _ in range(100):  # created, but the broker tells of it a moment later
            if topic_prefix + "a" in await admin.list_topics():
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError("the topic is not there after 5 s")
        await admin.delete_topics([topic_prefix + "a"])
    finally:
        await admin.close()
