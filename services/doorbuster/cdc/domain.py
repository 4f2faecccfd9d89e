"""What is captured and how: the two connectors as data, and when a replication slot counts as lost.

Both topics are compacted and hold one row or document a record, keyed by its id; a delete is a tombstone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from urllib.parse import unquote, urlsplit

INVENTORY = "doorbuster-inventory"
PRODUCTS = "doorbuster-products"
SLOT = "doorbuster_inventory"
PUBLICATION = "doorbuster_inventory"
CAPTURED_TABLE = "public.inventory"
INVENTORY_TOPIC = "cdc.inventory.public.inventory"
PRODUCTS_TOPIC = "cdc.product.products"
# How soon a change that was captured is sent, and how often a quiet source's position is written down.
POLL_MILLIS = 50
HEARTBEAT_MILLIS = 5_000
# A slot that Debezium is about to make is missing too, for a moment.
MISSING_FOR = timedelta(seconds=20)


@dataclass(frozen=True, kw_only=True)
class Connector:
    """One connector: its name, the topic it fills, its configuration (which holds secrets: never printed)."""

    name: str
    topic: str
    settings: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A replication slot as PostgreSQL sees it; ``lag_bytes`` of WAL are kept for it."""

    wal_status: Literal["reserved", "extended", "unreserved", "lost"]
    is_active: bool
    lag_bytes: int


def connectors(
    *, postgres_dsn: str, mongo_url: str, partitions: int, replication: int
) -> tuple[Connector, ...]:
    """Return both connectors; raises ValueError when the DSN names no database."""
    topics = _topics(partitions=partitions, replication=replication)
    return (
        Connector(
            name=INVENTORY,
            topic=INVENTORY_TOPIC,
            settings={**_COMMON, **topics, **_postgres(postgres_dsn)},
        ),
        Connector(
            name=PRODUCTS,
            topic=PRODUCTS_TOPIC,
            settings={**_COMMON, **topics, **_mongo(mongo_url)},
        ),
    )


def is_lost(slot: Slot | None, missing_for: timedelta) -> bool:
    """Tell whether what the slot kept for the connector is gone; ``missing_for`` says since when there is none."""
    if slot is None:
        return missing_for >= MISSING_FOR
    return slot.wal_status == "lost"


_COMMON = {
    "tasks.max": "1",
    # Takes a snapshot at the first start and whenever the source no longer has the position it stopped at.
    "snapshot.mode": "when_needed",
    "tombstones.on.delete": "false",
    "poll.interval.ms": str(POLL_MILLIS),
    "heartbeat.interval.ms": str(HEARTBEAT_MILLIS),
    "extended.headers.enabled": "false",
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "key.converter.schemas.enable": "false",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter.schemas.enable": "false",
    "transforms": "unwrap",
    "transforms.unwrap.delete.tombstone.handling.mode": "delete-to-tombstone",
}


def _topics(*, partitions: int, replication: int) -> dict[str, str]:
    return {
        "topic.creation.default.partitions": str(partitions),
        "topic.creation.default.replication.factor": str(replication),
        "topic.creation.default.cleanup.policy": "compact",
        "topic.creation.default.min.compaction.lag.ms": "60000",
        "topic.creation.default.delete.retention.ms": "604800000",
    }


def _postgres(dsn: str) -> dict[str, str]:
    parts = urlsplit(dsn)
    database = parts.path.lstrip("/")
    if not database:
        raise ValueError("the DSN of PostgreSQL names no database")
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "plugin.name": "pgoutput",
        "database.hostname": parts.hostname or "",
        "database.port": str(parts.port or 5432),
        "database.user": unquote(parts.username or ""),
        "database.password": unquote(parts.password or ""),
        "database.dbname": database,
        "topic.prefix": "cdc.inventory",
        "table.include.list": CAPTURED_TABLE,
        "slot.name": SLOT,
        "publication.name": PUBLICATION,
        "publication.autocreate.mode": "disabled",
        # Moves the slot on while the table is quiet and others fill the WAL.
        "heartbeat.action.query": "SELECT pg_logical_emit_message(false, 'heartbeat', '')",
        "message.prefix.exclude.list": "heartbeat",
        "transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState",
    }


def _mongo(url: str) -> dict[str, str]:
    return {
        "connector.class": "io.debezium.connector.mongodb.MongoDbConnector",
        "mongodb.connection.string": url,
        "topic.prefix": "cdc",
        # Its account may read this one database and no other.
        "capture.scope": "database",
        "capture.target": "product",
        "collection.include.list": "product.products",
        "capture.mode": "change_streams_update_full",
        # Search has no use for them, and their shapes differ from product to product.
        "field.exclude.list": "product.products.specifications,product.products.words",
        "transforms.unwrap.type": "io.debezium.connector.mongodb.transforms.ExtractNewDocumentState",
        # Elements of an array may differ in shape, which Connect's own arrays do not bear.
        "transforms.unwrap.array.encoding": "document",
    }
